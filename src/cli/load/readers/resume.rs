//! Where a stream goes on that the server has ended: the last id that it got.

/// What an id's line begins with.
const ID: &[u8] = b"id: ";

/// The last id of a stream, read from its payload however that is cut.
#[derive(Debug, Default)]
pub(super) struct Resume {
    id: Vec<u8>,
    /// The line that is under way, as far as it may be an id's.
    line: Vec<u8>,
    /// The line that is under way is none.
    is_other: bool,
}

impl Resume {
    /// Notes the last id of this piece.
    pub(super) fn read(&mut self, piece: &[u8]) {
        let Some(first) = memchr::memchr(b'\n', piece) else { return self.begin(piece) };
        self.begin(&piece[..first]);
        self.end();
        let rest = &piece[first + 1..];
        let last = memchr::memrchr(b'\n', rest).map_or(0, |last| last + 1);
        let (whole, begun) = rest.split_at(last);
        // From the end: the last id counts, and it stands close to there.
        let found = memchr::memmem::rfind(whole, b"\nid: ").map(|at| at + 1);
        let found = found.or_else(|| whole.starts_with(ID).then_some(0));
        if let Some(at) = found {
            let line = &whole[at..];
            let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
            self.take(&line[ID.len()..end]);
        }
        self.begin(begun);
    }

    /// The stream has ended, and its next payload begins with a line.
    pub(super) fn comes_again(&mut self) {
        self.is_other = false;
        self.line.clear();
    }

    /// The last id that it got, if it got one.
    pub(super) fn id(&self) -> Option<&[u8]> {
        (!self.id.is_empty()).then_some(&self.id)
    }

    /// More of a line.
    fn begin(&mut self, bytes: &[u8]) {
        if self.is_other {
            return;
        }
        self.line.extend_from_slice(bytes);
        let known = self.line.len().min(ID.len());
        if self.line[..known] != ID[..known] {
            self.is_other = true;
            self.line.clear();
        }
    }

    /// Its end.
    fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        if let Some(id) = line.strip_prefix(ID) {
            self.take(id);
        }
        self.is_other = false;
    }

    fn take(&mut self, id: &[u8]) {
        self.id.clear();
        self.id.extend_from_slice(id);
    }
}

/// The request of a stream that goes on after this id.
pub(super) fn request(plain: &[u8], id: &[u8]) -> Vec<u8> {
    let head = plain.strip_suffix(b"\r\n").unwrap_or(plain);
    [head, b"last-event-id: ", id, b"\r\n\r\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_is_known_wherever_the_pieces_are_cut() {
        let text =
            b":ok\n\nevent: a\nid: [1]\ndata: id: no\n\nevent: a\nid: [22]\ndata: {\"id: 5\"}\n\n";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut resume = Resume::default();
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                pieces.into_iter().filter(|p| !p.is_empty()).for_each(|p| resume.read(p));
                assert_eq!(resume.id(), Some(&b"[22]"[..]), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_stream_that_got_none_has_none_and_what_is_half_there_does_not_count() {
        let mut resume = Resume::default();
        resume.read(b":ok\n\n");
        assert_eq!(resume.id(), None);
        resume.read(b"id: [1]\nda");
        resume.read(b"ta: x\n\nid: [2");
        resume.comes_again();
        assert_eq!(resume.id(), Some(&b"[1]"[..]));
        resume.read(b"\n]\n");
        assert_eq!(resume.id(), Some(&b"[1]"[..]));
    }

    #[test]
    fn a_request_goes_on_after_an_id() {
        let plain = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let expected = b"GET / HTTP/1.1\r\nhost: a\r\nlast-event-id: [1]\r\n\r\n";
        assert_eq!(request(plain, b"[1]"), expected);
    }
}
