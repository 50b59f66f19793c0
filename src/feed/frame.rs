//! Bytes that are written as they are, by all who send them: an event, alone and as a whole chunk
//! of HTTP/1.1.
//!
//! ```text
//!  4d2\r\n event: message … \n\n \r\n
//!         └───── plain ─────┘
//!  └──────────── chunk ────────────┘      one allocation, two views
//! ```
//! Pure: no I/O, no clock.

use bytes::Bytes;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// One JSON object a line.
    Ndjson,
}

/// Most digits that a chunk's length has (64 MB and more), and its CRLF.
const HEAD_MAX: usize = 10;

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    chunk: Bytes,
    head: usize,
}

impl Frame {
    /// What `write` appends, about `len` bytes of it. Not empty: an empty chunk is the last one.
    #[must_use]
    pub fn new(len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut all = Vec::with_capacity(HEAD_MAX + len + 2);
        all.resize(HEAD_MAX, 0);
        write(&mut all);
        let head = format!("{:x}\r\n", all.len() - HEAD_MAX);
        debug_assert!(head.len() <= HEAD_MAX, "no frame is that long");
        let start = HEAD_MAX - head.len();
        all[start..HEAD_MAX].copy_from_slice(head.as_bytes());
        all.extend_from_slice(b"\r\n");
        Self { chunk: Bytes::from(all).slice(start..), head: head.len() }
    }

    /// The bytes alone.
    #[must_use]
    pub fn plain(&self) -> Bytes {
        self.chunk.slice(self.head..self.chunk.len() - 2)
    }

    /// As a chunk of HTTP/1.1.
    #[must_use]
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }
}

impl From<&[u8]> for Frame {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.len(), |out| out.extend_from_slice(bytes))
    }
}

/// Appends one whole SSE event. `fragments` are the id's entries; `line` ends with `\n`.
pub fn write_sse<'a>(out: &mut Vec<u8>, fragments: impl Iterator<Item = &'a [u8]>, line: &[u8]) {
    out.extend_from_slice(b"event: message\nid: ");
    write_fragments(out, fragments);
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// The array of an id from its rendered entries.
pub fn write_fragments<'a>(out: &mut Vec<u8>, fragments: impl Iterator<Item = &'a [u8]>) {
    out.push(b'[');
    for (i, fragment) in fragments.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(fragment);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_same_bytes_alone_and_as_a_chunk() {
        for len in [1, 15, 16, 255, 256, 70_000] {
            let bytes = vec![b'x'; len];
            let frame = Frame::from(&bytes[..]);
            assert_eq!(frame.plain(), bytes);
            let chunk = [format!("{len:x}\r\n").as_bytes(), &bytes, b"\r\n"].concat();
            assert_eq!(frame.chunk(), &chunk);
        }
    }
}
