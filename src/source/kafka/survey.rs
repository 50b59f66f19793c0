//! What there is to read: topics, their ids and partitions, looked at again and again; and where
//! the tail goes on when it cannot where it is.
//!
//! After the reader has let its client go, every position is held against its log before it is read
//! on from: the topic is still the same one, and the last record that was read still has the time
//! that it had. Reads nothing of the live end itself: it says to the tail's reader what to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use futures_util::{StreamExt, stream};

use super::tail::{Followed, Holds, Positions, Turn};
use super::{KafkaSource, ffi};
use crate::event::{LogTag, Offset, TopicName, TopicPartition};
use crate::source::look_back::last_before;
use crate::source::{Loss, Source, SourceError, TailEvent, Watermarks};

/// Looks in a row that do not find a topic before it is said to be gone. A broker that has just
/// come up does not know all topics yet.
const MISSING_LOOKS_MAX: u32 = 3;
/// Partitions that are looked at side by side. Those whose leader does not answer are among them,
/// and the others are not to wait for them.
const SIDE_BY_SIDE: usize = 64;

/// Finds out what there is to read.
pub(super) struct Survey<'a> {
    source: &'a KafkaSource,
    topics: Vec<TopicName>,
    turns: Sender<Turn>,
    positions: Positions,
    holds: Arc<Holds>,
    surveyed: bool,
    /// Looks in a row that did not find a topic.
    missing: HashMap<TopicName, u32>,
    /// Where partitions of topics that are gone stood: the same log may come again.
    former: HashMap<TopicPartition, Followed>,
}

/// What came of a look.
pub(super) struct Look {
    /// The first error that there was. Where the reader waits for a word that it may read: only if
    /// nothing at all could be held against its log.
    pub(super) found: Result<(), SourceError>,
    /// All topics are those that they were, or it was said which are not.
    pub(super) settles_doubts: bool,
}

/// A partition that there is something to find out about.
struct Open {
    tp: TopicPartition,
    log: Option<LogTag>,
    /// Where it stands, or stood before its topic was gone.
    at: Option<Followed>,
}

impl<'a> Survey<'a> {
    /// One that knows nothing yet. It says into `turns` what it finds.
    pub(super) fn new(
        source: &'a KafkaSource,
        topics: Vec<TopicName>,
        turns: Sender<Turn>,
        positions: Positions,
        holds: Arc<Holds>,
    ) -> Self {
        let (missing, former) = (HashMap::new(), HashMap::new());
        Self { source, topics, turns, positions, holds, surveyed: false, missing, former }
    }

    /// Looks at all topics. `lost`: the reader could not go on somewhere. What does not answer
    /// keeps nothing else from being found.
    pub(super) async fn look(&mut self, lost: bool) -> Look {
        let hold = self.holds.now();
        let described = match self.source.describe(self.topics.clone()).await {
            Ok(described) => described,
            Err(error) => {
                // Another client finds another broker to ask.
                self.source.look.renew(&self.source.clients);
                return Look { found: Err(error), settles_doubts: false };
            }
        };
        if let (false, Some(topic)) = (self.surveyed, self.topics.first()) {
            self.source.learn_brokers(topic).await;
        }
        let (mut open, mut settles_doubts) = (Vec::new(), true);
        for (topic, found) in described {
            if found.is_some() {
                self.missing.remove(&topic);
            }
            match found {
                None => settles_doubts &= self.not_found(&topic),
                // Fewer than before: it was made anew between two looks, and some are gone for
                // good. The next look takes in what there is.
                Some(found) if self.follows_more(&topic, &found) => self.gone(&topic),
                Some(found) => self.find_open(&topic, found, (lost, hold), &mut open),
            }
        }
        let (this, nothing_open) = (&*self, open.is_empty());
        let looks = stream::iter(open).map(|open| async move {
            let is_another = open.at.is_some_and(|at| at.log != open.log);
            this.one(open, hold).await.map_err(|error| (is_another, error))
        });
        let found: Vec<_> = looks.buffer_unordered(SIDE_BY_SIDE).collect().await;
        let some = nothing_open || found.iter().any(Result::is_ok);
        let mut outcome = Ok(());
        for found in found {
            match found {
                Ok(tp) => drop(self.former.remove(&tp)),
                Err((is_another, error)) => {
                    settles_doubts &= !is_another;
                    outcome = outcome.and(Err(error));
                }
            }
        }
        if outcome.is_ok() && !std::mem::replace(&mut self.surveyed, true) {
            self.turn(Turn::Say(TailEvent::Surveyed));
        }
        if self.holds.is_held() {
            outcome = self.resume(hold, some, outcome);
        }
        Look { found: outcome, settles_doubts }
    }

    /// The reader waits for a word. It may read if all was held against its log, or `some` was.
    fn resume(
        &self,
        hold: u64,
        some: bool,
        outcome: Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        if outcome.is_ok() || some {
            self.turn(Turn::Resume(hold));
            return Ok(());
        }
        outcome
    }

    /// Whether it is certain that there is nothing to read of it.
    fn not_found(&mut self, topic: &TopicName) -> bool {
        let looks = self.missing.entry(topic.clone()).or_default();
        *looks = looks.saturating_add(1);
        let is_certain = *looks >= MISSING_LOOKS_MAX;
        if is_certain {
            self.gone(topic);
        }
        is_certain || !self.lock().keys().any(|tp| tp.topic == *topic)
    }

