//! Finds our events in the bytes of a stream, however these are cut into reads.
//!
//! An event of ours carries a mark in its data, three members in this order:
//! `"sent_us":N,"seq":N,"writer":N`. It is found by its first bytes and nothing else is parsed.
//! A mark that a piece ends in is carried over; in between a reader costs no buffer.

use memchr::memmem::Finder;

/// What a mark begins with.
const BEGIN: &[u8] = br#""sent_us":"#;
/// The names that follow, each with what comes before it.
const SEQ: &[u8] = br#","seq":"#;
const WRITER: &[u8] = br#","writer":"#;
/// Digits of the largest number.
const DIGITS_MAX: usize = 20;
/// One space after each comma and colon is accepted: whoever wrote the JSON anew put them there.
const SPACES_MAX: usize = 5;
/// No mark is longer, with the byte that ends its last number.
const MARK_MAX: usize = BEGIN.len() + SEQ.len() + WRITER.len() + 3 * DIGITS_MAX + SPACES_MAX + 1;

/// What an event of ours says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// When it was sent: microseconds since the epoch, this host's clock.
    pub(super) sent_us: u64,
    /// Its number among its writer's events, from 0.
    pub(super) seq: u64,
    /// Who wrote it.
    pub(super) writer: u64,
}

impl Mark {
    /// Puts the mark into an event.
    pub(super) fn print(self, into: &mut Vec<u8>) {
        let parts = [(BEGIN, self.sent_us), (SEQ, self.seq), (WRITER, self.writer)];
        for (name, number) in parts {
            into.extend_from_slice(name);
            into.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }
}

/// The searches, prepared once for all readers.
pub(super) struct Scanner {
    begin: Finder<'static>,
    blank: Finder<'static>,
}

/// What one reader's stream has left over.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The begin of a mark.
    carry: Vec<u8>,
    /// The last byte was a line feed.
    line_ended: bool,
}

/// What stands where a mark may be.
enum Found {
    /// A mark, and where it ends.
    Mark(Mark, usize),
    /// So far a mark; the bytes end.
    Begun,
    /// Something else.
    Other,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { begin: Finder::new(BEGIN), blank: Finder::new(b"\n\n") }
    }

    /// Tells every mark that ends in this piece; gives back how many blank lines end in it, that
    /// is, how many blocks of the stream (events, or comments such as `:ok`).
    pub(super) fn scan(&self, piece: &[u8], rest: &mut Rest, mut tell: impl FnMut(Mark)) -> u64 {
        let blocks = self.blank_lines(piece, rest);
        if rest.carry.is_empty() {
            self.marks(piece, rest, &mut tell);
            return blocks;
        }
        let mut joined = std::mem::take(&mut rest.carry);
        let carried = joined.len();
        joined.extend_from_slice(&piece[..piece.len().min(MARK_MAX)]);
        let mut at = 0;
        // What begins in the carry is told here, what begins in the piece below.
        while let Some(from) = self.next(&joined, at).filter(|from| *from < carried) {
            match read(&joined[from..]) {
                Found::Mark(mark, end) => {
                    tell(mark);
                    at = from + end;
                }
                // All of the piece is in `joined` then: the rest of a mark fits in MARK_MAX.
                Found::Begun if joined.len() - from < MARK_MAX => {
                    joined.drain(..from);
                    rest.carry = joined;
                    return blocks;
                }
                Found::Begun | Found::Other => at = from + 1,
            }
        }
        self.marks(&piece[at.saturating_sub(carried)..], rest, &mut tell);
        blocks
    }

    fn marks(&self, bytes: &[u8], rest: &mut Rest, tell: &mut impl FnMut(Mark)) {
        let mut at = 0;
        while let Some(from) = self.next(bytes, at) {
            match read(&bytes[from..]) {
                Found::Mark(mark, end) => {
                    tell(mark);
                    at = from + end;
                }
                Found::Begun if bytes.len() - from < MARK_MAX => {
                    rest.carry = bytes[from..].to_vec();
                    return;
                }
                Found::Begun | Found::Other => at = from + 1,
            }
        }
    }

    /// Where the next mark may begin; also in the last bytes, as far as these go.
    fn next(&self, bytes: &[u8], at: usize) -> Option<usize> {
        if let Some(found) = self.begin.find(&bytes[at..]) {
            return Some(at + found);
        }
        let tail = bytes.len().saturating_sub(BEGIN.len() - 1).max(at);
        let quotes = memchr::memchr_iter(b'"', &bytes[tail..]);
        quotes.map(|q| tail + q).find(|from| BEGIN.starts_with(&bytes[*from..]))
    }

    fn blank_lines(&self, piece: &[u8], rest: &mut Rest) -> u64 {
        let Some(last) = piece.last() else { return 0 };
        let straddles = rest.line_ended && piece[0] == b'\n';
        rest.line_ended = *last == b'\n';
        let within = self.blank.find_iter(piece).count();
        u64::try_from(within).unwrap_or(u64::MAX) + u64::from(straddles)
    }
}

