//! A request's body: what its headers say, reading it within its bounds, cutting it into events.
//!
//! Knows no stream and no sink. An event is handed on as the text that the writer sent.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer::Rejection;
use crate::limits;

/// How the events stand in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One JSON object, or an array of them.
    Json,
    /// One JSON object a line; empty lines are passed over.
    Lines,
}

impl Layout {
    /// By `Content-Type`; none at all is JSON.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Rejection> {
        let found = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let encoding = headers.get(header::CONTENT_ENCODING);
        if let Some(value) = encoding.filter(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Rejection::Encoded(found(value)));
        }
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Json) };
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" => Ok(Self::Lines),
            other if other.starts_with("application/") && other.ends_with("+json") => {
                Ok(Self::Json)
            }
            _ => Err(Rejection::MediaType(found(value))),
        }
    }
}

/// Bytes that the body may have: what `Content-Length` says, else the limit.
pub(super) fn announced_bytes(headers: &HeaderMap) -> Result<usize, Rejection> {
    let max = limits::INTAKE_BODY_BYTES_MAX;
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(max) };
    // The HTTP server has checked that it is a number; one that fits no `usize` is too large.
    let length = length.to_str().ok().and_then(|l| l.parse().ok()).unwrap_or(usize::MAX);
    if length > max { Err(Rejection::TooLarge) } else { Ok(length) }
}

/// Reads the whole body.
pub(super) async fn read(body: Body, deadline: Duration) -> Result<String, Rejection> {
    let limited = Limited::new(body, limits::INTAKE_BODY_BYTES_MAX).collect();
    let bytes = match tokio::time::timeout(deadline, limited).await {
        Err(_) => return Err(Rejection::Slow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Rejection::TooLarge),
        Ok(Err(error)) => return Err(Rejection::Broken(error.to_string())),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    String::from_utf8(bytes.into()).map_err(|error| {
        Rejection::NotJson(format!("no UTF-8 from byte {}", error.utf8_error().valid_up_to()))
    })
}

/// Cuts the body into its events, at least one. Lines are not looked into; an array must be JSON
/// as a whole, or it is not known where its events end.
pub(super) fn split(body: &str, layout: Layout) -> Result<Vec<&str>, Rejection> {
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    let events = match layout {
        Layout::Lines => {
            let lines = body.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty());
            lines.take(limits::INTAKE_EVENTS_MAX + 1).collect()
        }
        Layout::Json if body.trim_ascii_start().starts_with('[') => {
            let array: Array<'_> = serde_json::from_str(body).map_err(not_json)?;
            array.0
        }
        Layout::Json if body.trim_ascii().is_empty() => Vec::new(),
        Layout::Json => {
            let one: &RawValue = serde_json::from_str(body).map_err(not_json)?;
            vec![one.get()]
        }
    };
    match events.len() {
        0 => Err(Rejection::Empty),
        n if n > limits::INTAKE_EVENTS_MAX => Err(Rejection::TooMany),
        _ => Ok(events),
    }
}

fn not_json(error: serde_json::Error) -> Rejection {
    Rejection::NotJson(error.to_string())
}

/// An array's elements as they are written: all, or one more than are accepted.
struct Array<'a>(Vec<&'a str>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Elements)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Array<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while events.len() <= limits::INTAKE_EVENTS_MAX {
            match from.next_element::<&RawValue>()? {
                Some(event) => events.push(event.get()),
                None => return Ok(Array(events)),
            }
        }
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Array(events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_an_array_and_lines_are_cut_and_not_changed() {
        let one = "\u{feff} {\"n\": 1.0, \"n\":\r\n 2} ";
        assert_eq!(split(one, Layout::Json).expect("legal"), ["{\"n\": 1.0, \"n\":\r\n 2}"]);
        let array = r#" [ {"a":1e400} , 7,"x" ] "#;
        assert_eq!(split(array, Layout::Json).expect("legal"), [r#"{"a":1e400}"#, "7", "\"x\""]);
        let lines = "{\"a\":1}\r\n\n \nnonsense\n{\"b\":\"\u{2028}\"}";
        let cut = split(lines, Layout::Lines).expect("legal");
        assert_eq!(cut, ["{\"a\":1}", "nonsense", "{\"b\":\"\u{2028}\"}"]);
    }

    #[test]
    fn a_body_without_an_event_or_with_more_than_the_limit_is_no_batch() {
        for (body, layout) in [("", Layout::Json), ("[]", Layout::Json), ("\n \n", Layout::Lines)] {
            assert!(matches!(split(body, layout), Err(Rejection::Empty)), "{body:?}");
        }
        for bad in ["{", "[1,", "[1] 2", "{} {}", "nonsense"] {
            assert!(matches!(split(bad, Layout::Json), Err(Rejection::NotJson(_))), "{bad:?}");
        }
        let events = |n: usize, between: &str| vec!["{}"; n].join(between);
        let max = limits::INTAKE_EVENTS_MAX;
        assert_eq!(split(&events(max, "\n"), Layout::Lines).expect("as many").len(), max);
        assert!(matches!(split(&events(max + 1, "\n"), Layout::Lines), Err(Rejection::TooMany)));
        let array = |n| format!("[{}]", events(n, ","));
        assert_eq!(split(&array(max), Layout::Json).expect("as many").len(), max);
        assert!(matches!(split(&array(max + 9), Layout::Json), Err(Rejection::TooMany)));
    }
}
