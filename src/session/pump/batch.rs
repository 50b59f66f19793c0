//! A run of a feed's entries as the bytes that go to many readers, and where each of them stands
//! when it took only a part.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::super::{Framing, carry::Transfer, frames};
use crate::feed::FeedHandle;
use crate::feed::encode::{self, Encoding, Piece};
use crate::feed::frame::Frame;
use crate::feed::ring::{Entry, Found};
use crate::feed::vector::Cursor;
use crate::position::gap::Gap;

/// How a feed is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Manner {
    pub(super) framing: Framing,
    pub(super) transfer: Transfer,
    pub(super) gap_events: bool,
    pub(super) encoding: Option<Encoding>,
}

impl Manner {
    /// Bytes of a response as they go out.
    pub(super) fn wrap(self, bytes: &[u8]) -> Bytes {
        match self.transfer {
            Transfer::Chunked => Frame::from(bytes).chunk().clone(),
            Transfer::UntilClose => Bytes::copy_from_slice(bytes),
        }
    }

    /// What an entry of the ring is to readers without an encoding.
    fn show(self, entry: &Entry) -> Option<Bytes> {
        match entry {
            Entry::Passed => None,
            Entry::Gap(_) => Some(self.wrap(&self.plain(entry)?)),
            Entry::Event { sse, line } => Some(match (self.framing, self.transfer) {
                (Framing::Sse, Transfer::Chunked) => sse.chunk().clone(),
                (Framing::Sse, Transfer::UntilClose) => sse.plain(),
                (Framing::Ndjson, Transfer::Chunked) => self.wrap(line),
                (Framing::Ndjson, Transfer::UntilClose) => line.clone(),
            }),
        }
    }

    /// The text that an entry of the ring is.
    fn plain(self, entry: &Entry) -> Option<Bytes> {
        match entry {
            Entry::Passed => None,
            Entry::Gap(gap) => {
                self.gap_events.then(|| frames::gap(self.framing, std::slice::from_ref(gap)))
            }
            Entry::Event { sse, line } => Some(match self.framing {
                Framing::Sse => sse.plain(),
                Framing::Ndjson => line.clone(),
            }),
        }
    }
}

/// One frame of a batch.
#[derive(Debug)]
pub(super) struct Part {
    /// Where it ends in the batch's bytes.
    end: usize,
    /// Events of the batch up to and with it.
    events: u64,
    /// The place in the feed after it.
    after: Cursor,
    /// With an encoding: its text, and what the feed has compressed it to.
    pub(super) packed: Option<(Bytes, Option<Piece>)>,
}

/// A run of entries.
#[derive(Debug)]
pub(super) struct Batch {
    /// What goes to who has no encoding, or is inside the shared run of its own.
    pub(super) bytes: Bytes,
    /// How many of the entries are events.
    pub(super) events: u64,
    pub(super) parts: Vec<Part>,
    /// What nobody will get, by its place in the feed.
    gaps: Vec<(u64, Arc<Gap>)>,
    /// The place after all of it.
    pub(super) end: Cursor,
}

/// Where a reader stands that took a part of a batch.
pub(super) struct Stand {
    /// The place after the frame that it is inside.
    pub(super) cursor: Cursor,
    /// What it still has to get of that frame.
    pub(super) rest: Bytes,
    /// How many frames it has begun.
    pub(super) begun: usize,
    /// How many of them are events.
    pub(super) events: u64,
}

impl Batch {
    /// After `n` bytes. `start`: where the reader stood before the batch.
    pub(super) fn after(&self, n: usize, start: &Cursor) -> Stand {
        let whole = self.parts.partition_point(|part| part.end <= n);
        let end = whole.checked_sub(1).map_or(0, |last| self.parts[last].end);
        match self.parts.get(whole) {
            Some(part) if n > end => Stand {
                cursor: part.after.clone(),
                rest: self.rest(n, part.end),
                begun: whole + 1,
                events: part.events,
            },
            _ => {
                let last = whole.checked_sub(1).map(|last| &self.parts[last]);
                let cursor = last.map_or(start, |last| &last.after).clone();
                let events = last.map_or(0, |last| last.events);
                Stand { cursor, rest: Bytes::new(), begun: whole, events }
            }
        }
    }

