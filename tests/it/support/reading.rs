//! Streams read as bytes, decoded, in every encoding and over both versions of HTTP; and events for
//! them.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use tidegate::feed::encode::Encoding;

use super::PATIENCE;
use super::packed::{ENCODINGS, Unpacker};
use super::sse::{self, Bytes, End, Response};

/// The stream that `write` writes to.
pub const STREAM: &str = "/v2/stream/s";

/// Writes `how_many` events of some `size` bytes that do not compress away.
pub fn write(to: SocketAddr, how_many: usize, size: usize) {
    let event = |n| {
        let text: String =
            (0..size / 16).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
        format!(r#"{{"meta":{{"stream":"s"}},"n":{n},"text":"{text}"}}"#)
    };
    for from in (0..how_many).step_by(200) {
        let events: Vec<_> = (from..how_many.min(from + 200)).map(event).collect();
        let body = format!("[{}]", events.join(","));
        let (status, answer) = sse::post(to, "/v1/events", body.as_bytes()).expect("an answer");
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }
}

/// A reader of bytes, decoded.
pub struct Reading {
    bytes: Bytes,
    unpacker: Unpacker,
}

/// Versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// Until the connection ends.
    V1_0,
    /// In chunks.
    V1_1,
}

/// Every encoding over both versions.
pub fn all_ways() -> impl Iterator<Item = (Http, Option<Encoding>)> {
    let versions = [Http::V1_0, Http::V1_1];
    versions.into_iter().flat_map(|http| ENCODINGS.map(|encoding| (http, encoding)))
}

impl Reading {
    /// Opens the stream and reads its greeting. `more`: further query.
    #[track_caller]
    #[must_use]
    pub fn open(to: SocketAddr, (http, encoding): (Http, Option<Encoding>), more: &str) -> Self {
        let name = encoding.map_or("identity", Encoding::as_str);
        let path = format!("{STREAM}?encoding={name}{more}");
        let response = match http {
            Http::V1_0 => sse::get_1_0(to, &path),
            Http::V1_1 => sse::get(to, &path, &[]),
        };
        Self::of(response.expect("an answer"), encoding)
    }

    /// As `open`, over HTTP/1.1 and with a path of its own.
    #[track_caller]
    #[must_use]
    pub fn open_at(to: SocketAddr, path: &str, encoding: Option<Encoding>) -> Self {
        Self::of(sse::get(to, path, &[]).expect("an answer"), encoding)
    }

    /// A response's body, of which the greeting is read.
    #[track_caller]
    #[must_use]
    pub fn of(response: Response, encoding: Option<Encoding>) -> Self {
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-encoding"), encoding.map(Encoding::as_str));
        let mut reading = Self { bytes: response.bytes(), unpacker: Unpacker::new(encoding) };
        reading.until("it is greeted", |text| text.starts_with(":ok\n\n"));
        reading
    }

    /// What it says so far.
    #[must_use]
    pub fn text(&self) -> &str {
        self.unpacker.text()
    }

    /// Its connection.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.bytes.socket()
    }

    /// Reads what comes next.
    pub fn step(&mut self) -> Result<(), End> {
        let bytes = self.bytes.next()?;
        self.unpacker.push(&bytes);
        Ok(())
    }

    /// Reads until it ends, however that is.
    #[track_caller]
    pub fn ends(&mut self) -> End {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "it does not end");
            if let Err(end) = self.step() {
                return end;
            }
        }
    }

    /// Reads until it has got what it waits for.
    #[track_caller]
    pub fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        // It may be much; that nothing comes at all is noticed before.
        let until = Instant::now() + 4 * PATIENCE;
        while !is(self.unpacker.text()) {
            assert!(Instant::now() < until, "not in time: {what}");
            if let Err(end) = self.step() {
                panic!("{what}: {end:?} after {:?}", self.unpacker.text());
            }
        }
    }

    /// Reads to the end, which has to be a whole one after a whole line; the text.
    #[track_caller]
    pub fn read_to_the_end(&mut self) -> String {
        loop {
            match self.step() {
                Ok(()) => {}
                Err(End::Whole) => break,
                Err(end) => panic!("no whole end: {end:?}"),
            }
        }
        self.unpacker.end();
        let text = self.unpacker.text();
        assert!(text.ends_with('\n'), "it ends after a whole line");
        text.to_owned()
    }
}

/// The offsets that a stream's data lines say.
#[must_use]
pub fn offsets(text: &str) -> Vec<u64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let offset = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).expect("a whole event");
        event["meta"]["offset"].as_u64().expect("an offset")
    };
    lines.map(offset).collect()
}

/// Fails unless these are offsets without a hole from one up to `from` on, and before `until`.
#[track_caller]
pub fn are_all(seen: &[u64], from: u64, until: u64) {
    let first = *seen.first().expect("some events");
    assert!(first <= from, "from {first} on instead of {from}");
    let hole = seen.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert!(hole.is_none(), "a hole, or a repetition: {hole:?}");
    assert_eq!(seen.last(), Some(&(until - 1)), "the last one");
}

/// That all up to the event with this offset has come.
pub fn has(offset: u64) -> impl Fn(&str) -> bool {
    move |text: &str| {
        let whole = &text[..text.rfind("\n\n").unwrap_or(0)];
        let last = whole.rfind("\ndata: ").and_then(|at| whole[at..].split_once("\"offset\":"));
        let digits = last.map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
        let seen = digits.flatten().and_then(|digits| digits.parse::<u64>().ok());
        seen.is_some_and(|seen| seen >= offset)
    }
}
