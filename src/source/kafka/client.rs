//! How clients are made: what they are told, what an operator may say, and what they report.
//!
//! The figures are what was found to find faults soonest without costing anything: a frozen broker
//! after some seconds, a cluster that comes back within one. A client is made anew when the list of
//! brokers is another, or when nobody has answered for long (`Kept`); the old one goes on a thread
//! of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use rdkafka::{ClientContext, Statistics};
use tokio::sync::Notify;

use super::brokers::Brokers;
use super::counts::{Counts, Why};
use super::watchdog::{Leader, Seen};

/// A cluster, as an operator says it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in the config.
    pub name: String,
    /// `host:port` of some brokers.
    pub bootstrap: Vec<String>,
    /// A file of them instead, which is looked at every second.
    pub brokers_file: Option<PathBuf>,
    /// Any property of librdkafka but those that exactness depends on.
    pub properties: BTreeMap<String, String>,
}

/// Why no client can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    /// Exactness depends on it.
    #[error(
        "properties.\"{0}\" is not accepted: that events are exact, or that a silent broker is \
             found, depends on its value"
    )]
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
    /// The file of brokers is no list.
    #[error("brokers_file {}: {says}", file.display())]
    BrokersFile {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        says: String,
    },
    /// The properties do not go together.
    #[error("no client can be made with these properties: {0}")]
    Client(String),
}

/// Properties that an operator cannot change.
const OWNED: [&str; 11] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "enable.idempotence",
    "acks",
    // By these the watchdog tells who is silent.
    "fetch.wait.max.ms",
    "statistics.interval.ms",
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

const TAIL: [(&str, &str); 4] = [
    // What the watchdog goes by.
    ("statistics.interval.ms", "500"),
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

/// Old clients that may be dying at the same time before no further one is made in their stead.
const DYING_MAX: usize = 2;
/// For how long what a client said is taken for the cause of what happens.
const ERROR_KEPT: Duration = Duration::from_secs(30);

/// Makes clients of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    base: BTreeMap<String, String>,
    brokers: Arc<Brokers>,
    counts: Counts,
    /// Counts how often all clients were to be made anew.
    age: Arc<AtomicU64>,
    dying: Arc<AtomicUsize>,
}

impl Clients {
    pub(super) fn new(settings: Settings, counts: Counts) -> Result<Self, KafkaConfigError> {
        let Settings { bootstrap, brokers_file, properties, .. } = settings;
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
        let brokers = Arc::new(Brokers::new(bootstrap, brokers_file)?);
        Ok(Self { base, brokers, counts, age: Arc::default(), dying: Arc::default() })
    }

    /// Where clients begin.
    pub(super) fn brokers(&self) -> &Brokers {
        &self.brokers
    }

    /// What is counted of them.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Which generation of clients is the present one.
    pub(super) fn age(&self) -> u64 {
        self.age.load(Ordering::Acquire)
    }

