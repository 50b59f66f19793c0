//! What is counted of a cluster's clients, and the words for why they are made anew.
//!
//! Decides nothing.

use crate::metrics::{BySource, BySourceCause, Gauge, KafkaMetrics};

/// Why a client was made anew, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Another list of brokers.
    Brokers,
    /// Nobody has answered for long.
    Unreachable,
    /// All brokers went down.
    AllDown,
    /// No broker that leads anything of ours answers any more.
    NoAnswer,
    /// Topics cannot be looked up.
    LookUps,
    /// The client says nothing of itself.
    Stuck,
    /// There are records, and they do not come.
    Behind,
    /// The client does not take a partition.
    Refused,
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Self::Brokers => "brokers_changed",
            Self::Unreachable => "unreachable",
            Self::AllDown => "all_down",
            Self::NoAnswer => "no_answer",
            Self::LookUps => "lookups_failed",
            Self::Stuck => "stuck",
            Self::Behind => "records_missing",
            Self::Refused => "refused",
        }
    }
}

/// Counts for one source.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    metrics: KafkaMetrics,
    source: BySource,
}

impl Counts {
    pub(super) fn new(metrics: KafkaMetrics, source: &str) -> Self {
        Self { metrics, source: BySource { source: source.to_owned() } }
    }

    pub(super) fn renewed(&self, why: Why) {
        let label = BySourceCause { source: self.source.source.clone(), cause: why.as_str() };
        self.metrics.renewals.get_or_create(&label).inc();
    }

    pub(super) fn rebootstrapped(&self) {
        self.metrics.rebootstraps.get_or_create(&self.source).inc();
    }

    pub(super) fn received(&self, bytes: u64) {
        self.metrics.received_bytes.get_or_create(&self.source).inc_by(bytes);
    }

    pub(super) fn brokers(&self, named: usize) {
        self.metrics.brokers.get_or_create(&self.source).set(number(named));
    }

    /// What one tail says of silent leaders; several tails add up.
    pub(super) fn silent(&self) -> Silent {
        Silent { gauge: self.metrics.leaders_silent.get_or_create_owned(&self.source), now: 0 }
    }
}

/// Leaders that one tail sees silent; none when it ends.
pub(super) struct Silent {
    gauge: Gauge,
    now: i64,
}

impl Silent {
    pub(super) fn are(&mut self, leaders: usize) {
        let new = number(leaders);
        self.gauge.inc_by(new - std::mem::replace(&mut self.now, new));
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.are(0);
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_tails_of_a_source_add_up_and_one_that_ends_counts_no_more() {
        let metrics = KafkaMetrics::default();
        let counts = Counts::new(metrics.clone(), "kafka.main");
        let (mut one, mut other) = (counts.silent(), counts.silent());
        let silent = || metrics.leaders_silent.get_or_create(&counts.source).get();
        one.are(2);
        other.are(1);
        assert_eq!(silent(), 3);
        one.are(0);
        assert_eq!(silent(), 1);
        drop(other);
        assert_eq!(silent(), 0);
    }
}
