//! Where some topics stand as a whole, for who watches over them.

use super::Hub;
use crate::event::{TimestampMs, TopicName};
use crate::position::PositionTime;

/// Where some topics stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Partitions that are followed.
    pub partitions: usize,
    /// The sum of where they stand: it grows by one with each record, and is another after a topic
    /// was made anew.
    pub passed: u64,
    /// The time of the newest record, however old, if one is known.
    pub last: Option<TimestampMs>,
}

impl Hub {
    /// Bytes of frames that all rings keep.
    #[must_use]
    pub fn ring_bytes(&self) -> usize {
        let feeds: Vec<_> = self.lock().feeds.values().cloned().collect();
        feeds.iter().map(|feed| feed.ring().bytes()).sum()
    }

    /// Where these topics stand now.
    #[must_use]
    pub fn standing(&self, topics: &[TopicName]) -> Standing {
        let mut all = Standing::default();
        let state = self.lock();
        for slot in topics.iter().flat_map(|topic| state.tails.slots_of(topic)) {
            all.partitions += 1;
            all.passed = all.passed.wrapping_add(u64::try_from(slot.at.next.0).unwrap_or(0));
            if let PositionTime::Record(time) = slot.at.time {
                all.last = all.last.max(Some(time));
            }
        }
        all
    }
}
