//! Sessions outside the pump, as an operator sees them: each has a task of its own, and keeps a
//! line here up to date. (The pump is asked.)

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Audience;
use super::report::{Delivery, Glimpse};
use crate::feed::FeedHandle;
use crate::feed::frame::Framing;
use crate::gate::SeatNumber;

/// In place of an index: it is in catch-up.
const CATCHING_UP: u64 = u64::MAX;

/// The lines of all.
#[derive(Debug, Default)]
pub(super) struct Roll(Mutex<HashMap<SeatNumber, Arc<Line>>>);

#[derive(Debug)]
struct Line {
    of: Arc<Audience>,
    framing: Framing,
    feed: Arc<FeedHandle>,
    events: AtomicU64,
    bytes: AtomicU64,
    /// Where it is in its feed, or that it is in catch-up.
    index: AtomicU64,
    /// In catch-up: records that it has still to pass, as far as it knows.
    behind: AtomicU64,
}

/// A session's own line. It is struck out when this is dropped.
#[derive(Debug)]
pub(super) struct Enrolled {
    roll: Arc<Roll>,
    number: SeatNumber,
    line: Arc<Line>,
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.roll.lines().remove(&self.number);
    }
}

impl Enrolled {
    /// What it has been given so far.
    pub(super) fn has_got(&self, got: super::Got) {
        self.line.events.store(got.events, Ordering::Relaxed);
        self.line.bytes.store(got.bytes, Ordering::Relaxed);
    }

    /// It is live, here.
    pub(super) fn is_at(&self, index: u64) {
        self.line.index.store(index, Ordering::Relaxed);
    }

    /// It is in catch-up, and so many records are still to be passed.
    pub(super) fn is_behind(&self, records: u64) {
        self.line.index.store(CATCHING_UP, Ordering::Relaxed);
        self.line.behind.store(records, Ordering::Relaxed);
    }
}

impl Roll {
    /// A line for this session, which is in catch-up until it says something else.
    pub(super) fn enrol(
        self: &Arc<Self>,
        number: SeatNumber,
        (of, framing, feed): (&Arc<Audience>, Framing, &Arc<FeedHandle>),
    ) -> Enrolled {
        let line = Arc::new(Line {
            of: Arc::clone(of),
            framing,
            feed: Arc::clone(feed),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            index: AtomicU64::new(CATCHING_UP),
            behind: AtomicU64::new(0),
        });
        self.lines().insert(number, Arc::clone(&line));
        Enrolled { roll: Arc::clone(self), number, line }
    }

    /// What all lines say.
    pub(super) fn glimpses(&self) -> Vec<Glimpse> {
        let lines: Vec<_> = self.lines().iter().map(|(n, line)| (*n, Arc::clone(line))).collect();
        lines.into_iter().map(|(number, line)| line.glimpse(number)).collect()
    }

    /// Records that the one in catch-up that is furthest behind has still to pass.
    pub(super) fn furthest_behind(&self) -> u64 {
        let is_behind = |line: &&Arc<Line>| line.index.load(Ordering::Relaxed) == CATCHING_UP;
        let lines = self.lines();
        let behind = lines.values().filter(is_behind).map(|l| l.behind.load(Ordering::Relaxed));
        behind.max().unwrap_or(0)
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<SeatNumber, Arc<Line>>> {
        self.0.lock().expect("no holder panics")
    }
}

impl Line {
    fn glimpse(&self, number: SeatNumber) -> Glimpse {
        let index = self.index.load(Ordering::Relaxed);
        let (delivery, behind) = match index {
            CATCHING_UP => (Delivery::CatchUp, self.behind.load(Ordering::Relaxed)),
            index => (Delivery::Body, self.feed.now().index.saturating_sub(index)),
        };
        Glimpse {
            number,
            of: Arc::clone(&self.of),
            delivery,
            framing: self.framing,
            events: self.events.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            behind,
            places: None,
        }
    }
}
