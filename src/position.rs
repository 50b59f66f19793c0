//! Positions: what `id` says, and what comes back in `Last-Event-ID` and `since`.
//!
//! ```text
//!  PartitionPosition ──print──▶ id ──the client, perhaps through its own JSON──▶ Last-Event-ID
//!                                                                                  │ parse
//!  since (a time) ──────────▶ TimestampMs                  ResumeEntry, per partition ◀┘
//! ```
//! Pure, and hostile input is its business: any text gives a value or an error that says what was
//! found. Knows no source: whether a position still holds is decided in `session/resolve.rs`.

use crate::event::{LogTag, Offset, TimestampMs, TopicPartition};

pub mod gap;
mod parse;
mod print;
mod since;

pub use parse::{BadPosition, ENTRIES_MAX, parse_last_event_id};
pub use print::{write_fragment, write_id};
pub use since::{ACCEPTED as SINCE_ACCEPTED, BadSince, parse_since};

/// The time that goes with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionTime {
    /// Of the last record before the position.
    Record(TimestampMs),
    /// No record is before it: the time at which the position was made.
    MadeUp(TimestampMs),
}

impl PositionTime {
    /// The milliseconds, whichever it is.
    #[must_use]
    pub fn ms(self) -> TimestampMs {
        match self {
            Self::Record(t) | Self::MadeUp(t) => t,
        }
    }
}

/// Where a reader is in one partition: everything below `next` has been passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionPosition {
    /// The incarnation that `next` speaks of.
    pub log: Option<LogTag>,
    /// The next offset to read.
    pub next: Offset,
    /// The time that goes with it.
    pub time: PositionTime,
}

/// Where to go on in one partition, as a client asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeAt {
    /// `offset: -1`.
    Latest,
    /// `offset: -2`.
    Earliest,
    /// An offset, and the time of the record before it where the id has one. With offset 0 that
    /// time is always `MadeUp`: no record is before it.
    Offset(Offset, Option<PositionTime>),
    /// A time alone.
    Time(TimestampMs),
}

/// One entry of a `Last-Event-ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeEntry {
    /// Which partition.
    pub tp: TopicPartition,
    /// Where.
    pub at: ResumeAt,
    /// Of which incarnation.
    pub log: Option<LogTag>,
}

/// A `Last-Event-ID` that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastEventId {
    /// Names of topics, streams or aliases, as they were given: no position.
    Names(Vec<String>),
    /// Positions in the order in which they were given, each partition at most once.
    Positions(Vec<ResumeEntry>),
}

impl LastEventId {
    /// The topics that it names (where it is names only, streams may be among them).
    #[must_use]
    pub fn topics(&self) -> Vec<&str> {
        match self {
            Self::Names(names) => names.iter().map(String::as_str).collect(),
            Self::Positions(entries) => entries.iter().map(|e| e.tp.topic.as_str()).collect(),
        }
    }
}

/// At most the first 100 characters of what a client sent, for an error that is shown to it.
fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 100;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
