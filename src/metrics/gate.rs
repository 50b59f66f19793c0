//! The metrics of what the gate counts besides streams: connections, turns at history, feeds.

use prometheus_client::registry::Registry;

use super::{ByReason, Counter, Described, Family, Gauge, register, register_all};

/// What the gate counts besides streams.
#[derive(Debug, Default)]
pub struct GateMetrics {
    /// Streams that may be open at the same time.
    pub streams_max: Gauge,
    /// Streams that each client could hold if all who hold some held alike.
    pub fair_level: Gauge,
    /// Connections that carry no stream now.
    pub connections_waiting: Gauge,
    /// Connections that were ended for what they did or did not do, by reason.
    pub connections_ended: Family<ByReason, Counter>,
    /// Streams refused for want of room to clients that hold less than their share.
    pub refused_under_share: Counter,
    /// Readers that have a turn at reading history now.
    pub catchups_running: Gauge,
    /// Readers that wait for one.
    pub catchups_waiting: Gauge,
    /// Feeds of the client that has started most of those that exist now.
    pub feeds_of_one_client_max: Gauge,
}

impl GateMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let this = Self::default();
        let gauges = [
            ("tidegate_streams_max", "Streams that may be open at once", &this.streams_max),
            (
                "tidegate_fair_level_streams",
                "Streams that each client could hold if all who hold some held alike",
                &this.fair_level,
            ),
            (
                "tidegate_connections_waiting",
                "Connections that carry no stream now",
                &this.connections_waiting,
            ),
            (
                "tidegate_catchups_running",
                "Readers that have a turn at reading history now",
                &this.catchups_running,
            ),
            (
                "tidegate_catchups_waiting",
                "Readers that wait for a turn at reading history now",
                &this.catchups_waiting,
            ),
            (
                "tidegate_feeds_of_one_client_max",
                "Feeds of the client that has started most of those that exist now",
                &this.feeds_of_one_client_max,
            ),
        ];
        register_all((registry, described), &gauges);
        let help = "Connections without a stream that the gateway ended, by reason";
        register(
            (registry, described),
            ("tidegate_connections_ended", help),
            &this.connections_ended,
        );
        let help = "Streams refused for want of room to clients that hold less than their share";
        register(
            (registry, described),
            ("tidegate_refusals_under_share", help),
            &this.refused_under_share,
        );
        this
    }
}
