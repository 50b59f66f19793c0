//! All metrics, declared once. The doc comment of a field is its help text (`docs/metrics.md`).
//!
//! Names: the two that the reference has are kept; all others are
//! `tidegate_<noun>_<unit>[_total]`. Labels are bounded and never carry a client's address.
//! A counter's `_total` is added by the encoder.

use std::sync::Mutex;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::TypedMetric;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

mod catalogue;
mod control;
mod gate;
mod health;
mod intake;
mod kafka;
mod source;

pub use catalogue::{ByOutcome, CatalogueMetrics};
pub use control::ControlMetrics;
pub use gate::GateMetrics;
pub use health::{ByCanary, ByHealth, HealthMetrics};
pub use intake::IntakeMetrics;
pub use kafka::{BySourceCause, KafkaMetrics};
pub use source::SourceMetrics;

/// Combinations of streams that have a series of their own; the rest is `other`.
const COMBINATIONS_MAX: usize = 1000;

/// By stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByStream {
    /// The stream's name.
    pub stream: String,
}

/// By combination of streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByStreams {
    /// Names, sorted, comma separated; `other` beyond the first thousand.
    pub streams: String,
}

/// By reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    /// One word from a closed set.
    pub reason: &'static str,
}

/// By topic and reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByStreamReason {
    /// The stream's name (of a record that no feed had shown yet: its topic).
    pub stream: String,
    /// One word from a closed set.
    pub reason: &'static str,
}

/// By rule of redaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByRule {
    /// The rule's name in the config.
    pub rule: String,
}

/// By content encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByEncoding {
    /// `identity`, `gzip`, `deflate`, `zstd`.
    pub encoding: &'static str,
}

/// By source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySource {
    /// `kafka.main`, `embedded`.
    pub source: String,
}

/// By version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVersion {
    version: &'static str,
}

/// A metric as it is documented.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Its name, of a counter without `_total`.
    pub name: &'static str,
    /// `counter`, `gauge`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    combinations: Mutex<std::collections::HashSet<String>>,
    /// Readers connected now, by stream.
    pub connected_clients: Family<ByStream, Gauge>,
    client_connections: Family<ByStreams, Counter>,
    /// Streams ended, by reason.
    pub streams_ended: Family<ByReason, Counter>,
    /// Streams open now.
    pub streams_open: Gauge,
    /// Clients (addresses or prefixes) that hold streams now.
    pub clients: Gauge,
    /// What the client that holds most holds of all streams, in thousandths.
    pub greediest_client_permille: Gauge,
    /// Requests refused, by reason.
    pub refusals: Family<ByReason, Counter>,
    /// Events delivered to readers, live and replayed.
    pub events_delivered: Counter,
    /// Bytes of stream bodies given to connections, as they are encoded.
    pub delivered_bytes: Family<ByEncoding, Counter>,
    /// Records that are no event, each time a feed or a replay passed over one.
    pub events_skipped: Family<ByStreamReason, Counter>,
    /// Records of which something was hidden, each time a feed or a replay made a line of one.
    pub events_redacted: Family<ByRule, Counter>,
    /// Gaps said to readers, by reason.
    pub gaps: Family<ByReason, Counter>,
    /// Feeds that exist now.
    pub feeds: Gauge,
    /// Bytes of records that the tails keep, with room for their lines.
    pub tail_bytes: Gauge,
    /// Bytes that the history cache holds.
    pub history_cache_bytes: Gauge,
    /// Range reads that went to a source (the others were shared or cached).
    pub history_reads: Counter,
    /// Times that a reader fell off its feed's ring and went back to catch-up.
    pub fell_behind: Counter,
    /// Readers in catch-up now.
    pub catchup_readers: Gauge,
    /// TLS handshakes that failed, by reason.
    pub tls_handshakes_failed: Family<ByReason, Counter>,
    /// What the gate counts besides streams.
    pub gate: GateMetrics,
    /// What operators decide at run time.
    pub control: ControlMetrics,
    /// What is read from elsewhere.
    pub catalogue: CatalogueMetrics,
    /// How everything is.
    pub health: HealthMetrics,
    /// What comes from the source.
    pub source: SourceMetrics,
    /// What becomes of the clients that speak to Kafka.
    pub kafka: KafkaMetrics,
    /// What is written through the intake.
    pub intake: IntakeMetrics,
}

