//! The metrics of what comes from the source.

use prometheus_client::registry::Registry;

use super::{Counter, Described, register_all};

/// What came from the source, and how often it was gone.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    /// Records that the tail has passed.
    pub records: Counter,
    /// Their bytes, as the source keeps them.
    pub bytes: Counter,
    /// Times that the source could not be reached.
    pub outages: Counter,
}

impl SourceMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let this = Self::default();
        let counters = [
            ("tidegate_source_records", "Records that came from the source live", &this.records),
            ("tidegate_source_bytes", "Bytes of these records", &this.bytes),
            (
                "tidegate_source_outages",
                "Times that the source could not be reached",
                &this.outages,
            ),
        ];
        register_all((registry, described), &counters);
        this
    }
}
