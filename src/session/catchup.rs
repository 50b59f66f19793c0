//! From a reader's own position to its feed.
//!
//! ```text
//!             P (reader)          V (feed at index i)
//!  part 0  ────●━━━━━━━━━━━━━━━━━━━▶│      read exactly up to V,
//!  part 1  ────────────●━━━━━━━━━━━▶│      merged by time,
//!  part 2  ────────────────────────▶│──●   ahead of this host: wait
//!                                   └ join at i: the next entry is the first one not passed
//! ```
//! Only offsets of one generation of a log are compared; nothing is decided by time here, nothing
//! overlaps and nothing has to be removed. If index i has left the ring when P = V, it aims
//! again, further on. A partition that does not answer is passed over for the while and its
//! records come later.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::Framing;
use super::drain::Drain;
use super::frames;
use super::pump::Pump;
use super::resolve::Resolver;
use super::roll::Roll;
use crate::catalog;
use crate::event::{Offset, TopicPartition};
use crate::feed::history::{Chunk, History};
use crate::feed::vector::{Carried, Cursor, Slot};
use crate::feed::{FeedHandle, Hub};
use crate::limits;
use crate::metrics::{ByReason, Metrics};
use crate::position::PositionTime;
use crate::position::gap::{Gap, GapReason};
use crate::source::SourceError;

mod part;

pub use part::{Era, Place};
use part::{InHand, Part, Reading};

/// A read that failed is tried again after this; and so often a stuck reader aims anew.
const RETRY: Duration = Duration::from_millis(500);

/// What a step of the catch-up gave.
#[derive(Debug)]
pub enum Step {
    /// Whole events (or gaps).
    Bytes(Batch),
    /// All has been passed up to this place of the feed.
    Joined(Cursor),
    /// There is nothing to read now.
    Waits(Waits),
}

/// Whole events (or gaps).
#[derive(Debug)]
pub struct Batch {
    /// The frames, one after another.
    pub bytes: Bytes,
    /// How many events they are.
    pub events: u64,
    /// Where the first event ends.
    pub first: usize,
}

/// What a catch-up waits for that cannot go on.
#[derive(Debug)]
pub enum Waits {
    /// It is ahead of this host in a partition: until its tail has come so far.
    ForTheTail(watch::Receiver<u64>),
    /// No partition that it needs answers.
    ForTheSource,
}

impl Waits {
    /// Ready when it is worth another try.
    pub async fn over(self) {
        match self {
            Self::ForTheTail(mut head) => {
                let _ = tokio::time::timeout(RETRY, head.changed()).await;
            }
            Self::ForTheSource => tokio::time::sleep(RETRY).await,
        }
    }
}

/// What a catch-up has in memory, by the place of its partition: chunks, and reads under way.
pub struct Held(Vec<(TopicPartition, Option<InHand>, Option<Reading>)>);

/// What all catch-ups share.
#[derive(Debug)]
pub struct Shared {
    /// What is in memory.
    pub hub: Arc<Hub>,
    /// Range reads.
    pub history: Arc<History>,
    /// Names that may stand in an id.
    pub catalog: catalog::Current,
    /// Where gaps are counted.
    pub metrics: Arc<Metrics>,
    /// When streams end, once this host goes down.
    pub(super) drain: watch::Sender<Option<Drain>>,
    /// Who delivers to sockets.
    pub pump: Option<Arc<Pump>>,
    /// Who has a task of its own.
    pub(super) roll: Arc<Roll>,
}

/// A reader on its way to its feed.
pub struct CatchUp {
    shared: Arc<Shared>,
    feed: Arc<FeedHandle>,
    framing: Framing,
    gap_events: bool,
    parts: Vec<Part>,
    /// Where this leg ends.
    aim: Option<Cursor>,
    /// Partitions that go on in another cluster's copy, and where is still to be found out.
    carried: Vec<Slot>,
    /// It has waited: what has failed may be tried again at once.
    has_waited: bool,
    out: Vec<u8>,
    events: u64,
    first: usize,
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        self.shared.metrics.catchup_readers.dec();
    }
}

