//! What is asked of a log of records and what it answers, whichever log it is: what there is, what
//! a read gave, what is to be written, and why not.
//!
//! Pure. The errors are decided by variant, never by text.

use bytes::Bytes;

use super::{LogTag, Offset, Record, TimestampMs, TopicName, TopicPartition};

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
