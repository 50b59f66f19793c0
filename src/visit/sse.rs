//! Server-Sent Events, read as the standard says: wherever the bytes are cut. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of an event; what is larger is given up.
const EVENT_BYTES_MAX: usize = 80 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its `event:`; empty where there was none.
    pub kind: String,
    /// The last id that was said up to it.
    pub id: String,
    /// Its `data:`, lines joined.
    pub data: String,
}

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The line that is not whole yet.
    line: Vec<u8>,
    data: Option<String>,
    kind: String,
    id: String,
    /// The id at the end of the last block: that of an event which was cut in half is none.
    whole_id: String,
    retry: Option<Duration>,
    done: VecDeque<Event>,
}

impl Parser {
    /// Takes more.
    ///
    /// # Errors
    /// When an event has no end.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            self.take(line.strip_suffix('\r').unwrap_or(&line));
        }
        self.line.extend_from_slice(bytes);
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if held > EVENT_BYTES_MAX { Err("an event without an end".to_owned()) } else { Ok(()) }
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        self.done.pop_front()
    }

    /// The id to go on from; empty: there was none.
    pub(super) fn last_id(&self) -> &str {
        &self.whole_id
    }

    /// What the server said last of how long to wait after an end.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn take(&mut self, line: &str) {
        if line.is_empty() {
            self.whole_id.clone_from(&self.id);
            let kind = std::mem::take(&mut self.kind);
            if let Some(data) = self.data.take() {
                self.done.push_back(Event { kind, id: self.id.clone(), data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => *data = format!("{data}\n{value}"),
                None => self.data = Some(value.to_owned()),
            },
            "event" => value.clone_into(&mut self.kind),
            "id" => value.clone_into(&mut self.id),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_they_are_cut_and_half_of_one_is_none() {
        let text = ":ok\n\nretry: 7\nid: a\n\nevent: message\r\nid: b\r\ndata: {\"x\":1}\r\n\r\n:\n\
                    data: one\ndata:two\n\nid: c\ndata: cut";
        let event = |kind: &str, id: &str, data: &str| Event {
            kind: kind.into(),
            id: id.into(),
            data: data.into(),
        };
        let expected = [event("message", "b", "{\"x\":1}"), event("", "b", "one\ntwo")];
        for cut in 0..=text.len() {
            let (mut parser, (head, tail)) = (Parser::default(), text.split_at(cut));
            parser.push(head.as_bytes()).expect("small");
            parser.push(tail.as_bytes()).expect("small");
            let events: Vec<_> = std::iter::from_fn(|| parser.next()).collect();
            assert_eq!(events, expected, "cut at {cut}");
            let (id, retry) = (parser.last_id(), parser.retry());
            assert_eq!((id, retry), ("b", Some(Duration::from_millis(7))), "cut at {cut}");
        }
    }
}
