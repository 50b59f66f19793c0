//! The embedded log as a source and a sink.
//!
//! The log's reads block; they run on threads for that. The tail is woken by the log and reads as
//! everybody does: it keeps a position per partition and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{
    Fetched, Loss, NewRecord, Sink, SinkError, Source, SourceError, TailEvent, TopicInfo,
    Watermarks,
};
use crate::event::{LogTag, Offset, Partition, TimestampMs, TopicName, TopicPartition};
use crate::log::Log;

const NAME: &str = "embedded";
/// Bytes that the tail tells at once.
const TAIL_BYTES_MAX: usize = 1024 * 1024;
/// A partition that cannot be read is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// The embedded log, to be read and written.
#[derive(Debug)]
pub struct EmbeddedSource {
    log: Arc<Log>,
}

impl EmbeddedSource {
    /// Over an open log.
    #[must_use]
    pub fn new(log: Arc<Log>) -> Arc<Self> {
        Arc::new(Self { log })
    }

    /// Runs something that reads the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Log) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let log = Arc::clone(&self.log);
        tokio::task::spawn_blocking(move || work(&log)).await.unwrap_or_else(|error| {
            let cause = format!("the read broke off: {error}");
            Err(SourceError::Unreachable { source_name: NAME.to_owned(), cause })
        })
    }
}

#[async_trait]
impl Source for EmbeddedSource {
    fn name(&self) -> &str {
        NAME
    }

    async fn topic(&self, topic: &TopicName) -> Result<TopicInfo, SourceError> {
        self.log.topic(topic).ok_or_else(|| SourceError::UnknownTopic(topic.clone()))
    }

    async fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError> {
        self.log.watermarks(tp)
    }

    async fn offset_at(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        let tp = tp.clone();
        self.blocking(move |log| log.offset_at(&tp, time)).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, SourceError> {
        let tp = tp.clone();
        self.blocking(move |log| log.read(&tp, from, until, max_bytes)).await
    }

    async fn tail(&self, topics: Vec<TopicName>, out: mpsc::Sender<TailEvent>) {
        let mut changed = self.log.changed();
        let mut tail = Tail::new(self, out);
        loop {
            changed.mark_unchanged();
            let retry = match tail.round(&topics).await {
                Ok(retry) => retry,
                Err(Closed) => return,
            };
            let wait = if retry { RETRY } else { Duration::MAX };
            tokio::select! {
                moved = changed.changed() => if moved.is_err() {
                    // The log is closed: there will be nothing more.
                    return tail.out.closed().await;
                },
                () = tokio::time::sleep(wait) => {}
                () = tail.out.closed() => return,
            }
        }
    }
}

#[async_trait]
impl Sink for EmbeddedSource {
    async fn append(&self, record: NewRecord) -> Result<(Partition, Offset), SinkError> {
        self.log.append(record).await
    }
}

/// Records that the tail reads without a thread of its own.
const FRESH_RECORDS_MAX: i64 = 64;

/// Nobody listens any more.
struct Closed;

/// A tail and how far it has told.
struct Tail<'a> {
    source: &'a EmbeddedSource,
    out: mpsc::Sender<TailEvent>,
    followed: BTreeMap<TopicPartition, (Option<LogTag>, Offset)>,
    /// Topics that were followed and are not there: when they come again, it is another one.
    gone: BTreeSet<TopicName>,
    surveyed: bool,
}

impl<'a> Tail<'a> {
    fn new(source: &'a EmbeddedSource, out: mpsc::Sender<TailEvent>) -> Self {
        Self { source, out, followed: BTreeMap::new(), gone: BTreeSet::new(), surveyed: false }
    }

