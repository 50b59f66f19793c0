//! From what a source tells to frames that can be written.
//!
//! ```text
//!  source.tail ─▶ Hub ── tails: where each partition stands, the last records
//!                  │
//!                  ├──▶ feed {a}    ring: frames + vector ──▶ sessions
//!                  └──▶ feed {a,b}  ring: frames + vector ──▶ sessions
//!  source.read ─▶ history: shared range reads ──▶ sessions in catch-up
//! ```
//! The hub applies one event of the tail to everything under one lock. So a feed's vector is, at
//! every moment, where the tails of its partitions stand: there is no queue between the two that
//! could be behind or lose something. Knows no reader and no HTTP.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalog::Selection;
use crate::event::{LogTag, Offset, Record, TimestampMs, TopicName, TopicPartition};
use crate::limits;
use crate::metrics::{BySource, Metrics};
use crate::position::gap::{Gap, GapReason};
use crate::position::{PartitionPosition, PositionTime};
use crate::source::{Loss, TailEvent};

pub mod encode;
mod encoded;
mod follow;
pub mod frame;
pub mod history;
pub mod lines;
mod pace;
pub mod recent;
pub mod redact;
pub mod render;
pub mod ring;
mod standing;
pub mod tail;
pub mod vector;

use encode::{Coding, Piece};
use encoded::Runs;
use frame::Framing;
use lines::Lines;
pub use pace::Paced;
use pace::{Full, Pace};
use recent::Recent;
use ring::Ring;
pub use standing::Standing;
use tail::{Remembered, TailRecord, Tails};
use vector::{Carried, Cursor, Slot, Vector};

/// What is known of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceState {
    /// It has said once which topics there are.
    pub surveyed: bool,
    /// It is out of reach: what it said last.
    pub down: Option<String>,
}

/// Bounds of the hub that an operator may change.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes of frames in each feed's ring.
    pub ring_bytes: usize,
    /// Bytes of records and their lines in memory, all partitions together.
    pub tail_bytes: usize,
    /// Feeds at the same time.
    pub feeds_max: usize,
    /// Bytes of records a second at which the tail never waits for readers.
    pub tail_least_bytes_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ring_bytes: limits::RING_BYTES_MAX,
            tail_bytes: limits::TAIL_BYTES_MAX,
            feeds_max: limits::FEEDS_MAX,
            tail_least_bytes_s: limits::TAIL_LEAST_BYTES_S,
        }
    }
}

/// One feed: a set of topics that somebody reads live.
#[derive(Debug)]
pub struct Feed {
    topics: Vec<TopicName>,
    ring: Mutex<Ring>,
    runs: Runs,
    /// The ring's head index; who waits for entries watches it.
    head: watch::Sender<u64>,
    pace: Arc<Pace>,
    readers: AtomicUsize,
    /// When the last reader left.
    idle_since: Mutex<Instant>,
    /// Whom it is charged to.
    #[allow(dead_code, reason = "only its drop counts")]
    charge: Charge,
}

impl Feed {
    /// The ring, for a short look.
    pub fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no holder panics")
    }

    /// The place after the last entry. Everything that is acknowledged from now on lies behind it.
    #[must_use]
    pub fn now(&self) -> Cursor {
        self.ring().head()
    }

    /// What the entries `from .. until` are compressed to, in their order. `None`: the entry shows
    /// nothing, or was passed before anybody asked; fewer: there is no room for an encoder.
    /// `join`: a reader waits for a join point.
    #[must_use]
    pub fn pieces(
        &self,
        run: (Framing, Coding),
        entries: (u64, u64),
        join: bool,
    ) -> Vec<Option<Piece>> {
        self.runs.pieces(&self.ring, run, entries, join)
    }

    /// Says when the head moves.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Somebody writes to readers from now on, and a tail that is far behind is to wait for them.
    /// `waker` makes them look what they were asked.
    #[must_use]
    pub fn is_written_by(&self, waker: Waker) -> Paced {
        self.pace.join(waker)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = self.ring();
        let changed = change(&mut ring);
        let head = ring.head_index();
        drop(ring);
        self.head.send_replace(head);
        changed
    }
}

/// A reader's hold on a feed: while there is one the feed stays.
#[derive(Debug)]
pub struct FeedHandle(Arc<Feed>);

impl FeedHandle {
    /// Whether both are of the same feed.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::ops::Deref for FeedHandle {
    type Target = Feed;

    fn deref(&self) -> &Feed {
        &self.0
    }
}

impl Drop for FeedHandle {
    fn drop(&mut self) {
        *self.0.idle_since.lock().expect("no holder panics") = Instant::now();
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a feed holds as long as it exists, for whoever counts what is started.
pub type Charge = Box<dyn Any + Send + Sync>;

/// No further feed can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFeed<E> {
    /// As many feeds as may exist do.
    TooMany,
    /// It may not be started, as who counts them said.
    Refused(E),
}

#[derive(Debug)]
struct State {
    tails: Tails,
    feeds: HashMap<Selection, Arc<Feed>>,
}

impl State {
    fn feeds_of<'a>(&'a self, topic: &'a TopicName) -> impl Iterator<Item = &'a Arc<Feed>> {
        self.feeds.values().filter(move |f| f.topics.binary_search(topic).is_ok())
    }
}

/// The tails of a source and the feeds made of them.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    source_state: watch::Sender<SourceState>,
    lines: Arc<Lines>,
    settings: Settings,
    metrics: Arc<Metrics>,
    source_name: String,
}