impl Metrics {
    /// All metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let (mut registry, mut described) = (Registry::default(), Vec::new());
        build_info(&mut registry, &mut described);
        let health = HealthMetrics::new(&mut registry, &mut described);
        let source = SourceMetrics::new(&mut registry, &mut described);
        let kafka = KafkaMetrics::new(&mut registry, &mut described);
        let intake = IntakeMetrics::new(&mut registry, &mut described);
        macro_rules! metric {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                register((&mut registry, &mut described), ($name, $help), &metric);
                metric
            }};
        }
        let mut this = Self {
            connected_clients: metric!(
                "eventstreams_connected_clients",
                "Readers connected now, by stream"
            ),
            client_connections: metric!(
                "eventstreams_client_connections",
                "Streams opened, by the streams asked for"
            ),
            streams_ended: metric!("tidegate_streams_ended", "Streams ended, by reason"),
            streams_open: metric!("tidegate_streams_open", "Streams open now"),
            clients: metric!("tidegate_clients", "Clients that hold streams now"),
            greediest_client_permille: metric!(
                "tidegate_greediest_client_permille",
                "What the client that holds most holds of all streams, in thousandths"
            ),
            refusals: metric!("tidegate_refusals", "Requests refused, by reason"),
            events_delivered: metric!("tidegate_events_delivered", "Events given to readers"),
            delivered_bytes: metric!(
                "tidegate_delivered_bytes",
                "Bytes of stream bodies, by their encoding"
            ),
            events_skipped: metric!(
                "tidegate_events_skipped",
                "Records that are no event, by stream and reason"
            ),
            events_redacted: metric!(
                "tidegate_events_redacted",
                "Records of which something was hidden, by rule"
            ),
            gaps: metric!("tidegate_gaps", "Gaps said to readers, by reason"),
            feeds: metric!("tidegate_feeds", "Feeds that exist now"),
            tail_bytes: metric!("tidegate_tail_bytes", "Bytes of records and lines in memory"),
            history_cache_bytes: metric!("tidegate_history_cache_bytes", "Bytes of cached history"),
            history_reads: metric!("tidegate_history_reads", "Range reads that went to a source"),
            fell_behind: metric!("tidegate_fell_behind", "Readers that fell off their feed's ring"),
            catchup_readers: metric!("tidegate_catchup_readers", "Readers in catch-up now"),
            tls_handshakes_failed: metric!(
                "tidegate_tls_handshakes_failed",
                "TLS handshakes that failed, by reason"
            ),
            gate: GateMetrics::default(),
            control: ControlMetrics::default(),
            catalogue: CatalogueMetrics::new(&mut registry, &mut described),
            health,
            source,
            kafka,
            intake,
            combinations: Mutex::default(),
            registry: Registry::default(),
            described: Vec::new(),
        };
        this.gate = GateMetrics::new(&mut registry, &mut described);
        this.control = ControlMetrics::new(&mut registry, &mut described);
        (this.registry, this.described) = (registry, described);
        this
    }

    /// Counts a stream opened for these streams (sorted names).
    pub fn stream_opened<S: AsRef<str>>(&self, streams: &[S]) {
        let mut joined = streams.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        let mut known = self.combinations.lock().expect("no holder panics");
        if !known.contains(&joined) {
            if known.len() < COMBINATIONS_MAX {
                known.insert(joined.clone());
            } else {
                joined = "other".to_owned();
            }
        }
        drop(known);
        self.client_connections.get_or_create(&ByStreams { streams: joined }).inc();
    }

    /// The tail has passed so many records of so many bytes; it keeps `kept` bytes now.
    pub fn tail_passed(&self, records: usize, bytes: usize, kept: usize) {
        self.source.records.inc_by(records as u64);
        self.source.bytes.inc_by(bytes as u64);
        self.tail_bytes.set(i64::try_from(kept).unwrap_or(i64::MAX));
    }

    /// All metrics, also those that have no series yet.
    #[must_use]
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The text that Prometheus scrapes (OpenMetrics).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes all that is written");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn build_info(registry: &mut Registry, described: &mut Vec<Described>) {
    let build: Family<ByVersion, Gauge> = Family::default();
    let help = "Always 1; the version of this program";
    register((registry, described), ("tidegate_build_info", help), &build);
    build.get_or_create(&ByVersion { version: env!("CARGO_PKG_VERSION") }).set(1);
}

/// Several of one kind.
fn register_all<M>(
    (registry, described): (&mut Registry, &mut Vec<Described>),
    metrics: &[(&'static str, &'static str, &M)],
) where
    M: prometheus_client::registry::Metric + TypedMetric + Clone,
{
    for (name, help, metric) in metrics {
        register((&mut *registry, &mut *described), (name, help), *metric);
    }
}

fn register<M>(
    (registry, described): (&mut Registry, &mut Vec<Described>),
    (name, help): (&'static str, &'static str),
    metric: &M,
) where
    M: prometheus_client::registry::Metric + TypedMetric + Clone,
{
    registry.register(name, help, metric.clone());
    let kind = M::TYPE.as_str();
    described.push(Described { name, kind, help });
}
