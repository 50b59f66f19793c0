//! The words that everything else is written in: topic, partition, offset, time, record.
//!
//! Pure: no I/O, no clock, nothing of HTTP or Kafka. Newtypes, so that an offset is never taken
//! for a time or a partition.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub mod answers;

/// A topic's name: 1 to 249 characters of `[A-Za-z0-9._-]`, not `.` or `..` (Kafka's own rule).
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no topic name: 1 to 249 of A-Z a-z 0-9 . _ - are accepted")]
pub struct BadTopicName(pub String);

impl TopicName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// When it is not a name that Kafka would accept.
    pub fn new(name: &str) -> Result<Self, BadTopicName> {
        let fits = (1..=249).contains(&name.len()) && name != "." && name != "..";
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if fits && name.bytes().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(BadTopicName(name.chars().take(300).collect()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A partition's number within its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a partition's log, from 0. As a position it names the *next* record to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, as Kafka has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// This time less `slack_ms`, never below 0.
    #[must_use]
    pub fn less(self, slack_ms: i64) -> Self {
        Self(self.0.saturating_sub(slack_ms).max(0))
    }

    /// Now, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Six characters of `[A-Za-z0-9_-]` that name one incarnation of a topic and no other: a topic
/// that is deleted and made anew has another. From Kafka it is the head of the topic id as
/// Kafka's tools print it (base64url), so an operator can compare the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTag([u8; 6]);

impl LogTag {
    /// Takes six characters of `[A-Za-z0-9_-]`; anything else is no tag.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let bytes: [u8; 6] = text.as_bytes().try_into().ok()?;
        let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        bytes.iter().all(legal).then_some(Self(bytes))
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a tag is ASCII")
    }
}

impl fmt::Display for LogTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LogTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// One partition of one topic. Ordered by topic name, then partition: the canonical order of ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: Partition,
}

impl TopicPartition {
    /// Puts the two together.
    #[must_use]
    pub fn new(topic: TopicName, partition: i32) -> Self {
        Self { topic, partition: Partition(partition) }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// One record as its log holds it; nothing in it has been interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its time: the producer's or the log's, as the topic is configured.
    pub time: TimestampMs,
    /// Its key, if it has one.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    /// Bytes of key and value together, and a constant for what is kept around them.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let len = |b: &Option<Bytes>| b.as_ref().map_or(0, Bytes::len);
        len(&self.key) + len(&self.value) + 64
    }
}
