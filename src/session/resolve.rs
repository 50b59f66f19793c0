//! Where a reader starts: what it asked for, held against what there is.
//!
//! An offset is verified, not trusted. It counts if its `log` is this topic's and it is in range;
//! where it cannot be told, the time decides, inclusively: a few events may come twice, none is
//! lost. What is known to be lost is a `Gap`.
//!
//! ```text
//!  entry ── same log ──────────── in range? ─▶ offset   below the start? ─▶ earliest + gap
//!    │                            above the end? ─▶ by time
//!    ├──── other log ──────────── time? ─▶ by time      no time? ─▶ latest + gap
//!    │                            + gap, if this host knows that the topic was made anew
//!    └──── no log ─── no time ─── in range? ─▶ offset   else earliest or latest + gap
//!             └────── time ────── record before has it, both its neighbours others? ─▶ offset
//!                                 else ─▶ by time
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join_all;

use super::catchup::{Era, Place};
use crate::catalog::{Catalog, Selection};
use crate::event::{LogTag, Offset, TimestampMs, TopicName, TopicPartition};
use crate::feed::Hub;
use crate::feed::history::History;
use crate::feed::tail::Remembered;
use crate::feed::vector::{Slot, Vector};
use crate::limits;
use crate::position::gap::{Gap, GapReason};
use crate::position::{LastEventId, PartitionPosition, PositionTime, ResumeAt, ResumeEntry};
use crate::source::{Source, SourceError, TopicInfo, Watermarks};

/// Why no start could be fixed.
#[derive(Debug, Clone)]
pub enum NoStart {
    /// The id names a topic that is not asked for.
    TopicNotAvailable(String),
    /// The source did not answer.
    Source(SourceError),
}

impl From<SourceError> for NoStart {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// A start: a place in every partition, and what is known to be lost.
pub type Start = (BTreeMap<TopicPartition, Place>, Vec<Gap>);

/// Fixes starts.
#[derive(Debug)]
pub struct Resolver<'a> {
    hub: &'a Hub,
    catalog: &'a Catalog,
    /// Of several clusters one, for all questions of a start.
    source: Arc<dyn Source>,
    is_one_of_several: bool,
}

/// One partition as it is now: what offsets speak of.
#[derive(Debug)]
struct Ground {
    tp: TopicPartition,
    /// Of the topic as it was looked up for this start.
    log: Option<LogTag>,
    append_time: bool,
    /// The log that this host follows although it is gone: the topic was made anew just now.
    gone: Option<LogTag>,
    /// Where this host's tail stands, if it follows this log already.
    here: Option<Slot>,
    era: Era,
}

impl Ground {
    fn place(&self, next: Offset, time: PositionTime) -> Place {
        Place { at: PartitionPosition { log: self.log, next, time }, era: self.era }
    }
}

/// A place, if it can be said, and what is known to be lost.
pub type Resolved = (Option<Place>, Option<Gap>);

impl<'a> Resolver<'a> {
    /// Asks the source behind `history`; of several clusters the one that is in use now.
    #[must_use]
    pub fn new(hub: &'a Hub, history: &History, catalog: &'a Catalog) -> Self {
        let in_use = history.source().in_use();
        let is_one_of_several = in_use.is_some();
        let source = in_use.unwrap_or_else(|| Arc::clone(history.source()));
        Self { hub, catalog, source, is_one_of_several }
    }

    /// A place for every partition of `now`, the feed's vector, and for those that the id names
    /// and this host does not know yet.
    ///
    /// # Errors
    /// See `NoStart`.
    pub async fn start(
        &self,
        selection: &Selection,
        now: &Vector,
        id: Option<&LastEventId>,
        since: Option<TimestampMs>,
    ) -> Result<Start, NoStart> {
        let entries: &[ResumeEntry] = match id {
            Some(LastEventId::Positions(entries)) => entries,
            Some(LastEventId::Names(names)) => {
                self.check_names(selection, names)?;
                &[]
            }
            None => &[],
        };
        if let Some(other) = entries.iter().find(|e| !selection.topics.contains(&e.tp.topic)) {
            return Err(NoStart::TopicNotAvailable(other.tp.topic.to_string()));
        }
        let named: BTreeMap<_, _> = entries.iter().map(|e| (&e.tp, e)).collect();
        let newest = entries.iter().filter_map(|e| time_of(e.at)).max();
        let mut places = BTreeMap::new();
        let mut open = BTreeSet::new();
        for slot in now.slots() {
            let place = named.get(&slot.tp).and_then(|entry| self.remembered(slot, entry));
            match place.or_else(|| latest(slot, named.get(&slot.tp).copied(), newest, since)) {
                Some(place) => drop(places.insert(slot.tp.clone(), place)),
                None => drop(open.insert(&slot.tp)),
            }
        }
        open.extend(entries.iter().map(|e| &e.tp).filter(|tp| now.find(tp).is_none()));
        let topics: BTreeSet<_> = open.iter().map(|tp| &tp.topic).collect();
        let infos = try_join_all(topics.into_iter().map(|topic| self.look_up(topic))).await?;
        let infos: BTreeMap<_, _> = infos.into_iter().collect();
        let rest = open.into_iter().map(|tp| {
            let (slot, entry) = (now.find(tp).map(|(_, slot)| slot), named.get(tp).copied());
            self.one(tp, slot, entry, infos[&tp.topic].as_ref(), (newest, since))
        });
        let mut gaps = Vec::new();
        for (tp, (place, gap)) in try_join_all(rest).await? {
            places.extend(place.map(|place| (tp, place)));
            gaps.extend(gap);
        }
        Ok((places, gaps))
    }