    /// All clients are to be made anew, each before it is used next.
    pub(super) fn renew(&self, why: Why) {
        self.counts.renewed(why);
        if why == Why::Unreachable {
            self.brokers.are_lost();
        }
        self.age.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether there is room for one old client more. A client of a cluster that does not answer
    /// takes its time to go.
    pub(super) fn may_renew(&self) -> bool {
        self.dying.load(Ordering::Acquire) < DYING_MAX
    }

    /// Lets an old client go when nobody uses it any more, on a thread of its own.
    pub(super) fn bury<T: Send + Sync + 'static>(&self, old: Arc<T>) {
        let dying = Arc::clone(&self.dying);
        dying.fetch_add(1, Ordering::AcqRel);
        let burial = move || {
            let mut old = old;
            while let Err(used) = Arc::try_unwrap(old) {
                old = used;
                std::thread::sleep(Duration::from_millis(50));
            }
            dying.fetch_sub(1, Ordering::AcqRel);
        };
        let begun = std::thread::Builder::new().name("kafka-old".into()).spawn(burial);
        if let Err(error) = begun {
            tracing::warn!(%error, "no thread for an old client to end on");
            self.dying.fetch_sub(1, Ordering::AcqRel);
        }
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
        config.set("bootstrap.servers", self.brokers.list());
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    pub(super) fn tail(&self, watch: Watch) -> Result<BaseConsumer<Watch>, KafkaError> {
        let mut config = self.config(&[&CONSUMER, &TAIL]);
        // Only so does the client tell of each new connection, and before anything comes over it.
        // Its errors do not say it: an end in good order is none, and the same within 30 s is told
        // once.
        let more = self.base.get("debug").map(|more| format!("{more},"));
        config.set("debug", more.unwrap_or_default() + "broker");
        config.set_log_level(RDKafkaLogLevel::Debug);
        config.create_with_context(watch)
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

/// A client that is kept until all are to be made anew.
pub(super) struct Kept<T>(Mutex<Option<(u64, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// The client, made if there is none of this generation.
    pub(super) fn get(
        &self,
        clients: &Clients,
        make: impl FnOnce() -> Result<T, KafkaError>,
    ) -> Result<Arc<T>, KafkaError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = clients.age();
        if let Some((of, client)) = kept.as_ref()
            && *of == age
        {
            return Ok(Arc::clone(client));
        }
        let new = Arc::new(make()?);
        if let Some((_, old)) = kept.replace((age, Arc::clone(&new))) {
            clients.bury(old);
        }
        Ok(new)
    }

    /// Has this one client made anew before it is used next.
    pub(super) fn renew(&self, clients: &Clients) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.may_renew()
            && let Some((_, old)) = kept.take()
        {
            clients.bury(old);
        }
    }
}

/// What the clients of a cluster have reported.
#[derive(Debug, Default)]
pub(super) struct Status {
    down: AtomicBool,
    last_error: Mutex<Option<(Instant, String)>>,
}

impl Status {
    /// Whether the cluster is known to be out of reach.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
        if !down {
            self.last_error.lock().expect("no holder panics").take();
        }
    }

    /// What a client said was wrong not long ago (a wrong password, an unknown authority).
    pub(super) fn last_error(&self) -> Option<String> {
        let last = self.last_error.lock().expect("no holder panics");
        last.as_ref().filter(|(at, _)| at.elapsed() < ERROR_KEPT).map(|(_, text)| text.clone())
    }
}

/// The tail's client has a new connection, and what comes over it may be of another log under the
/// same name: nothing is told before the topics were looked up once more.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    raised: AtomicU64,
    settled: AtomicU64,
}

impl Doubt {
    pub(super) fn raise(&self) {
        self.raised.fetch_add(1, Ordering::AcqRel);
    }

    /// What a look-up that begins now will settle.
    pub(super) fn so_far(&self) -> u64 {
        self.raised.load(Ordering::Acquire)
    }

    pub(super) fn settle(&self, so_far: u64) {
        self.settled.fetch_max(so_far, Ordering::AcqRel);
    }

    pub(super) fn is_open(&self) -> bool {
        self.so_far() > self.settled.load(Ordering::Acquire)
    }
}

/// Hears what a client reports.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    status: Arc<Status>,
    /// The tail's client has somebody who watches it.
    tail: Option<TailWatch>,
    /// Bytes that have come so far.
    received: Arc<AtomicU64>,
    /// It was let go: what it says from now on is of no concern.
    is_over: Arc<AtomicBool>,
}

/// Who is told what the tail's client reports.
#[derive(Debug, Clone)]
pub(super) struct TailWatch {
    pub(super) seen: Sender<Heard>,
    pub(super) doubt: Arc<Doubt>,
    /// Wakes who looks topics up.
    pub(super) wake: Arc<Notify>,
    pub(super) counts: Counts,
}

/// What the tail's client reports.
#[derive(Debug)]
pub(super) enum Heard {
    /// It counts, and names the brokers that the cluster has named.
    Stats(Vec<Leader>, Vec<String>),
    /// Anything else that is seen of the cluster.
    Seen(Seen),
}

impl Watch {
    pub(super) fn new(status: &Arc<Status>) -> Self {
        let (received, is_over) = (Arc::default(), Arc::default());
        Self { status: Arc::clone(status), tail: None, received, is_over }
    }

