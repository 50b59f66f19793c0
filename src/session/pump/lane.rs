//! Readers to whom the same bytes go: one feed, one way of writing it.
//!
//! ```text
//!  ring:   … e e e │ e e e │            batch: what came since the last pass, joined
//!              lane.at     head
//!  readers: at lane.at (most), or behind it with a place of their own (a full socket)
//! ```
//! Knows bytes and cursors; sockets are the shard's.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio_stream::wrappers::WatchStream;

use super::super::carry::{Session, Transfer};
use super::super::catchup::Shared;
use super::super::{Audience, Framing, frames};
use super::Reader;
use super::bell::{Bell, LaneWaker};
use super::slots::Slots;
use crate::feed::FeedHandle;
use crate::feed::frame::Frame;
use crate::feed::ring::{Entry, Found};
use crate::feed::vector::Cursor;

/// How a feed is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Manner {
    pub(super) framing: Framing,
    pub(super) transfer: Transfer,
    pub(super) gap_events: bool,
}

impl Manner {
    pub(super) fn of(session: &Session) -> Self {
        let framing = session.state.terms().framing;
        Self { framing, transfer: session.transfer, gap_events: session.gap_events }
    }

    /// Bytes that are no event, as they go out.
    pub(super) fn wrap(self, bytes: &[u8]) -> Bytes {
        match self.transfer {
            Transfer::Chunked => Frame::from(bytes).chunk().clone(),
            Transfer::UntilClose => Bytes::copy_from_slice(bytes),
        }
    }

    /// What an entry of the ring is to these readers.
    fn show(self, entry: &Entry) -> Option<Bytes> {
        match entry {
            Entry::Passed => None,
            Entry::Gap(gap) => self.gap_events.then(|| {
                let said = frames::gap(self.framing, std::slice::from_ref(gap));
                self.wrap(&said)
            }),
            Entry::Event { sse, line } => Some(match (self.framing, self.transfer) {
                (Framing::Sse, Transfer::Chunked) => sse.chunk().clone(),
                (Framing::Sse, Transfer::UntilClose) => sse.plain(),
                (Framing::Ndjson, Transfer::Chunked) => self.wrap(line),
                (Framing::Ndjson, Transfer::UntilClose) => line.clone(),
            }),
        }
    }
}

/// One frame of a batch.
#[derive(Debug)]
struct Part {
    /// Where it ends in the batch's bytes.
    end: usize,
    /// The place in the feed after it.
    after: Cursor,
}

/// A run of entries as bytes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Bytes,
    /// How many of them are events.
    pub(super) events: u64,
    parts: Vec<Part>,
    /// The place after all of it.
    pub(super) end: Cursor,
}

impl Batch {
    /// Where a reader stands that has taken `n` bytes, and the rest of the frame that it is
    /// inside. `start`: where it stood before the batch.
    pub(super) fn after(&self, n: usize, start: &Cursor) -> (Cursor, Bytes) {
        let place = self.parts.partition_point(|part| part.end <= n);
        let begun = place.checked_sub(1).map_or(0, |before| self.parts[before].end);
        match self.parts.get(place) {
            Some(part) if n > begun => (part.after.clone(), self.bytes.slice(n..part.end)),
            _ if place == 0 => (start.clone(), Bytes::new()),
            _ => (self.parts[place - 1].after.clone(), Bytes::new()),
        }
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

/// Entries from `from` on as bytes: at least one frame, if there is one, and about `bytes_max` of
/// bytes or `frames_max` frames; none beyond index `until`.
pub(super) fn collect(
    feed: &FeedHandle,
    manner: Manner,
    (from, until): (&Cursor, u64),
    (bytes_max, frames_max): (usize, usize),
) -> Next {
    let ring = feed.ring();
    let entries = match ring.find(from.index) {
        _ if from.index >= until => return Next::Nothing,
        Found::AtHead => return Next::Nothing,
        Found::Behind => return Next::Behind,
        Found::Entries(entries) => entries,
    };
    let (mut index, mut events, mut parts) = (from.index, 0, Vec::new());
    let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
    let room = usize::try_from(until - from.index).unwrap_or(usize::MAX);
    for entry in entries.take(room) {
        index += 1;
        let Some(bytes) = manner.show(entry) else { continue };
        events += u64::from(matches!(entry, Entry::Event { .. }));
        // One frame goes out as it is in the ring; several are copied together, once for all.
        match parts.len() {
            0 => first = bytes,
            1 => {
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&bytes);
            }
            _ => joined.extend_from_slice(&bytes),
        }
        let end = if parts.is_empty() { first.len() } else { joined.len() };
        parts.push(Part { end, after: ring.cursor(index) });
        if end >= bytes_max || parts.len() >= frames_max {
            break;
        }
    }
    let bytes = if parts.len() > 1 { joined.freeze() } else { first };
    Next::Batch(Batch { bytes, events, parts, end: ring.cursor(index) })
}

/// The readers of a feed who are written to in one manner.
pub(super) struct Lane {
    pub(super) feed: Arc<FeedHandle>,
    pub(super) manner: Manner,
    /// Where all readers stand that have no place of their own.
    pub(super) at: Cursor,
    pub(super) readers: Slots<Reader>,
    /// What all sessions here share.
    pub(super) audience: Arc<Audience>,
    pub(super) shared: Arc<Shared>,
    head: WatchStream<u64>,
    waker: Waker,
}

impl Lane {
    /// The lane that a session needs.
    pub(super) fn new(session: &Session, bell: &Arc<Bell>, number: u32) -> Self {
        Self {
            feed: Arc::clone(&session.feed),
            manner: Manner::of(session),
            at: session.cursor.clone(),
            readers: Slots::new(),
            audience: Arc::clone(&session.presence.of),
            shared: Arc::clone(&session.shared),
            head: WatchStream::new(session.feed.watch()),
            waker: Waker::from(Arc::new(LaneWaker { bell: Arc::clone(bell), lane: number })),
        }
    }

    /// Whether a session's bytes are those of this lane.
    pub(super) fn fits(&self, session: &Session) -> bool {
        self.feed.is(&session.feed) && self.manner == Manner::of(session)
    }

    /// From now on the next entry of the feed rings the bell. Before looking, so that none between
    /// the look and the wait is missed.
    pub(super) fn listen(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        while let Poll::Ready(Some(_)) = std::pin::Pin::new(&mut self.head).poll_next(&mut cx) {}
    }

    /// What came since the last pass.
    pub(super) fn next(&self, bytes_max: usize) -> Next {
        collect(&self.feed, self.manner, (&self.at, u64::MAX), (bytes_max, usize::MAX))
    }

    /// What a reader behind the lane still has to get from the ring, or a part of it.
    pub(super) fn missed(&self, from: &Cursor, bytes_max: usize, frames_max: usize) -> Next {
        collect(&self.feed, self.manner, (from, self.at.index), (bytes_max, frames_max))
    }
}
