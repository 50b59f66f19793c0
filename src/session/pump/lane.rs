//! Readers to whom the same bytes go: one feed, one way of writing it.
//!
//! ```text
//!  ring:   … e e e │ e e e │            batch: what came since the last pass
//!              lane.at     head
//!  readers: at lane.at (most), or behind it with a place of their own (a full socket)
//! ```
//! Knows places and bytes; sockets are the shard's.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;

use super::super::carry::Session;
use super::super::catchup::Shared;
use super::super::report::{Delivery, Glimpse};
use super::super::{Audience, Got};
use super::batch::{Manner, Measure, Next, collect};
use super::bell::{Bell, Waking};
use super::reader::{Lag, Reader};
use super::slots::Slots;
use crate::feed::vector::Cursor;
use crate::feed::{FeedHandle, Paced};

/// The readers of a feed who are written to in one manner.
pub(super) struct Lane {
    pub(super) feed: Arc<FeedHandle>,
    pub(super) manner: Manner,
    /// Where all readers stand that have no place of their own.
    pub(super) at: Cursor,
    pub(super) readers: Slots<Reader>,
    /// What readers without a place of their own have got since the lane began.
    pub(super) got: Got,
    /// What all sessions here share.
    pub(super) audience: Arc<Audience>,
    pub(super) shared: Arc<Shared>,
    /// A reader is outside the shared run of its encoding and waits for a join point.
    pub(super) wants_join: bool,
    /// What the feed waits for before it goes on, when it is in a hurry.
    pub(super) pace: Paced,
    head: WatchStream<u64>,
    waker: Waker,
}

fn manner(session: &Session) -> Manner {
    Manner {
        framing: session.state.framing(),
        transfer: session.transfer,
        gap_events: session.gap_events,
        encoding: session.packed.as_ref().map(|packed| packed.encoding()),
    }
}

impl Lane {
    /// The lane that a session needs.
    pub(super) fn new(session: &Session, bell: &Arc<Bell>, number: u32) -> Self {
        let waker = Waker::from(Arc::new(Waking { bell: Arc::clone(bell), lane: Some(number) }));
        Self {
            feed: Arc::clone(&session.feed),
            manner: manner(session),
            at: session.cursor.clone(),
            readers: Slots::new(),
            got: Got::default(),
            audience: Arc::clone(&session.presence.of),
            shared: Arc::clone(&session.shared),
            wants_join: false,
            pace: session.feed.is_written_by(waker.clone()),
            head: WatchStream::new(session.feed.watch()),
            waker,
        }
    }

    /// Whether a session's bytes are those of this lane.
    pub(super) fn fits(&self, session: &Session) -> bool {
        self.feed.is(&session.feed) && self.manner == manner(session)
    }

    /// What its readers are doing.
    pub(super) fn glimpses(&mut self) -> impl Iterator<Item = Glimpse> {
        let Self { feed, manner, at, readers, got, audience, .. } = self;
        let head = feed.now();
        readers.iter_mut().map(move |(_, reader)| {
            let at = reader.lag.as_ref().map_or(&*at, |lag| &lag.cursor).clone();
            let Got { events, bytes } = reader.got(*got);
            Glimpse {
                number: reader.presence.permit.number(),
                of: Arc::clone(audience),
                delivery: Delivery::Pump,
                framing: manner.framing,
                events,
                bytes,
                behind: head.index.saturating_sub(at.index),
                places: Some((at, head.clone())),
            }
        })
    }

    /// From now on the next entry of the feed rings the bell. Before looking, so that none between
    /// the look and the wait is missed.
    pub(super) fn listen(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        while let Poll::Ready(Some(_)) = std::pin::Pin::new(&mut self.head).poll_next(&mut cx) {}
    }

    /// Answers the feed, if it waits and all are where it wants them. False: some are not.
    pub(super) fn answers(&mut self, now: Instant) -> bool {
        let Some(index) = self.pace.asked() else { return true };
        let least = self.pace.least_bytes_s();
        let is_behind = |lag: &Lag| lag.cursor.index < index && lag.keeps_pace(now, least);
        let behind = self.at.index < index
            || self.readers.iter_mut().any(|(_, r)| r.lag.as_deref().is_some_and(is_behind));
        if !behind {
            self.pace.answer();
        }
        !behind
    }

    /// What came since the last pass.
    pub(super) fn next(&mut self, bytes: usize) -> Next {
        let join = std::mem::take(&mut self.wants_join);
        let most = Measure { bytes, frames: usize::MAX };
        collect(&self.feed, self.manner, (&self.at, u64::MAX), most, join)
    }

    /// What a reader behind the lane still has to get from the ring, or a part of it.
    pub(super) fn missed(&self, from: &Cursor, most: Measure) -> Next {
        collect(&self.feed, self.manner, (from, self.at.index), most, false)
    }
}