    pub(super) fn of_tail(status: &Arc<Status>, tail: TailWatch) -> Self {
        Self { tail: Some(tail), ..Self::new(status) }
    }

    /// The client is let go.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    fn tail(&self) -> Option<&TailWatch> {
        self.tail.as_ref().filter(|_| !self.is_over.load(Ordering::Acquire))
    }
}

/// What the client calls its line about a new connection, and the one about the list of brokers
/// from which it begins again.
const CONNECTED: &str = "CONNECTED";
const REBOOTSTRAP: &str = "REBOOTSTRAP";

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        match (fac, self.tail()) {
            (CONNECTED, Some(tail)) => {
                tail.doubt.raise();
                tail.wake.notify_one();
            }
            (REBOOTSTRAP, Some(tail)) => tail.counts.rebootstrapped(),
            _ => {}
        }
        if matches!(level, RDKafkaLogLevel::Debug) {
            tracing::trace!(target: "librdkafka", fac, message);
        } else {
            tracing::debug!(target: "librdkafka", fac, message);
        }
    }

    fn stats(&self, stats: Statistics) {
        let Some(tail) = self.tail() else { return };
        let received = u64::try_from(stats.rx_bytes).unwrap_or(0);
        let before = self.received.fetch_max(received, Ordering::AcqRel);
        tail.counts.received(received.saturating_sub(before));
        // The others are where the client began, and the coordinator of a group that is not used.
        let named = stats.brokers.into_values().filter(|b| b.nodeid >= 0 && b.source == "learned");
        let (mut leaders, mut brokers) = (Vec::new(), Vec::new());
        for broker in named {
            if !broker.toppars.is_empty() {
                let silent = u64::try_from(broker.rxidle).ok().map(Duration::from_micros);
                leaders.push(Leader { silent: silent.filter(|_| broker.state == "UP") });
            }
            brokers.push(broker.nodename);
        }
        // Nobody listens any more: the tail is over.
        let _ = tail.seen.send(Heard::Stats(leaders, brokers));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes here too, and is no error.
        let code = error.rdkafka_error_code();
        if matches!(error, KafkaError::PartitionEOF(_))
            || code == Some(RDKafkaErrorCode::PartitionEOF)
        {
            return;
        }
        tracing::debug!(target: "librdkafka", %error, reason, "reported");
        let all_down = code == Some(RDKafkaErrorCode::AllBrokersDown);
        if !all_down {
            let now = (Instant::now(), reason.to_owned());
            *self.status.last_error.lock().expect("no holder panics") = Some(now);
        }
        let Some(tail) = self.tail() else { return };
        tail.wake.notify_one();
        if all_down {
            let _ = tail.seen.send(Heard::Seen(Seen::AllDown));
        }
    }
}

impl ConsumerContext for Watch {}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::metrics::KafkaMetrics;

    fn with(key: &str, value: &str) -> Result<Clients, KafkaConfigError> {
        at("127.0.0.1:1", (key, value))
    }

    fn at(broker: &str, (key, value): (&str, &str)) -> Result<Clients, KafkaConfigError> {
        let settings = Settings {
            name: "main".into(),
            bootstrap: vec![broker.to_owned()],
            brokers_file: None,
            properties: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        };
        Clients::new(settings, Counts::new(KafkaMetrics::default(), "kafka.main"))
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

    #[test]
    fn each_new_connection_is_a_doubt_also_where_all_end_in_the_same_way() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        // Takes every call and hangs up; it ends with the tests.
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let clients = at(&address, ("security.protocol", "plaintext")).expect("fine");
        let (seen, _heard) = std::sync::mpsc::channel();
        let doubt = Arc::<Doubt>::default();
        let (wake, counts) = (Arc::default(), clients.counts().clone());
        let watch = TailWatch { seen, doubt: Arc::clone(&doubt), wake, counts };
        let client = clients.tail(Watch::of_tail(&Arc::default(), watch)).expect("made");
        let until = Instant::now() + Duration::from_secs(60);
        for n in 0..4 {
            while !doubt.is_open() {
                assert!(Instant::now() < until, "{n} connections");
                let _ = client.poll(Duration::from_millis(20));
            }
            doubt.settle(doubt.so_far());
        }
    }
}
