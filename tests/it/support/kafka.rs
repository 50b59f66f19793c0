//! A real Apache Kafka on loopback: one node that is broker and controller, and what can be asked of
//! any cluster. Nodes are started in `node`; a cluster of several is in `cluster`.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};

pub mod cluster;
pub mod node;
pub mod topics;

use self::node::Node;
pub use self::node::java;
use self::topics::Topics;
use super::{PATIENCE, free_port};

/// A node that is broker and controller.
pub struct Kafka {
    node: Node,
    port: u16,
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
        let (port, controller) = (free_port(), free_port());
        let node = Node::new(&format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n{more}"
        ));
        node.format();
        let mut kafka = Self { node, port };
        kafka.go();
        kafka
    }

    /// Where clients begin.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn topics(&self) -> Topics {
        Topics::of(self.bootstrap())
    }

    /// Starts the node (again) and waits until it answers.
    pub fn go(&mut self) {
        self.node.go();
        self.topics().wait_for_brokers(1);
    }

    /// Ends the node at once (SIGKILL).
    pub fn kill(&mut self) {
        self.node.kill();
    }

    /// Freezes the node: connections stay, nothing answers.
    pub fn freeze(&self) {
        self.node.freeze();
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self) {
        self.node.thaw();
    }

    /// Makes a topic.
    pub async fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.topics().create((name, partitions, 1), config, false).await;
    }

    /// The same, where somebody else may be quicker.
    pub async fn create_topic_unless_there(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) {
        self.topics().create((name, partitions, 1), config, true).await;
    }

    /// Takes a topic away.
    pub async fn delete_topic(&self, name: &str) {
        self.topics().delete(name).await;
    }

    /// Gives a topic more partitions.
    pub async fn grow(&self, name: &str, partitions: i32) {
        self.topics().grow(name, partitions).await;
    }

    /// Removes the records below an offset, as retention does.
    pub async fn delete_records(&self, name: &str, partition: i32, before: i64) {
        self.topics().delete_records(name, partition, before).await;
    }

    /// A producer; `config` on top of what makes it exact.
    #[must_use]
    pub fn producer(&self, config: &[(&str, &str)]) -> Records {
        self.topics().producer(config)
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
