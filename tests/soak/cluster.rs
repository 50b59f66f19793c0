//! Three brokers and a controller, each broker behind a way that its clients take and that can be
//! cut or held; the brokers have a way of their own to each other.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::clock::Orders;
use crate::lanes::Machinery;
use crate::schedule::{Fault, Kind};
use crate::support::checker::Place;
use crate::support::kafka::java;
use crate::support::link::Link;
use crate::support::process::Process;
use crate::support::{eventually, free_port};

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";
const CONTROLLER: usize = 100;
const BROKERS: usize = 3;

struct Broker {
    link: Link,
    running: Option<Process>,
}

/// The cluster.
pub struct Cluster {
    dir: tempfile::TempDir,
    _controller: Process,
    brokers: Vec<Broker>,
    places: Vec<Place>,
    asks: BaseConsumer,
    orders: Vec<Arc<Orders>>,
}

impl Cluster {
    /// Starts it with these topics, each partition on all three brokers.
    #[must_use]
    pub fn start(topics: &[(&str, i32)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let controller_port = free_port();
        let common = format!(
            "controller.quorum.voters={CONTROLLER}@127.0.0.1:{controller_port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,OUT:PLAINTEXT,IN:PLAINTEXT\n\
             broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             auto.create.topics.enable=false\nunclean.leader.election.enable=false\n\
             log.retention.ms=-1\nreplica.lag.time.max.ms=5000\n"
        );
        let node = |id: usize, role: &str, listeners: &str| {
            let data = dir.path().join(format!("data-{id}"));
            let own = format!(
                "process.roles={role}\nnode.id={id}\n{listeners}log.dirs={}\n",
                data.display()
            );
            let file = dir.path().join(format!("{id}.properties"));
            std::fs::write(file, own + &common).expect("write the properties");
        };
        node(
            CONTROLLER,
            "controller",
            &format!("listeners=CONTROLLER://127.0.0.1:{controller_port}\n"),
        );
        let mut brokers = Vec::new();
        for id in 1..=BROKERS {
            let (out, between) = (free_port(), free_port());
            let link = Link::new(([127, 0, 0, 1], out).into());
            let listeners = format!(
                "listeners=OUT://127.0.0.1:{out},IN://127.0.0.1:{between}\n\
                 advertised.listeners=OUT://{},IN://127.0.0.1:{between}\n\
                 inter.broker.listener.name=IN\n",
                link.address()
            );
            node(id, "broker", &listeners);
            brokers.push(Broker { link, running: None });
        }
        format(&dir);
        let controller = launch(&dir, CONTROLLER);
        for (n, broker) in brokers.iter_mut().enumerate() {
            broker.running = Some(launch(&dir, n + 1));
        }
        let asks = client(&brokers);
        let places = topics.iter().flat_map(|(t, n)| (0..*n).map(|p| ((*t).to_owned(), p)));
        let places = places.collect();
        let cluster =
            Self { dir, _controller: controller, brokers, places, asks, orders: Vec::new() };
        eventually("all brokers are there", || {
            let metadata = cluster.asks.fetch_metadata(None, Duration::from_secs(3));
            metadata.is_ok_and(|m| m.brokers().len() == BROKERS)
        });
        cluster.create(topics);
        cluster
    }

    /// Who can be sent away while old records are removed.
    pub fn command(&mut self, orders: Vec<Arc<Orders>>) {
        self.orders = orders;
    }

    /// Where clients begin.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        bootstrap(&self.brokers)
    }

