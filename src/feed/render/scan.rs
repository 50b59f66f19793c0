//! One pass over a value: is it JSON, and where is `meta`? On the way it becomes one line.
//!
//! The grammar is RFC 8259's, to the letter, since a client with a strict parser must not choke
//! on what passes here; only lone surrogates in escapes (`\ud800`) pass, as the grammar lets
//! them. No recursion: nesting costs a byte a level, so its depth is bounded by the value's size.
//!
//! Positions are those of the cleaned text, which is the text itself as long as nothing had to be
//! changed in it (the usual case: nothing is copied then).

use std::borrow::Cow;
use std::ops::Range;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No JSON value at its beginning.
    NotJson,
    /// A JSON value, and more after it.
    TrailingText,
}

/// What the pass found.
#[derive(Debug)]
pub(super) struct Scanned<'a> {
    /// The text without line breaks between tokens, and with every raw U+0085, U+2028 and U+2029
    /// escaped.
    pub(super) text: Cow<'a, [u8]>,
    /// What has to go, in order and apart: every `meta` but the last, and in the last the members
    /// that are ours to set, each with the comma that follows it.
    pub(super) dropped: Vec<Range<usize>>,
    /// The last `meta`.
    pub(super) meta: Option<Meta>,
    /// The outermost object has no member.
    pub(super) is_empty: bool,
}

/// The value of the last `meta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meta {
    /// An object.
    Object {
        /// Where its `}` stands.
        end: usize,
        /// What is added needs a comma before it.
        comma: bool,
    },
    /// Anything else.
    Other {
        /// Where it stands.
        value: Range<usize>,
    },
}

/// Reads one JSON value that fills `text` (UTF-8, no white space around it). `own_key`: `meta.key`
/// is ours to set, too.
pub(super) fn scan(text: &[u8], own_key: bool) -> Result<Scanned<'_>, Fault> {
    let mut scan = Scan {
        text,
        at: 0,
        out: Vec::new(),
        copied: 0,
        open: Vec::with_capacity(16),
        outline: Outline { own_key, ..Outline::default() },
    };
    scan.run()?;
    if scan.at < text.len() {
        return Err(Fault::TrailingText);
    }
    Ok(scan.finish())
}

/// What is expected next.
enum Next {
    Value,
    Key,
    CommaOrClose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

struct Scan<'a> {
    text: &'a [u8],
    /// Everything before has been read.
    at: usize,
    /// The cleaned text as far as the last change in it.
    out: Vec<u8>,
    /// How much of `text` went into `out` or was left out.
    copied: usize,
    /// The containers that are open here, the outermost first.
    open: Vec<Open>,
    outline: Outline,
}

impl<'a> Scan<'a> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut next = Next::Value;
        loop {
            next = match next {
                Next::Value => self.value()?,
                Next::Key => self.key()?,
                Next::CommaOrClose if self.open.is_empty() => return Ok(()),
                Next::CommaOrClose => self.comma_or_close()?,
            }
        }
    }

    fn finish(mut self) -> Scanned<'a> {
        let text = if self.out.is_empty() {
            Cow::Borrowed(self.text)
        } else {
            self.out.extend_from_slice(&self.text[self.copied..]);
            Cow::Owned(self.out)
        };
        let Outline { mut dropped, own, meta, members, .. } = self.outline;
        dropped.extend(own);
        Scanned { text, dropped, meta, is_empty: members == 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Where we are, in the cleaned text.
    fn here(&self) -> usize {
        self.out.len() + self.at - self.copied
    }

    /// Puts `instead` in the place of `text[from..to]`. What was read so far begins with a brace
    /// or bracket, so `out` is not empty after any change.
    fn change(&mut self, from: usize, to: usize, instead: &[u8]) {
        self.out.extend_from_slice(&self.text[self.copied..from]);
        self.out.extend_from_slice(instead);
        self.copied = to;
        self.at = to;
    }

    /// Passes white space. With a line break in it all of it goes: it was indentation.
    fn white_space(&mut self) {
        let start = self.at;
        let mut line_break = false;
        while let Some(b @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            line_break |= matches!(b, b'\n' | b'\r');
            self.at += 1;
        }
        if line_break {
            self.change(start, self.at, b"");
        }
    }

    fn value(&mut self) -> Result<Next, Fault> {
        match self.peek().ok_or(Fault::NotJson)? {
            b'{' => Ok(self.open(Open::Object, b'}', Next::Key)),
            b'[' => Ok(self.open(Open::Array, b']', Next::Value)),
            first => {
                match first {
                    b'"' => self.string().map(|_| ())?,
                    b't' => self.literal(b"true")?,
                    b'f' => self.literal(b"false")?,
                    b'n' => self.literal(b"null")?,
                    _ => self.number()?,
                }
                self.after_value();
                Ok(Next::CommaOrClose)
            }
        }
    }

    fn open(&mut self, kind: Open, close: u8, inside: Next) -> Next {
        self.at += 1;
        self.open.push(kind);
        self.white_space();
        if self.peek() == Some(close) { Next::CommaOrClose } else { inside }
    }

    fn after_value(&mut self) {
        if self.open.len() == 1 {
            self.outline.value_ends(self.here());
        }
    }

    fn key(&mut self) -> Result<Next, Fault> {
        if self.peek() != Some(b'"') {
            return Err(Fault::NotJson);
        }
        let start = self.here();
        let text = self.text;
        let key = &text[self.string()?];
        self.white_space();
        if self.peek() != Some(b':') {
            return Err(Fault::NotJson);
        }
        self.at += 1;
        self.white_space();
        match self.open.len() {
            1 => self.outline.root_member(key, start, self.here()),
            2 => self.outline.inner_member(key, start),
            _ => {}
        }
        Ok(Next::Value)
    }

    fn comma_or_close(&mut self) -> Result<Next, Fault> {
        let kind = *self.open.last().expect("the caller looked");
        self.white_space();
        match (self.peek(), kind) {
            (Some(b','), _) => {
                self.at += 1;
                self.white_space();
                Ok(if kind == Open::Object { Next::Key } else { Next::Value })
            }
            (Some(b'}'), Open::Object) | (Some(b']'), Open::Array) => {
                if self.open.len() == 2 {
                    self.outline.inner_closes(kind == Open::Object, self.here());
                }
                self.at += 1;
                self.open.pop();
                self.after_value();
                Ok(Next::CommaOrClose)
            }
            _ => Err(Fault::NotJson),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Fault::NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    /// `-? (0 | [1-9] digit*) (. digit+)? ([eE] [+-]? digit+)?`
    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Fault::NotJson) }
    }

    /// Passes a string, and says where its inside stands in `text` (not in the cleaned one).
    fn string(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at + 1;
        self.at = start;
        loop {
            self.at = next_special(self.text, self.at);
            match self.text[self.at..] {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(start..self.at - 1);
                }
                [b'\\', b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
                    self.at += 6;
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [0xC2, 0x85, ..] => self.change(self.at, self.at + 2, b"\\u0085"),
                [0xE2, 0x80, 0xA8, ..] => self.change(self.at, self.at + 3, b"\\u2028"),
                [0xE2, 0x80, 0xA9, ..] => self.change(self.at, self.at + 3, b"\\u2029"),
                // Any other character that begins with one of these.
                [0xC2 | 0xE2, ..] => self.at += 1,
                // A control character, an escape that there is not, or the end of the text.
                _ => return Err(Fault::NotJson),
            }
        }
    }
}

