//! The metrics of the clients that speak to Kafka.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

use super::{BySource, Counter, Described, Family, Gauge, register, register_all};

/// By source and cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySourceCause {
    /// `kafka.main`.
    pub source: String,
    /// One word from a closed set (`source::kafka`).
    pub cause: &'static str,
}

/// What becomes of the clients. All clones count together.
#[derive(Clone, Debug, Default)]
pub struct KafkaMetrics {
    /// Times that clients were made anew.
    pub renewals: Family<BySourceCause, Counter>,
    /// Times that a client began again from its list of brokers by itself.
    pub rebootstraps: Family<BySource, Counter>,
    /// Bytes that came for the live end.
    pub received_bytes: Family<BySource, Counter>,
    /// Brokers that the cluster has named last.
    pub brokers: Family<BySource, Gauge>,
    /// Of these, the ones that lead partitions of ours and do not answer.
    pub leaders_silent: Family<BySource, Gauge>,
}

impl KafkaMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let this = Self::default();
        register(
            (&mut *registry, &mut *described),
            (
                "tidegate_kafka_renewals",
                "Times that clients of a Kafka cluster were made anew, by source and cause",
            ),
            &this.renewals,
        );
        let counters = [
            (
                "tidegate_kafka_rebootstraps",
                "Times that the live end's client began again from the list of brokers by itself",
                &this.rebootstraps,
            ),
            (
                "tidegate_kafka_received_bytes",
                "Bytes that came from brokers for the live end, as they are on the wire",
                &this.received_bytes,
            ),
        ];
        register_all((&mut *registry, &mut *described), &counters);
        let gauges = [
            ("tidegate_kafka_brokers", "Brokers that the cluster has named last", &this.brokers),
            (
                "tidegate_kafka_leaders_silent",
                "Brokers that lead partitions of ours and do not answer, while others do",
                &this.leaders_silent,
            ),
        ];
        register_all((registry, described), &gauges);
        this
    }
}
