//! How much came lately: records by second, from what the tails keep in memory anyway.
//!
//! Nothing is counted as records arrive, and nothing is kept: who wants to know looks, and pays
//! with a few searches for each partition. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::tail::TailRecord;
use crate::event::TimestampMs;

/// How far back, in seconds.
pub const SECONDS: usize = 120;

/// What came in the last two minutes, by the records' own times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Records in each whole second before `now`, the oldest first.
    pub by_second: [u32; SECONDS],
    /// The time of the newest record, however old, if one is known.
    pub last: Option<TimestampMs>,
    now: TimestampMs,
}

impl Recent {
    /// Nothing yet, seen from `now`.
    #[must_use]
    pub fn before(now: TimestampMs) -> Self {
        Self { by_second: [0; SECONDS], last: None, now }
    }

    /// Takes a record's time for the newest if it is.
    pub fn seen(&mut self, time: TimestampMs) {
        self.last = self.last.max(Some(time));
    }

    /// Adds what one partition keeps. Where a producer's times are out of order, a record may be
    /// counted for a neighbouring second.
    pub fn add(&mut self, records: &VecDeque<Arc<TailRecord>>) {
        let now = self.now;
        let from = |second: usize| {
            let back = i64::try_from((SECONDS - second) * 1000).unwrap_or(i64::MAX);
            records.partition_point(|r| r.record.time < now.less(back))
        };
        let mut start = from(0);
        for (second, count) in self.by_second.iter_mut().enumerate() {
            let end = from(second + 1).max(start);
            *count = count.saturating_add(u32::try_from(end - start).unwrap_or(u32::MAX));
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Offset, Record};

    #[test]
    fn records_are_counted_for_their_second_and_what_is_older_or_of_the_future_for_none() {
        let times = [900, 79_999, 80_000, 198_999, 199_000, 199_500, 199_999, 200_000, 230_000];
        let record = |(n, ms): (usize, &i64)| {
            let offset = Offset(i64::try_from(n).expect("few"));
            Arc::new(TailRecord::new(Record {
                offset,
                time: TimestampMs(*ms),
                key: None,
                value: None,
            }))
        };
        let records = times.iter().enumerate().map(record).collect();
        let mut recent = Recent::before(TimestampMs(200_000));
        recent.add(&records);
        assert_eq!((recent.by_second[0], recent.by_second[118], recent.by_second[119]), (1, 1, 3));
        assert_eq!(recent.by_second.iter().sum::<u32>(), 5);
        recent.add(&records);
        assert_eq!(recent.by_second[119], 6, "partitions add up");
    }
}