/// The first byte from `at` on that a string's reader has to look at: a quote, a backslash, a
/// control character, or the first byte of U+0085, U+2028 or U+2029. The text's end: there is
/// none.
fn next_special(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at a time ("Bit Twiddling Hacks", hasless): the lowest bit that is set in the
    // result belongs to the first byte below `n`; bits above it may be wrong, and do not matter.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    while let Some(chunk) = text[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let plain = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        let special = plain | equal(word, 0xC2) | equal(word, 0xE2);
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let special = |b: &u8| matches!(b, 0..0x20 | b'"' | b'\\' | 0xC2 | 0xE2);
    text[at..].iter().position(special).map_or(text.len(), |n| at + n)
}

/// Follows the members of the outermost object and of `meta`, and nothing deeper.
#[derive(Debug, Default)]
struct Outline {
    own_key: bool,
    /// Members of the outermost object.
    members: usize,
    /// The `meta` whose value is being read.
    reading: Option<Reading>,
    /// The last `meta` that was read, and where it begins.
    meta: Option<Meta>,
    meta_start: usize,
    /// Where the member after it begins.
    meta_next: Option<usize>,
    /// All `meta` before it.
    dropped: Vec<Range<usize>>,
    /// Its members that are ours.
    own: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Reading {
    value_start: usize,
    /// Where the member that is being read begins, if it is one of ours.
    own_start: Option<usize>,
    /// It is an object, and it has members.
    members: usize,
    /// It is an object, and its `}` stands here.
    closed: Option<usize>,
}

impl Outline {
    fn root_member(&mut self, key: &[u8], start: usize, value_start: usize) {
        self.members += 1;
        if self.meta.is_some() {
            self.meta_next.get_or_insert(start);
        }
        if !spells(key, b"meta") {
            return;
        }
        if let (Some(_), Some(next)) = (self.meta.take(), self.meta_next.take()) {
            self.dropped.push(self.meta_start..next);
        }
        self.own.clear();
        self.meta_start = start;
        let (own_start, members, closed) = (None, 0, None);
        self.reading = Some(Reading { value_start, own_start, members, closed });
    }

    /// A member two levels deep; of `meta`, if that is being read.
    fn inner_member(&mut self, key: &[u8], start: usize) {
        let Some(reading) = &mut self.reading else { return };
        reading.members += 1;
        if let Some(own) = reading.own_start.take() {
            self.own.push(own..start);
        }
        let names: [&[u8]; 3] = [b"topic", b"partition", b"offset"];
        let ours =
            names.iter().any(|name| spells(key, name)) || self.own_key && spells(key, b"key");
        reading.own_start = ours.then_some(start);
    }

    fn inner_closes(&mut self, is_object: bool, here: usize) {
        if let Some(reading) = self.reading.as_mut().filter(|_| is_object) {
            reading.closed = Some(here);
        }
    }

    /// A member of the outermost object has been read.
    fn value_ends(&mut self, here: usize) {
        let Some(reading) = self.reading.take() else { return };
        self.meta = Some(match reading.closed {
            Some(end) => {
                // Where the last member goes, the comma before it stays for what comes.
                let comma = reading.members > 0 && reading.own_start.is_none();
                self.own.extend(reading.own_start.map(|own| own..end));
                Meta::Object { end, comma }
            }
            None => Meta::Other { value: reading.value_start..here },
        });
    }
}

/// Whether the inside of a JSON string, which may hold escapes, is `name` (ASCII letters).
fn spells(inside: &[u8], name: &[u8]) -> bool {
    let mut rest = inside;
    for &letter in name {
        rest = match rest {
            [b, after @ ..] if *b == letter => after,
            [b'\\', b'u', b'0', b'0', high, low, after @ ..]
                if hex(*high) << 4 | hex(*low) == letter =>
            {
                after
            }
            _ => return false,
        };
    }
    rest.is_empty()
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