impl CatchUp {
    /// A reader at these places.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        feed: Arc<FeedHandle>,
        places: BTreeMap<TopicPartition, Place>,
        (framing, gap_events): (Framing, bool),
    ) -> Self {
        shared.metrics.catchup_readers.inc();
        let parts = places.into_iter().map(|(tp, place)| Part::new(tp, place)).collect();
        Self {
            shared,
            feed,
            framing,
            gap_events,
            parts,
            aim: None,
            carried: Vec::new(),
            has_waited: false,
            out: Vec::new(),
            events: 0,
            first: 0,
        }
    }

    /// The id of where it stands.
    #[must_use]
    pub fn id(&self) -> Vec<u8> {
        let mut out = Vec::new();
        crate::feed::frame::write_fragments(&mut out, self.fragments());
        out
    }

    /// Records that are still to be passed, up to where this leg ends.
    #[must_use]
    pub(super) fn behind(&self) -> u64 {
        let left = |part: &Part| part.target.0.saturating_sub(part.place.at.next.0);
        self.parts.iter().map(left).filter_map(|left| u64::try_from(left).ok()).sum()
    }

    fn fragments(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|p| p.fragment.as_slice())
    }

    /// Hands over what it has in memory. Without it, it reads that again.
    pub fn put_down(&mut self) -> Held {
        let parts = self.parts.iter_mut();
        let parts = parts.filter(|part| part.chunk.is_some() || part.reading.is_some());
        let all = parts.map(|p| (p.tp.clone(), p.chunk.take(), p.reading.take()));
        Held(all.collect())
    }

    /// Takes it back. Nothing else may have happened meanwhile.
    pub fn take_up(&mut self, held: &mut Held) {
        for (tp, chunk, reading) in held.0.drain(..) {
            if let Ok(place) = self.parts.binary_search_by(|part| part.tp.cmp(&tp)) {
                (self.parts[place].chunk, self.parts[place].reading) = (chunk, reading);
            }
        }
    }

    /// Reads on until there is something to send, the feed is joined, or there is nothing to read.
    /// Can be dropped at any moment, with the reader.
    pub async fn step(mut self: Box<Self>) -> (Box<Self>, Step) {
        let mut head = self.feed.watch();
        loop {
            head.mark_unchanged();
            let aim = match self.aim.take() {
                Some(aim) => aim,
                None => {
                    let aim = self.aim();
                    let can_go_on = self.carry_over().await || self.has_to_read();
                    if !can_go_on && self.out.is_empty() {
                        self.has_waited = true;
                        return (self, Step::Waits(Waits::ForTheSource));
                    }
                    aim
                }
            };
            if let Some(cursor) = self.joined(&aim) {
                if self.out.is_empty() {
                    return (self, Step::Joined(cursor));
                }
                self.aim = Some(aim);
            } else if self.has_to_read() {
                self.read().await;
                self.merge();
                // Aim anew only where nothing gets on: the log may have changed meanwhile.
                let stuck = self.parts.iter().all(|p| p.chunk.is_none())
                    && self.parts.iter().any(Part::needs_reading)
                    && self.parts.iter().all(|p| p.overdue || !p.needs_reading());
                self.aim = (!stuck).then_some(aim);
                if stuck && self.out.is_empty() {
                    self.has_waited = true;
                    return (self, Step::Waits(Waits::ForTheSource));
                }
            } else if self.out.is_empty() && self.feed.now().index == aim.index {
                return (self, Step::Waits(Waits::ForTheTail(head)));
            }
            if !self.out.is_empty() {
                let bytes = std::mem::take(&mut self.out).into();
                let (events, first) = (std::mem::take(&mut self.events), self.first);
                return (self, Step::Bytes(Batch { bytes, events, first }));
            }
        }
    }

    fn has_to_read(&self) -> bool {
        self.parts.iter().any(|p| p.needs_reading() || p.chunk.is_some())
    }

    /// The place in the feed where the reader stands, if it stands exactly there and the ring
    /// still has what follows.
    fn joined(&self, aim: &Cursor) -> Option<Cursor> {
        let vector = aim.vector();
        let stands = |slot: &Slot, part: &Part| {
            slot.tp == part.tp
                && part.place.era == Era::Generation(slot.generation)
                && part.place.at.next == slot.at.next
        };
        let exact = vector.slots().len() == self.parts.len()
            && vector.slots().iter().zip(&self.parts).all(|(s, p)| stands(s, p));
        let ring = self.feed.ring();
        let there = !matches!(ring.find(aim.index), crate::feed::ring::Found::Behind);
        (exact && there).then(|| aim.clone())
    }

    /// Takes the head of the feed as the end of the next leg.
    fn aim(&mut self) -> Cursor {
        let cursor = self.feed.now();
        let vector = cursor.vector();
        let mut gaps = Vec::new();
        self.parts.retain(|part| {
            let slot = vector.find(&part.tp).map(|(_, slot)| slot);
            let stays = slot.is_some() || part.awaits(slot);
            if !stays {
                gaps.push(gap(part, None, GapReason::NoPartition));
            }
            stays
        });
        for slot in vector.slots() {
            let place = self.parts.binary_search_by(|p| p.tp.cmp(&slot.tp));
            let part = match place {
                Ok(place) => {
                    let part = &mut self.parts[place];
                    if part.awaits(Some(slot)) {
                        continue;
                    }
                    if is_carried(part, slot) {
                        part.stay();
                        self.carried.push(slot.clone());
                        continue;
                    }
                    gaps.extend(adopt(part, slot));
                    part
                }
                Err(place) => {
                    // It came while this reader was on its way: from its beginning.
                    let part = Part::new(slot.tp.clone(), Place::here(slot, slot.opened));
                    self.parts.insert(place, part);
                    &mut self.parts[place]
                }
            };
            part.target = slot.at.next.max(part.place.at.next);
        }
        for gap in gaps {
            self.tell(&gap);
        }
        cursor
    }

    /// Finds out where partitions go on that this host reads in another cluster now. False: of some
    /// that cannot be said yet, and is asked again at the next aim.
    async fn carry_over(&mut self) -> bool {
        let mut all = true;
        for slot in std::mem::take(&mut self.carried) {
            let Ok(place) = self.parts.binary_search_by(|p| p.tp.cmp(&slot.tp)) else { continue };
            let (at, catalog) = (self.parts[place].place.at, self.shared.catalog.now());
            let resolver = Resolver::new(&self.shared.hub, &self.shared.history, &catalog);
            let asked = resolver.carried_over(&slot, at);
            match tokio::time::timeout(limits::HISTORY_PATIENCE, asked).await {
                Ok(Ok((Some(found), gap))) => {
                    self.parts[place].go_to(found);
                    self.parts[place].target = slot.at.next.max(found.at.next);
                    gap.iter().for_each(|gap| self.tell(gap));
                }
                found => {
                    let found = found.map(|found| found.map(|_| ()));
                    tracing::debug!(tp = %slot.tp, ?found, "cannot go on in another cluster yet");
                    all = false;
                }
            }
        }
        all
    }

    /// Starts the reads that are wanted and waits for them, patiently but not for ever.
    async fn read(&mut self) {
        let bytes = (limits::CATCHUP_BYTES / self.parts.len().max(1))
            .clamp(limits::CHUNK_BYTES_MIN, limits::CHUNK_BYTES_MAX);
        let has_waited = std::mem::take(&mut self.has_waited);
        for part in self.parts.iter_mut().filter(|p| p.needs_reading()) {
            if part.reading.is_none() {
                let delay = if part.overdue && !has_waited { RETRY } else { Duration::ZERO };
                part.reading = Some(reading(&self.shared.history, part, bytes, delay));
            }
        }
        let only_overdue = self.parts.iter().all(|p| p.overdue || !p.needs_reading());
        // Nobody waits here for what was too slow before: its turn would be held for nothing.
        let patience = if only_overdue { Duration::ZERO } else { limits::HISTORY_PATIENCE };
        let mut done = Vec::new();
        let parts = &mut self.parts;
        let all = poll_fn(|cx| {
            let mut waiting = false;
            for (i, part) in parts.iter_mut().enumerate() {
                let Some(reading) = part.reading.as_mut() else { continue };
                match reading.as_mut().poll(cx) {
                    Poll::Ready(result) => {
                        part.reading = None;
                        done.push((i, result));
                    }
                    Poll::Pending => waiting |= !part.overdue || only_overdue,
                }
            }
            let enough = only_overdue && !done.is_empty();
            if waiting && !enough { Poll::Pending } else { Poll::Ready(()) }
        });
        let in_time = tokio::time::timeout(patience, all).await.is_ok();
        for (i, result) in done {
            self.take(i, result);
        }
        if !in_time {
            for part in self.parts.iter_mut().filter(|p| p.reading.is_some()) {
                part.overdue = true;
            }
        }
    }

    fn take(&mut self, i: usize, result: Result<Arc<Chunk>, SourceError>) {
        let part = &mut self.parts[i];
        part.overdue = false;
        match result {
            Ok(chunk) if chunk.next > part.place.at.next => {
                let skip = chunk.items.partition_point(|item| item.offset < part.place.at.next);
                part.chunk = Some((chunk, skip));
                part.finish_chunk();
            }
            Err(SourceError::OutOfRange { kept, .. }) if part.place.at.next < kept.start => {
                let to = kept.start.min(part.target);
                let gap = gap(part, Some(to), GapReason::Retention);
                part.move_to(to);
                self.tell(&gap);
            }
            Ok(_) | Err(_) => {
                if let Err(error) = &result {
                    tracing::debug!(tp = %part.tp, %error, "replay has to wait");
                }
                part.overdue = true;
            }
        }
    }

    /// Sends what is in memory, lowest time first, until a partition has to be read on.
    fn merge(&mut self) {
        while self.out.len() < limits::BATCH_BYTES_MAX {
            if self.parts.iter().any(|p| p.needs_reading() && !p.overdue) {
                return;
            }
            let heads = self.parts.iter().enumerate().filter_map(|(i, part)| {
                let (chunk, at) = part.chunk.as_ref()?;
                Some((chunk.items[*at].time, i))
            });
            let Some((_, i)) = heads.min() else { return };
            self.pass_one(i);
        }
    }

    fn pass_one(&mut self, i: usize) {
        let part = &mut self.parts[i];
        let Some((chunk, at)) = part.chunk.as_mut() else { return };
        let chunk = Arc::clone(chunk);
        let item = &chunk.items[*at];
        *at += 1;
        part.place.at.next = item.offset.next();
        part.place.at.time = PositionTime::Record(item.time);
        part.render();
        if let Ok(line) = &item.line {
            let fragments = self.parts.iter().map(|p| p.fragment.as_slice());
            match self.framing {
                Framing::Sse => crate::feed::frame::write_sse(&mut self.out, fragments, line),
                Framing::Ndjson => self.out.extend_from_slice(line),
            }
            self.events += 1;
            if self.events == 1 {
                self.first = self.out.len();
            }
        }
        // Only now: a hole that follows is not part of what this event's id says.
        self.parts[i].finish_chunk();
    }

    fn tell(&mut self, gap: &Gap) {
        let reason = gap.reason.as_str();
        self.shared.metrics.gaps.get_or_create(&ByReason { reason }).inc();
        tracing::warn!(tp = %gap.tp, from = %gap.from, reason, "a replay found records gone");
        if self.gap_events {
            let gaps = std::slice::from_ref(gap);
            self.out.extend_from_slice(&frames::gap(self.framing, gaps));
        }
    }
}

