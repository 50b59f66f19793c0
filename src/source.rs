//! What can be read, and what can be written: the two traits behind which Kafka and the embedded
//! log stand.
//!
//! ```text
//!  Kafka cluster ─┐          ┌─ tail(topics)           the live end, pushed, for ever
//!  embedded log ──┴─ Source ─┼─ read(partition, range)  a stateless range read
//!                            └─ topic, watermarks, offset_at
//!  intake ───────── Sink ──── append
//! ```
//! A source holds no reader's position: whoever reads says from where. Nothing here knows of
//! streams, feeds or HTTP.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::event::{LogTag, Offset, Partition, Record, TimestampMs, TopicName, TopicPartition};

pub mod embedded;
pub mod kafka;
#[cfg(test)]
pub(crate) mod memory;

/// What a source knows of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Partitions are numbered `0..partitions`.
    pub partitions: i32,
    /// This incarnation's name; `None` where the brokers are too old to have one.
    pub log: Option<LogTag>,
    /// The log sets the times (`LogAppendTime`), not the producer.
    pub append_time: bool,
}

/// The readable range of a partition: `start ≤ offset < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The earliest offset that is kept.
    pub start: Offset,
    /// The offset after the last one that may be read (Kafka: the last *stable* offset).
    pub end: Offset,
}

/// What a range read gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Records in offset order, all with `from ≤ offset < until`. Offsets may have holes.
    pub records: Vec<Record>,
    /// Where to go on: everything below has been read or is a hole. `from < next ≤ until` (a read
    /// always gets on), unless the log has nothing more to read yet: then `next` may equal `from`.
    pub next: Offset,
}

/// Why a source could not answer. Decided by variant, never by text.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// There is no such topic (now).
    #[error("topic {0} does not exist")]
    UnknownTopic(TopicName),
    /// There is no such partition (now).
    #[error("partition {0} does not exist")]
    UnknownPartition(TopicPartition),
    /// The range begins below what is kept, or above the end.
    #[error("offset {wanted} of {tp} is outside {}..{}", kept.start, kept.end)]
    OutOfRange {
        /// Which partition.
        tp: TopicPartition,
        /// What was asked for.
        wanted: Offset,
        /// What there is.
        kept: Watermarks,
    },
    /// Nothing can be had from the source now; later it may.
    #[error("{source_name} cannot be reached: {cause}")]
    Unreachable {
        /// Which source ("kafka.main").
        source_name: String,
        /// What it said last.
        cause: String,
    },
    /// What is stored cannot be read (a damaged segment, an unreadable batch).
    #[error("{tp} is damaged at offset {at}: {cause}")]
    Damaged {
        /// Which partition.
        tp: TopicPartition,
        /// From where.
        at: Offset,
        /// What is wrong.
        cause: String,
    },
}

impl SourceError {
    /// Whether asking again, unchanged, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Why what was followed could not be followed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Retention removed records before they were read.
    Retention,
    /// The topic was deleted and made anew.
    Recreated,
    /// The log became shorter than what had been read (unclean leader election).
    Truncated,
}

/// What a tail tells, in the order in which it happens.
#[derive(Debug, Clone)]
pub enum TailEvent {
    /// A partition is followed from `next` on. The first word on every partition, and said again
    /// whenever it goes on elsewhere than where it was (`after`).
    Opened {
        /// Which partition.
        tp: TopicPartition,
        /// The incarnation that is followed.
        log: Option<LogTag>,
        /// The log sets the times.
        append_time: bool,
        /// The next record will be this one or a later one.
        next: Offset,
        /// Time of the last record before `next`; `None`: there is none (or none was found in
        /// bounded look-back).
        last: Option<TimestampMs>,
        /// Why it goes on elsewhere; `None` at first.
        after: Option<Loss>,
    },
    /// Records in offset order, and where the partition stands after them. `records` may be
    /// empty: the position moved over a hole (an aborted transaction, a control record).
    Records {
        /// Which partition.
        tp: TopicPartition,
        /// The records, none below the partition's last `next`.
        records: Vec<Record>,
        /// The next to read.
        next: Offset,
    },
    /// All topics asked for have been looked up once and those that exist were `Opened`. Said
    /// once. A topic that comes later is `Opened` at its beginning.
    Surveyed,
    /// The whole source is out of reach (all brokers down).
    Unreachable {
        /// What it said last.
        cause: String,
    },
    /// The source answers again.
    Reachable,
    /// The topic no longer exists (it may come again: then it is `Opened` with `Recreated`).
    Gone {
        /// Which topic.
        topic: TopicName,
    },
}

/// Where records can be read from.
#[async_trait]
pub trait Source: std::fmt::Debug + Send + Sync + 'static {
    /// Its name in logs, metrics and errors: `kafka.main`, `embedded`.
    fn name(&self) -> &str;

    /// What the topic is now, asked anew.
    ///
    /// # Errors
    /// `UnknownTopic`, `Unreachable`.
    async fn topic(&self, topic: &TopicName) -> Result<TopicInfo, SourceError>;

    /// The readable range now, asked anew.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Unreachable`.
    async fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError>;

    /// The first offset, in log order, of a record with a time ≥ `time`; `None`: no record has.
    ///
    /// # Errors
    /// As `watermarks`, and `Damaged`.
    async fn offset_at(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError>;

    /// Reads records with `from ≤ offset < until`, about `max_bytes` of them, at least one if
    /// there is one. Dropping the future ends the read.
    ///
    /// # Errors
    /// As `watermarks`, `OutOfRange` where `from` is below the start or above the end, `Damaged`.
    async fn read(
        &self,
        tp: &TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, SourceError>;

    /// Follows all partitions of `topics`, also those that come later, until `out` is closed.
    /// Existing partitions are followed from their end at the time of the survey; partitions and
    /// topics that appear afterwards from their beginning. Faults are repaired inside: positions
    /// are kept here, no record is told twice or left out but with an `Opened { after }`.
    async fn tail(&self, topics: Vec<TopicName>, out: mpsc::Sender<TailEvent>);
}

/// One record to be written.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Where to.
    pub topic: TopicName,
    /// Decides the partition (same key, same partition); none: any partition.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// The record's time.
    pub time: TimestampMs,
}

/// Why a record was not (or may not have been) written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SinkError {
    /// It was not written; later it may be.
    #[error("{0} does not take records now: {1}")]
    Unavailable(String, String),
    /// It may or may not have been written.
    #[error("{0} did not say in time whether the record was written: {1}")]
    Unknown(String, String),
    /// It will never be taken as it is (too large, no such topic).
    #[error("the record is refused: {0}")]
    Refused(String),
}

/// Where records can be written to.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Writes one record; when this returns it is durable. Concurrent calls are batched; they are
    /// taken in the order in which they are polled for the first time.
    ///
    /// # Errors
    /// See `SinkError`.
    async fn append(&self, record: NewRecord) -> Result<(Partition, Offset), SinkError>;
}
