//! A record's data line: its value on one line, with `meta.topic`, `meta.partition` and
//! `meta.offset` (and `meta.key`) set to what they are.
//!
//! ```text
//!  value ──▶ UTF-8 ──▶ scan: is it JSON, one line of it, where is `meta` ──▶ splice ──▶ data line
//! ```
//! The value is never parsed into a tree and written again, so digits, escapes, order and
//! repetition of keys stay as the producer wrote them. It is hostile all the same: whoever may
//! write to a topic must not be able to forge a position. Hence no `meta` but ours remains, and
//! inside it no `topic`, `partition` or `offset` but ours, however they were spelled: parsers
//! that keep the first of two equal keys and parsers that keep the last see the same.
//!
//! Pure; knows no stream, framing or id. What must not be shown is taken out before.

use std::borrow::Cow;

use bytes::Bytes;

use crate::event::{Record, TopicPartition};

mod scan;

use scan::{Fault, Meta, Scanned};

/// Why a record gives no event. It is counted and passed; it never ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Skipped {
    /// There is no value.
    #[error("the record is a tombstone")]
    Tombstone,
    /// The value is not JSON (also: nothing but white space, a byte order mark in front, which
    /// JSON parsers in browsers refuse too).
    #[error("the value is not JSON")]
    NotJson,
    /// The value is JSON, but an array, a string, a number, a boolean or `null`.
    #[error("the value is not a JSON object")]
    NotObject,
    /// A JSON object with something after it.
    #[error("the value has text after its JSON object")]
    TrailingText,
    /// It is larger than an event may be.
    #[error("the value is too large")]
    TooLarge,
}

impl Skipped {
    /// The word in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::TrailingText => "trailing_text",
            Self::TooLarge => "too_large",
        }
    }
}

/// The record's data line with its `\n`: one JSON object, valid UTF-8, no other line break and
/// nothing raw that some client would take for one (U+0085, U+2028, U+2029).
///
/// # Errors
/// When the value is not exactly one JSON object.
pub fn render(tp: &TopicPartition, record: &Record) -> Result<Bytes, Skipped> {
    let value = record.value.as_deref().ok_or(Skipped::Tombstone)?;
    let text = utf8(value);
    let text = trimmed(text.as_bytes());
    let is_object = text.first() == Some(&b'{');
    let scanned = scan::scan(text, record.key.is_some()).map_err(|fault| match fault {
        Fault::TrailingText if is_object => Skipped::TrailingText,
        Fault::TrailingText | Fault::NotJson => Skipped::NotJson,
    })?;
    if !is_object {
        return Err(Skipped::NotObject);
    }
    Ok(splice(&scanned, &our_fields(tp, record)).into())
}

/// Whether a text without white space around it is one JSON value and nothing else.
pub(super) fn is_json(text: &[u8]) -> bool {
    scan::scan(text, false).is_ok()
}

/// Invalid UTF-8 becomes U+FFFD. (`from_utf8` first: it is several times faster.)
pub(super) fn utf8(value: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(value).map_or_else(|_| String::from_utf8_lossy(value), Cow::Borrowed)
}

/// Without JSON's white space around it.
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    let solid = |b: &u8| !matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    let start = text.iter().position(solid).unwrap_or(text.len());
    let end = text.iter().rposition(solid).map_or(start, |last| last + 1);
    &text[start..end]
}

/// What every `meta` ends with: `"topic":"…","partition":0,"offset":1034566,"key":"…"`.
fn our_fields(tp: &TopicPartition, record: &Record) -> Vec<u8> {
    let mut digits = itoa::Buffer::new();
    let key_bytes = record.key.as_ref().map_or(0, |key| key.len() + 16);
    let mut ours = Vec::with_capacity(tp.topic.as_str().len() + key_bytes + 80);
    ours.extend_from_slice(b"\"topic\":\"");
    // A topic's name holds no character that JSON would have to escape.
    ours.extend_from_slice(tp.topic.as_str().as_bytes());
    ours.extend_from_slice(b"\",\"partition\":");
    ours.extend_from_slice(digits.format(tp.partition.0).as_bytes());
    ours.extend_from_slice(b",\"offset\":");
    ours.extend_from_slice(digits.format(record.offset.0).as_bytes());
    if let Some(key) = &record.key {
        ours.extend_from_slice(b",\"key\":");
        write_string(&mut ours, &utf8(key));
    }
    ours
}

/// Writes a JSON string that has no raw line break of any kind.
fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\x1f' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                let code = c as usize;
                let digit = |shift: u32| HEX[code >> shift & 0xf];
                out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Puts our fields at the end of `meta`, where nothing of the same name is left.
fn splice(scanned: &Scanned<'_>, ours: &[u8]) -> Vec<u8> {
    let text: &[u8] = &scanned.text;
    // `"meta":{}`, commas and the line break are less than 16 bytes.
    let mut line = Vec::with_capacity(text.len() + ours.len() + 16);
    let mut copied = 0;
    let mut copy = |line: &mut Vec<u8>, until: usize, go_on: usize| {
        line.extend_from_slice(&text[copied..until]);
        copied = go_on;
    };
    for range in &scanned.dropped {
        copy(&mut line, range.start, range.end);
    }
    match &scanned.meta {
        Some(Meta::Object { end, comma }) => {
            copy(&mut line, *end, *end);
            if *comma {
                line.push(b',');
            }
            line.extend_from_slice(ours);
        }
        Some(Meta::Other { value }) => {
            copy(&mut line, value.start, value.end);
            line.push(b'{');
            line.extend_from_slice(ours);
            line.push(b'}');
        }
        None => {
            let end = text.len() - 1;
            copy(&mut line, end, end);
            let head: &[u8] = if scanned.is_empty { b"\"meta\":{" } else { b",\"meta\":{" };
            line.extend_from_slice(head);
            line.extend_from_slice(ours);
            line.push(b'}');
        }
    }
    copy(&mut line, text.len(), text.len());
    line.push(b'\n');
    line
}

#[cfg(test)]
#[path = "render/tests.rs"]
pub(super) mod tests;
