//! Goes through a JSON text and stops at the places of a tree of paths; everything else is passed
//! over without being looked at. An array on a path is passed through: its elements lie where it
//! does.
//!
//! No recursion, and no memory for depth: what lies on no path is passed over by counting brackets,
//! and what is open on a path is at most twice as much as the longest path. Of a text that is no
//! JSON nothing is promised but an end; whoever uses what is found makes sure that it is some.

use std::borrow::Cow;

use super::paths::{Paths, ROOT};

/// What a member is to the one who asks.
pub(super) enum Member {
    /// Looked into.
    Enter,
    /// Passed over whole.
    Pass,
}

/// Who is told what is met.
pub(super) trait Visitor<T> {
    /// A member of an object on a path begins, with the quote of its name.
    fn member(&mut self, _at: &[T], _key_start: usize) -> Member {
        Member::Enter
    }
    /// A member that was passed over has been read: where its value begins and ends.
    fn passed(&mut self, _at: &[T], _key_start: usize, _value: (usize, usize)) {}
    /// A member that was looked into, or lies on no path, has been read and ends here.
    fn kept(&mut self, _end: usize) {}
    /// An object on a path begins (after its brace), or ends.
    fn opens(&mut self) {}
    /// See `opens`.
    fn closes(&mut self) {}
    /// A value that is neither an array nor an object.
    fn scalar(&mut self, _at: &[T], _text: &[u8]) {}
}

/// Tells `look` of every scalar at a place of the tree.
pub(super) fn scalars<T>(text: &[u8], paths: &Paths<T>, look: &mut impl FnMut(&[T], &[u8])) {
    struct Look<'a, F>(&'a mut F);
    impl<T, F: FnMut(&[T], &[u8])> Visitor<T> for Look<'_, F> {
        fn scalar(&mut self, at: &[T], text: &[u8]) {
            if !at.is_empty() {
                (self.0)(at, text);
            }
        }
    }
    walk(text, paths, &mut Look(look));
}

/// What is open on a path.
enum Open {
    Object(usize),
    /// So many arrays, one in the other.
    Arrays(usize, usize),
}

/// Goes through a text; `None`: it is no JSON.
pub(super) fn walk<T>(text: &[u8], paths: &Paths<T>, visitor: &mut impl Visitor<T>) -> Option<()> {
    let mut walk = Walk { text, at: 0, open: Vec::new() };
    walk.value(ROOT, paths, visitor)?;
    while let Some(open) = walk.open.last_mut() {
        match *open {
            Open::Object(place) => walk.in_object(place, paths, visitor)?,
            Open::Arrays(place, _) => walk.in_array(place, paths, visitor)?,
        }
    }
    Some(())
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    open: Vec<Open>,
}

