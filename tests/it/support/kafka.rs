//! A real Apache Kafka on loopback: one node, its jars from Maven's repository.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

use super::process::Process;
use super::{PATIENCE, eventually, free_port};

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The jars, fetched once.
fn libs() -> PathBuf {
    let dir = root().join(".cache/kafka");
    std::fs::create_dir_all(&dir).expect("make the cache");
    let lock = std::fs::File::create(dir.join("lock")).expect("make the lock");
    lock.lock().expect("one fetches, the others wait");
    let libs = dir.join("libs");
    if !libs.join("kafka-tools-4.3.0.jar").exists() {
        let pom = root().join("tests/it/support/kafka/pom.xml");
        let fetched = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", libs.display()))
            .arg("-DincludeScope=runtime")
            .status()
            .expect("Maven (mvn) is needed to fetch Apache Kafka");
        assert!(fetched.success(), "Maven could not fetch Apache Kafka");
    }
    libs
}

/// A program of Apache Kafka.
#[must_use]
pub fn java(args: &[&str]) -> Command {
    let mut command = Command::new("java");
    let log4j = root().join("tests/it/support/kafka/log4j2.properties");
    command
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("-cp")
        .arg(format!("{}/*", libs().display()))
        .args(args);
    command
}

/// A node that is broker and controller.
pub struct Kafka {
    dir: tempfile::TempDir,
    port: u16,
    running: Option<Process>,
}

impl Kafka {
    /// A new cluster of one node, ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same, and it minds what `deny_making` and `deny_writing` say.
    #[must_use]
    pub fn with_rights() -> Self {
        Self::start_with(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             allow.everyone.if.no.acl.found=true\n",
        )
    }

    fn start_with(more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (port, controller) = (free_port(), free_port());
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             auto.create.topics.enable=false\n\
             message.max.bytes=20000000\nreplica.fetch.max.bytes=20000000\n\
             log.retention.ms=-1\nnum.partitions=1\n\
             transaction.state.log.num.partitions=4\noffsets.topic.num.partitions=1\n{more}",
            dir.path().join("data").display()
        );
        let file = dir.path().join("node.properties");
        std::fs::write(&file, properties).expect("write the properties");
        let file = file.to_str().expect("a plain path");
        let formatted = java(&["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", file])
            .stdout(Stdio::null())
            .status()
            .expect("Java is needed to run Apache Kafka");
        assert!(formatted.success(), "the node's storage cannot be formatted");
        let mut node = Self { dir, port, running: None };
        node.go();
        node
    }

    /// Where clients begin.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the node (again) and waits until it answers.
    pub fn go(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("node.log")).expect("make the log");
        let properties = self.dir.path().join("node.properties");
        let java = java(&["-Xmx384m", "kafka.Kafka", properties.to_str().expect("plain")]);
        let files = (log.try_clone().expect("a descriptor"), log);
        self.running = Some(Process::start(&java, &self.dir.path().join("pid"), files));
        let asks: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .create()
            .expect("a client");
        eventually("Kafka answers", || {
            let metadata = asks.fetch_metadata(None, Duration::from_secs(2));
            metadata.is_ok_and(|m| !m.brokers().is_empty())
        });
    }

    /// Ends the node at once (SIGKILL).
    pub fn kill(&mut self) {
        self.running = None;
    }

    fn signal(&self, signal: &str) {
        self.running.as_ref().expect("it runs").signal(signal);
    }

    /// Freezes the node: connections stay, nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create().expect("a client")
    }

    /// Makes a topic.
    pub async fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.make_topic((name, partitions), config, false).await;
    }

    /// The same, where somebody else may be quicker.
    pub async fn create_topic_unless_there(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) {
        self.make_topic((name, partitions), config, true).await;
    }

    async fn make_topic(
        &self,
        (name, partitions): (&str, i32),
        config: &[(&str, &str)],
        may_be_there: bool,
    ) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let admin = self.admin();
        // A topic of the same name may still be going.
        for _ in 0..100 {
            let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("asked");
            let is_there = |topic: &TopicResult| match topic {
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => may_be_there,
                made => made.is_ok(),
            };
            if made.iter().all(is_there) {
                return self.wait_for_leaders(name, partitions);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} cannot be made");
    }

    fn wait_for_leaders(&self, name: &str, partitions: i32) {
        let asks: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .create()
            .expect("a client");
        eventually("the topic has leaders", || {
            let metadata = asks.fetch_metadata(Some(name), Duration::from_secs(2));
            metadata.is_ok_and(|m| {
                let topic = &m.topics()[0];
                let led = topic.partitions().iter().filter(|p| p.leader() >= 0).count();
                topic.error().is_none() && led == usize::try_from(partitions).expect("few")
            })
        });
    }

    /// Nobody may make this topic any more, or may again.
    pub fn deny_making(&self, topic: &str, is_denied: bool) {
        self.deny(&["--operation", "Create", "--cluster", "--topic", topic], is_denied);
    }

    /// Nobody may write into this topic any more, or may again.
    pub fn deny_writing(&self, topic: &str, is_denied: bool) {
        self.deny(&["--operation", "Write", "--topic", topic], is_denied);
    }

    fn deny(&self, what: &[&str], is_denied: bool) {
        let bootstrap = self.bootstrap();
        let rights = |principal: [&str; 2], what: &[&str], change: &str| {
            let done = java(&["org.apache.kafka.tools.AclCommand", change, "--force"])
                .args(["--bootstrap-server", &bootstrap])
                .args(principal)
                .args(what)
                .stdout(Stdio::null())
                .status()
                .expect("Java");
            assert!(done.success(), "{change} {what:?}");
        };
        if is_denied {
            // What something is said of is not open to everyone any more.
            let all = [&["--operation", "All"], &what[2..]].concat();
            rights(["--allow-principal", "User:*"], &all, "--add");
        }
        let change = if is_denied { "--add" } else { "--remove" };
        rights(["--deny-principal", "User:*"], what, change);
    }

    /// Takes a topic away.
    pub async fn delete_topic(&self, name: &str) {
        let gone = self.admin().delete_topics(&[name], &AdminOptions::new()).await.expect("asked");
        gone[0].as_ref().expect("deleted");
    }

    /// Gives a topic more partitions.
    pub async fn grow(&self, name: &str, partitions: i32) {
        let count = usize::try_from(partitions).expect("few");
        let new = NewPartitions::new(name, count);
        let grown = self.admin().create_partitions([&new], &AdminOptions::new()).await;
        grown.expect("asked")[0].as_ref().expect("grown");
        self.wait_for_leaders(name, partitions);
    }

    /// Removes the records below an offset, as retention does.
    pub async fn delete_records(&self, name: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, partition, Offset::Offset(before)).expect("an offset");
        let done = self.admin().delete_records(&list, &AdminOptions::new()).await.expect("asked");
        for element in done.elements() {
            element.error().expect("deleted");
        }
    }

    /// A producer; `config` on top of what makes it exact.
    #[must_use]
    pub fn producer(&self, config: &[(&str, &str)]) -> Records {
        let mut all = ClientConfig::new();
        all.set("bootstrap.servers", self.bootstrap())
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "20000000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("linger.ms", "5");
        for (key, value) in config {
            all.set(*key, *value);
        }
        Records(all.create_with_context(Acknowledged::default()).expect("a producer"))
    }
}

