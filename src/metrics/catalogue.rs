//! The metrics of what is read from elsewhere: the catalogue, and schemas.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

use super::{Counter, Described, Family, Gauge, register, register_all};

/// By what became of a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByOutcome {
    /// `read`, `missed`.
    pub outcome: &'static str,
}

/// How it is with what is read from elsewhere.
#[derive(Debug, Default)]
pub struct CatalogueMetrics {
    /// Reads of the catalogue, by what became of them.
    pub reads: Family<ByOutcome, Counter>,
    /// 1 while the last good one is in force because too many reads in a row were missed.
    pub stale: Gauge,
    /// When the one in force was last found to be so, in seconds since 1970.
    pub seconds: Gauge,
    /// Streams that it has brought.
    pub streams: Gauge,
    /// Schemas that could not be fetched.
    pub schemas_missing: Gauge,
}

impl CatalogueMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let this = Self::default();
        let help = "Reads of the catalogue that is elsewhere, by outcome: read, missed";
        register((registry, described), ("tidegate_catalogue_reads", help), &this.reads);
        let gauges = [
            (
                "tidegate_catalogue_stale",
                "1 while the last good catalogue is in force since it cannot be read",
                &this.stale,
            ),
            (
                "tidegate_catalogue_timestamp_seconds",
                "When the catalogue in force was last read, in seconds since 1970",
                &this.seconds,
            ),
            (
                "tidegate_catalogue_streams",
                "Streams in force that the catalogue from elsewhere has brought",
                &this.streams,
            ),
            (
                "tidegate_schemas_missing",
                "Schemas that could not be fetched when they were last asked for",
                &this.schemas_missing,
            ),
        ];
        register_all((registry, described), &gauges);
        this
    }
}