    /// Where a reader at `at`, in another cluster's copy or in this log as it was, goes on in the
    /// log of `slot`: as if it came back with its id. `None`: that cannot be said yet.
    ///
    /// # Errors
    /// See `NoStart`.
    pub async fn carried_over(
        &self,
        slot: &Slot,
        at: PartitionPosition,
    ) -> Result<Resolved, NoStart> {
        let info = self.source.topic(&slot.tp.topic).await?;
        if info.log != slot.at.log {
            return Ok((None, None));
        }
        let (tp, next, time) = (slot.tp.clone(), at.next, Some(at.time));
        let entry = ResumeEntry { tp, log: at.log, at: ResumeAt::Offset(next, time) };
        let asked = self.one(&slot.tp, Some(slot), Some(&entry), Some(&info), (None, None));
        Ok(asked.await?.1)
    }

    async fn look_up<'t>(
        &self,
        topic: &'t TopicName,
    ) -> Result<(&'t TopicName, Option<TopicInfo>), NoStart> {
        match self.source.topic(topic).await {
            Ok(info) => Ok((topic, Some(info))),
            Err(SourceError::UnknownTopic(_)) => Ok((topic, None)),
            Err(error) => Err(error.into()),
        }
    }

    /// A position in the log that this host follows, verified without asking.
    fn remembered(&self, slot: &Slot, entry: &ResumeEntry) -> Option<Place> {
        let ResumeAt::Offset(next, time) = entry.at else { return None };
        if entry.log.is_none() || entry.log != slot.at.log {
            return None;
        }
        let time = match (self.hub.remembered(slot, next), time) {
            // The record before is here and has another time: the log was cut and written anew.
            (Remembered::Before(is), Some(PositionTime::Record(was))) if is != was => return None,
            (Remembered::Before(is), _) => PositionTime::Record(is),
            (Remembered::Within, Some(time)) => time,
            (Remembered::Within, None) | (Remembered::Unknown, _) => return None,
        };
        Some(Place::here(slot, PartitionPosition { next, time, ..slot.at }))
    }

    /// A partition for which the source has to be asked.
    async fn one(
        &self,
        tp: &TopicPartition,
        slot: Option<&Slot>,
        entry: Option<&ResumeEntry>,
        info: Option<&TopicInfo>,
        (newest, since): (Option<TimestampMs>, Option<TimestampMs>),
    ) -> Result<(TopicPartition, Resolved), NoStart> {
        let Some(info) = info.filter(|info| tp.partition.0 < info.partitions) else {
            // Gone, and this host's tail has not told yet: as for its live readers.
            let place = slot.map(|slot| Place::here(slot, slot.at));
            let gap = entry.map(|e| gap(tp, offset_of(e.at), None, GapReason::NoPartition));
            return Ok((tp.clone(), (place, gap)));
        };
        let here = slot.filter(|slot| slot.at.log == info.log).cloned();
        let (log, append_time) = (info.log, info.append_time);
        // Another cluster's copy has another log, and nothing has gone.
        let gone = slot.filter(|slot| slot.at.log != info.log && !self.is_one_of_several);
        let gone = gone.and_then(|slot| slot.at.log);
        let era = match &here {
            Some(slot) => Era::Generation(slot.generation),
            None => Era::Coming { instead_of: slot.map(|slot| slot.generation) },
        };
        let ground = Ground { tp: tp.clone(), log, append_time, gone, here, era };
        let resolved = match entry {
            Some(entry) => self.named(&ground, entry).await?,
            None => (Some(self.unnamed(&ground, newest, since).await?), None),
        };
        Ok((tp.clone(), resolved))
    }

    fn check_names(&self, selection: &Selection, names: &[String]) -> Result<(), NoStart> {
        for name in names {
            let is_topic = selection.topics.iter().any(|t| t.as_str() == name);
            let stream = self.catalog.get(name);
            if !is_topic && !stream.is_some_and(|s| selection.streams.contains(&s.name)) {
                return Err(NoStart::TopicNotAvailable(name.clone()));
            }
        }
        Ok(())
    }

    async fn named(&self, on: &Ground, entry: &ResumeEntry) -> Result<Resolved, NoStart> {
        match entry.at {
            ResumeAt::Latest => Ok((Some(self.latest(on).await?), None)),
            ResumeAt::Earliest => {
                let marks = self.source.watermarks(&on.tp).await?;
                Ok((Some(self.place(on, marks.start, marks).await?), None))
            }
            ResumeAt::Time(time) => {
                let time = position_time(on, PositionTime::Record(time));
                Ok((Some(self.by_time(on, time).await?), None))
            }
            ResumeAt::Offset(next, time) if entry.log.is_some() && entry.log == on.log => {
                self.same_log(on, next, time).await
            }
            ResumeAt::Offset(next, None) if entry.log.is_some() => {
                let gap = gap(&on.tp, next, None, GapReason::ForeignLog);
                Ok((Some(self.latest(on).await?), Some(gap)))
            }
            ResumeAt::Offset(next, Some(time)) if entry.log.is_some() => {
                let known = entry.log.filter(|l| on.gone == Some(*l) || self.hub.was(&on.tp, *l));
                let gap = known.map(|_| gap(&on.tp, next, None, GapReason::Recreated));
                Ok((Some(self.by_time(on, position_time(on, time)).await?), gap))
            }
            ResumeAt::Offset(next, time) => self.no_log(on, next, time).await,
        }
    }

    async fn same_log(
        &self,
        on: &Ground,
        next: Offset,
        time: Option<PositionTime>,
    ) -> Result<Resolved, NoStart> {
        let marks = self.source.watermarks(&on.tp).await?;
        let Some(time) = time else { return self.in_range(on, next, marks).await };
        let remembered = on.here.as_ref().map(|slot| self.hub.remembered(slot, next));
        let rewritten = match (remembered, time) {
            (Some(Remembered::Before(is)), PositionTime::Record(was)) => is != was,
            _ => false,
        };
        if next > marks.end || rewritten {
            return Ok((Some(self.by_time(on, position_time(on, time)).await?), None));
        }
        if next < marks.start {
            return self.in_range(on, next, marks).await;
        }
        Ok((Some(on.place(next, time)), None))
    }

    async fn no_log(
        &self,
        on: &Ground,
        next: Offset,
        time: Option<PositionTime>,
    ) -> Result<Resolved, NoStart> {
        let marks = self.source.watermarks(&on.tp).await?;
        let Some(time) = time else { return self.in_range(on, next, marks).await };
        if let PositionTime::Record(was) = time
            && (marks.start..=marks.end).contains(&next)
        {
            // Alone with its time on both sides, or it may be another of those that share it: a
            // log that is shifted by one has that at this offset.
            let before = self.times_before(on, next, marks, 2).await?;
            if let [.., earlier, last] = before[..]
                && last == was
                && earlier != was
                && self.time_from(on, next, marks).await?.is_some_and(|t| t != was)
            {
                return Ok((Some(on.place(next, time)), None));
            }
        }
        Ok((Some(self.by_time(on, position_time(on, time)).await?), None))
    }

    /// An offset that is believed: it only has to exist.
    async fn in_range(
        &self,
        on: &Ground,
        next: Offset,
        marks: Watermarks,
    ) -> Result<Resolved, NoStart> {
        if next < marks.start {
            let gap = gap(&on.tp, next, Some(marks.start), GapReason::Retention);
            return Ok((Some(self.place(on, marks.start, marks).await?), Some(gap)));
        }
        if next > marks.end {
            let gap = gap(&on.tp, next, None, GapReason::OutOfRange);
            return Ok((Some(self.latest(on).await?), Some(gap)));
        }
        Ok((Some(self.place(on, next, marks).await?), None))
    }

    /// A partition that the id does not name.
    async fn unnamed(
        &self,
        on: &Ground,
        newest: Option<TimestampMs>,
        since: Option<TimestampMs>,
    ) -> Result<Place, NoStart> {
        if let Some(newest) = newest {
            let marks = self.source.watermarks(&on.tp).await?;
            if marks.start == Offset(0) && marks.end > Offset(0) {
                let first = self.time_from(on, marks.start, marks).await?;
                if first.is_some_and(|t| t >= newest.less(limits::TIME_SLACK_MS)) {
                    return self.place(on, marks.start, marks).await;
                }
            }
        }
        match since {
            Some(since) => self.by_time(on, since).await,
            None => self.latest(on).await,
        }
    }

    async fn latest(&self, on: &Ground) -> Result<Place, NoStart> {
        if let Some(slot) = &on.here {
            return Ok(Place::here(slot, slot.at));
        }
        let marks = self.source.watermarks(&on.tp).await?;
        self.place(on, marks.end, marks).await
    }

    async fn by_time(&self, on: &Ground, time: TimestampMs) -> Result<Place, NoStart> {
        // The end is asked first: what comes between the two look-ups is read, not passed over.
        let marks = self.source.watermarks(&on.tp).await?;
        let found = self.source.offset_at(&on.tp, time).await?;
        self.place(on, found.unwrap_or(marks.end), marks).await
    }

    async fn place(&self, on: &Ground, next: Offset, marks: Watermarks) -> Result<Place, NoStart> {
        let time = match self.time_before(on, next, marks).await? {
            Some(time) => PositionTime::Record(time),
            None => {
                let following = self.time_from(on, next, marks).await?;
                PositionTime::MadeUp(following.unwrap_or_else(TimestampMs::now))
            }
        };
        Ok(on.place(next, time))
    }

    /// The time of the last record before `next`, over holes, if there is one near.
    async fn time_before(
        &self,
        on: &Ground,
        next: Offset,
        marks: Watermarks,
    ) -> Result<Option<TimestampMs>, NoStart> {
        if let Some(slot) = &on.here
            && let Remembered::Before(time) = self.hub.remembered(slot, next)
        {
            return Ok(Some(time));
        }
        Ok(self.times_before(on, next, marks, 1).await?.pop())
    }

    /// The times of the last records before `next`, ascending, over holes: at least `how_many` if
    /// so many are near.
    async fn times_before(
        &self,
        on: &Ground,
        next: Offset,
        marks: Watermarks,
        how_many: usize,
    ) -> Result<Vec<TimestampMs>, NoStart> {
        let (mut until, mut width) = (next, 2);
        let mut times = Vec::new();
        while until > marks.start && next.0 - until.0 < limits::LOOK_BACK_OFFSETS_MAX {
            let from = Offset((until.0 - width).max(marks.start.0));
            let mut earlier = self.times_in(on, from, until).await?;
            earlier.append(&mut times);
            times = earlier;
            if times.len() >= how_many {
                break;
            }
            (until, width) = (from, width * 16);
        }
        Ok(times)
    }

    async fn times_in(
        &self,
        on: &Ground,
        from: Offset,
        until: Offset,
    ) -> Result<Vec<TimestampMs>, NoStart> {
        let (mut next, mut times) = (from, Vec::new());
        while next < until {
            let read = self.source.read(&on.tp, next, until, limits::CHUNK_BYTES_MAX);
            let fetched = read.await?;
            times.extend(fetched.records.iter().map(|r| r.time));
            if fetched.next <= next {
                break;
            }
            next = fetched.next;
        }
        Ok(times)
    }

    /// The time of the first record from `next` on, over holes, if there is one.
    async fn time_from(
        &self,
        on: &Ground,
        next: Offset,
        marks: Watermarks,
    ) -> Result<Option<TimestampMs>, NoStart> {
        let mut from = next;
        while from < marks.end && from.0 - next.0 < limits::LOOK_BACK_OFFSETS_MAX {
            let fetched = self.source.read(&on.tp, from, marks.end, 1).await?;
            if let Some(record) = fetched.records.first() {
                return Ok(Some(record.time));
            }
            if fetched.next == from {
                break;
            }
            from = fetched.next;
        }
        Ok(None)
    }
}