/// One cluster for all tests that do not harm it. Its process ends with ours.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(Kafka::start)
}

/// A topic name that no other test has.
#[must_use]
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("eqiad.{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What has been acknowledged, in the order of the acknowledgements.
#[derive(Default)]
pub struct Acknowledged(std::sync::Mutex<HashMap<(String, i32), Vec<i64>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = result.as_ref().unwrap_or_else(|(e, _)| panic!("not delivered: {e}"));
        let place = (message.topic().to_owned(), message.partition());
        self.0.lock().expect("sound").entry(place).or_default().push(message.offset());
    }
}

/// Writes records and waits for their acknowledgements.
pub struct Records(pub ThreadedProducer<Acknowledged>);

/// One record to write.
#[derive(Default, Clone, Copy)]
pub struct New<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its time, in ms; 0: now.
    pub time: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None`: a tombstone.
    pub value: Option<&'a [u8]>,
}

impl Records {
    /// Queues a record.
    pub fn send(&self, topic: &str, new: New<'_>) {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(new.partition);
            if new.time > 0 {
                record = record.timestamp(new.time);
            }
            if let Some(key) = new.key {
                record = record.key(key);
            }
            if let Some(value) = new.value {
                record = record.payload(value);
            }
            // The queue is full, or a partition is so new that the producer has yet to hear of it.
            match self.0.send(record) {
                Ok(()) => return,
                Err((error, _)) => assert!(Instant::now() < until, "{topic}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all that was queued is acknowledged.
    pub fn flush(&self) {
        self.0.flush(PATIENCE).expect("acknowledged in time");
    }

    /// Writes events with these times into partition 0: `{"n":time}`.
    pub fn times(&self, topic: &str, times: &[i64]) {
        for time in times {
            let value = format!("{{\"n\":{time}}}");
            let value = Some(value.as_bytes());
            self.send(topic, New { time: *time, value, ..New::default() });
        }
        self.flush();
    }

    /// All offsets acknowledged so far, by topic and partition, sorted.
    #[must_use]
    pub fn acknowledged(&self) -> HashMap<(String, i32), Vec<i64>> {
        let mut all = self.0.context().0.lock().expect("sound").clone();
        all.values_mut().for_each(|offsets| offsets.sort_unstable());
        all
    }
}
