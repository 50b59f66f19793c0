//! What an operator says: one struct a concern, all defaults in one place, all mistakes at once.
//!
//! Knows how to read a file and what is accepted; not how anything works. `config/example.toml`
//! shows every key with its default.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Table;
use tracing_subscriber::EnvFilter;

use crate::catalog::{Catalog, Stream};

mod access_log;
mod catalogue;
mod change;
mod drain;
mod health;
mod kafka;
mod limits;
mod memory;
mod reader;
mod redact;
mod schemas;
mod state;
mod streams;

pub use self::access_log::Addresses;
pub use self::catalogue::CatalogueConfig;
pub use self::drain::DrainConfig;
pub use self::health::{CanaryConfig, HealthConfig};
pub use self::kafka::{FailoverConfig, KafkaConfig, is_broker};
pub use self::limits::{Budget, ClientFrom, LimitsConfig, Opens, RunningLimits};
use catalogue::Known;
use reader::{Findings, Section};
pub use reader::{Mistake, prefix};
pub use redact::{Condition, RedactRule, Redaction};
pub use schemas::SchemasConfig;
pub use state::StateConfig;

/// Everything that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// Which file.
    pub file: String,
    /// All mistakes.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistake(s) in {}:", self.mistakes.len(), self.file)?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// A Kafka cluster.
    Kafka(KafkaConfig),
    /// The embedded log.
    Embedded(EmbeddedConfig),
}

/// `[embedded]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The log's folder.
    pub data_dir: PathBuf,
    /// How long a commit waits for company.
    pub commit_interval: Duration,
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Age at which a segment goes; `None`: never.
    pub retention_age: Option<Duration>,
    /// Size above which the oldest segments go; `None`: never.
    pub retention_bytes: Option<u64>,
    /// Producers are refused when less than this is free.
    pub reserve_bytes: u64,
    /// Partitions of a topic that is made by its first record.
    pub partitions: i32,
}

/// Who gets a compressed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// Recognised browsers and who asks with a q-value.
    Browsers,
    /// Everyone who accepts it.
    Everyone,
    /// Nobody.
    Nobody,
}

/// `[tls]`, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The file of the certificate and its chain.
    pub cert: PathBuf,
    /// The file of its key.
    pub key: PathBuf,
}

/// `[session]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Silence after which a keepalive is sent.
    pub keepalive: Duration,
    /// How long a stream may last; `None`: no limit.
    pub lifetime: Option<Duration>,
    /// What `retry:` says before it is jittered, in ms.
    pub retry_ms: u64,
    /// Refuse recognised browsers in a form that `EventSource` survives.
    pub soft_refusals: bool,
    /// A reader that takes no byte for this long while some wait is cut.
    pub stall: Duration,
    /// Threads that write to readers; 0: half the cores.
    pub shards: u64,
    /// Who gets a compressed stream.
    pub compress: Compress,
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What is logged, as a filter.
    pub log_level: String,
    /// The public port.
    pub listen: SocketAddr,
    /// The port for metrics and health.
    pub admin_listen: SocketAddr,
    /// The file of the token for `/admin/`; `None`: only this host itself may use it.
    pub admin_token_file: Option<PathBuf>,
    /// What the public port speaks TLS with; `None`: it speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Where records come from; of several clusters the preferred one.
    pub source: SourceConfig,
    /// The other clusters, and when one of them is taken.
    pub failover: FailoverConfig,
    /// What there is to read, by name.
    pub streams: Vec<Stream>,
    /// What more there is, elsewhere.
    pub catalogue: CatalogueConfig,
    /// Of each stream.
    pub session: SessionConfig,
    /// How it goes out of service.
    pub drain: DrainConfig,
    /// Bounds.
    pub limits: LimitsConfig,
    /// What operators decide while it runs.
    pub state: StateConfig,
    /// What of which events nobody is shown.
    pub redact: Vec<Arc<RedactRule>>,
    /// What the streams' events look like.
    pub schemas: SchemasConfig,
    /// `POST /v1/events` is served.
    pub intake: bool,
    /// It puts `meta.id`, `meta.dt` and `meta.request_id` in where they are missing.
    pub intake_fills_meta: bool,
    /// When something counts as broken.
    pub health: HealthConfig,
    /// What is tried out.
    pub canary: CanaryConfig,
    /// What the log says of addresses, if each stream's end has a line.
    pub access_log: Option<Addresses>,
}

