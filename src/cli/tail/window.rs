//! Until when: which events are still given, when the stream is done, and the position that a later
//! run goes on from. Pure.
//!
//! An event counts by the time of its record, which the id says (`meta.dt` where it does not). One
//! at or after the end is not given, and its partition is past the end. A partition is also done
//! when the reader has come to where the server stood at some moment after the end. What cannot be
//! told so (a server whose ids say no offsets) is done after a silence.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::visit::Event;

/// A topic and a partition.
type Place = (String, i64);

/// One partition's part of an id, as far as it matters here.
#[derive(Deserialize)]
struct Part {
    topic: String,
    partition: i64,
    offset: Option<i64>,
    timestamp: Option<i64>,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    topic: Option<String>,
    partition: Option<i64>,
    dt: Option<String>,
}

/// Where a server stood: the next offset of each partition.
pub(super) type Heads = BTreeMap<Place, i64>;

/// Reads where an id stands. `None`: it does not say offsets of all its partitions.
pub(super) fn heads(id: &str) -> Option<Heads> {
    let parts: Vec<Part> = serde_json::from_str(id).ok()?;
    let head = |part: Part| {
        Some(((part.topic, part.partition), part.offset.filter(|offset| *offset >= 0)?))
    };
    parts.into_iter().map(head).collect()
}

/// The time of an event's record in ms, by its id, else by what it says of itself.
pub(super) fn time_of(event: &Event) -> Option<i64> {
    let meta = meta_of(event);
    let place = place_of(&meta);
    let parts: Vec<Part> = serde_json::from_str(&event.id).unwrap_or_default();
    own_time(&parts, &place, &meta)
}

fn meta_of(event: &Event) -> Meta {
    serde_json::from_str::<Data>(&event.data).unwrap_or_default().meta
}

fn place_of(meta: &Meta) -> Place {
    (meta.topic.clone().unwrap_or_default(), meta.partition.unwrap_or_default())
}

fn own_time(parts: &[Part], place: &Place, meta: &Meta) -> Option<i64> {
    let own = parts.iter().find(|part| (&part.topic, part.partition) == (&place.0, place.1));
    // Who says no offset says the time at which to go on: the next millisecond.
    let said = own.and_then(|own| Some(own.timestamp? - i64::from(own.offset.is_none())));
    let dt = || crate::position::parse_since(meta.dt.as_deref()?).ok();
    said.or_else(|| dt().map(|time| time.0))
}

/// What is given, up to an end.
#[derive(Debug)]
pub(super) struct Window {
    /// In ms since 1970; events at it are not given.
    until: i64,
    /// Partitions that are past it.
    past: BTreeSet<Place>,
    /// How far each partition was read; of those that are past, where they were before.
    position: BTreeMap<Place, (Box<RawValue>, Option<i64>)>,
}

impl Window {
    pub(super) fn new(until: i64) -> Self {
        Self { until, past: BTreeSet::new(), position: BTreeMap::new() }
    }

    /// The end, in ms since 1970.
    pub(super) fn until(&self) -> i64 {
        self.until
    }

    /// The server says where the reader stands.
    pub(super) fn stand(&mut self, id: &str) {
        let parts: Vec<&RawValue> = serde_json::from_str(id).unwrap_or_default();
        for raw in parts {
            let Ok(part) = serde_json::from_str::<Part>(raw.get()) else { continue };
            let place = (part.topic, part.partition);
            if !self.past.contains(&place) {
                let offset = part.offset.filter(|offset| *offset >= 0);
                self.position.insert(place, (raw.to_owned(), offset));
            }
        }
    }

    /// True: the event is given.
    pub(super) fn take(&mut self, event: &Event) -> bool {
        let meta = meta_of(event);
        let place = place_of(&meta);
        let parts: Vec<Part> = serde_json::from_str(&event.id).unwrap_or_default();
        let given = own_time(&parts, &place, &meta).is_none_or(|time| time < self.until);
        if !given {
            self.past.insert(place);
        }
        self.stand(&event.id);
        given
    }