impl Hub {
    /// A hub that knows nothing yet.
    #[must_use]
    pub fn new(
        source_name: &str,
        lines: Arc<Lines>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let state = State { tails: Tails::new(settings.tail_bytes), feeds: HashMap::new() };
        Arc::new(Self {
            state: Mutex::new(state),
            source_state: watch::Sender::default(),
            lines,
            settings,
            metrics,
            source_name: source_name.to_owned(),
        })
    }

    /// Whether the source answers; watched by who opens streams.
    #[must_use]
    pub fn source_state(&self) -> watch::Receiver<SourceState> {
        self.source_state.subscribe()
    }

    /// How lines are made; shared with the history.
    #[must_use]
    pub fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// Takes one thing that the tail told.
    pub fn apply(&self, event: TailEvent) {
        match event {
            TailEvent::Opened { tp, log, append_time, next, last, after } => {
                let time = last
                    .map_or_else(|| PositionTime::MadeUp(TimestampMs::now()), PositionTime::Record);
                let at = PartitionPosition { log, next, time };
                let carried = match after {
                    Some(Loss::Moved) => Carried::Now,
                    _ => Carried::No,
                };
                let slot = Slot { tp, at, generation: 0, opened: at, append_time, carried };
                self.open(slot, after);
            }
            TailEvent::Records { tp, records, next } => {
                self.pass(&tp, records, next);
            }
            TailEvent::Surveyed => self.reachable(true),
            TailEvent::Reachable => self.reachable(false),
            TailEvent::Unreachable { cause } => self.unreachable(&cause),
            TailEvent::Gone { topic } => self.gone(&topic),
        }
    }

    fn open(&self, slot: Slot, after: Option<Loss>) {
        let mut state = self.lock();
        let tp = slot.tp.clone();
        let before = state.tails.open(slot);
        let slot = state.tails.slot(&tp).expect("just opened").clone();
        let is_another = before.as_ref().is_some_and(|before| before.at.log != slot.at.log);
        let after = after.or_else(|| is_another.then_some(Loss::Recreated));
        let gap = after.and_then(|loss| lost(&slot, before.as_ref(), loss));
        if let Some(gap) = &gap {
            tracing::warn!(%tp, from = %gap.from, reason = gap.reason.as_str(), "records lost");
        }
        for feed in state.feeds_of(&tp.topic) {
            feed.change(|ring| ring.open(slot.clone(), gap.clone()));
        }
    }

    /// The feeds that have a stretch of their ring full are returned.
    fn pass(
        &self,
        tp: &TopicPartition,
        records: Vec<Record>,
        next: Offset,
    ) -> Vec<(Arc<Feed>, Full)> {
        let records: Vec<_> = records.into_iter().map(|r| Arc::new(TailRecord::new(r))).collect();
        if self.lock().feeds_of(&tp.topic).next().is_some() {
            // Rendered before the lock is taken for good, so that nobody waits for it.
            for record in &records {
                record.line(tp, &self.lines);
            }
        }
        let mut state = self.lock();
        let passed = state.tails.pass(tp, records, next);
        let bytes: usize = passed.iter().map(|one| one.record.size_bytes()).sum();
        let mut full = Vec::new();
        for feed in state.feeds_of(&tp.topic) {
            let (put, ring) = feed.change(|ring| {
                for one in &passed {
                    let line = one.line(tp, &self.lines).as_ref().ok().cloned();
                    ring.record(tp, one.record.offset, one.record.time, line);
                }
                ring.hole(tp, next);
                ((ring.weight_ever(), ring.head_index()), ring.weight_max())
            });
            let is_full = feed.pace.put(bytes as u64, put, ring);
            full.extend(is_full.map(|is_full| (Arc::clone(feed), is_full)));
        }
        self.metrics.tail_passed(passed.len(), bytes, state.tails.bytes());
        full
    }

    pub(super) fn gone(&self, topic: &TopicName) {
        let mut state = self.lock();
        let tps: Vec<_> = state.tails.slots_of(topic).map(|s| s.tp.clone()).collect();
        for tp in tps {
            state.tails.close(&tp);
            for feed in state.feeds_of(topic) {
                feed.change(|ring| ring.close(&tp));
            }
        }
    }

    fn reachable(&self, surveyed: bool) {
        self.source_state.send_modify(|state| {
            state.surveyed |= surveyed;
            if state.down.take().is_some() {
                tracing::info!(source = self.source_name, "the source answers again");
            }
        });
        self.gauge().set(1);
    }

    fn unreachable(&self, cause: &str) {
        self.source_state.send_modify(|state| {
            if state.down.replace(cause.to_owned()).is_none() {
                self.metrics.source.outages.inc();
                tracing::error!(source = self.source_name, cause, "the source cannot be reached");
            }
        });
        self.gauge().set(0);
    }

