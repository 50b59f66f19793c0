//! `id`, `Last-Event-ID` and `since`, through the real process, over a real Kafka and over the
//! embedded log: what a reader has passed it does not get again, and what it has not passed it
//! gets.
//!
//! ```text
//!  resume   every form of `Last-Event-ID`, and what is refused
//!  replay   `since`, the order of a replay, NDJSON, topics that do not exist yet
//!  foreign  positions that were made by another log
//!  logs     Kafka alone: topics made anew, retention, new partitions
//!  data     Kafka alone: large, compressed, aborted, keyed and unreadable records
//!  hosts    Kafka alone: an id goes to another gateway
//!  outage   Kafka alone: the cluster is out of reach
//! ```

mod data;
mod foreign;
mod hosts;
mod logs;
mod outage;
mod replay;
mod resume;
mod world;

/// Makes a test of each function, over either source.
macro_rules! over_both_sources {
    ($($name:ident)*) => {
        mod over_kafka {
            use crate::positions::world::Kind;
            $(#[test] fn $name() { super::$name(Kind::Kafka); })*
        }
        mod over_the_embedded_log {
            use crate::positions::world::Kind;
            $(#[test] fn $name() { super::$name(Kind::Embedded); })*
        }
    };
}

use over_both_sources;
