//! How fast the tail may go while the pump still writes what it has told.
//!
//! ```text
//!  tail ─▶ ring │▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒│        │        │      stretches, less than a quarter each
//!               a lane still here ┘        └ the hub, before it fills the next one: waits
//! ```
//! After an outage a source tells hundreds of thousands of records a second. Without a pace they
//! would go through the ring before the pump has made one pass, and every live reader would fall
//! off. So who follows the tail waits, with a stretch of the ring filled, until the lanes of the
//! pump have left the stretch before, and with them those readers that take bytes that fast.
//!
//! It never waits long: at its least pace (`limits.tail_least_kb_s`) the tail goes on, whoever is
//! behind. What readers can slow is therefore only a tail that is far behind, and only down to
//! that. Below this rate nothing is looked at but a counter. Knows no readers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Hub;
use crate::event::{Record, TopicName};
use crate::source::TailEvent;

/// A stretch is one of so many parts of a ring, or more by less than another: of a burst as much is
/// put at once. Two of them together leave half of the ring to readers that are behind.
const PARTS: usize = 8;

/// The pace of one feed.
#[derive(Debug)]
pub(super) struct Pace {
    lanes: Mutex<Vec<Arc<Asked>>>,
    /// How many there are; read for every record.
    laned: AtomicUsize,
    stretch: Mutex<Stretch>,
    answers: Notify,
    /// Bytes of records a second at which it never waits.
    least_bytes_s: u64,
}

/// What has been put into the ring since it was last looked at.
#[derive(Debug)]
struct Stretch {
    /// Bytes of records.
    records: u64,
    /// Where it began: bytes of frames ever put, and the ring's index.
    frames_before: u64,
    begin: u64,
    since: Instant,
}

/// A stretch of the ring is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Full {
    /// Where those should be that are to see the next one.
    index: u64,
    /// It goes on then.
    deadline: Instant,
}

/// What a lane was asked: whether it has come to this index. 0: nothing.
#[derive(Debug)]
struct Asked {
    index: AtomicU64,
    waker: Waker,
}

/// A lane of the pump, as the feed's pace sees it.
#[derive(Debug)]
pub struct Paced {
    pace: Arc<Pace>,
    asked: Arc<Asked>,
}

impl Pace {
    pub(super) fn new(least_bytes_s: u64) -> Arc<Self> {
        let since = Instant::now();
        let stretch = Stretch { records: 0, frames_before: 0, begin: 0, since };
        Arc::new(Self {
            lanes: Mutex::default(),
            laned: AtomicUsize::new(0),
            stretch: Mutex::new(stretch),
            answers: Notify::new(),
            least_bytes_s,
        })
    }

    /// A lane is written to from now on. `waker` makes it look what it was asked.
    pub(super) fn join(self: &Arc<Self>, waker: Waker) -> Paced {
        let asked = Arc::new(Asked { index: AtomicU64::new(0), waker });
        let mut lanes = self.lanes.lock().expect("no holder panics");
        lanes.push(Arc::clone(&asked));
        self.laned.store(lanes.len(), Ordering::Release);
        Paced { pace: Arc::clone(self), asked }
    }

    /// Whether anybody is waited for.
    pub(super) fn is_kept(&self) -> bool {
        self.laned.load(Ordering::Acquire) > 0
    }

    /// Records of so many bytes were put into the ring. `frames`: bytes of frames ever put;
    /// `head`: the index after them; `ring`: bytes that it keeps.
    pub(super) fn put(
        &self,
        records: u64,
        (frames, head): (u64, u64),
        ring: usize,
    ) -> Option<Full> {
        if !self.is_kept() {
            return None;
        }
        let mut stretch = self.stretch.lock().expect("no holder panics");
        stretch.records += records;
        if frames - stretch.frames_before < (ring / PARTS) as u64 {
            return None;
        }
        let now = Instant::now();
        let fresh = Stretch { records: 0, frames_before: frames, begin: head, since: now };
        let full = std::mem::replace(&mut *stretch, fresh);
        let at_least = Duration::from_secs_f64(full.records as f64 / self.least_bytes_s as f64);
        let deadline = full.since + at_least;
        (now < deadline).then_some(Full { index: full.begin, deadline })
    }

    /// Until all lanes have come so far, or its deadline.
    pub(super) async fn keep(&self, full: Full) {
        let asked: Vec<_> = {
            let lanes = self.lanes.lock().expect("no holder panics");
            lanes.iter().for_each(|lane| lane.index.store(full.index, Ordering::Release));
            lanes.clone()
        };
        asked.iter().for_each(|lane| lane.waker.wake_by_ref());
        let answered = async {
            loop {
                let answer = self.answers.notified();
                tokio::pin!(answer);
                // Before the look, so that no answer is missed.
                answer.as_mut().enable();
                if asked.iter().all(|lane| lane.index.load(Ordering::Acquire) == 0) {
                    return;
                }
                answer.await;
            }
        };
        let _ = timeout_at(full.deadline, answered).await;
        asked.iter().for_each(|lane| lane.index.store(0, Ordering::Release));
    }
}

impl Paced {
    /// The index that it was asked for and has not answered.
    #[must_use]
    pub fn asked(&self) -> Option<u64> {
        let index = self.asked.index.load(Ordering::Acquire);
        (index > 0).then_some(index)
    }

    /// Bytes a second at which the tail never waits.
    #[must_use]
    pub fn least_bytes_s(&self) -> u64 {
        self.pace.least_bytes_s
    }

    /// All who are to be waited for have come to the index.
    pub fn answer(&self) {
        self.asked.index.store(0, Ordering::Release);
        self.pace.answers.notify_waiters();
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        let mut lanes = self.pace.lanes.lock().expect("no holder panics");
        lanes.retain(|lane| !Arc::ptr_eq(lane, &self.asked));
        self.pace.laned.store(lanes.len(), Ordering::Release);
        drop(lanes);
        self.answer();
    }
}

impl Hub {
    /// Takes one thing that the tail told, at a pace at which the pump can follow.
    pub(super) async fn follow(&self, event: TailEvent) {
        let TailEvent::Records { tp, records, next } = event else { return self.apply(event) };
        let mut records = records.into_iter().peekable();
        loop {
            let most = if records.len() > 1 { self.portion(&tp.topic) } else { None };
            let (mut portion, mut bytes) = (Vec::with_capacity(records.len()), 0);
            while let Some(record) = records.next_if(|_| most.is_none_or(|(most, _)| bytes < most))
            {
                bytes += record.size_bytes() + most.map_or(0, |(_, around)| around);
                portion.push(record);
            }
            let last = portion.last().map(|record: &Record| record.offset.next());
            let until = match (last, records.peek()) {
                (Some(last), Some(_)) => last,
                _ => next,
            };
            for (feed, full) in self.pass(&tp, portion, until) {
                feed.pace.keep(full).await;
            }
            if records.peek().is_none() {
                return;
            }
        }
    }

    /// What may be put at once into the smallest ring that somebody writes: its bytes, and what an
    /// event has around its line.
    fn portion(&self, topic: &TopicName) -> Option<(usize, usize)> {
        let state = self.lock();
        let feeds = state.feeds_of(topic).filter(|feed| feed.pace.is_kept());
        let portions = feeds.map(|feed| {
            let ring = feed.ring();
            (ring.weight_max() / PARTS, ring.weight_around())
        });
        portions.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

#[cfg(test)]
mod tests;