    /// Whether all partitions are done, as far as events tell, or where the server stood.
    pub(super) fn is_done(&self, heads: Option<&Heads>) -> bool {
        let reached = |place: &Place| {
            let at = self.position.get(place).and_then(|(_, offset)| *offset);
            let head = heads.and_then(|heads| heads.get(place));
            at.zip(head).is_some_and(|(at, head)| at >= *head)
        };
        let more = heads.into_iter().flat_map(BTreeMap::keys);
        let mut places = self.position.keys().chain(more).peekable();
        let known = places.peek().is_some();
        known && places.all(|place| self.past.contains(place) || reached(place))
    }

    /// The id that a later run goes on from: where each partition was before its first event that
    /// was not given. `None`: ids are not of that kind.
    pub(super) fn id(&self) -> Option<String> {
        #[derive(Serialize)]
        struct Id<'a>(Vec<&'a RawValue>);
        let parts: Vec<_> = self.position.values().map(|(raw, _)| &**raw).collect();
        if parts.is_empty() { None } else { serde_json::to_string(&Id(parts)).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One event of a partition at a time, and where the other is.
    fn event(partition: i64, offset: i64, time: i64, other: i64) -> Event {
        let part = |p: i64, offset: i64, time: i64| {
            format!(r#"{{"topic":"t","partition":{p},"offset":{offset},"timestamp":{time}}}"#)
        };
        let mut parts = [part(partition, offset + 1, time), part(1 - partition, other, 1)];
        if partition == 1 {
            parts.swap(0, 1);
        }
        Event {
            kind: "message".into(),
            id: format!("[{},{}]", parts[0], parts[1]),
            data: format!(r#"{{"meta":{{"topic":"t","partition":{partition}}}}}"#),
        }
    }

    #[test]
    fn all_before_the_end_is_given_and_a_later_run_goes_on_where_each_partition_was() {
        let mut window = Window::new(100);
        assert!(window.take(&event(0, 5, 99, 7)));
        assert!(!window.take(&event(0, 6, 100, 7)), "at the end is no longer");
        assert!(!window.is_done(None));
        assert!(window.take(&event(1, 7, 98, 7)), "older ones of the other are still given");
        assert!(window.take(&event(0, 7, 99, 8)), "also of one that is past, if it is older");
        assert!(!window.take(&event(1, 8, 150, 8)));
        assert!(window.is_done(None));
        let heads = heads(&window.id().expect("an id")).expect("offsets");
        let places = [(("t".to_owned(), 0), 6), (("t".to_owned(), 1), 8)];
        assert_eq!(heads, BTreeMap::from(places));
    }

    #[test]
    fn a_partition_that_is_silent_is_done_where_the_server_stood_after_the_end() {
        let mut window = Window::new(100);
        let id = |at: i64| format!(r#"[{{"topic":"t","partition":0,"offset":{at}}}]"#);
        let (seven, eight) = (heads(&id(7)), heads(&id(8)));
        assert!(!window.is_done(seven.as_ref()), "it is not known where the reader stands");
        window.stand(&id(7));
        assert!(window.is_done(seven.as_ref()) && !window.is_done(eight.as_ref()));
        assert!(!window.is_done(None));
    }

    #[test]
    fn the_time_is_that_of_the_record_or_what_the_event_says() {
        assert_eq!(time_of(&event(1, 5, 99, 0)), Some(99));
        let of = |id: &str, data: &str| {
            time_of(&Event { kind: String::new(), id: id.into(), data: data.into() })
        };
        let dt = r#"{"meta":{"topic":"t","partition":0,"dt":"1970-01-01T00:00:01Z"}}"#;
        assert_eq!(of(r#"[{"topic":"t","partition":0,"timestamp":8}]"#, dt), Some(7));
        assert_eq!(of(r#"[{"topic":"t","partition":1,"timestamp":8}]"#, dt), Some(1000));
        assert_eq!(of("7", dt), Some(1000));
        assert_eq!(of("", "no JSON"), None);
    }
}
