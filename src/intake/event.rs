//! One event as a writer sends it: which stream, which key, which time. And putting in the stream
//! where the writer left it out.
//!
//! Pure; what comes in is hostile. Looks only at `meta`: every other byte is passed over without
//! being interpreted, so numbers, key order and unknown fields stay as they are. Knows no HTTP.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::catalog::{Catalog, Stream};
use crate::event::{TimestampMs, TopicName};
use crate::limits;
use crate::schemas::{Misfit, NoSchema};

/// Characters of what was found that an error repeats.
const FOUND_CHARS_MAX: usize = 100;

/// Why an event cannot be taken as it is. Says what was found and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// No JSON at all.
    #[error("this is no JSON: {0}; one JSON object is accepted")]
    NotJson(String),
    /// JSON, but no object.
    #[error("found {0}; a JSON object is accepted")]
    NotObject(&'static str),
    /// There is no `meta`.
    #[error("`meta` is missing; an object with `stream` is accepted")]
    NoMeta,
    /// `meta` is something else.
    #[error("`meta` is {0}; an object with `stream` is accepted")]
    MetaNotObject(&'static str),
    /// `meta` does not say the stream.
    #[error("`meta.stream` is missing; the name or an alias of a stream is accepted")]
    NoStream,
    /// A field that must be text is something else.
    #[error("`{field}` is {found}; a string is accepted")]
    NotText {
        /// Which field.
        field: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// There is no such stream.
    #[error("`meta.stream` is `{0}`, which is no stream here")]
    UnknownStream(String),
    /// Another stream than the one that was announced for all events.
    #[error("`meta.stream` is `{found}`; `{expected}` or an alias of it is accepted")]
    OtherStream {
        /// What the event says.
        found: String,
        /// What was announced.
        expected: String,
    },
    /// It names no schema that its stream's events must fit.
    #[error(transparent)]
    NoSchema(#[from] NoSchema),
    /// It does not fit it.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// What an event says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `meta.stream`: a stream's name or alias, not looked up yet.
    pub stream: String,
    /// `meta.key`: the record's key, the same field in which a reader gets it. Decides the
    /// partition.
    pub key: Option<Bytes>,
    /// The record's time (see `record_time`).
    pub time: TimestampMs,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    dt: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<&'a RawValue>,
}

/// Keeps `null` apart from a field that is not there.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl Envelope {
    /// Reads an event's `meta`.
    ///
    /// # Errors
    /// What is wrong with the event. A `meta.dt` that cannot be read is not wrong: then `now`
    /// is the time.
    pub fn read(event: &str, now: TimestampMs) -> Result<Self, BadEvent> {
        let raw = meta_of(event)?.ok_or(BadEvent::NoMeta)?;
        let meta = fields_of(raw)?;
        let stream = text(meta.stream.ok_or(BadEvent::NoStream)?, "meta.stream")?;
        let key = match meta.key {
            None => None,
            Some(raw) if raw.get() == "null" => None,
            Some(raw) => Some(Bytes::from(text(raw, "meta.key")?)),
        };
        let dt = meta.dt.and_then(|raw| text(raw, "meta.dt").ok());
        Ok(Self { stream, key, time: record_time(dt.as_deref(), now) })
    }

    /// The event's stream, and the topic that it goes into: the stream's `produce_to`, else its
    /// first. With `expected`, only events of that stream are let pass.
    ///
    /// # Errors
    /// `UnknownStream` (also for a stream without topics), `OtherStream`.
    pub fn target<'a>(
        &self,
        catalog: &'a Catalog,
        expected: Option<&Stream>,
    ) -> Result<(&'a Stream, TopicName), BadEvent> {
        let unknown = || BadEvent::UnknownStream(shortened(&self.stream));
        let stream = catalog.get(&self.stream);
        if let Some(expected) = expected.filter(|e| stream.is_none_or(|s| s.name != e.name)) {
            let (found, expected) = (shortened(&self.stream), expected.name.to_string());
            return Err(BadEvent::OtherStream { found, expected });
        }
        let stream = stream.ok_or_else(unknown)?;
        let topic = stream.produce_to.as_ref().or(stream.topics.first()).cloned();
        Ok((stream, topic.ok_or_else(unknown)?))
    }
}

/// A record's time: `dt` if it is a time (RFC 3339) from 1970 on and at most
/// `limits::TIME_AHEAD_MS_MAX` ahead of `now`, else `now`.
#[must_use]
pub fn record_time(dt: Option<&str>, now: TimestampMs) -> TimestampMs {
    let said = dt.and_then(|dt| dt.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
    let ahead_max = now.0.saturating_add(limits::TIME_AHEAD_MS_MAX);
    said.filter(|ms| (0..=ahead_max).contains(ms)).map_or(now, TimestampMs)
}

/// The event with `meta.stream` set to `stream` if it has none; every other byte as it was.
///
/// # Errors
/// What is wrong with the event.
pub fn with_stream<'a>(event: &'a str, stream: &str) -> Result<Cow<'a, str>, BadEvent> {
    let name = serde_json::Value::from(stream);
    let Some(raw) = meta_of(event)? else {
        let start = event.find('{').expect("`meta_of` found an object");
        return Ok(Cow::Owned(insert_first(
            event,
            start,
            &format!(r#""meta":{{"stream":{name}}}"#),
        )));
    };
    if let Some(stream) = fields_of(raw)?.stream {
        text(stream, "meta.stream")?;
        return Ok(Cow::Borrowed(event));
    }
    let member = format!(r#""stream":{name}"#);
    Ok(Cow::Owned(insert_first(event, place_of(raw, event), &member)))
}

/// `$schema`, if there is one.
pub(super) fn schema_of(event: &str) -> Result<Option<String>, BadEvent> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(rename = "$schema", borrow, default, deserialize_with = "present")]
        schema: Option<&'a RawValue>,
    }
    let named: Named<'_> = serde_json::from_str(event).map_err(not_json)?;
    named.schema.map(|raw| text(raw, "$schema")).transpose()
}

