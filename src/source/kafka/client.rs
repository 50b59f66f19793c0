//! How clients are made: what they are told, what an operator may say, and what they report.
//!
//! The figures are what was found to find faults soonest without costing anything: a frozen broker
//! after some seconds, a cluster that comes back within one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::admin::AdminClient;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use rdkafka::{ClientContext, Statistics};

/// A cluster, as an operator says it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in the config.
    pub name: String,
    /// `host:port` of some brokers.
    pub bootstrap: Vec<String>,
    /// Any property of librdkafka but those that exactness depends on.
    pub properties: BTreeMap<String, String>,
}

/// Why no client can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    /// Exactness depends on it.
    #[error("properties.\"{0}\" is not accepted: no event would be exact with another value")]
    Owned(String),
    /// librdkafka does not take it.
    #[error("properties.\"{key}\": found \"{value}\"; {says}")]
    Refused {
        /// Which property.
        key: String,
        /// What was found.
        value: String,
        /// What librdkafka says.
        says: String,
    },
    /// The properties do not go together.
    #[error("no client can be made with these properties: {0}")]
    Client(String),
}

/// Properties that an operator cannot change.
const OWNED: [&str; 9] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "enable.idempotence",
    "acks",
];

const COMMON: [(&str, &str); 10] = [
    ("socket.timeout.ms", "3000"),
    ("socket.connection.setup.timeout.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "1000"),
    ("metadata.recovery.strategy", "rebootstrap"),
    ("metadata.recovery.rebootstrap.trigger.ms", "3000"),
    ("topic.metadata.refresh.interval.ms", "3000"),
    ("topic.metadata.propagation.max.ms", "1000"),
    ("client.id", "tidegate"),
];

const CONSUMER: [(&str, &str); 6] = [
    // Without one nothing can be assigned; no group is made of it.
    ("group.id", "tidegate"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
];

const TAIL: [(&str, &str); 3] = [
    ("fetch.wait.max.ms", "100"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "10"),
];

const HISTORY: [(&str, &str); 4] = [
    ("fetch.wait.max.ms", "5"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.queue.backoff.ms", "5"),
    ("max.partition.fetch.bytes", "1048576"),
];

const PRODUCER: [(&str, &str); 6] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("linger.ms", "3"),
    ("message.timeout.ms", "5000"),
    // The broker's limit decides, not ours.
    ("message.max.bytes", "104857600"),
    ("partitioner", "murmur2_random"),
];

/// Makes clients of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    base: BTreeMap<String, String>,
}

impl Clients {
    pub(super) fn new(settings: Settings) -> Result<Self, KafkaConfigError> {
        let Settings { bootstrap, properties, .. } = settings;
        for (key, value) in &properties {
            if OWNED.contains(&key.as_str()) {
                return Err(KafkaConfigError::Owned(key.clone()));
            }
            let alone = ClientConfig::new().set(key, value).create_native_config().map(drop);
            if let Err(error) = alone {
                let (key, value) = (key.clone(), value.clone());
                return Err(KafkaConfigError::Refused { key, value, says: error.to_string() });
            }
        }
        let mut base: BTreeMap<String, String> = BTreeMap::new();
        base.extend(COMMON.map(|(k, v)| (k.to_owned(), v.to_owned())));
        base.extend(properties);
        base.insert("bootstrap.servers".to_owned(), bootstrap.join(","));
        Ok(Self { base })
    }

    /// What the operator says wins over our defaults; what exactness depends on he cannot say.
    fn config(&self, kinds: &[&[(&str, &str)]]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in kinds.iter().copied().flatten() {
            config.set(*key, *value);
        }
        for (key, value) in &self.base {
            config.set(key, value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    pub(super) fn tail(&self, watch: Watch) -> Result<BaseConsumer<Watch>, KafkaError> {
        self.config(&[&CONSUMER, &TAIL]).create_with_context(watch)
    }

    pub(super) fn history(&self, watch: Watch) -> Result<BaseConsumer<Watch>, KafkaError> {
        self.config(&[&CONSUMER, &HISTORY]).create_with_context(watch)
    }

    pub(super) fn admin(&self, watch: Watch) -> Result<AdminClient<Watch>, KafkaError> {
        self.config(&[]).create_with_context(watch)
    }

    pub(super) fn producer(&self, watch: Watch) -> Result<FutureProducer<Watch>, KafkaError> {
        self.config(&[&PRODUCER]).create_with_context(watch)
    }
}

/// What the clients of a cluster have reported.
#[derive(Debug, Default)]
pub(super) struct Status {
    down: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Status {
    /// Whether all brokers are known to be down.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
        if !down {
            self.last_error.lock().expect("no holder panics").take();
        }
    }

    /// The last thing that a client said was wrong (a wrong password, an unknown authority).
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().expect("no holder panics").clone()
    }
}

/// Hears what a client reports.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    status: Arc<Status>,
    /// Set when all brokers of this client are down.
    all_down: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn new(status: &Arc<Status>) -> Self {
        Self { status: Arc::clone(status), all_down: Arc::default() }
    }

    /// Whether this client has said since the last call that all brokers are down.
    pub(super) fn take_all_down(&self) -> bool {
        self.all_down.swap(false, Ordering::AcqRel)
    }
}

impl ClientContext for Watch {
    fn log(&self, _: RDKafkaLogLevel, fac: &str, message: &str) {
        tracing::debug!(target: "librdkafka", fac, message);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error, KafkaError::PartitionEOF(_)) {
            return;
        }
        tracing::debug!(target: "librdkafka", %error, reason, "reported");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.all_down.store(true, Ordering::Release);
        } else {
            *self.status.last_error.lock().expect("no holder panics") = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Watch {}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<Clients, KafkaConfigError> {
        Clients::new(Settings {
            name: "main".into(),
            bootstrap: vec!["127.0.0.1:1".into()],
            properties: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        })
    }

    #[test]
    fn a_property_is_taken_refused_with_its_key_or_not_ours_to_change() {
        assert!(with("security.protocol", "plaintext").is_ok());
        assert!(with("group.id", "other").is_ok());
        let owned = with("auto.offset.reset", "latest").expect_err("refused");
        assert!(owned.to_string().contains("auto.offset.reset"), "{owned}");
        let unknown = with("securty.protocol", "ssl").expect_err("refused");
        assert!(unknown.to_string().contains("securty.protocol"), "{unknown}");
        let bad = with("socket.timeout.ms", "soon").expect_err("refused");
        assert!(bad.to_string().contains("\"soon\""), "{bad}");
    }

    #[test]
    fn every_kind_of_client_takes_its_settings() {
        let clients = with("security.protocol", "plaintext").expect("fine");
        let status = Arc::new(Status::default());
        assert!(clients.tail(Watch::new(&status)).is_ok());
        assert!(clients.history(Watch::new(&status)).is_ok());
        assert!(clients.admin(Watch::new(&status)).is_ok());
        assert!(clients.producer(Watch::new(&status)).is_ok());
    }
}
