//! The server's side of HTTP/1.1: from the bytes of a connection to the payload of its stream.
//!
//! Chunk framing is decoded exactly, so that it never stands within a mark, and so that a stream
//! that the server ended is told from one that was cut.

/// Bytes of a response head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Where in its response a connection is.
#[derive(Debug)]
pub(super) enum Wire {
    /// In the head; what has come of it.
    Head(Vec<u8>),
    /// In a chunked body.
    Chunked(Chunk),
    /// In a body that ends with the connection.
    Plain,
    /// After the last chunk.
    Ended,
    /// This is no HTTP.
    Broken,
}

/// Where in the chunk framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line with the size; its value so far.
    Size(u64),
    /// After the digits of this size, before the line feed.
    Extension(u64),
    /// In the data; so many bytes are left.
    Data(u64),
    /// In the line end after the data.
    DataEnd,
    /// After the last chunk; whether the current line is empty so far.
    Trailer(bool),
}

/// What comes next in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The head has come whole.
    Head(Head),
    /// Payload.
    Payload(&'a [u8]),
}

impl Default for Wire {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Wire {
    /// Takes the next part off the front of `bytes`; none: they are used up, or the response has
    /// ended or is broken.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        match self {
            Self::Head(head) => {
                let Some(head) = take_head(head, bytes)? else {
                    *self = Self::Broken;
                    return None;
                };
                *self = if head.is_chunked { Self::Chunked(Chunk::Size(0)) } else { Self::Plain };
                Some(Part::Head(head))
            }
            Self::Plain => {
                let payload = std::mem::take(bytes);
                (!payload.is_empty()).then_some(Part::Payload(payload))
            }
            Self::Chunked(chunk) => match chunk.next(bytes) {
                Ok(payload) => payload.map(Part::Payload),
                Err(over) => {
                    *self = over;
                    None
                }
            },
            Self::Ended | Self::Broken => None,
        }
    }
}

impl Chunk {
    /// The next payload; the error is the state in which the response is over.
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Wire> {
        loop {
            if let Self::Data(left) = self {
                let n = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let (payload, more) = bytes.split_at(n);
                *bytes = more;
                *left -= n as u64;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                return Ok((n > 0).then_some(payload));
            }
            let Some((byte, more)) = bytes.split_first() else { return Ok(None) };
            *bytes = more;
            *self = self.after(*byte)?;
        }
    }

    /// One byte of the framing.
    fn after(self, byte: u8) -> Result<Self, Wire> {
        match (self, byte) {
            (Self::Size(0) | Self::Extension(0), b'\n') => Ok(Self::Trailer(true)),
            (Self::Size(size) | Self::Extension(size), b'\n') => Ok(Self::Data(size)),
            (Self::Size(size), _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = size.checked_mul(16).and_then(|size| size.checked_add(digit));
                size.map(Self::Size).ok_or(Wire::Broken)
            }
            (Self::Size(size), b'\r' | b';' | b' ') | (Self::Extension(size), _) => {
                Ok(Self::Extension(size))
            }
            (Self::DataEnd, b'\r') => Ok(Self::DataEnd),
            (Self::DataEnd, b'\n') => Ok(Self::Size(0)),
            (Self::Trailer(true), b'\n') => Err(Wire::Ended),
            (Self::Trailer(is_empty), b'\r') => Ok(Self::Trailer(is_empty)),
            (Self::Trailer(_), byte) => Ok(Self::Trailer(byte == b'\n')),
            (Self::Size(_) | Self::DataEnd | Self::Data(_), _) => Err(Wire::Broken),
        }
    }
}