/// Where a part of an event that was borrowed from it begins.
pub(super) fn place_of(part: &RawValue, event: &str) -> usize {
    part.get().as_ptr() as usize - event.as_ptr() as usize
}

/// Puts members in as the first of the object whose `{` is at `start`.
pub(super) fn insert_first(text: &str, start: usize, members: &str) -> String {
    let (head, rest) = text.split_at(start + 1);
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    format!("{head}{members}{comma}{rest}")
}

/// The event's `meta` as it is written; the event is known to be a JSON object then.
pub(super) fn meta_of(event: &str) -> Result<Option<&RawValue>, BadEvent> {
    // Looked at first: serde would also take an array for a struct.
    let is_object = event.trim_ascii_start().starts_with('{');
    if is_object {
        let outer: Outer<'_> = serde_json::from_str(event).map_err(not_json)?;
        return Ok(outer.meta);
    }
    let raw: &RawValue = serde_json::from_str(event).map_err(not_json)?;
    Err(BadEvent::NotObject(kind(raw)))
}

fn fields_of(meta: &RawValue) -> Result<Meta<'_>, BadEvent> {
    match kind(meta) {
        "an object" => serde_json::from_str(meta.get()).map_err(not_json),
        other => Err(BadEvent::MetaNotObject(other)),
    }
}

fn text(raw: &RawValue, field: &'static str) -> Result<String, BadEvent> {
    match kind(raw) {
        "a string" => serde_json::from_str(raw.get()).map_err(not_json),
        found => Err(BadEvent::NotText { field, found }),
    }
}

fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

pub(super) fn not_json(error: serde_json::Error) -> BadEvent {
    BadEvent::NotJson(shortened(&error.to_string()))
}

