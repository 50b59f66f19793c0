//! `[redact.NAME]` and `[mediawiki_redacted_pages]`: what of which events nobody is shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use toml::{Table, Value};

use super::catalogue::Known;
use super::reader::{Findings, Section};

/// The name under which the rules of the reference's form are counted.
const PAGES: &str = "mediawiki_redacted_pages";
/// Where events say which wiki they are of: page changes, recent changes, all others.
const WIKI: [&str; 3] = ["wiki_id", "wiki", "database"];

/// A rule: what is taken out of an event that meets all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactRule {
    /// What it is counted as.
    pub name: String,
    /// The streams that it is for; none: all.
    pub streams: BTreeSet<String>,
    /// All have to be met; none: every event meets them.
    pub conditions: Vec<Condition>,
    /// What is done then.
    pub redactions: Vec<Redaction>,
}

/// Some field has one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Paths of fields, any of which may meet it.
    pub fields: Vec<Vec<String>>,
    /// What it has to be, folded where `as_titles`.
    pub values: BTreeSet<String>,
    /// Case does not matter, and `_` is a space, as in pages' titles.
    pub as_titles: bool,
}

/// What happens to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redaction {
    /// Where it is.
    pub path: Vec<String>,
    /// JSON that stands there instead; `None`: the field goes.
    pub instead: Option<Arc<str>>,
}

impl RedactRule {
    /// The paths of all fields that it changes.
    pub fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.redactions.iter().map(|redaction| &*redaction.path)
    }
}

impl Condition {
    /// Whether a value meets it.
    #[must_use]
    pub fn holds(&self, value: &str) -> bool {
        match self.as_titles {
            true => self.values.contains(&folded(value)),
            false => self.values.contains(value),
        }
    }
}

/// A page's title, so that all ways of writing it are the same.
fn folded(title: &str) -> String {
    title.replace(' ', "_").trim_matches('_').to_lowercase()
}

