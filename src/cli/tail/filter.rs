//! The filter's language, the same as the live page's (`ui/filter.js`; both are tried against
//! `tests/filter_cases.json`).
//!
//! ```text
//!  berlin "new page"     words and phrases anywhere in the event, in any case
//!  wiki:enwiki           a field holds the text; meta.domain:wikipedia goes deeper
//!  type=edit  bot=true   a field is exactly this
//!  length.new>5000       a number is above (or below) another
//!  -canary -bot=true     not
//! ```

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexBuilder};
use serde_json::Value;

static TERM: LazyLock<Regex> = LazyLock::new(|| {
    let path = r"([0-9A-Za-z_$][0-9A-Za-z_$.]*)([:=<>])";
    let term = format!(r#"(-?)(?:{path})?(?:"([^"]*)"|([^\s"]+))"#);
    Regex::new(&term).expect("the pattern is a constant")
});

/// What has to hold of an event; nothing has to if no term was typed.
#[derive(Debug, Clone)]
pub(super) struct Filter(Vec<Term>);

#[derive(Debug, Clone)]
struct Term {
    not: bool,
    asks: Asks,
}

#[derive(Debug, Clone)]
enum Asks {
    Word(Regex),
    Holds(String, String),
    Is(String, String),
    Above(String, f64),
    Below(String, f64),
}

impl Filter {
    /// Any text is a filter, but for a comparison with what is no number. (The live page passes
    /// over that, since somebody may be typing still.)
    ///
    /// # Errors
    /// The term, and what is accepted.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let accepted = |term: &str| format!("`{term}`: a number is accepted behind `>` and `<`");
        let terms = TERM.captures_iter(text);
        let terms = terms.map(|found| term(&found).ok_or_else(|| accepted(&found[0])));
        terms.collect::<Result<_, _>>().map(Self)
    }

    /// Whether an event is one of those that are asked for. `text`: it as it came.
    pub(super) fn takes(&self, text: &str, event: &Value) -> bool {
        // Searched as its characters are read, not as they are escaped.
        let escaped = !self.0.is_empty() && text.contains("\\u");
        let plain = if escaped { Cow::from(event.to_string()) } else { Cow::from(text) };
        self.0.iter().all(|term| term.asks.of(&plain, event) != term.not)
    }
}

fn term(found: &Captures<'_>) -> Option<Term> {
    let group = |n| found.get(n).map(|part| part.as_str());
    let value = group(4).or(group(5))?;
    let asks = match (group(2).map(str::to_owned), group(3)) {
        (Some(path), Some(":")) => Asks::Holds(path, value.to_lowercase()),
        (Some(path), Some("=")) => Asks::Is(path, value.to_lowercase()),
        (Some(path), Some(op)) => {
            let number = number(value)?;
            if op == ">" { Asks::Above(path, number) } else { Asks::Below(path, number) }
        }
        _ => {
            let word = RegexBuilder::new(&regex::escape(value)).case_insensitive(true).build();
            // Only one of more than a megabyte is too large.
            Asks::Word(word.ok()?)
        }
    };
    Some(Term { not: group(1) == Some("-"), asks })
}

fn number(text: &str) -> Option<f64> {
    match text.trim() {
        "" => Some(0.0),
        text => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

impl Asks {
    fn of(&self, plain: &str, event: &Value) -> bool {
        let in_field = |path| Field::of(event, path);
        match self {
            Self::Word(word) => word.is_match(plain),
            Self::Holds(path, text) => in_field(path).text(true).to_lowercase().contains(text),
            Self::Is(path, text) => in_field(path).text(false).to_lowercase() == *text,
            Self::Above(path, number) => in_field(path).number().is_some_and(|n| n > *number),
            Self::Below(path, number) => in_field(path).number().is_some_and(|n| n < *number),
        }
    }
}

/// What stands in a field: as in a browser, where texts and lists have a length.
enum Field<'e> {
    Nothing,
    Value(&'e Value),
    Length(usize),
}

impl<'e> Field<'e> {
    fn of(event: &'e Value, path: &str) -> Self {
        let mut at = event;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            let length = match at {
                Value::String(text) if key == "length" => Some(text.encode_utf16().count()),
                Value::Array(all) if key == "length" => Some(all.len()),
                _ => None,
            };
            if let Some(length) = length {
                return if keys.peek().is_none() { Self::Length(length) } else { Self::Nothing };
            }
            let next = match at {
                Value::Object(fields) => fields.get(key),
                Value::Array(all) => key.parse().ok().and_then(|n: usize| all.get(n)),
                _ => None,
            };
            let Some(next) = next else { return Self::Nothing };
            at = next;
        }
        Self::Value(at)
    }

    /// `whole`: what has parts is its JSON, and else nothing that anybody could have typed.
    fn text(&self, whole: bool) -> String {
        match self {
            Self::Nothing | Self::Value(Value::Null) => String::new(),
            Self::Length(length) => length.to_string(),
            Self::Value(Value::String(text)) => text.clone(),
            Self::Value(Value::Number(number)) => in_short(number),
            Self::Value(Value::Array(_) | Value::Object(_)) if !whole => "[object]".to_owned(),
            Self::Value(value) => value.to_string(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            #[allow(clippy::cast_precision_loss, reason = "no event is so long")]
            Self::Length(length) => Some(*length as f64),
            Self::Value(value) => value.as_f64(),
            Self::Nothing => None,
        }
    }
}

/// `1.0` is `1`, as in a browser.
fn in_short(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.abs() < 1e21 => float.to_string(),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_means_what_the_live_page_means_by_it() {
        let cases = include_str!("../../../tests/filter_cases.json");
        let cases: Value = serde_json::from_str(cases).expect("JSON");
        let event = &cases["event"];
        let text = event.to_string();
        for (filter, expected) in cases["asked"].as_object().expect("an object") {
            // `null`: nothing is asked. Here that is a mistake, unless nothing was said.
            let takes = Filter::parse(filter).map(|filter| filter.takes(&text, event));
            match expected.as_bool() {
                Some(expected) => assert_eq!(takes, Ok(expected), "{filter}"),
                None => assert_eq!(takes.is_ok(), filter.is_empty(), "{filter}"),
            }
        }
    }

    #[test]
    fn a_word_is_found_however_it_is_escaped() {
        let text = r#"{"title":"K\u00f6ln"}"#;
        let event = serde_json::from_str(text).expect("JSON");
        for filter in ["KÖLN", "-u00f6"] {
            assert!(Filter::parse(filter).expect("words").takes(text, &event), "{filter}");
        }
    }
}
