//! What of an event does not fit its schema, in words: where, what was found, what is accepted.
//! Everything that is said is bounded, whatever the event.

use std::fmt::{self, Write as _};

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::limits;

/// Characters of what was found, or is accepted, that are repeated.
const SHOWN_CHARS_MAX: usize = 100;

/// How an event does not fit its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Misfit {
    /// The schema.
    pub schema: String,
    /// The first things that do not fit.
    pub findings: Vec<String>,
    /// There may be more.
    pub more: bool,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the event does not fit {}: {}", self.schema, self.findings.join("; "))?;
        if self.more { f.write_str("; and more") } else { Ok(()) }
    }
}

impl Misfit {
    fn one(schema: &str, says: String) -> Self {
        Self { schema: shortened(schema), findings: vec![says], more: false }
    }

    /// Nothing fits a schema that is none.
    pub(super) fn unusable(schema: &str, says: &str) -> Self {
        Self::one(schema, format!("the schema cannot be used: {says}"))
    }
}

/// Holds an event (a JSON text) against a schema.
pub(super) fn fits(validator: &Validator, schema: &str, event: &str) -> Result<(), Misfit> {
    let value: Value = serde_json::from_str(event)
        .map_err(|error| Misfit::one(schema, format!("it cannot be checked: {error}")))?;
    if validator.is_valid(&value) {
        return Ok(());
    }
    // All that is wrong is collected before the first is told: of a large event that may be a lot.
    if event.len() > limits::SCHEMA_ALL_FINDINGS_BYTES_MAX {
        let first = validator.validate(&value).err().map(|error| in_words(&error));
        let findings = vec![first.unwrap_or_else(|| "it is not valid".to_owned())];
        return Err(Misfit { schema: shortened(schema), findings, more: true });
    }
    let mut errors = validator.iter_errors(&value);
    let most = limits::SCHEMA_FINDINGS_MAX;
    let findings = errors.by_ref().take(most).map(|error| in_words(&error)).collect();
    Err(Misfit { schema: shortened(schema), findings, more: errors.next().is_some() })
}

fn in_words(error: &ValidationError<'_>) -> String {
    let at = place(error.instance_path().as_str());
    let found = described(error.instance());
    let with = |field: &str| if at == EVENT { field.to_owned() } else { format!("{at}.{field}") };
    let accepted = match error.kind() {
        Kind::Required { property } => {
            return format!("`{}` is missing", with(property.as_str().unwrap_or_default()));
        }
        Kind::AdditionalProperties { unexpected } => {
            let names: Vec<_> = unexpected.iter().take(3).map(|n| with(&shortened(n))).collect();
            return format!("`{}` is no field that the schema has", names.join("`, `"));
        }
        Kind::Type { kind: TypeKind::Single(one) } => article(one.as_str()),
        Kind::Type { kind: TypeKind::Multiple(some) } => {
            some.into_iter().map(|one| article(one.as_str())).collect::<Vec<_>>().join(" or ")
        }
        Kind::Enum { options } => format!("one of {}", shortened(&options.to_string())),
        Kind::Constant { expected_value } => shortened(&expected_value.to_string()),
        Kind::Pattern { pattern } => format!("what `{}` matches", shortened(pattern)),
        Kind::Format { format } => format!("a text of the format {}", shortened(format)),
        Kind::Minimum { limit } => format!("{limit} or more"),
        Kind::Maximum { limit } => format!("{limit} or less"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MinLength { limit } => format!("a text of {limit} characters or more"),
        Kind::MaxLength { limit } => format!("a text of {limit} characters or less"),
        Kind::MinItems { limit } => format!("an array of {limit} or more"),
        Kind::MaxItems { limit } => format!("an array of {limit} or less"),
        _ => return format!("`{at}` is {found}: {}", shortened(&error.masked().to_string())),
    };
    format!("`{at}` is {found}; {accepted} is accepted")
}

/// What the whole event is called.
const EVENT: &str = "the event";

/// A JSON pointer as people write it: `meta.tags[3]`.
fn place(pointer: &str) -> String {
    let mut place = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        match part.parse::<usize>() {
            Ok(n) => write!(place, "[{n}]").expect("a String takes all"),
            Err(_) if place.is_empty() => place.push_str(&part),
            Err(_) => write!(place, ".{part}").expect("a String takes all"),
        }
    }
    if place.is_empty() { EVENT.to_owned() } else { shortened(&place) }
}

fn described(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => Value::from(shortened(text)).to_string(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn article(of: &str) -> String {
    match of {
        "null" => of.to_owned(),
        "array" | "object" | "integer" => format!("an {of}"),
        _ => format!("a {of}"),
    }
}

/// The beginning of a text, and a sign where something is missing.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
