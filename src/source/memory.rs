//! A source in memory, for tests: what its logs hold and when its tails tell it is up to the test.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Fetched, Loss, Source, SourceError, TailEvent, TopicInfo, Watermarks};
use crate::event::{LogTag, Offset, Record, TimestampMs, TopicName, TopicPartition};

/// One partition; `None` is a hole in the offsets.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryLog {
    pub(crate) start: i64,
    pub(crate) records: Vec<Option<Record>>,
}

impl MemoryLog {
    fn end(&self) -> i64 {
        self.start + i64::try_from(self.records.len()).expect("few")
    }

    fn range(&self, from: i64, until: i64) -> impl Iterator<Item = &Record> {
        let index = |o: i64| usize::try_from((o.min(self.end()) - self.start).max(0)).expect("≥ 0");
        self.records[index(from)..index(until)].iter().flatten()
    }
}

/// One topic.
#[derive(Debug, Clone)]
pub(crate) struct MemoryTopic {
    pub(crate) log: Option<LogTag>,
    pub(crate) append_time: bool,
    pub(crate) partitions: Vec<MemoryLog>,
}

/// The source.
#[derive(Debug, Default)]
pub(crate) struct MemorySource {
    topics: Mutex<BTreeMap<TopicName, MemoryTopic>>,
}

/// How far a tail of the test has told.
pub(crate) type TailPositions = BTreeMap<TopicPartition, (Option<LogTag>, i64)>;

impl MemorySource {
    pub(crate) fn topics(&self) -> MutexGuard<'_, BTreeMap<TopicName, MemoryTopic>> {
        self.topics.lock().expect("no holder panics")
    }

    /// Makes a topic (anew).
    pub(crate) fn create(&self, topic: &str, log: Option<&str>, partitions: usize) -> TopicName {
        let name = TopicName::new(topic).expect("legal");
        let log = log.map(|tag| LogTag::new(tag).expect("a tag"));
        let partitions = vec![MemoryLog::default(); partitions];
        self.topics().insert(name.clone(), MemoryTopic { log, append_time: false, partitions });
        name
    }

    /// Appends a record, or a hole, and returns its offset.
    pub(crate) fn append(&self, tp: &TopicPartition, value: Option<(i64, String)>) -> Offset {
        let mut topics = self.topics();
        let topic = topics.get_mut(&tp.topic).expect("it exists");
        let log = &mut topic.partitions[usize::try_from(tp.partition.0).expect("≥ 0")];
        let offset = Offset(log.end());
        log.records.push(value.map(|(time, value)| Record {
            offset,
            time: TimestampMs(time),
            key: None,
            value: Some(Bytes::from(value)),
        }));
        offset
    }

    /// Removes what lies below `start`.
    pub(crate) fn retain_from(&self, tp: &TopicPartition, start: i64) {
        self.log(tp, |log| {
            let gone = usize::try_from((start.min(log.end()) - log.start).max(0)).expect("≥ 0");
            log.records.drain(..gone);
            log.start += i64::try_from(gone).expect("few");
        });
    }

    fn log<T>(&self, tp: &TopicPartition, with: impl FnOnce(&mut MemoryLog) -> T) -> T {
        let mut topics = self.topics();
        let topic = topics.get_mut(&tp.topic).expect("it exists");
        with(&mut topic.partitions[usize::try_from(tp.partition.0).expect("≥ 0")])
    }

    /// What a tail at `told` tells next about a partition: at most `most` records. `survey`: what
    /// exists is followed from its end.
    pub(crate) fn tell(
        &self,
        told: &mut TailPositions,
        tp: &TopicPartition,
        most: usize,
        survey: bool,
    ) -> Vec<TailEvent> {
        let topics = self.topics();
        let Some(topic) = topics.get(&tp.topic) else { return Vec::new() };
        let Some(log) = topic.partitions.get(usize::try_from(tp.partition.0).expect("≥ 0"))
        else {
            return Vec::new();
        };
        let mut events = Vec::new();
        let opened = |next: i64, after| TailEvent::Opened {
            tp: tp.clone(),
            log: topic.log,
            append_time: topic.append_time,
            next: Offset(next),
            last: log.range(log.start, next).last().map(|r| r.time),
            after,
        };
        let known = told.get(tp).copied();
        let next = match known {
            None => {
                let next = if survey { log.end() } else { log.start };
                events.push(opened(next, None));
                next
            }
            Some((tag, _)) if tag != topic.log => {
                events.push(opened(log.start, Some(Loss::Recreated)));
                log.start
            }
            Some((_, next)) if next < log.start => {
                events.push(opened(log.start, Some(Loss::Retention)));
                log.start
            }
            Some((_, next)) => next,
        };
        let until = log.end().min(next + i64::try_from(most).expect("few"));
        if until > next {
            let records = log.range(next, until).cloned().collect();
            events.push(TailEvent::Records { tp: tp.clone(), records, next: Offset(until) });
        }
        told.insert(tp.clone(), (topic.log, until.max(next)));
        events
    }

    /// All partitions that exist.
    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        let topics = self.topics();
        let all = topics.iter().flat_map(|(name, topic)| {
            (0..topic.partitions.len())
                .map(|p| TopicPartition::new(name.clone(), i32::try_from(p).expect("few")))
        });
        all.collect()
    }

    fn find<T>(
        &self,
        tp: &TopicPartition,
        with: impl FnOnce(&MemoryLog) -> T,
    ) -> Result<T, SourceError> {
        let topics = self.topics();
        let topic = topics.get(&tp.topic);
        let topic = topic.ok_or_else(|| SourceError::UnknownTopic(tp.topic.clone()))?;
        let log = topic.partitions.get(usize::try_from(tp.partition.0).unwrap_or(usize::MAX));
        Ok(with(log.ok_or_else(|| SourceError::UnknownPartition(tp.clone()))?))
    }
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &str {
        "memory"
    }

    async fn topic(&self, topic: &TopicName) -> Result<TopicInfo, SourceError> {
        tokio::task::yield_now().await;
        let topics = self.topics();
        let found = topics.get(topic).ok_or_else(|| SourceError::UnknownTopic(topic.clone()))?;
        let partitions = i32::try_from(found.partitions.len()).expect("few");
        Ok(TopicInfo { partitions, log: found.log, append_time: found.append_time })
    }

    async fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError> {
        tokio::task::yield_now().await;
        self.find(tp, |log| Watermarks { start: Offset(log.start), end: Offset(log.end()) })
    }

    async fn offset_at(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        tokio::task::yield_now().await;
        self.find(tp, |log| log.records.iter().flatten().find(|r| r.time >= time).map(|r| r.offset))
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, SourceError> {
        tokio::task::yield_now().await;
        self.find(tp, |log| {
            let kept = Watermarks { start: Offset(log.start), end: Offset(log.end()) };
            if from < kept.start || from > kept.end {
                return Err(SourceError::OutOfRange { tp: tp.clone(), wanted: from, kept });
            }
            let (mut records, mut bytes) = (Vec::new(), 0);
            let end = until.min(kept.end);
            for record in log.range(from.0, end.0) {
                if bytes >= max_bytes {
                    return Ok(Fetched { next: record.offset, records });
                }
                bytes += record.size_bytes();
                records.push(record.clone());
            }
            Ok(Fetched { records, next: end.max(from) })
        })?
    }

    async fn tail(&self, _topics: Vec<TopicName>, out: mpsc::Sender<TailEvent>) {
        out.closed().await;
    }
}