/// Reads what begins like a mark.
fn read(bytes: &[u8]) -> Found {
    let mut numbers = [0; 3];
    let mut at = 0;
    for (name, number) in [BEGIN, SEQ, WRITER].into_iter().zip(&mut numbers) {
        for expected in name {
            match bytes.get(at) {
                None => return Found::Begun,
                Some(byte) if byte == expected => at += 1,
                Some(_) => return Found::Other,
            }
            let may_space = matches!(expected, b':' | b',');
            at += usize::from(may_space && bytes.get(at) == Some(&b' '));
        }
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if at + digits == bytes.len() && digits <= DIGITS_MAX {
            return Found::Begun;
        }
        let text = std::str::from_utf8(&bytes[at..at + digits]).unwrap_or_default();
        let Ok(value) = text.parse() else { return Found::Other };
        *number = value;
        at += digits;
    }
    let [sent_us, seq, writer] = numbers;
    Found::Mark(Mark { sent_us, seq, writer }, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark(seq: u64) -> Mark {
        Mark { sent_us: 1_790_000_000_000_000 + seq, seq, writer: 7 }
    }

    fn event(mark: Mark) -> Vec<u8> {
        let mut event = b"event: message\nid: [{\"offset\":12}]\ndata: {\"a\":\"\",".to_vec();
        mark.print(&mut event);
        event.extend_from_slice(b",\"pad\":\"xx\"}\n\n");
        event
    }

    fn scan(pieces: &[&[u8]]) -> (Vec<Mark>, u64) {
        let (scanner, mut rest, mut marks) = (Scanner::new(), Rest::default(), Vec::new());
        let blocks = pieces.iter().map(|p| scanner.scan(p, &mut rest, |mark| marks.push(mark)));
        let blocks = blocks.sum();
        (marks, blocks)
    }

    #[test]
    fn every_mark_is_found_wherever_the_stream_is_cut_once_or_twice() {
        let expected = vec![mark(0), mark(1), mark(u64::MAX - 1_790_000_000_000_000)];
        let text = [b":ok\n\n".to_vec(), expected.iter().copied().flat_map(event).collect()];
        let text = text.concat();
        assert_eq!(scan(&[&text]), (expected.clone(), 4));
        for first in 0..=text.len() {
            let (head, tail) = text.split_at(first);
            assert_eq!(scan(&[head, tail]), (expected.clone(), 4), "cut at {first}");
            for second in (0..=tail.len()).step_by(7).chain(0..tail.len().min(60)) {
                let (middle, end) = tail.split_at(second);
                let got = scan(&[head, middle, end]);
                assert_eq!(got, (expected.clone(), 4), "cut at {first} and {second} more");
            }
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(scan(&bytes), (expected, 4));
    }

    #[test]
    fn a_mark_that_was_written_anew_with_spaces_is_found() {
        let text = br#"{"sent_us": 5, "seq": 6, "writer": 7, "x": 1}"#;
        let expected = Mark { sent_us: 5, seq: 6, writer: 7 };
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(scan(&[head, tail]).0, [expected], "cut at {cut}");
        }
    }

    #[test]
    fn what_only_looks_like_a_mark_is_none_and_hides_none() {
        let long = "9".repeat(400);
        let real = String::from_utf8(event(mark(3))).expect("text");
        for fake in [
            r#""sent_us":"#.to_owned(),
            r#""sent_us":x"#.to_owned(),
            r#""sent_us":1,"seq":2"#.to_owned(),
            r#""sent_us":1,"seq":,"writer":3,"#.to_owned(),
            format!(r#""sent_us":{long},"seq":1,"writer":1}}"#),
            format!(r#""sent_us":1,"seq":1,"writer":{long}}}"#),
            r#""sent_us":"sent_us":"#.to_owned(),
        ] {
            let text = format!("{fake}{real}").into_bytes();
            for cut in 0..=text.len() {
                let (head, tail) = text.split_at(cut);
                assert_eq!(scan(&[head, tail]).0, [mark(3)], "{fake} cut at {cut}");
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_a_stream_between_its_marks() {
        let (scanner, mut rest) = (Scanner::new(), Rest::default());
        let text = event(mark(1));
        scanner.scan(&text[..70], &mut rest, |_| {});
        assert!(!rest.carry.is_empty());
        scanner.scan(&text[70..], &mut rest, |_| {});
        assert_eq!(rest.carry.capacity(), 0);
    }

    proptest! {
        #[test]
        fn pieces_of_any_sizes_give_what_the_whole_gives(
            parts in prop::collection::vec(
                prop_oneof![
                    Just(r#""sent_us":"#.to_owned()),
                    Just(r#""sent_us":12,"seq":3,"writer":4"#.to_owned()),
                    r#"["sent_u:,0-9 \n]{0,12}"#,
                ],
                0..12,
            ),
            cuts in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let text = parts.concat().into_bytes();
            let mut pieces: Vec<&[u8]> = Vec::new();
            let (mut left, mut cuts) = (&text[..], cuts.iter().cycle());
            while !left.is_empty() {
                let (piece, more) = left.split_at(left.len().min(*cuts.next().expect("endless")));
                pieces.push(piece);
                left = more;
            }
            prop_assert_eq!(scan(&pieces).0, scan(&[&text]).0);
        }
    }
}
