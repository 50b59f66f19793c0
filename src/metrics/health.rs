//! The metrics of health: levels, ages, canaries.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{ByStream, Described, Family, Gauge, register, register_all};

/// By what has a health, and why it is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByHealth {
    /// `service`, `source`, `topic`, `stream`.
    pub subject: &'static str,
    /// Its name.
    pub name: String,
    /// One word from a closed set; `none` where all is well.
    pub cause: &'static str,
}

/// By stream and what became of a canary.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCanary {
    /// The stream's name.
    pub stream: String,
    /// `passed`, `lost`, `unwritten`.
    pub outcome: &'static str,
}

/// Upper bounds in s: what is usual lies in the first half.
const LATENCY_S: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A family of histograms.
pub type Latencies = Family<ByStream, Histogram, fn() -> Histogram>;

/// How everything is.
#[derive(Debug)]
pub struct HealthMetrics {
    /// 0 ok, 1 degraded, 2 critical: one series for each subject, with its cause now.
    pub level: Family<ByHealth, Gauge>,
    /// Seconds since the newest record of a stream, by the records' own times.
    pub last_event_age: Family<ByStream, Gauge<f64, AtomicU64>>,
    /// From before a canary is written until it is read at the public port.
    pub canary_latency: Latencies,
    /// Canaries, by what became of them.
    pub canaries: Family<ByCanary, super::Counter>,
    /// Bytes of frames that the feeds' rings keep.
    pub ring_bytes: Gauge,
    /// Records that the reader in catch-up that is furthest behind has still to pass.
    pub catchup_lag: Gauge,
}

impl HealthMetrics {
    pub(super) fn new(registry: &mut Registry, described: &mut Vec<Described>) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(LATENCY_S);
        let this = Self {
            level: Family::default(),
            last_event_age: Family::default(),
            canary_latency: Family::new_with_constructor(histogram),
            canaries: Family::default(),
            ring_bytes: Gauge::default(),
            catchup_lag: Gauge::default(),
        };
        let r = (registry, described);
        register(
            (r.0, r.1),
            (
                "tidegate_health_level",
                "0 ok, 1 degraded, 2 critical; of the service, the source, each topic and each \
                 stream, with the cause",
            ),
            &this.level,
        );
        register(
            (r.0, r.1),
            ("tidegate_last_event_age_seconds", "Age of the newest record, by stream"),
            &this.last_event_age,
        );
        register(
            (r.0, r.1),
            (
                "tidegate_canary_latency_seconds",
                "From before a canary is written until it is read at the public port, by stream",
            ),
            &this.canary_latency,
        );
        register(
            (r.0, r.1),
            ("tidegate_canaries", "Canaries, by stream and what became of them"),
            &this.canaries,
        );
        let gauges = [
            ("tidegate_ring_bytes", "Bytes of frames in the feeds' rings", &this.ring_bytes),
            (
                "tidegate_catchup_lag_events",
                "What the reader in catch-up that is furthest behind has still to pass",
                &this.catchup_lag,
            ),
        ];
        register_all((r.0, r.1), &gauges);
        this
    }
}
