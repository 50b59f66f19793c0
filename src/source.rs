//! What can be read, and what can be written: the two traits behind which Kafka and the embedded
//! log stand.
//!
//! ```text
//!  Kafka cluster ─┐          ┌─ tail(topics)           the live end, pushed, for ever
//!  embedded log ──┴─ Source ─┼─ read(partition, range)  a stateless range read
//!                            └─ topic, watermarks, offset_at
//!  intake ───────── Sink ──── append
//!  gateways ─────── ControlLog                         what they tell each other (`control`)
//!  clusters ─────── Sites ─▶ Source                    several with copies of the same (`sites`)
//! ```
//! A source holds no reader's position: whoever reads says from where. Nothing here knows of
//! streams, feeds or HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

pub use crate::event::answers::{
    Fetched, NewRecord, SinkError, SourceError, TopicInfo, Watermarks,
};
use crate::event::{LogTag, Offset, Partition, Record, TimestampMs, TopicName, TopicPartition};

pub mod control;
pub mod embedded;
pub mod kafka;
mod look_back;
#[cfg(test)]
pub(crate) mod memory;
pub mod sites;

/// Why what was followed could not be followed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Retention removed records before they were read.
    Retention,
    /// The topic was deleted and made anew.
    Recreated,
    /// The log became shorter than what had been read (unclean leader election).
    Truncated,
    /// Nothing is lost: it goes on in another cluster's copy, by time, or where it stood in this
    /// one's own log when another cluster was about to be taken.
    Moved,
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

    /// Goes by another list of brokers from now on. False: it cannot while it runs, or there are
    /// none.
    fn rebootstrap(&self, _brokers: &[String]) -> bool {
        false
    }

    /// Of several clusters with copies of the same topics the one that is read now; `None`: it is
    /// not several. Who asks questions that belong together asks all of them here, since the next
    /// one may go to another cluster otherwise.
    fn in_use(&self) -> Option<Arc<dyn Source>> {
        None
    }

    /// Follows all partitions of `topics`, also those that come later, until `out` is closed.
    /// Existing partitions are followed from their end at the time of the survey; partitions and
    /// topics that appear afterwards from their beginning. Faults are repaired inside: positions
    /// are kept here, no record is told twice or left out but with an `Opened { after }`.
    async fn tail(&self, topics: Vec<TopicName>, out: mpsc::Sender<TailEvent>);
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
