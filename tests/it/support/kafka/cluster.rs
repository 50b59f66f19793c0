//! A cluster of several nodes: a controller, so that all brokers can go, and brokers that come, go,
//! freeze and give their partitions to others.
//!
//! ```text
//!  clients ─▶ (link) ─▶ broker 1, 2, 3 … ─▶ controller 100
//! ```
//! With links, clients reach each broker over one that can be cut or held; the brokers have a way
//! of their own to each other.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;

use super::node::{Node, java};
use super::topics::{NewTopicIs, Topics};
use super::{Records, free_port};
use crate::support::eventually;
use crate::support::link::Link;

const CONTROLLER: i32 = 100;
/// After so long a broker that says nothing leads nothing any more. The controller decides.
const SESSION: &str = "broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n";

/// A broker of a cluster.
pub struct Broker {
    /// Its process.
    pub node: Node,
    /// What its clients go through, where the cluster has links.
    pub link: Option<Link>,
    address: String,
    /// Where the other brokers go.
    between: u16,
}

/// A partition's leader, replicas and those in sync.
type Led = (i32, Vec<i32>, Vec<i32>);

/// The cluster.
pub struct Cluster {
    controller: Node,
    controller_port: u16,
    has_links: bool,
    /// By their ids.
    pub brokers: BTreeMap<i32, Broker>,
    topics: Vec<String>,
}

impl Cluster {
    /// Brokers `1..=brokers`, all there.
    #[must_use]
    pub fn start(brokers: i32) -> Self {
        Self::with(brokers, false)
    }

    /// The same, each behind a link.
    #[must_use]
    pub fn with_links(brokers: i32) -> Self {
        Self::with(brokers, true)
    }

    fn with(brokers: i32, has_links: bool) -> Self {
        let controller_port = free_port();
        let controller = Node::new(&format!(
            "process.roles=controller\nnode.id={CONTROLLER}\n{SESSION}\
             controller.quorum.voters={CONTROLLER}@127.0.0.1:{controller_port}\n\
             listeners=CONTROLLER://127.0.0.1:{controller_port}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT\n"
        ));
        let mut formatting = vec![controller.formatting()];
        let brokers: BTreeMap<_, _> =
            (1..=brokers).map(|id| (id, broker(id, controller_port, has_links))).collect();
        formatting.extend(brokers.values().map(|broker| broker.node.formatting()));
        for mut one in formatting {
            assert!(one.wait().expect("it is our child").success(), "a node cannot be formatted");
        }
        let topics = Vec::new();
        let mut cluster = Self { controller, controller_port, has_links, brokers, topics };
        cluster.controller.go();
        for broker in cluster.brokers.values_mut() {
            broker.node.go();
        }
        cluster.topics().wait_for_brokers(cluster.brokers.len());
        cluster
    }