fn split(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// All rules of a config.
pub(super) fn rules(
    root: &mut Section<'_>,
    known: Known<'_>,
    found: &mut Findings,
) -> Vec<Arc<RedactRule>> {
    let mut all = Vec::new();
    for (name, value) in root.table("redact", found).into_iter().flatten() {
        let path = format!("redact.{name}");
        match value.as_table() {
            Some(table) => all.push(Arc::new(rule(name, &path, table, known, found))),
            None => found.add(path, "a table is accepted: [redact.NAME]"),
        }
    }
    for (wiki, pages) in root.table(PAGES, found).into_iter().flatten() {
        let key = format!("{PAGES}.{wiki}");
        let titles = texts(&key, pages, found).iter().map(|title| folded(title)).collect();
        all.extend(of_pages(wiki, titles).map(Arc::new));
    }
    all
}

fn rule(
    name: &str,
    path: &str,
    table: &Table,
    known: Known<'_>,
    found: &mut Findings,
) -> RedactRule {
    let mut section = Section::new(path, Some(table));
    let mut of_streams = BTreeSet::new();
    for text in section.list("streams", found) {
        match known.named(text) {
            Some(name) => drop(of_streams.insert(name)),
            None => {
                let says = format!("found \"{text}\"; the name of a stream is accepted");
                found.add(section.key("streams"), says);
            }
        }
    }
    let mut conditions = Vec::new();
    for (key, as_titles) in [("match", false), ("match_titles", true)] {
        for (field, values) in section.table(key, found).into_iter().flatten() {
            let at = format!("{path}.{key}.\"{field}\"");
            conditions.push(condition(&at, (field, values), as_titles, found));
        }
    }
    let redactions = redactions(path, &mut section, found);
    section.finish(found);
    RedactRule { name: name.to_owned(), streams: of_streams, conditions, redactions }
}

fn condition(
    key: &str,
    (field, values): (&str, &Value),
    as_titles: bool,
    found: &mut Findings,
) -> Condition {
    if let Some(ours) = field.strip_prefix("meta.")
        && matches!(ours, "topic" | "partition" | "offset" | "key")
    {
        found.add(key, format!("`{field}` is set by the gateway, it cannot be matched"));
    }
    let fold = |text: String| if as_titles { folded(&text) } else { text };
    let values = texts(key, values, found).into_iter().map(fold).collect();
    Condition { fields: vec![field_path(key, field, found)], values, as_titles }
}

fn redactions(path: &str, section: &mut Section<'_>, found: &mut Findings) -> Vec<Redaction> {
    let mut all = Vec::new();
    for field in section.list("remove", found) {
        let path = field_path(&section.key("remove"), field, found);
        all.push(Redaction { path, instead: None });
    }
    for (field, value) in section.table("replace", found).into_iter().flatten() {
        let at = format!("{path}.replace.\"{field}\"");
        let path = field_path(&at, field, found);
        let instead = json(value);
        if instead.is_none() {
            found.add(&at, "a text, a number, true, false, or a table or list of such is accepted");
        }
        all.push(Redaction { path, instead: instead.map(|value| value.to_string().into()) });
    }
    for redaction in &all {
        if let [meta, ours, ..] = &*redaction.path
            && meta == "meta"
            && matches!(&**ours, "topic" | "partition" | "offset")
        {
            let says = format!("`meta.{ours}` is the event's position, which is always shown");
            found.add(path, says);
        }
    }
    if all.is_empty() {
        let says = "takes nothing out; a list of fields in `remove` is accepted, or `replace`";
        found.add(section.key("remove"), says);
    }
    all
}

/// `a.b` is the field `b` of the field `a`.
fn field_path(key: &str, field: &str, found: &mut Findings) -> Vec<String> {
    let path = split(field);
    if path.iter().any(String::is_empty) {
        let says = format!("found \"{field}\"; names of fields with dots between are accepted");
        found.add(key, says);
    }
    path
}

/// A text or more. Numbers and words are matched as they are written.
fn texts(key: &str, value: &Value, found: &mut Findings) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    let all = match value {
        Value::Array(all) => all.iter().map(one).collect::<Option<Vec<_>>>(),
        value => one(value).map(|one| vec![one]),
    };
    match all {
        Some(all) if !all.is_empty() => all,
        _ => {
            found.add(key, "names nothing; a list of texts is accepted");
            Vec::new()
        }
    }
}

fn json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::Array(all) => all.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Value::Table(table) => {
            let members = table.iter().map(|(key, value)| Some((key.clone(), json(value)?)));
            serde_json::Value::Object(members.collect::<Option<_>>()?)
        }
        Value::Datetime(_) => return None,
    })
}

/// What the reference does for pages of a wiki: who made the change is not said. The three shapes
/// of its events are told apart by where the title stands.
fn of_pages(wiki: &str, titles: BTreeSet<String>) -> [RedactRule; 2] {
    let remove = |path: &str| Redaction { path: split(path), instead: None };
    let rule = |fields: &[&str], redactions| {
        let titles = Condition {
            fields: fields.iter().map(|field| split(field)).collect(),
            values: titles.clone(),
            as_titles: true,
        };
        let wiki = Condition {
            fields: WIKI.iter().map(|field| split(field)).collect(),
            values: [wiki.to_owned()].into(),
            as_titles: false,
        };
        let conditions = vec![wiki, titles];
        RedactRule { name: PAGES.to_owned(), streams: BTreeSet::new(), conditions, redactions }
    };
    [
        // The schema of page changes wants a performer, and of it no field.
        rule(
            &["page.page_title"],
            vec![
                Redaction { path: split("performer"), instead: Some("{}".into()) },
                remove("revision.editor"),
                remove("prior_state.revision.editor"),
            ],
        ),
        rule(
            &["title", "page_title"],
            ["user", "user_id", "user_text", "performer"].map(remove).into(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_same_however_it_is_written() {
        for title in ["Some Page", "some_page", " SOME PAGE_"] {
            assert_eq!(folded(title), "some_page");
        }
        assert_eq!(folded("Бои за Киев (2022)"), "бои_за_киев_(2022)");
    }
}