/// A start at the end of what this host has seen, where that is what was asked for.
fn latest(
    slot: &Slot,
    entry: Option<&ResumeEntry>,
    newest: Option<TimestampMs>,
    since: Option<TimestampMs>,
) -> Option<Place> {
    let asked = match entry {
        Some(entry) => entry.at == ResumeAt::Latest,
        None => newest.is_none() && since.is_none(),
    };
    asked.then(|| Place::here(slot, slot.at))
}

fn gap(tp: &TopicPartition, from: Offset, to: Option<Offset>, reason: GapReason) -> Gap {
    Gap { tp: tp.clone(), from, to, reason }
}

/// The time to look up: made-up times, and times that the log sets, differ between clusters.
fn position_time(on: &Ground, time: PositionTime) -> TimestampMs {
    match time {
        PositionTime::Record(time) if !on.append_time => time,
        PositionTime::Record(time) | PositionTime::MadeUp(time) => time.less(limits::TIME_SLACK_MS),
    }
}

fn offset_of(at: ResumeAt) -> Offset {
    match at {
        ResumeAt::Offset(next, _) => next,
        ResumeAt::Latest | ResumeAt::Earliest | ResumeAt::Time(_) => Offset(0),
    }
}

fn time_of(at: ResumeAt) -> Option<TimestampMs> {
    match at {
        ResumeAt::Time(time) => Some(time),
        ResumeAt::Offset(_, time) => time.map(PositionTime::ms),
        ResumeAt::Latest | ResumeAt::Earliest => None,
    }
}