    /// All partitions.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.places.clone()
    }

    /// The first offset of each partition that is kept.
    #[must_use]
    pub fn kept_from(&self) -> Vec<i64> {
        self.places.iter().map(|place| self.ends(place).0).collect()
    }

    fn ends(&self, (topic, partition): &Place) -> (i64, i64) {
        let mut ends = None;
        eventually("Kafka says where a partition begins and ends", || {
            ends = self.asks.fetch_watermarks(topic, *partition, Duration::from_secs(3)).ok();
            ends.is_some()
        });
        ends.expect("just seen")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create().expect("a client")
    }

    fn create(&self, topics: &[(&str, i32)]) {
        let new = topics.iter().map(|(name, partitions)| {
            let topic = NewTopic::new(name, *partitions, TopicReplication::Fixed(3));
            topic.set("min.insync.replicas", "2").set("retention.ms", "-1")
        });
        let new: Vec<_> = new.collect();
        let made = wait(self.admin().create_topics(&new, &AdminOptions::new()));
        made.expect("asked").into_iter().for_each(|made| drop(made.expect("made")));
        self.wait_until_whole();
    }

    /// Waits until every partition is led and on all brokers again.
    fn wait_until_whole(&self) {
        eventually("every partition is on all brokers", || {
            let Ok(metadata) = self.asks.fetch_metadata(None, Duration::from_secs(3)) else {
                return false;
            };
            let ours = |name: &str| self.places.iter().any(|(topic, _)| topic == name);
            let topics = metadata.topics().iter().filter(|topic| ours(topic.name()));
            let partitions: Vec<_> = topics.flat_map(|topic| topic.partitions()).collect();
            let whole = partitions.iter().filter(|p| p.leader() > 0 && p.isr().len() == BROKERS);
            whole.count() == self.places.len()
        });
    }

    fn tool(&self, args: &[&str]) {
        let out = File::create(self.dir.path().join("tool.log")).expect("a file");
        let done = java(args)
            .args(["--bootstrap-server", &self.bootstrap()])
            .stdout(out.try_clone().expect("a descriptor"))
            .stderr(out)
            .status()
            .expect("Java");
        let said = || std::fs::read_to_string(self.dir.path().join("tool.log")).unwrap_or_default();
        assert!(done.success(), "{args:?}: {}", said());
    }

    /// Every partition prefers another leader than this broker, and gets it.
    fn move_leaders(&self, from: usize) {
        let orders = self.places.iter().enumerate().map(|(n, (topic, partition))| {
            let (next, last) = ((from + n % 2) % BROKERS + 1, (from + 1 - n % 2) % BROKERS + 1);
            // Numbers of brokers begin with 1; `from` is the one that leads nothing.
            let order = format!("[{next},{last},{}]", from);
            format!(r#"{{"topic":"{topic}","partition":{partition},"replicas":{order}}}"#)
        });
        let orders = orders.collect::<Vec<_>>().join(",");
        let file = self.dir.path().join("orders.json");
        std::fs::write(&file, format!(r#"{{"version":1,"partitions":[{orders}]}}"#))
            .expect("write");
        let file = file.to_str().expect("plain");
        let reassign = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
        self.tool(&[reassign, "--execute", "--reassignment-json-file", file]);
        let elect = "org.apache.kafka.tools.LeaderElectionCommand";
        self.tool(&[elect, "--election-type", "preferred", "--all-topic-partitions"]);
    }

    /// Removes all but the last records of each partition.
    fn remove_old(&self, keep: u32) {
        let mut list = TopicPartitionList::new();
        for place in &self.places {
            let before = self.ends(place).1 - i64::from(keep);
            if before > 0 {
                let before = rdkafka::Offset::Offset(before);
                list.add_partition_offset(&place.0, place.1, before).expect("an offset");
            }
        }
        let done = wait(self.admin().delete_records(&list, &AdminOptions::new()));
        for element in done.expect("asked").elements() {
            element.error().expect("removed");
        }
    }
}

impl Machinery for Cluster {
    fn begin(&mut self, fault: &Fault) {
        let away = |is_away| self.orders[fault.target].is_away.store(is_away, Ordering::Release);
        if fault.kind == Kind::Retention {
            return away(true);
        }
        let broker = &mut self.brokers[fault.target];
        let process = || broker.running.as_ref().expect("it runs");
        match fault.kind {
            Kind::BrokerKill => broker.running = None,
            Kind::BrokerTerm => {
                process().signal("-TERM");
                broker.running.take().expect("it runs").wait();
            }
            Kind::BrokerFreeze => process().signal("-STOP"),
            Kind::BrokerCut => broker.link.cut(),
            Kind::BrokerHeld => broker.link.hold(),
            Kind::LeaderMove => self.move_leaders(fault.target + 1),
            other => unreachable!("{other:?} is not of this lane"),
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault.kind {
            Kind::BrokerKill | Kind::BrokerTerm => {
                self.brokers[fault.target].running = Some(launch(&self.dir, fault.target + 1));
            }
            Kind::BrokerFreeze => {
                self.brokers[fault.target].running.as_ref().expect("it runs").signal("-CONT");
            }
            Kind::BrokerHeld => self.brokers[fault.target].link.release(),
            Kind::Retention => {
                self.remove_old(fault.keep);
                self.orders[fault.target].is_away.store(false, Ordering::Release);
            }
            _ => {}
        }
        // Two of three brokers always have everything.
        self.wait_until_whole();
    }
}

fn bootstrap(brokers: &[Broker]) -> String {
    let all = brokers.iter().map(|broker| broker.link.address().to_string());
    all.collect::<Vec<_>>().join(",")
}

fn client(brokers: &[Broker]) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap(brokers))
        .set("socket.timeout.ms", "3000")
        .set("reconnect.backoff.max.ms", "1000")
        .create()
        .expect("a client")
}

fn wait<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(what)
}

fn properties(dir: &tempfile::TempDir, id: usize) -> String {
    dir.path().join(format!("{id}.properties")).to_str().expect("plain").to_owned()
}

/// Makes every node's folder, all at the same time.
fn format(dir: &tempfile::TempDir) {
    let ids = (1..=BROKERS).chain([CONTROLLER]);
    let format = |id: usize| -> Command {
        let mut command = java(&["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
        command.arg(properties(dir, id)).stdout(Stdio::null());
        command
    };
    let running = ids.map(|id| format(id).spawn().expect("Java is needed to run Apache Kafka"));
    for mut format in running.collect::<Vec<_>>() {
        assert!(format.wait().expect("it is our child").success(), "a node cannot be formatted");
    }
}

fn launch(dir: &tempfile::TempDir, id: usize) -> Process {
    let log = File::options().create(true).append(true).open(dir.path().join(format!("{id}.log")));
    let log = log.expect("make the log");
    let java = java(&["-Xmx384m", "kafka.Kafka", &properties(dir, id)]);
    let files = (log.try_clone().expect("a descriptor"), log);
    Process::start(&java, &dir.path().join(format!("{id}.pid")), files)
}
