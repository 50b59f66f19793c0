//! An event as a line for people: the words that wiki events have, and of anything else its title
//! and plain values (as the live page does, `ui/describe.js`). Pure.

use serde_json::Value;

/// Characters of what is said; the rest is left out.
const SAID_MAX: usize = 120;
/// Plain values that are said of an event that is nobody's kind.
const FEW: usize = 6;

/// `12:04:05  edit       Berlin · de.wikipedia.org · Ada · +12 · a comment`.
pub(super) fn line(event: &Value) -> String {
    let time = first(event, &["/meta/dt", "/dt"]).and_then(|dt| dt.parse::<jiff::Timestamp>().ok());
    let time = time.map_or_else(|| "--:--:--".to_owned(), |t| t.strftime("%H:%M:%S").to_string());
    let kind = first(event, &["/type", "/page_change_kind", "/kind", "/action", "/level"]);
    let titles = ["/title", "/page_title", "/page/page_title", "/name", "/meta/uri"];
    let title = first(event, &titles).map(|title| title.replace('_', " "));
    let place = first(event, &["/server_name", "/meta/domain", "/wiki", "/wiki_id", "/host"]);
    let who = first(event, &["/user", "/performer/user_text"]).map(str::to_owned);
    let said = first(event, &["/comment", "/revision/comment"]).map(str::to_owned);
    let said = said.filter(|said| !said.is_empty());
    let said = said.or_else(|| title.is_none().then(|| values(event)));
    let parts = [title, place.map(str::to_owned), who, bytes(event), said];
    let parts: Vec<String> = parts.into_iter().flatten().map(|part| one_line(&part)).collect();
    format!("{time}  {:<10} {}", one_line(kind.unwrap_or("event")), parts.join(" · "))
}

fn first<'e>(event: &'e Value, places: &[&str]) -> Option<&'e str> {
    places.iter().find_map(|place| event.pointer(place)?.as_str().filter(|text| !text.is_empty()))
}

/// By how many bytes a page has changed.
fn bytes(event: &Value) -> Option<String> {
    let number = |place: &str| event.pointer(place).and_then(Value::as_i64);
    let now = number("/length/new").or_else(|| number("/revision/rev_size"))?;
    let old = || number("/prior_state/revision/rev_size");
    let before = number("/length/old").or_else(old);
    let is_new = event["type"] == "new" || event["page_change_kind"] == "create";
    let before = before.or_else(|| is_new.then_some(0))?;
    Some(format!("{:+}", now.saturating_sub(before)))
}

fn values(event: &Value) -> String {
    let plain = event.as_object().into_iter().flatten().filter(|(key, value)| {
        *key != "$schema" && !value.is_object() && !value.is_array() && !value.is_null()
    });
    let said = plain.take(FEW).map(|(key, value)| match value {
        Value::String(text) => format!("{key}: {text}"),
        value => format!("{key}: {value}"),
    });
    said.collect::<Vec<_>>().join(" · ")
}

/// Without what could end the line or drive the terminal.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) { ' ' } else { c })
        .take(SAID_MAX)
        .collect();
    if text.chars().nth(SAID_MAX).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wiki_event_is_said_in_words_and_any_other_by_its_values() {
        let event = json!({
            "meta": { "dt": "2026-01-31T12:04:05.6Z", "domain": "de.wikipedia.org" },
            "type": "edit", "title": "Neue_Seite", "user": "Ada", "comment": "so",
            "length": { "old": 5, "new": 3 },
        });
        let expected = "12:04:05  edit       Neue Seite · de.wikipedia.org · Ada · -2 · so";
        assert_eq!(line(&event), expected);
        let event = json!({ "level": "warn", "celsius": 21.5, "list": [1] });
        assert_eq!(line(&event), "--:--:--  warn       celsius: 21.5 · level: warn");
        assert_eq!(line(&json!(7)), "--:--:--  event      ");
    }

    #[test]
    fn nothing_that_an_event_says_drives_the_terminal() {
        let event = json!({ "title": "a\u{1b}[2Jb\nc\u{202e}d", "user": "x".repeat(500) });
        let line = line(&event);
        assert!(!line.contains(['\u{1b}', '\n', '\u{202e}']) && line.ends_with("x…"), "{line}");
    }
}