    /// The rest of a frame. Of several it is copied: a slow reader never holds a whole batch.
    fn rest(&self, from: usize, to: usize) -> Bytes {
        let rest = self.bytes.slice(from..to);
        if self.parts.len() > 1 { Bytes::copy_from_slice(&rest) } else { rest }
    }

    /// What a reader has not got that stands at `at` now.
    pub(super) fn gaps_before(&self, at: &Cursor) -> impl Iterator<Item = &Gap> {
        let before = self.gaps.iter().take_while(|(index, _)| *index < at.index);
        before.map(|(_, gap)| &**gap)
    }

    /// A reader's state after the first `parts` of the batch, if it is inside and they are just
    /// what it needs.
    pub(super) fn taken_by(&self, reader: &encode::Reader, parts: usize) -> Option<encode::Reader> {
        let mut reader = *reader;
        let mut pieces = self.parts[..parts].iter();
        let all = pieces.all(|part| match &part.packed {
            Some((_, Some(piece))) => reader.is_inside() && reader.take(piece) == Some(0),
            _ => false,
        });
        all.then_some(reader)
    }
}

/// What there is from a place of a feed on.
pub(super) enum Next {
    /// Nothing yet.
    Nothing,
    /// It has left the ring.
    Behind,
    /// This.
    Batch(Batch),
}

/// How much is taken at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) bytes: usize,
    pub(super) frames: usize,
}

/// Entries from `from` on: at least one frame, if there is one; none beyond index `until`. `join`:
/// a reader waits for a join point.
pub(super) fn collect(
    feed: &FeedHandle,
    manner: Manner,
    (from, until): (&Cursor, u64),
    most: Measure,
    join: bool,
) -> Next {
    let ring = feed.ring();
    let entries = match ring.find(from.index) {
        _ if from.index >= until => return Next::Nothing,
        Found::AtHead => return Next::Nothing,
        Found::Behind => return Next::Behind,
        Found::Entries(entries) => entries,
    };
    let (mut index, mut events, mut size) = (from.index, 0, 0);
    let (mut shown, mut parts, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    let room = usize::try_from(until - from.index).unwrap_or(usize::MAX);
    for entry in entries.take(room) {
        if let Entry::Gap(gap) = entry {
            gaps.push((index, Arc::clone(gap)));
        }
        index += 1;
        let bytes = match manner.encoding {
            None => manner.show(entry),
            Some(_) => manner.plain(entry),
        };
        let Some(bytes) = bytes else { continue };
        events += u64::from(matches!(entry, Entry::Event { .. }));
        size += bytes.len();
        shown.push(bytes);
        parts.push(Part { end: 0, events, after: ring.cursor(index), packed: None });
        if size >= most.bytes || shown.len() >= most.frames {
            break;
        }
    }
    let end = ring.cursor(index);
    drop(ring);
    if let Some(encoding) = manner.encoding {
        let run = (manner.framing, encoding.coding());
        let mut pieces = feed.pieces(run, (from.index, index), join);
        for (part, plain) in parts.iter_mut().zip(&mut shown) {
            let place = usize::try_from(part.after.index - 1 - from.index).expect("in the batch");
            let piece = pieces.get_mut(place).and_then(Option::take);
            let text = std::mem::take(plain);
            if let Some(piece) = &piece {
                *plain = manner.wrap(&piece.bytes);
            }
            part.packed = Some((text, piece));
        }
    }
    let bytes = joined(&shown);
    let mut at = 0;
    for (part, bytes) in parts.iter_mut().zip(&shown) {
        at += bytes.len();
        part.end = at;
    }
    Next::Batch(Batch { bytes, events, parts, gaps, end })
}

/// One frame goes out as it is in the ring; several are copied together, once for all.
fn joined(frames: &[Bytes]) -> Bytes {
    match frames {
        [] => Bytes::new(),
        [one] => one.clone(),
        several => {
            let mut all = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
            several.iter().for_each(|frame| all.extend_from_slice(frame));
            all.freeze()
        }
    }
}
