//! What there is to read: topics, their ids and partitions, looked at again and again; and where
//! the tail goes on when it cannot where it is.
//!
//! Reads nothing of the live end itself: it says to the tail's reader what to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::tail::{Followed, Positions, Turn};
use super::{KafkaSource, ffi};
use crate::event::{LogTag, Offset, TimestampMs, TopicName, TopicPartition};
use crate::limits;
use crate::source::{Loss, Source, SourceError, TailEvent, Watermarks};

/// How often the survey fails before the source is said to be out of reach.
const SURVEY_FAILURES_MAX: u32 = 2;
/// Looks in a row that do not find a topic before it is said to be gone. A broker that has just
/// come up does not know all topics yet.
const MISSING_LOOKS_MAX: u32 = 3;
/// How long all brokers may be down before the client is made anew.
const DOWN_MAX: Duration = Duration::from_secs(10);

/// Finds out what there is to read.
pub(super) struct Survey<'a> {
    source: &'a KafkaSource,
    topics: Vec<TopicName>,
    turns: Sender<Turn>,
    positions: Positions,
    surveyed: bool,
    failures: u32,
    /// Looks in a row that did not find a topic.
    missing: HashMap<TopicName, u32>,
    /// Where partitions of topics that are gone stood: the same log may come again.
    former: HashMap<TopicPartition, Followed>,
}

impl<'a> Survey<'a> {
    /// One that knows nothing yet. It says into `turns` what it finds.
    pub(super) fn new(
        source: &'a KafkaSource,
        topics: Vec<TopicName>,
        turns: Sender<Turn>,
        positions: Positions,
    ) -> Self {
        Self {
            source,
            topics,
            turns,
            positions,
            surveyed: false,
            failures: 0,
            missing: HashMap::new(),
            former: HashMap::new(),
        }
    }

    /// Looks at all topics. `lost`: the reader could not go on somewhere.
    pub(super) async fn look(&mut self, lost: bool) -> Result<(), SourceError> {
        let described = self.source.describe(self.topics.clone()).await?;
        for (topic, found) in described {
            if found.is_some() {
                self.missing.remove(&topic);
            }
            match found {
                None => self.not_found(&topic),
                // Fewer than before: it was made anew between two looks, and some are gone for
                // good. The next look takes in what there is.
                Some(found) if self.follows_more(&topic, &found) => self.gone(&topic),
                Some(found) => self.topic(&topic, found, lost).await?,
            }
        }
        if !std::mem::replace(&mut self.surveyed, true) {
            self.turn(Turn::Say(TailEvent::Surveyed));
        }
        Ok(())
    }

    /// Says whether the source answers, and has a client that cannot find back made anew.
    pub(super) fn report(
        &mut self,
        failed: Option<&SourceError>,
        down_since: &mut Option<Instant>,
    ) {
        let Some(error) = failed else {
            self.failures = 0;
            if down_since.take().is_some() || self.source.status.is_down() {
                self.source.status.set_down(false);
                self.turn(Turn::Say(TailEvent::Reachable));
            }
            return;
        };
        self.failures += 1;
        let down = self.source.status.is_down();
        if !down && (self.failures >= SURVEY_FAILURES_MAX || !self.surveyed) {
            self.source.status.set_down(true);
            let cause = error.to_string();
            self.turn(Turn::Say(TailEvent::Unreachable { cause }));
        }
        let since = *down_since.get_or_insert_with(Instant::now);
        if since.elapsed() > DOWN_MAX {
            *down_since = Some(Instant::now());
            self.turn(Turn::Renew);
        }
    }

    fn not_found(&mut self, topic: &TopicName) {
        let looks = self.missing.entry(topic.clone()).or_default();
        *looks = looks.saturating_add(1);
        if *looks >= MISSING_LOOKS_MAX {
            self.gone(topic);
        }
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

    async fn topic(
        &mut self,
        topic: &TopicName,
        found: ffi::Description,
        lost: bool,
    ) -> Result<(), SourceError> {
        for partition in 0..found.partitions {
            let tp = TopicPartition::new(topic.clone(), partition);
            let followed = self.lock().get(&tp).copied();
            match followed {
                None if self.is_back(&tp, found.log) => {
                    let at = self.former.remove(&tp).expect("it is back");
                    self.find_again(tp, at).await?;
                }
                None => {
                    let marks = self.source.watermarks(&tp).await?;
                    let next = if self.surveyed { marks.start } else { marks.end };
                    self.open(tp, found.log, (next, marks), None).await?;
                }
                Some(followed) if followed.log != found.log => {
                    let marks = self.source.watermarks(&tp).await?;
                    let from = (marks.start, marks);
                    self.open(tp, found.log, from, Some(Loss::Recreated)).await?;
                }
                Some(followed) if lost => self.find_again(tp, followed).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whether this is the log that was followed before its topic was gone.
    fn is_back(&self, tp: &TopicPartition, log: Option<LogTag>) -> bool {
        log.is_some() && self.former.get(tp).is_some_and(|at| at.log == log)
    }

    /// The reader stopped somewhere: is it here, and where does it go on?
    async fn find_again(&self, tp: TopicPartition, at: Followed) -> Result<(), SourceError> {
        let marks = self.source.watermarks(&tp).await?;
        if at.next < marks.start {
            let from = (marks.start, marks);
            return self.open(tp, at.log, from, Some(Loss::Retention)).await;
        }
        // Above the end of a log, not only of what is stable of it: the reader was told so.
        if at.next > marks.end {
            let found = match at.last {
                Some(last) => self.source.offset_at(&tp, last).await?,
                None => None,
            };
            let from = (found.unwrap_or(marks.end), marks);
            return self.open(tp, at.log, from, Some(Loss::Truncated)).await;
        }
        // Not here; it is assigned again all the same, where it stands, which costs nothing.
        let append_time = self.source.append_time(&tp.topic).await?;
        self.turn(Turn::Open { tp, at, append_time, after: None });
        Ok(())
    }

    async fn open(
        &self,
        tp: TopicPartition,
        log: Option<LogTag>,
        (next, marks): (Offset, Watermarks),
        after: Option<Loss>,
    ) -> Result<(), SourceError> {
        let last = self.last_before(&tp, next, marks).await?;
        let append_time = self.source.append_time(&tp.topic).await?;
        self.turn(Turn::Open { tp, at: Followed { log, next, last }, append_time, after });
        Ok(())
    }

    /// The time of the last record before `next`, looked for over holes.
    async fn last_before(
        &self,
        tp: &TopicPartition,
        next: Offset,
        marks: Watermarks,
    ) -> Result<Option<TimestampMs>, SourceError> {
        let (mut until, mut width) = (next, 4);
        while until > marks.start && next.0 - until.0 < limits::LOOK_BACK_OFFSETS_MAX {
            let from = Offset((until.0 - width).max(marks.start.0));
            let read = self.source.read(tp, from, until, limits::CHUNK_BYTES_MAX).await?;
            if let Some(record) = read.records.last() {
                return Ok(Some(record.time));
            }
            (until, width) = (from, width * 16);
        }
        Ok(None)
    }

    fn turn(&self, turn: Turn) {
        // The reader is gone: so is whoever listens, and the loop ends.
        let _ = self.turns.send(turn);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, Followed>> {
        self.positions.lock().expect("no holder panics")
    }
}
