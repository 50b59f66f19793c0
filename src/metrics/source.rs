//! The metrics of what comes from the source.

use prometheus_client::registry::Registry;

use super::{BySource, Counter, Described, Family, Gauge, register, register_all};

/// What came from the source, and how often it was gone.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    /// 1 while the source answers.
    pub reachable: Family<BySource, Gauge>,
    /// Records that the tail has passed.
    pub records: Counter,
    /// Their bytes, as the source keeps them.
    pub bytes: Counter,
    /// Times that the source could not be reached.
    pub outages: Counter,
    /// 1 for the cluster that is read, of several.
    pub cluster_in_use: Family<BySource, Gauge>,
    /// Times that another cluster was taken, by the one it is.
    pub failovers: Family<BySource, Counter>,
}

impl SourceMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let this = Self::default();
        let help = "1 while the source answers";
        let reachable = ("tidegate_source_reachable", help);
        register((&mut *registry, &mut *described), reachable, &this.reachable);
        let counters = [
            ("tidegate_source_records", "Records that came from the source live", &this.records),
            ("tidegate_source_bytes", "Bytes of these records", &this.bytes),
            (
                "tidegate_source_outages",
                "Times that the source could not be reached",
                &this.outages,
            ),
        ];
        register_all((&mut *registry, &mut *described), &counters);
        let in_use = ("tidegate_cluster_in_use", "1 for the cluster that is read, of several");
        register((&mut *registry, &mut *described), in_use, &this.cluster_in_use);
        let taken =
            ("tidegate_failovers", "Times that another cluster was taken, by the one it is");
        register((registry, described), taken, &this.failovers);
        this
    }
}