    /// Where clients begin: all brokers that run.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let running = self.brokers.values().filter(|broker| broker.node.runs());
        running.map(|broker| broker.address.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Where a client may begin that knows this broker only.
    #[must_use]
    pub fn address(&self, id: i32) -> &str {
        &self.brokers[&id].address
    }

    /// The same, by the way that no link is on.
    #[must_use]
    pub fn inside(&self, id: i32) -> String {
        format!("127.0.0.1:{}", self.brokers[&id].between)
    }

    /// What can be asked of any cluster.
    #[must_use]
    pub fn topics(&self) -> Topics {
        Topics::of(self.bootstrap())
    }

    /// See `Topics::producer`.
    #[must_use]
    pub fn producer(&self, config: &[(&str, &str)]) -> Records {
        self.topics().producer(config)
    }

    /// Makes a topic.
    pub async fn create_topic(&mut self, new: NewTopicIs<'_>, config: &[(&str, &str)]) {
        self.topics.push(new.0.to_owned());
        self.topics().create(new, config, false).await;
    }

    /// Adds brokers and waits for them.
    pub fn add(&mut self, ids: &[i32]) {
        let new = ids.iter().map(|id| (*id, broker(*id, self.controller_port, self.has_links)));
        let mut new: Vec<_> = new.collect();
        let formatting: Vec<_> = new.iter().map(|(_, broker)| broker.node.formatting()).collect();
        for mut one in formatting {
            assert!(one.wait().expect("it is our child").success(), "a node cannot be formatted");
        }
        for (_, broker) in &mut new {
            broker.node.go();
        }
        self.brokers.extend(new);
        let running = self.brokers.values().filter(|broker| broker.node.runs()).count();
        self.topics().wait_for_brokers(running);
    }

    /// Has every partition on these brokers only, and waits until it is, led by one of them.
    pub fn move_to(&self, ids: &[i32]) {
        let asks = self.topics().asks();
        let mut all = Vec::new();
        for topic in &self.topics {
            let metadata = metadata(&asks, Some(topic));
            for partition in metadata.topics()[0].partitions() {
                let (n, width) = (partition.id() as usize, partition.replicas().len());
                let order = (0..width.min(ids.len())).map(|i| ids[(n + i) % ids.len()].to_string());
                let order = order.collect::<Vec<_>>().join(",");
                let n = partition.id();
                all.push(format!(r#"{{"topic":"{topic}","partition":{n},"replicas":[{order}]}}"#));
            }
        }
        self.reassign(&all);
        eventually("the partitions are where they were told to go", || {
            self.partitions(&asks).is_some_and(|all| {
                all.iter().all(|(leader, replicas, in_sync)| {
                    ids.contains(leader)
                        && replicas.iter().all(|id| ids.contains(id))
                        && in_sync.len() == replicas.len()
                })
            })
        });
    }

    /// Has every partition led by another of its replicas than this broker, which stays one.
    pub fn lead_elsewhere(&self, id: i32) {
        let metadata = metadata(&self.topics().asks(), None);
        let ours = metadata.topics().iter().filter(|t| self.topics.iter().any(|n| n == t.name()));
        let all = ours.flat_map(|topic| topic.partitions().iter().map(move |p| (topic.name(), p)));
        let all = all.map(|(topic, partition)| {
            let n = partition.id();
            let mut order = partition.replicas().to_vec();
            // Last is who has to lead nothing; who comes before the others goes round.
            let first = usize::try_from(n).expect("few") % order.len();
            order.sort_unstable();
            order.rotate_left(first);
            order.sort_by_key(|replica| *replica == id);
            format!(r#"{{"topic":"{topic}","partition":{n},"replicas":{order:?}}}"#)
        });
        self.reassign(&all.collect::<Vec<_>>());
        let elect = "org.apache.kafka.tools.LeaderElectionCommand";
        // A replica that has just fallen out of step is not elected.
        eventually("the preferred ones lead", || {
            self.tried(&[elect, "--election-type", "preferred", "--all-topic-partitions"]).is_ok()
        });
    }

    /// Gives partitions the replicas that these lines of JSON say; who is first is to lead.
    fn reassign(&self, partitions: &[String]) {
        let file = self.controller.dir().join("moves.json");
        let text = format!(r#"{{"version":1,"partitions":[{}]}}"#, partitions.join(","));
        std::fs::write(&file, text).expect("write");
        let file = file.to_str().expect("plain");
        let reassign = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
        self.tool(&[reassign, "--execute", "--reassignment-json-file", file]);
    }

    /// Waits until every partition is led and all its replicas are in sync.
    pub fn wait_until_whole(&self) {
        let asks = self.topics().asks();
        eventually("every partition is whole", || {
            self.partitions(&asks).is_some_and(|all| {
                all.iter().all(|(leader, replicas, in_sync)| {
                    *leader > 0 && in_sync.len() == replicas.len()
                })
            })
        });
    }

    /// Which broker leads a partition.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        let asks = self.topics().asks();
        let mut leader = -1;
        eventually("the partition is led", || {
            let found = asks.fetch_metadata(Some(topic), Duration::from_secs(3));
            let Ok(found) = found else { return false };
            let partitions = found.topics()[0].partitions();
            let found = partitions.iter().find(|p| p.id() == partition).map(|p| p.leader());
            leader = found.unwrap_or(-1);
            leader > 0
        });
        leader
    }

    /// The same as this broker's fellows see it now, if one does.
    #[must_use]
    pub fn leader_without(&self, id: i32, topic: &str, partition: i32) -> Option<i32> {
        let others = self.brokers.iter().filter(|(other, _)| **other != id);
        let others: Vec<_> = others.map(|(_, broker)| broker.address.as_str()).collect();
        let asks = Topics::of(others.join(",")).asks();
        let found = asks.fetch_metadata(Some(topic), Duration::from_secs(3)).ok()?;
        let partitions = found.topics()[0].partitions();
        partitions.iter().find(|p| p.id() == partition).map(|p| p.leader())
    }

    /// How every partition is. `None`: no answer.
    fn partitions(&self, asks: &BaseConsumer) -> Option<Vec<Led>> {
        let metadata = asks.fetch_metadata(None, Duration::from_secs(3)).ok()?;
        let ours = metadata.topics().iter().filter(|t| self.topics.iter().any(|n| n == t.name()));
        let each = ours
            .flat_map(|topic| topic.partitions())
            .map(|p| (p.leader(), p.replicas().to_vec(), p.isr().to_vec()));
        Some(each.collect())
    }

    /// Ends a broker as an operator does, for good.
    pub fn retire(&mut self, id: i32) {
        let mut broker = self.brokers.remove(&id).expect("it is there");
        broker.node.terminate();
        drop(broker.link.take());
    }

    /// Runs one of Kafka's own tools against the brokers that run.
    fn tool(&self, args: &[&str]) {
        self.tried(args).unwrap_or_else(|said| panic!("{args:?}: {said}"));
    }

    fn tried(&self, args: &[&str]) -> Result<(), String> {
        let done = java(args).args(["--bootstrap-server", &self.bootstrap()]).output();
        let done = done.expect("Java");
        let said = [done.stdout, done.stderr].concat();
        done.status.success().then_some(()).ok_or(String::from_utf8_lossy(&said).into_owned())
    }

    /// Does something to every broker.
    pub fn all(&mut self, mut what: impl FnMut(&mut Broker)) {
        self.brokers.values_mut().for_each(&mut what);
    }
}

/// What the cluster says of this topic, or of all.
fn metadata(asks: &BaseConsumer, topic: Option<&str>) -> Metadata {
    let mut found = None;
    eventually("the cluster answers", || {
        found = asks.fetch_metadata(topic, Duration::from_secs(5)).ok();
        found.is_some()
    });
    found.expect("just seen")
}

fn broker(id: i32, controller_port: u16, has_links: bool) -> Broker {
    let (out, between) = (free_port(), free_port());
    let link = has_links.then(|| Link::new(([127, 0, 0, 1], out).into()));
    let address = match &link {
        Some(link) => link.address().to_string(),
        None => format!("127.0.0.1:{out}"),
    };
    let node = Node::new(&format!(
        "process.roles=broker\nnode.id={id}\n\
         controller.quorum.voters={CONTROLLER}@127.0.0.1:{controller_port}\n\
         listeners=OUT://127.0.0.1:{out},IN://127.0.0.1:{between}\n\
         advertised.listeners=OUT://{address},IN://127.0.0.1:{between}\n\
         inter.broker.listener.name=IN\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,OUT:PLAINTEXT,IN:PLAINTEXT\n\
         replica.lag.time.max.ms=5000\n{SESSION}"
    ));
    Broker { node, link, address, between }
}
