//! Clocks and histograms.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// A longer time is taken for this one.
const MAX_US: u64 = 3_600_000_000;

/// Counts by what happened.
pub(super) type Tally = BTreeMap<String, u64>;

/// Microseconds since the epoch: the one clock of writers and readers.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The processor time that this process has used, user and system.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Times in microseconds, to three digits.
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_US, 3).expect("the bounds are constants"))
    }

    pub(super) fn record_us(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.record_us(u64::try_from(time.as_micros()).unwrap_or(MAX_US));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    pub(super) fn read(&self) -> Quantiles {
        let at = |q| self.0.value_at_quantile(q);
        Quantiles {
            count: self.0.len(),
            mean: if self.0.is_empty() { 0.0 } else { self.0.mean().round() },
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        }
    }
}

/// What a summary says of many times, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// So many in so long, per second.
pub(super) fn per_s(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_short_or_too_long_to_be_counted() {
        let mut times = Times::new();
        assert_eq!(times.read().count, 0);
        for us in [0, 1, 1000, u64::MAX] {
            times.record_us(us);
        }
        let read = times.read();
        assert_eq!(read.count, 4);
        assert_eq!(read.p50, 1);
        assert!(read.max >= MAX_US && read.p99 >= 1000);
        let mut sum = Times::new();
        sum.add(&times);
        sum.add(&times);
        assert_eq!(sum.read().count, 8);
    }
}