fn shortened(text: &str) -> String {
    text.chars().take(FOUND_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: TimestampMs = TimestampMs(1_790_000_000_000);

    fn envelope(event: &str) -> Result<Envelope, BadEvent> {
        Envelope::read(event, NOW)
    }

    #[test]
    fn stream_key_and_time_are_read_and_nothing_else_is_interpreted() {
        let event = r#" {"n": 1e400, "s": "\ud800", "a": {"meta": 1}, "n": 2,
            "meta": {"dt": "2026-09-21T14:13:20.048Z", "stream": "med\u0069a.x", "key": "é"}}"#;
        let read = envelope(event).expect("legal");
        assert_eq!(read.stream, "media.x");
        assert_eq!(read.key.as_deref(), Some("é".as_bytes()));
        assert_eq!(read.time, TimestampMs(1_790_000_000_048));
    }

    #[test]
    fn a_time_counts_only_if_it_is_one_and_at_most_a_minute_ahead() {
        let at = |ms: i64| Timestamp::from_millisecond(ms).expect("in range").to_string();
        let ahead = NOW.0 + limits::TIME_AHEAD_MS_MAX;
        assert_eq!(record_time(Some(&at(ahead)), NOW), TimestampMs(ahead));
        assert_eq!(record_time(Some(&at(ahead + 1)), NOW), NOW);
        assert_eq!(record_time(Some("2020-07-01T00:00:00Z"), NOW).0, 1_593_561_600_000);
        assert_eq!(record_time(Some("2020-07-01T02:00:00+02:00"), NOW).0, 1_593_561_600_000);
        for bad in ["", "yesterday", "2020-07-01", "1969-12-31T23:59:59Z", "2020-13-01T00:00:00Z"] {
            assert_eq!(record_time(Some(bad), NOW), NOW, "{bad}");
        }
        assert_eq!(record_time(None, NOW), NOW);
        assert_eq!(envelope(r#"{"meta":{"stream":"a","dt":7}}"#).expect("legal").time, NOW);
    }

    #[test]
    fn a_wrong_event_is_told_what_was_found() {
        let cases = [
            ("[1]", BadEvent::NotObject("an array")),
            (r#"[{"stream":"a"}]"#, BadEvent::NotObject("an array")),
            ("null", BadEvent::NotObject("null")),
            ("-1", BadEvent::NotObject("a number")),
            ("{}", BadEvent::NoMeta),
            (r#"{"meta":null}"#, BadEvent::MetaNotObject("null")),
            (r#"{"meta":[]}"#, BadEvent::MetaNotObject("an array")),
            (r#"{"meta":{}}"#, BadEvent::NoStream),
            (
                r#"{"meta":{"stream":true}}"#,
                BadEvent::NotText { field: "meta.stream", found: "a boolean" },
            ),
            (
                r#"{"meta":{"stream":"a","key":7}}"#,
                BadEvent::NotText { field: "meta.key", found: "a number" },
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(envelope(event), Err(expected), "{event}");
        }
        for bad in ["", "{", "{} x", r#"{"meta":{"stream":"a"}"#, r#"{"meta":{},"meta":{}}"#] {
            assert!(matches!(envelope(bad), Err(BadEvent::NotJson(_))), "{bad}");
        }
    }

    #[test]
    fn a_missing_stream_is_put_in_and_no_other_byte_moves() {
        let cases = [
            ("{}", r#"{"meta":{"stream":"a\"b"}}"#),
            (r#" { "n":1.0}"#, r#" {"meta":{"stream":"a\"b"}, "n":1.0}"#),
            (r#"{"n":1,"meta":{ }}"#, r#"{"n":1,"meta":{"stream":"a\"b" }}"#),
            (r#"{"meta": {"id":1} }"#, r#"{"meta": {"stream":"a\"b","id":1} }"#),
            (r#"{"x":{"meta":{}},"meta":{}}"#, r#"{"x":{"meta":{}},"meta":{"stream":"a\"b"}}"#),
            (r#"{"meta":{"stream":"c"}}"#, r#"{"meta":{"stream":"c"}}"#),
        ];
        for (event, expected) in cases {
            let put = with_stream(event, "a\"b").expect("legal");
            assert_eq!(put, expected);
            assert!(envelope(&put).is_ok());
        }
        assert_eq!(with_stream(r#"{"meta":null}"#, "a"), Err(BadEvent::MetaNotObject("null")));
        assert_eq!(with_stream("[]", "a"), Err(BadEvent::NotObject("an array")));
    }

    proptest! {
        #[test]
        fn any_text_is_an_envelope_or_an_error(text in "\\PC*|[\\[\\]{}\":,metasrk0-9 ]{0,40}") {
            let _ = envelope(&text);
            let _ = with_stream(&text, "a");
        }
    }
}
