//! What the intake adds to an event's `meta` where it is missing: `id` (a UUID), `dt` (now) and
//! `request_id` (the request's). No other byte of the event moves.
//!
//! Pure but for the UUID.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::event::{self, BadEvent};
use crate::event::TimestampMs;

/// Characters of a request's id; a longer one is none.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// What is added to the events of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill<'a> {
    /// `x-request-id`, if there is one that can be read.
    pub(super) request_id: Option<&'a str>,
    /// When it came.
    pub(super) now: TimestampMs,
}

impl<'a> Fill<'a> {
    /// For the events of a request with these headers.
    pub(super) fn of(headers: &'a HeaderMap, now: TimestampMs) -> Self {
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::trim_ascii);
        let request_id = id.filter(|id| (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()));
        Self { request_id, now }
    }

    /// The event with what it lacks.
    pub(super) fn fill<'e>(&self, event: &'e str) -> Result<Cow<'e, str>, BadEvent> {
        let meta = event::meta_of(event)?.ok_or(BadEvent::NoMeta)?;
        let there: There = serde_json::from_str(meta.get()).map_err(event::not_json)?;
        let mut missing = Vec::new();
        if !there.id {
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            missing.push(format!(r#""id":"{id}""#));
        }
        if !there.dt
            && let Ok(now) = jiff::Timestamp::from_millisecond(self.now.0)
        {
            missing.push(format!(r#""dt":"{now:.3}""#));
        }
        if let Some(id) = self.request_id.filter(|_| !there.request_id) {
            missing.push(format!(r#""request_id":{}"#, serde_json::Value::from(id)));
        }
        if missing.is_empty() {
            return Ok(Cow::Borrowed(event));
        }
        let start = event::place_of(meta, event);
        Ok(Cow::Owned(event::insert_first(event, start, &missing.join(","))))
    }
}

/// Which of them `meta` has, whatever they hold and however often.
#[derive(Debug, Default)]
struct There {
    id: bool,
    dt: bool,
    request_id: bool,
}

impl<'de> Deserialize<'de> for There {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = There;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<There, A::Error> {
                let mut there = There::default();
                while let Some((name, IgnoredAny)) = map.next_entry::<Cow<'_, str>, _>()? {
                    match &*name {
                        "id" => there.id = true,
                        "dt" => there.dt = true,
                        "request_id" => there.request_id = true,
                        _ => {}
                    }
                }
                Ok(there)
            }
        }
        from.deserialize_map(Names)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: TimestampMs = TimestampMs(1_790_000_000_048);
    const FILL: Fill<'_> = Fill { request_id: Some("r\"1"), now: NOW };

    /// With `ID` in the place of the UUID, which is one.
    fn filled(event: &str) -> String {
        let filled = FILL.fill(event).expect("an event").into_owned();
        let Some((head, rest)) = filled.split_once(r#""id":""#) else { return filled };
        let (id, rest) = rest.split_once('"').expect("a text ends");
        match uuid::Uuid::parse_str(id) {
            Ok(uuid) if uuid.get_version_num() == 4 => format!(r#"{head}"id":"ID"{rest}"#),
            _ => filled,
        }
    }

    #[test]
    fn what_is_missing_is_put_in_and_no_other_byte_moves() {
        let dt = r#""dt":"2026-09-21T14:13:20.048Z""#;
        let request = r#""request_id":"r\"1""#;
        for (event, expected) in [
            (r#"{"meta":{}}"#, format!(r#"{{"meta":{{"id":"ID",{dt},{request}}}}}"#)),
            (
                r#" {"n": 1.0 ,"meta" : { "stream":"a"}, "s":"\ud800"}"#,
                format!(
                    r#" {{"n": 1.0 ,"meta" : {{"id":"ID",{dt},{request}, "stream":"a"}}, "s":"\ud800"}}"#
                ),
            ),
            (
                r#"{"meta":{"id":7,"i\u0064":null,"dt":"x"}}"#,
                format!(r#"{{"meta":{{{request},"id":7,"i\u0064":null,"dt":"x"}}}}"#),
            ),
            (
                r#"{"meta":{"request_id":"","x":{"dt":1,"id":2}}}"#,
                format!(r#"{{"meta":{{"id":"ID",{dt},"request_id":"","x":{{"dt":1,"id":2}}}}}}"#),
            ),
        ] {
            assert_eq!(filled(event), expected, "{event}");
        }
        let whole = r#"{"meta":{"dt":"","id":"","request_id":"","id":1}}"#;
        assert!(matches!(FILL.fill(whole), Ok(Cow::Borrowed(same)) if same == whole));
        assert_eq!(FILL.fill("{}"), Err(BadEvent::NoMeta));
    }

    #[test]
    fn a_request_id_that_cannot_be_read_is_none() {
        let of = |id: &[u8]| {
            let value = http::HeaderValue::from_bytes(id).expect("legal");
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static("x-request-id"), value)]);
            Fill::of(&headers, NOW).request_id.map(str::to_owned)
        };
        assert_eq!(of(b" a-1 ").as_deref(), Some("a-1"));
        for none in [&b""[..], b"  ", &b"x".repeat(REQUEST_ID_CHARS_MAX + 1), b"\xff"] {
            assert_eq!(of(none), None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_filled_or_an_error(text in "\\PC*|[\\[\\]{}\":,metaid0-9 ]{0,40}") {
            if let Ok(filled) = FILL.fill(&text) {
                prop_assert!(filled.len() >= text.len());
                prop_assert_eq!(FILL.fill(&filled), Ok(Cow::Borrowed(&*filled)));
            }
        }
    }
}