    fn gone(&mut self, topic: &TopicName) {
        let of_topic = |(tp, at): (&TopicPartition, &Followed)| {
            (tp.topic == *topic).then(|| (tp.clone(), *at))
        };
        let known: Vec<_> = self.lock().iter().filter_map(of_topic).collect();
        if !known.is_empty() {
            self.former.extend(known);
            self.turn(Turn::Close(topic.clone()));
        }
    }

    /// In another log only: a broker that has yet to hear of a new partition says fewer too.
    fn follows_more(&self, topic: &TopicName, found: &ffi::Description) -> bool {
        self.lock().iter().any(|(tp, at)| {
            tp.topic == *topic && tp.partition.0 >= found.partitions && at.log != found.log
        })
    }

    /// Which partitions of a topic there is something to find out about.
    fn find_open(
        &self,
        topic: &TopicName,
        found: ffi::Description,
        (lost, hold): (bool, u64),
        open: &mut Vec<Open>,
    ) {
        let positions = self.lock();
        for partition in 0..found.partitions {
            let tp = TopicPartition::new(topic.clone(), partition);
            let log = found.log;
            let at = match positions.get(&tp).copied() {
                None => self.former.get(&tp).copied().filter(|_| self.is_back(&tp, log)),
                Some(at) if at.log != log || at.checked != hold || lost => Some(at),
                Some(_) => continue,
            };
            open.push(Open { tp, log, at });
        }
    }

    /// Finds out where a partition is to be read, and says so.
    async fn one(&self, open: Open, hold: u64) -> Result<TopicPartition, SourceError> {
        let Open { tp, log, at } = open;
        let marks = self.source.watermarks(&tp).await?;
        match at {
            None => {
                let next = if self.surveyed { marks.start } else { marks.end };
                self.open(&tp, (log, hold), (next, marks), None).await?;
            }
            Some(at) if at.log != log => {
                let why = Some((Loss::Recreated, at.next));
                self.open(&tp, (log, hold), (marks.start, marks), why).await?;
            }
            Some(at) => self.hold_against(&tp, at, hold, marks).await?,
        }
        Ok(tp)
    }

    /// Whether this is the log that was followed before its topic was gone.
    fn is_back(&self, tp: &TopicPartition, log: Option<LogTag>) -> bool {
        log.is_some() && self.former.get(tp).is_some_and(|at| at.log == log)
    }

    /// The same log: is what was read of it still there, and where does it go on?
    async fn hold_against(
        &self,
        tp: &TopicPartition,
        at: Followed,
        hold: u64,
        marks: Watermarks,
    ) -> Result<(), SourceError> {
        if at.next < marks.start {
            let why = Some((Loss::Retention, at.next));
            return self.open(tp, (at.log, hold), (marks.start, marks), why).await;
        }
        if self.is_cut(tp, at, marks).await? {
            let found = match at.last {
                Some((_, time)) => self.source.offset_at(tp, time).await?,
                None => None,
            };
            let from = (found.unwrap_or(marks.end), marks);
            return self.open(tp, (at.log, hold), from, Some((Loss::Truncated, at.next))).await;
        }
        // Where it stands; it is assigned again all the same, which costs nothing.
        let append_time = self.source.append_time(&tp.topic).await?;
        let (tp, at) = (tp.clone(), Followed { checked: hold, ..at });
        self.turn(Turn::Open { tp, at, append_time, after: None, instead_of: None });
        Ok(())
    }

    /// Whether the log has lost what was read of it last: it became shorter, and may have grown
    /// again since.
    async fn is_cut(
        &self,
        tp: &TopicPartition,
        at: Followed,
        marks: Watermarks,
    ) -> Result<bool, SourceError> {
        // Above the end of a log, not only of what is stable of it: what is stable does not shrink.
        let is_above = at.next > marks.end;
        let Some((last, time)) = at.last else { return Ok(is_above) };
        if last < marks.start || last >= marks.end {
            return Ok(is_above);
        }
        let read = self.source.read(tp, last, last.next(), 1).await?;
        let same = read.records.first().map(|record| record.time == time);
        // Compaction may have taken it away.
        Ok(same.map_or(is_above, |same| !same))
    }

    async fn open(
        &self,
        tp: &TopicPartition,
        (log, hold): (Option<LogTag>, u64),
        (next, marks): (Offset, Watermarks),
        why: Option<(Loss, Offset)>,
    ) -> Result<(), SourceError> {
        let last = last_before(self.source, tp, next, marks).await?;
        let append_time = self.source.append_time(&tp.topic).await?;
        let at = Followed { log, next, last, checked: hold };
        let (after, instead_of) = (why.map(|(loss, _)| loss), why.map(|(_, stood)| stood));
        self.turn(Turn::Open { tp: tp.clone(), at, append_time, after, instead_of });
        Ok(())
    }

    fn turn(&self, turn: Turn) {
        // The reader is gone: so is whoever listens, and the loop ends.
        let _ = self.turns.send(turn);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, Followed>> {
        self.positions.lock().expect("no holder panics")
    }
}