/// A number of seconds, at least one, in a table that has nothing else.
///
/// # Errors
/// What is wrong with it.
pub fn seconds_in(table: &Table, key: &'static str, max: Duration) -> Result<Duration, Mistake> {
    let (mut found, mut section) = (Findings::default(), Section::new("", Some(table)));
    let seconds = section.number(key, 0, 1..=max.as_secs(), &mut found);
    section.finish(&mut found);
    match found.mistakes.into_iter().next() {
        Some(mistake) => Err(mistake),
        None if seconds > 0 => Ok(Duration::from_secs(seconds)),
        None => {
            let says = format!("is missing; 1 to {} is accepted", max.as_secs());
            Err(Mistake { key: key.to_owned(), says })
        }
    }
}

const MIB: u64 = 1024 * 1024;

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigErrors {
            mistakes: vec![Mistake { key: file.clone(), says: format!("cannot be read: {error}") }],
            file: file.clone(),
        })?;
        Self::parse(&text).map_err(|mistakes| ConfigErrors { file, mistakes })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut found = Findings::default();
        match Self::read(text, &mut found) {
            Some(config) if found.mistakes.is_empty() => Ok(config),
            _ => Err(found.mistakes),
        }
    }

    fn read(text: &str, found: &mut Findings) -> Option<Self> {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                found.add("the file", format!("is no TOML: {error}"));
                return None;
            }
        };
        let mut root = Section::new("", Some(&table));
        let log_level = root.parsed("log_level", LOG_LEVEL.to_owned(), found, log_level);
        let listen = root.parsed("listen", DEFAULT_LISTEN, found, address);
        let admin_listen = root.parsed("admin_listen", DEFAULT_ADMIN, found, address);
        let token = root.text("admin_token_file", found).filter(|file| !file.is_empty());
        let admin_token_file = token.map(PathBuf::from);
        let tls = tls(root.table("tls", found), found);
        let (source, failover) = source(&mut root, found);
        let session = session(root.table("session", found), found);
        let drain = DrainConfig::read(root.table("drain", found), found);
        let limits = LimitsConfig::read(&mut root, found);
        let mut intake = Section::new("intake", root.table("intake", found));
        let enabled = intake.flag("enabled", false, found);
        let fill_meta = intake.flag("fill_meta", true, found);
        intake.finish(found);
        let state = StateConfig::read(&mut root, found);
        let mut schemas = SchemasConfig::read(&mut root, found);
        let catalogue = CatalogueConfig::read(&mut root, found);
        let streams = streams::read(root.table("streams", found), &mut schemas, found);
        let known = Known { streams: &streams, and_others: catalogue.place.is_some() };
        if streams.is_empty() && !known.and_others && found.mistakes.is_empty() {
            let says = "is missing; at least one [streams.NAME] is accepted, or catalogue.uri";
            found.add("streams.NAME", says);
        }
        let redact = redact::rules(&mut root, known, found);
        let health = HealthConfig::read(&mut root, known, found);
        let canary = CanaryConfig::read(&mut root, known, found);
        let access_log = access_log::read(&mut root, found);
        let control = state.blocks_topic.as_ref();
        if streams.iter().flat_map(|s| &s.topics).any(|topic| Some(topic) == control) {
            found.add("blocks.topic", "is a stream's topic too; anyone could read who is blocked");
        }
        root.finish(found);
        let source = source?;
        let intake = enabled;
        Some(Self {
            log_level,
            listen,
            admin_listen,
            admin_token_file,
            tls,
            source,
            failover,
            streams,
            catalogue,
            session,
            drain,
            limits,
            state,
            redact,
            schemas,
            intake,
            intake_fills_meta: fill_meta,
            health,
            canary,
            access_log,
        })
    }

    /// What `serve --demo` runs: these streams over an embedded log in `data_dir`, with intake.
    #[must_use]
    pub fn demo(data_dir: &Path, streams: Vec<Stream>) -> Self {
        let mut found = Findings::default();
        let session = session(None, &mut found);
        let limits = LimitsConfig::read(&mut Section::new("", None), &mut found);
        let state = StateConfig::read(&mut Section::new("", None), &mut found);
        let catalogue = CatalogueConfig::read(&mut Section::new("", None), &mut found);
        let known = Known { streams: &streams, and_others: false };
        let health = HealthConfig::read(&mut Section::new("", None), known, &mut found);
        let canary = CanaryConfig::read(&mut Section::new("", None), known, &mut found);
        let mut embedded = Section::new("embedded", None);
        let mut embedded = self::embedded(&mut embedded, &mut found);
        embedded.data_dir = data_dir.to_owned();
        embedded.retention_age = Some(Duration::from_secs(48 * 3600));
        embedded.retention_bytes = Some(1024 * MIB);
        Self {
            log_level: LOG_LEVEL.to_owned(),
            listen: DEFAULT_LISTEN,
            admin_listen: DEFAULT_ADMIN,
            admin_token_file: None,
            tls: None,
            source: SourceConfig::Embedded(embedded),
            failover: FailoverConfig::none(),
            streams,
            catalogue,
            session,
            drain: DrainConfig::AT_ONCE,
            limits,
            state,
            redact: Vec::new(),
            schemas: SchemasConfig::default(),
            intake: true,
            intake_fills_meta: true,
            health,
            canary,
            access_log: None,
        }
    }

    /// The streams, by name.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        Catalog::new(self.streams.iter().cloned())
    }
}

