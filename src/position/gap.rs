//! What could not be given, and how it is said. (Interface; being written.)

use crate::event::{Offset, TopicPartition};

/// Why there is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Retention removed it.
    Retention,
    /// The topic was made anew.
    Recreated,
    /// The log became shorter (unclean leader election).
    Truncated,
    /// The position is above the end, and nothing tells where it belongs.
    OutOfRange,
    /// The position is another log's, and no time goes with it.
    ForeignLog,
    /// The partition does not exist.
    NoPartition,
}

/// One gap. `from ≤ lost < to`; an end that nobody knows is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// In which partition.
    pub tp: TopicPartition,
    /// The first offset that was not given.
    pub from: Offset,
    /// Where reading goes on.
    pub to: Option<Offset>,
    /// Why.
    pub reason: GapReason,
}