    /// Tells everything that is new. True: something could not be read and is to be tried again.
    async fn round(&mut self, topics: &[TopicName]) -> Result<bool, Closed> {
        let mut retry = false;
        for topic in topics {
            let Some(info) = self.source.log.topic(topic) else {
                let was_followed = self.followed.keys().any(|tp| tp.topic == *topic);
                if was_followed && self.gone.insert(topic.clone()) {
                    self.tell(TailEvent::Gone { topic: topic.clone() }).await?;
                }
                continue;
            };
            self.gone.remove(topic);
            for partition in 0..info.partitions {
                let tp = TopicPartition::new(topic.clone(), partition);
                retry |= self.partition(&tp, info.log).await?.is_none();
            }
        }
        if !std::mem::replace(&mut self.surveyed, true) {
            self.tell(TailEvent::Surveyed).await?;
        }
        Ok(retry)
    }

    /// Tells one partition up to its end. `None`: it could not be read.
    async fn partition(
        &mut self,
        tp: &TopicPartition,
        log: Option<LogTag>,
    ) -> Result<Option<()>, Closed> {
        loop {
            let Ok(marks) = self.source.log.watermarks(tp) else { return Ok(Some(())) };
            let (next, after) = match self.followed.get(tp) {
                Some((tag, next)) if *tag == log && *next >= marks.start => (*next, None),
                Some((tag, _)) if *tag == log => (marks.start, Some(Loss::Retention)),
                Some(_) => (marks.start, Some(Loss::Recreated)),
                None if self.surveyed => (marks.start, None),
                None => (marks.end, None),
            };
            if after.is_some() || !self.followed.contains_key(tp) {
                let Some(last) = self.time_before(tp, marks.start, next).await else { continue };
                self.followed.insert(tp.clone(), (log, next));
                let (tp, append_time) = (tp.clone(), false);
                self.tell(TailEvent::Opened { tp, log, append_time, next, last, after }).await?;
            }
            if next >= marks.end {
                return Ok(Some(()));
            }
            // A little that was written a moment ago is in the page cache: reading it here costs
            // less than waking a thread for it.
            let fetched = if marks.end.0 - next.0 <= FRESH_RECORDS_MAX {
                self.source.log.read(tp, next, marks.end, TAIL_BYTES_MAX)
            } else {
                self.source.read(tp, next, marks.end, TAIL_BYTES_MAX).await
            };
            let records = match fetched {
                // The topic was made anew meanwhile: what was read may be the new one's.
                Ok(_) if self.source.log.topic(&tp.topic).is_none_or(|now| now.log != log) => {
                    return Ok(Some(()));
                }
                Ok(fetched) => {
                    self.followed.insert(tp.clone(), (log, fetched.next));
                    TailEvent::Records {
                        tp: tp.clone(),
                        records: fetched.records,
                        next: fetched.next,
                    }
                }
                // Retention came in between, or the topic went: look again.
                Err(SourceError::OutOfRange { .. }) => continue,
                Err(SourceError::UnknownTopic(_) | SourceError::UnknownPartition(_)) => {
                    return Ok(Some(()));
                }
                Err(error) => {
                    tracing::error!(%error, "the log cannot be read on");
                    return Ok(None);
                }
            };
            self.tell(records).await?;
        }
    }

    /// The time of the record before `next`, if one is kept and can be read. `None`: the partition
    /// is not any more what it was, look again.
    async fn time_before(
        &self,
        tp: &TopicPartition,
        start: Offset,
        next: Offset,
    ) -> Option<Option<TimestampMs>> {
        if next <= start {
            return Some(None);
        }
        match self.source.read(tp, Offset(next.0 - 1), next, 1).await {
            Ok(fetched) => Some(fetched.records.last().map(|record| record.time)),
            Err(
                SourceError::OutOfRange { .. }
                | SourceError::UnknownTopic(_)
                | SourceError::UnknownPartition(_),
            ) => None,
            Err(error) => {
                // What comes after it can be told all the same.
                tracing::error!(%error, "the log's end cannot be read");
                Some(None)
            }
        }
    }

    async fn tell(&self, event: TailEvent) -> Result<(), Closed> {
        self.out.send(event).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests;
