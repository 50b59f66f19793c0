//! A log of control records that all gateways of a cluster share: small, keyed, compacted, so the
//! last record of each key is kept for ever.
//!
//! What the records say is their readers' business, and so is what to do when one cannot be written
//! or read now: nobody waits for this log.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::event::{LogTag, Offset, Partition, Record};

/// How far a control log has been read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReadTo {
    /// Which incarnation; `None`: none yet.
    pub log: Option<LogTag>,
    /// The next to read, by partition.
    pub next: BTreeMap<Partition, Offset>,
}

/// What was read on.
#[derive(Debug, Default)]
pub struct Heard {
    /// It is another log than before, read from its beginning (at first, and when the topic was
    /// made anew): what the old one said is not in it.
    pub anew: bool,
    /// Records, those of one key in their order.
    pub records: Vec<Record>,
    /// Nothing is left to read now.
    pub at_end: bool,
}

/// Why a control log does not do what it was asked. Asking again later may help in all cases: an
/// operator may have mended it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such topic, and it could not be made.
    #[error("topic {topic} is not there and could not be made: {cause}. Make it: {create}")]
    NoTopic {
        /// Which topic.
        topic: String,
        /// Why it could not be made.
        cause: String,
        /// What an operator can do.
        create: String,
    },
    /// It cannot be reached now.
    #[error("{0}")]
    Unavailable(String),
    /// It is there, and this may not be done to it.
    #[error("{0}")]
    Refused(String),
}

/// A log that all gateways of a cluster share.
#[async_trait]
pub trait ControlLog: std::fmt::Debug + Send + Sync + 'static {
    /// Its topic's name.
    fn topic(&self) -> &str;

    /// Sees that the topic is there, and makes it if it is not.
    ///
    /// # Errors
    /// See `ControlError`.
    async fn prepare(&self) -> Result<(), ControlError>;

    /// Reads on, a bounded part at a time. On an error `to` is as it was.
    ///
    /// # Errors
    /// See `ControlError`.
    async fn read_on(&self, to: &mut ReadTo) -> Result<Heard, ControlError>;

    /// Writes a record; `None` says that nothing is known of the key any more. When this returns
    /// it is durable.
    ///
    /// # Errors
    /// See `ControlError`. It may have been written nevertheless.
    async fn publish(&self, key: &str, value: Option<Bytes>) -> Result<(), ControlError>;
}
