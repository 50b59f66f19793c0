//! The bytes of a stream that are no event of a log: greeting, keepalive, `retry:`, gap, error.
//!
//! One place for both framings. What an event looks like stands in `feed/ring`.

use bytes::Bytes;
use serde::Serialize;

use super::{EndReason, Framing};
use crate::gate::Told;
use crate::position::gap::{Gap, event_json};

/// The first bytes of every stream.
#[must_use]
pub fn opening(framing: Framing) -> Bytes {
    Bytes::from_static(match framing {
        Framing::Sse => b":ok\n\n",
        Framing::Ndjson => b"\n",
    })
}

/// The reader's id before any event: no data, so nothing is dispatched, but the client keeps it.
#[must_use]
pub fn id_first(retry_ms: u64, id: &[u8]) -> Bytes {
    let mut out = format!("retry: {retry_ms}\nid: ").into_bytes();
    out.extend_from_slice(id);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// `retry:` without an empty line: parsers take it as the head of the next event.
#[must_use]
pub fn retry(retry_ms: u64) -> Bytes {
    format!("retry: {retry_ms}\n").into()
}

/// Shows that the connection lives; no parser makes an event of it.
#[must_use]
pub fn keepalive(framing: Framing) -> Bytes {
    Bytes::from_static(match framing {
        Framing::Sse => b":\n",
        Framing::Ndjson => b"\n",
    })
}

/// Gaps, told in the stream.
#[must_use]
pub fn gap(framing: Framing, gaps: &[Gap]) -> Bytes {
    named(framing, "gap", &event_json(gaps))
}

/// What a client is told before its stream ends, in the shape of a refusal.
#[derive(Serialize)]
struct Farewell {
    status: u16,
    r#type: &'static str,
    title: &'static str,
    detail: String,
}

/// Why the stream ends, for the client.
#[must_use]
pub fn farewell(framing: Framing, told: &Told) -> Bytes {
    let (status, title, detail) = match told {
        Told::Displaced => (
            503,
            "Service Unavailable",
            "This host is full, and other clients hold far fewer streams than your address does."
                .into(),
        ),
        Told::Blocked(None) => (403, "Forbidden", "Your address has been blocked.".into()),
        Told::Blocked(Some(reason)) => {
            (403, "Forbidden", format!("Your address has been blocked: {reason}"))
        }
        Told::Ended => (503, "Service Unavailable", "An operator has ended this stream.".into()),
    };
    let r#type = EndReason::from(told).as_str();
    let farewell = Farewell { status, r#type, title, detail };
    named(framing, "error", &serde_json::to_vec(&farewell).expect("texts and a number"))
}

/// Something other than an event of a log. `json` is one object on one line.
#[must_use]
pub fn named(framing: Framing, event: &str, json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 32);
    match framing {
        Framing::Sse => {
            out.extend_from_slice(format!("event: {event}\ndata: ").as_bytes());
            out.extend_from_slice(json);
            out.extend_from_slice(b"\n\n");
        }
        Framing::Ndjson => {
            out.extend_from_slice(format!("{{\"event\":\"{event}\"").as_bytes());
            match json {
                [b'{', b'}', ..] | [] => out.push(b'}'),
                [_, rest @ ..] => {
                    out.push(b',');
                    out.extend_from_slice(rest);
                }
            }
            out.push(b'\n');
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_event_is_one_line_in_ndjson_and_one_event_in_sse() {
        let sse = named(Framing::Sse, "error", b"{\"status\":503}");
        assert_eq!(&sse[..], b"event: error\ndata: {\"status\":503}\n\n");
        let line = named(Framing::Ndjson, "error", b"{\"status\":503}");
        assert_eq!(&line[..], b"{\"event\":\"error\",\"status\":503}\n");
        assert_eq!(&named(Framing::Ndjson, "end", b"{}")[..], b"{\"event\":\"end\"}\n");
    }
}
