//! Which parts of a text go, and what stands there instead.

use std::ops::Range;
use std::sync::Arc;

use super::paths::Paths;
use super::walk::{self, Member, Visitor};

/// A rule's number, and what it puts in the place of a value; `None`: the member goes.
type Edit = (usize, Option<Arc<str>>);

/// In order and apart.
#[derive(Debug)]
pub(super) struct Edits {
    all: Vec<(Range<usize>, Arc<str>)>,
}

impl Edits {
    /// What the rules that match do to a text, which is JSON.
    pub(super) fn of(text: &[u8], paths: &Paths<Edit>, matched: &[bool]) -> Self {
        let mut editor = Editor { matched, nothing: "".into(), all: Vec::new(), open: Vec::new() };
        let read = walk::walk(text, paths, &mut editor);
        debug_assert!(read.is_some(), "it was looked at before");
        Self { all: editor.all }
    }

    /// The text with them.
    pub(super) fn applied(&self, text: &[u8]) -> Vec<u8> {
        let more: usize = self.all.iter().map(|(_, instead)| instead.len()).sum();
        let mut out = Vec::with_capacity(text.len() + more);
        let mut copied = 0;
        for (range, instead) in &self.all {
            out.extend_from_slice(&text[copied..range.start]);
            out.extend_from_slice(instead.as_bytes());
            copied = range.end;
        }
        out.extend_from_slice(&text[copied..]);
        out
    }
}

struct Editor<'a> {
    matched: &'a [bool],
    nothing: Arc<str>,
    all: Vec<(Range<usize>, Arc<str>)>,
    open: Vec<Object>,
}

/// An object that is being read.
#[derive(Default)]
struct Object {
    /// Where the last member ended that stays.
    kept: Option<usize>,
    /// What goes before the first member that stays.
    cut: Option<Range<usize>>,
}

impl Editor<'_> {
    /// What is done to a member: taking out comes before putting in, the first rule before others.
    fn edit<'e>(&self, at: &'e [Edit]) -> Option<&'e Edit> {
        let ours = || at.iter().filter(|(rule, _)| self.matched[*rule]);
        ours().find(|(_, instead)| instead.is_none()).or_else(|| ours().next())
    }

    fn object(&mut self) -> &mut Object {
        self.open.last_mut().expect("a member is inside of an object")
    }

    /// A member that stays begins here: what goes before it goes with its comma.
    fn stays(&mut self, key_start: usize) {
        if let Some(cut) = self.object().cut.take() {
            self.all.push((cut.start..key_start, Arc::clone(&self.nothing)));
        }
    }

    /// A member goes. If one stays before it, the comma between them goes.
    fn goes(&mut self, key_start: usize, end: usize) {
        let object = self.object();
        let Some(kept) = object.kept else {
            let start = object.cut.as_ref().map_or(key_start, |cut| cut.start);
            object.cut = Some(start..end);
            return;
        };
        match self.all.last_mut() {
            Some((range, instead)) if range.start == kept && instead.is_empty() => range.end = end,
            _ => self.all.push((kept..end, Arc::clone(&self.nothing))),
        }
    }
}

impl Visitor<Edit> for Editor<'_> {
    fn member(&mut self, at: &[Edit], key_start: usize) -> Member {
        match self.edit(at) {
            Some(_) => Member::Pass,
            None => {
                self.stays(key_start);
                Member::Enter
            }
        }
    }

    fn passed(&mut self, at: &[Edit], key_start: usize, (start, end): (usize, usize)) {
        match self.edit(at) {
            Some((_, Some(instead))) => {
                let instead = Arc::clone(instead);
                self.stays(key_start);
                self.all.push((start..end, instead));
                self.object().kept = Some(end);
            }
            _ => self.goes(key_start, end),
        }
    }

    fn kept(&mut self, end: usize) {
        // The outermost value is nobody's member.
        if let Some(object) = self.open.last_mut() {
            object.kept = Some(end);
        }
    }

    fn opens(&mut self) {
        self.open.push(Object::default());
    }

    fn closes(&mut self) {
        if let Some(cut) = self.open.pop().and_then(|object| object.cut) {
            self.all.push((cut, Arc::clone(&self.nothing)));
        }
    }
}