impl Walk<'_> {
    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.text.get(self.at)? {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Begins a value that lies at a place of the tree: enters it, or reads it to its end.
    fn value<T>(
        &mut self,
        place: usize,
        paths: &Paths<T>,
        visitor: &mut impl Visitor<T>,
    ) -> Option<()> {
        match self.next()? {
            b'{' if paths.goes_on(place) => {
                self.at += 1;
                self.open.push(Open::Object(place));
                visitor.opens();
            }
            b'[' => {
                self.at += 1;
                match self.open.last_mut() {
                    Some(Open::Arrays(_, deep)) => *deep += 1,
                    _ => self.open.push(Open::Arrays(place, 1)),
                }
            }
            first => {
                let (start, end) = self.pass()?;
                if first != b'{' {
                    visitor.scalar(paths.at(place), &self.text[start..end]);
                }
                self.read(visitor);
            }
        }
        Some(())
    }

    /// A value has been read: if it was a member's, that has too.
    fn read<T>(&mut self, visitor: &mut impl Visitor<T>) {
        if let Some(Open::Object(_)) = self.open.last() {
            visitor.kept(self.at);
        }
    }

    fn in_object<T>(
        &mut self,
        place: usize,
        paths: &Paths<T>,
        visitor: &mut impl Visitor<T>,
    ) -> Option<()> {
        match self.next()? {
            b',' => self.at += 1,
            b'}' => {
                visitor.closes();
                self.at += 1;
                self.open.pop();
                self.read(visitor);
            }
            b'"' => {
                let key_start = self.at;
                let (start, end) = self.string()?;
                let inside = paths.inside(place, &self.text[start..end]);
                if self.next()? != b':' {
                    return None;
                }
                self.at += 1;
                let at = inside.map_or(&[][..], |inside| paths.at(inside));
                match (visitor.member(at, key_start), inside) {
                    (Member::Pass, _) => {
                        let value = self.pass()?;
                        visitor.passed(at, key_start, value);
                    }
                    (Member::Enter, Some(inside)) => self.value(inside, paths, visitor)?,
                    (Member::Enter, None) => {
                        self.pass()?;
                        visitor.kept(self.at);
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn in_array<T>(
        &mut self,
        place: usize,
        paths: &Paths<T>,
        visitor: &mut impl Visitor<T>,
    ) -> Option<()> {
        match self.next()? {
            b',' => self.at += 1,
            b']' => {
                self.at += 1;
                if let Some(Open::Arrays(_, deep)) = self.open.last_mut() {
                    *deep -= 1;
                    if *deep > 0 {
                        return Some(());
                    }
                }
                self.open.pop();
                self.read(visitor);
            }
            _ => self.value(place, paths, visitor)?,
        }
        Some(())
    }

    /// Passes a whole value over: where it begins and ends.
    fn pass(&mut self) -> Option<(usize, usize)> {
        let first = self.next()?;
        let start = self.at;
        match first {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => self.nested()?,
            _ => {
                let ends = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                let long = self.text[start..].iter().position(ends);
                self.at = long.map_or(self.text.len(), |long| start + long);
                if self.at == start {
                    return None;
                }
            }
        }
        Some((start, self.at))
    }

    fn nested(&mut self) -> Option<()> {
        let mut deep = 0_usize;
        loop {
            match self.text.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => deep += 1,
                b'}' | b']' => deep -= 1,
                _ => {}
            }
            self.at += 1;
            if deep == 0 {
                return Some(());
            }
        }
    }

    /// Passes a string: where its inside begins and ends.
    fn string(&mut self) -> Option<(usize, usize)> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.text.get(at..)?)?;
            if self.text[at] == b'"' {
                self.at = at + 1;
                return Some((start, at));
            }
            at += 2;
        }
    }
}

/// What a scalar says: a string without its quotes and escapes, anything else as it is written.
pub(super) fn scalar(text: &[u8]) -> Cow<'_, str> {
    match text {
        [b'"', inside @ .., b'"'] => decoded(inside),
        _ => String::from_utf8_lossy(text),
    }
}

/// The inside of a JSON string; half a character in escapes becomes U+FFFD.
pub(super) fn decoded(inside: &[u8]) -> Cow<'_, str> {
    if !inside.contains(&b'\\') {
        return String::from_utf8_lossy(inside);
    }
    let mut units: Vec<u16> = Vec::with_capacity(inside.len());
    let text = String::from_utf8_lossy(inside);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        units.push(match chars.next() {
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => 10,
            Some('r') => 13,
            Some('t') => 9,
            Some('u') => {
                let digits = chars.by_ref().take(4).map(|d| d.to_digit(16).unwrap_or_default());
                u16::try_from(digits.fold(0, |n, digit| n * 16 + digit)).unwrap_or_default()
            }
            // A quote, a backslash, a slash: all of them short.
            Some(other) => u16::try_from(u32::from(other)).unwrap_or(0xfffd),
            None => 0xfffd,
        });
    }
    String::from_utf16_lossy(&units).into()
}