const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8092);
const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8093);

const LOG_LEVEL: &str = "info";

fn log_level(text: &str) -> Result<String, &'static str> {
    match text.parse::<EnvFilter>() {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("error, warn, info, debug, trace or a filter as in RUST_LOG is accepted"),
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an address and a port such as 127.0.0.1:8092 is accepted")
}

fn tls(table: Option<&Table>, found: &mut Findings) -> Option<TlsConfig> {
    let mut section = Section::new("tls", table);
    let mut file = |key| section.text(key, found).filter(|file| !file.is_empty());
    let (cert, key) = (file("cert"), file("key"));
    let missing = match (cert, key) {
        (Some(cert), Some(key)) => {
            section.finish(found);
            return Some(TlsConfig { cert: cert.into(), key: key.into() });
        }
        (None, Some(_)) => Some("cert"),
        (Some(_), None) => Some("key"),
        (None, None) => None,
    };
    if let Some(key) = missing {
        found.add(section.key(key), "is missing; a PEM file is accepted, or neither of the two");
    }
    section.finish(found);
    None
}

fn source(root: &mut Section<'_>, found: &mut Findings) -> (Option<SourceConfig>, FailoverConfig) {
    let (clusters, log) = (root.table("kafka", found), root.table("embedded", found));
    let (preferred, failover) = kafka::read(clusters, root.table("failover", found), found);
    let source = match (clusters, log) {
        (Some(_), None) => preferred.map(SourceConfig::Kafka),
        (None, Some(table)) => {
            let mut section = Section::new("embedded", Some(table));
            let config = embedded(&mut section, found);
            if !table.contains_key("data_dir") {
                found.add("embedded.data_dir", "is missing; a folder is accepted");
            }
            section.finish(found);
            Some(SourceConfig::Embedded(config))
        }
        (Some(_), Some(_)) => {
            found.add("kafka, embedded", "both are given; one of the two is accepted");
            None
        }
        (None, None) => {
            found.add("kafka.NAME", "is missing; [kafka.NAME] or [embedded] is accepted");
            None
        }
    };
    (source, failover)
}

fn embedded(section: &mut Section<'_>, found: &mut Findings) -> EmbeddedConfig {
    let optional = |n: u64| (n > 0).then_some(n);
    EmbeddedConfig {
        data_dir: section.text("data_dir", found).unwrap_or_default().into(),
        commit_interval: Duration::from_millis(section.number(
            "commit_interval_ms",
            5,
            0..=1000,
            found,
        )),
        segment_bytes: section.number("segment_mb", 64, 1..=4096, found) * MIB,
        retention_age: optional(section.number("retention_h", 0, 0..=1_000_000, found))
            .map(|h| Duration::from_secs(h * 3600)),
        retention_bytes: optional(section.number("retention_mb", 0, 0..=1_000_000_000, found))
            .map(|mb| mb * MIB),
        reserve_bytes: section.number("reserve_mb", 64, 0..=1_000_000, found) * MIB,
        partitions: i32::try_from(section.number("partitions", 1, 1..=1000, found)).unwrap_or(1),
    }
}

fn session(table: Option<&Table>, found: &mut Findings) -> SessionConfig {
    let mut section = Section::new("session", table);
    let seconds = Duration::from_secs;
    let keepalive = seconds(section.number("keepalive_s", 15, 1..=3600, found));
    let lifetime = section.number("lifetime_s", 0, 0..=31_536_000, found);
    let retry_ms = section.number("retry_ms", 2000, 100..=600_000, found);
    let soft_refusals = section.flag("soft_refusals", true, found);
    let stall_s = crate::limits::STALL_MAX.as_secs();
    let stall = seconds(section.number("stall_s", stall_s, 1..=3600, found));
    let shards = section.number("shards", 0, 0..=64, found);
    let compress = section.parsed("compress", Compress::Browsers, found, |text| match text {
        "browsers" => Ok(Compress::Browsers),
        "everyone" => Ok(Compress::Everyone),
        "nobody" => Ok(Compress::Nobody),
        _ => Err("browsers, everyone or nobody is accepted"),
    });
    section.finish(found);
    let lifetime = (lifetime > 0).then(|| seconds(lifetime));
    SessionConfig { keepalive, lifetime, retry_ms, soft_refusals, stall, shards, compress }
}

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod tests;