    fn gauge(&self) -> prometheus_client::metrics::gauge::Gauge {
        let label = BySource { source: self.source_name.clone() };
        self.metrics.source.reachable.get_or_create_owned(&label)
    }

    /// The feed of a selection, started if there is none; `charge` is asked only then.
    ///
    /// # Errors
    /// See `NoFeed`.
    pub fn feed<E>(
        &self,
        selection: &Selection,
        charge: impl FnOnce() -> Result<Charge, E>,
    ) -> Result<FeedHandle, NoFeed<E>> {
        let mut state = self.lock();
        if let Some(feed) = state.feeds.get(selection) {
            let readers = feed.readers.fetch_add(1, Ordering::AcqRel) + 1;
            if readers == limits::FEW_READERS {
                feed.ring().resize(self.settings.ring_bytes);
            }
            return Ok(FeedHandle(Arc::clone(feed)));
        }
        if state.feeds.len() >= self.settings.feeds_max {
            return Err(NoFeed::TooMany);
        }
        let charge = charge().map_err(NoFeed::Refused)?;
        let slots = selection.topics.iter().flat_map(|t| state.tails.slots_of(t).cloned());
        let vector = Vector::new(slots.collect::<Vec<_>>());
        let feed = Arc::new(Feed {
            topics: selection.topics.clone(),
            ring: Mutex::new(Ring::new(vector, small(self.settings.ring_bytes))),
            runs: Runs::default(),
            head: watch::Sender::new(0),
            pace: Pace::new(self.settings.tail_least_bytes_s),
            readers: AtomicUsize::new(1),
            idle_since: Mutex::new(Instant::now()),
            charge,
        });
        state.feeds.insert(selection.clone(), Arc::clone(&feed));
        self.metrics.feeds.set(i64::try_from(state.feeds.len()).unwrap_or(i64::MAX));
        Ok(FeedHandle(feed))
    }

    /// Lets go of feeds that nobody has read for a while.
    pub fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        state.feeds.retain(|_, feed| {
            let idle_since = *feed.idle_since.lock().expect("no holder panics");
            let idle = now.saturating_duration_since(idle_since);
            feed.runs.sweep();
            if feed.readers.load(Ordering::Acquire) < limits::FEW_READERS {
                feed.ring().resize(small(self.settings.ring_bytes));
            }
            feed.readers.load(Ordering::Acquire) > 0 || idle < limits::FEED_IDLE
        });
        self.metrics.feeds.set(i64::try_from(state.feeds.len()).unwrap_or(i64::MAX));
    }

    /// What is in memory about a position in the generation of this slot.
    #[must_use]
    pub fn remembered(&self, slot: &Slot, next: Offset) -> Remembered {
        self.lock().tails.remembered(&slot.tp, slot.generation, next)
    }

    /// Where a partition's tail stands now.
    #[must_use]
    pub fn slot(&self, tp: &TopicPartition) -> Option<Slot> {
        self.lock().tails.slot(tp).cloned()
    }

    /// Whether this host has followed the partition in this log, and it is another one's now.
    #[must_use]
    pub fn was(&self, tp: &TopicPartition, log: LogTag) -> bool {
        self.lock().tails.former(tp).is_some_and(|slot| slot.at.log == Some(log))
    }

    /// Records from memory, if all from `from` on are there. See `Tails::read`.
    #[must_use]
    pub fn read_tail(
        &self,
        tp: &TopicPartition,
        generation: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Option<(Vec<Arc<TailRecord>>, Offset)> {
        self.lock().tails.read(tp, generation, from, bytes_max)
    }

    /// From where on all records of this generation are in memory.
    #[must_use]
    pub fn kept_from(&self, tp: &TopicPartition, generation: u32) -> Option<Offset> {
        self.lock().tails.kept_from(tp, generation)
    }

    /// How much came to some topics in the last two minutes.
    #[must_use]
    pub fn recent(&self, topics: &[TopicName], now: TimestampMs) -> Recent {
        let mut recent = Recent::before(now);
        let state = self.lock();
        for topic in topics {
            state.tails.recent(topic, &mut recent);
        }
        recent
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// The ring of a feed with few readers: those who fall off it read on elsewhere.
fn small(ring_bytes: usize) -> usize {
    (ring_bytes / 16).max(limits::RING_BYTES_MIN).min(ring_bytes)
}

/// The gap that lies between where a partition stood and where it goes on.
fn lost(slot: &Slot, before: Option<&Slot>, loss: Loss) -> Option<Gap> {
    let before = before?;
    let same_log = before.at.log == slot.at.log;
    let to = (same_log && loss == Loss::Retention).then_some(slot.at.next);
    let reason = match loss {
        Loss::Retention => GapReason::Retention,
        Loss::Recreated => GapReason::Recreated,
        Loss::Truncated => GapReason::Truncated,
        Loss::Moved => return None,
    };
    Some(Gap { tp: slot.tp.clone(), from: before.at.next, to, reason })
}

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod ring_tests;
