//! The metrics of what is written through the intake.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Counter, Described, register, register_all};

/// What came in, and what became of it.
#[derive(Debug, Default)]
pub struct IntakeMetrics {
    /// Events taken.
    pub events: Counter,
    /// Events for which the writer did not wait, and that were not written (or may not have been).
    pub lost: Counter,
    /// 1 while what came last could not be written.
    pub failing: Gauge,
}

impl IntakeMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let this = Self::default();
        let counters = [
            ("tidegate_intake_events", "Events taken by the intake", &this.events),
            (
                "tidegate_intake_lost_events",
                "Events answered with 202 that were not written, or may not have been",
                &this.lost,
            ),
        ];
        register_all((&mut *registry, &mut *described), &counters);
        let help = "1 while events that came last could not be written: no room, or no answer";
        register((registry, described), ("tidegate_intake_failing", help), &this.failing);
        this
    }
}