/// Whether a place goes on by time in what this host follows now.
fn is_carried(part: &Part, slot: &Slot) -> bool {
    let is_elsewhere = part.place.era != Era::Generation(slot.generation);
    is_elsewhere
        && match slot.carried {
            Carried::No => false,
            Carried::Now => true,
            Carried::Before => part.place.at.log != slot.at.log,
        }
}

/// Takes over the feed's generation of a partition. What is lost by that is returned.
fn adopt(part: &mut Part, slot: &Slot) -> Option<Gap> {
    if part.place.era == Era::Generation(slot.generation) {
        return None;
    }
    let next = part.place.at.next;
    let same_log = part.place.at.log == slot.at.log;
    let unknown_before = matches!(part.place.era, Era::Coming { .. });
    if same_log && (unknown_before || (slot.at.log.is_some() && next <= slot.opened.next)) {
        part.go_to(Place::here(slot, part.place.at));
        return None;
    }
    let reason = if same_log { GapReason::Truncated } else { GapReason::Recreated };
    let gap = gap(part, None, reason);
    part.go_to(Place::here(slot, slot.opened));
    Some(gap)
}

fn gap(part: &Part, to: Option<Offset>, reason: GapReason) -> Gap {
    Gap { tp: part.tp.clone(), from: part.place.at.next, to, reason }
}

fn reading(history: &Arc<History>, part: &Part, bytes: usize, delay: Duration) -> Reading {
    let history = Arc::clone(history);
    let tp = part.tp.clone();
    let generation = match part.place.era {
        Era::Generation(generation) => generation,
        // Not read before the tail has told: its target is where it stands.
        Era::Coming { .. } => 0,
    };
    let log = (part.place.at.log, generation);
    let range = (part.place.at.next, part.target);
    Box::pin(async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        history.read(&tp, log, range, bytes).await
    })
}