/// The head, when it has come whole; an inner none: it is none.
#[allow(clippy::option_option, reason = "not yet, and never, are two things")]
fn take_head(head: &mut Vec<u8>, bytes: &mut &[u8]) -> Option<Option<Head>> {
    let before = head.len();
    head.extend_from_slice(bytes);
    let searched = before.saturating_sub(3);
    let Some(found) = memchr::memmem::find(&head[searched..], b"\r\n\r\n") else {
        *bytes = &[];
        return (head.len() > HEAD_BYTES_MAX).then_some(None);
    };
    let end = searched + found + 4;
    *bytes = &bytes[end - before..];
    head.truncate(end);
    Some(Head::read(head))
}

/// What is looked at of a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// The body is chunked.
    pub(super) is_chunked: bool,
    /// Bytes of a body that is not.
    pub(super) length: Option<u64>,
    /// No further request may be sent.
    pub(super) closes: bool,
}

impl Head {
    /// Reads a whole head; none: it is none.
    pub(super) fn read(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut status_line = lines.next()?.split(' ');
        let version = status_line.next().filter(|version| version.starts_with("HTTP/1."))?;
        let status = status_line.next()?.parse().ok()?;
        let closes = version == "HTTP/1.0";
        let mut read = Self { status, is_chunked: false, length: None, closes };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim().to_ascii_lowercase();
            match &*name.to_ascii_lowercase() {
                "transfer-encoding" => read.is_chunked = value.ends_with("chunked"),
                "content-length" => read.length = value.parse().ok(),
                "connection" => read.closes |= value.contains("close"),
                _ => {}
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Option<u16>, Vec<u8>, Wire) {
        let (mut wire, mut status, mut payload) = (Wire::default(), None, Vec::new());
        for piece in pieces {
            let mut bytes = *piece;
            while let Some(part) = wire.next(&mut bytes) {
                match part {
                    Part::Head(head) => status = Some(head.status),
                    Part::Payload(more) => payload.extend_from_slice(more),
                }
            }
        }
        (status, payload, wire)
    }

    #[test]
    fn a_chunked_response_is_read_wherever_it_is_cut() {
        let text = b"HTTP/1.1 200 OK\r\nserver: x\r\nTransfer-Encoding: Chunked\r\n\r\n\
            5\r\n:ok\n\n\r\n1A;x=y\r\ndata: abcdefghijklmnopqr\n\n\r\n0\r\nx-t: 1\r\n\r\nrest";
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            let bytes: Vec<&[u8]> = tail.chunks(1).collect();
            let pieces = [&[head][..], &bytes].concat();
            for pieces in [&[head, tail][..], &pieces] {
                let (status, payload, wire) = read(pieces);
                assert_eq!(status, Some(200), "cut at {cut}");
                assert_eq!(payload, b":ok\n\ndata: abcdefghijklmnopqr\n\n", "cut at {cut}");
                assert!(matches!(wire, Wire::Ended), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_response_without_chunks_goes_on_until_the_connection_ends() {
        let text = b"HTTP/1.0 200 OK\r\n\r\n:ok\n\ndata: 1\n\n";
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            let (status, payload, wire) = read(&[head, tail]);
            assert_eq!((status, &payload[..]), (Some(200), &b":ok\n\ndata: 1\n\n"[..]));
            assert!(matches!(wire, Wire::Plain));
        }
    }

    #[test]
    fn what_is_no_http_is_broken_and_the_end_of_a_body_is_told_from_a_cut() {
        for text in ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 ok\r\n\r\n", "\r\n\r\n"] {
            assert!(matches!(read(&[text.as_bytes()]).2, Wire::Broken), "{text}");
        }
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for body in ["x\r\n", "5\r\n:ok\n\nx", "fffffffffffffffff\r\n"] {
            assert!(matches!(read(&[head, body.as_bytes()]).2, Wire::Broken), "{body}");
        }
        assert!(matches!(read(&[head, b"5\r\n:ok\n\n\r\n0\r\n"]).2, Wire::Chunked(_)));
        assert!(matches!(read(&[&[b'x'; HEAD_BYTES_MAX + 1]]).2, Wire::Broken));
    }
}
