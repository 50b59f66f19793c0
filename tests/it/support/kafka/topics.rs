//! What is asked of a cluster, whoever runs it: topics, partitions, records.

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::{Acknowledged, Records};
use crate::support::{PATIENCE, eventually, within};

/// Name, partitions and replicas of a topic.
pub type NewTopicIs<'a> = (&'a str, i32, i32);

/// A cluster as its clients see it.
pub struct Topics {
    bootstrap: String,
}

impl Topics {
    /// Of the cluster that these brokers belong to.
    #[must_use]
    pub fn of(bootstrap: String) -> Self {
        Self { bootstrap }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().expect("a client")
    }

    /// A client for questions.
    #[must_use]
    pub fn asks(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("socket.timeout.ms", "3000")
            .set("reconnect.backoff.max.ms", "1000")
            .create()
            .expect("a client")
    }

    /// Waits until so many brokers are there.
    pub fn wait_for_brokers(&self, how_many: usize) {
        let asks = self.asks();
        // Several may be starting at once.
        within(3 * PATIENCE, "Kafka answers", || {
            let metadata = asks.fetch_metadata(None, Duration::from_secs(2));
            metadata.is_ok_and(|m| m.brokers().len() >= how_many)
        });
    }

    /// Makes a topic. `may_be_there`: somebody else may have been quicker.
    pub async fn create(
        &self,
        (name, partitions, replicas): NewTopicIs<'_>,
        config: &[(&str, &str)],
        may_be_there: bool,
    ) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let admin = self.admin();
        // A topic of the same name may still be going, a broker may still be coming.
        let until = Instant::now() + 2 * PATIENCE;
        loop {
            let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("asked");
            let is_there = |topic: &TopicResult| match topic {
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => may_be_there,
                made => made.is_ok(),
            };
            if made.iter().all(is_there) {
                return self.wait_for_leaders(name, partitions);
            }
            assert!(Instant::now() < until, "{name} cannot be made: {made:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn wait_for_leaders(&self, name: &str, partitions: i32) {
        let asks = self.asks();
        eventually("the topic has leaders", || {
            let metadata = asks.fetch_metadata(Some(name), Duration::from_secs(2));
            metadata.is_ok_and(|m| {
                let topic = &m.topics()[0];
                let led = topic.partitions().iter().filter(|p| p.leader() >= 0).count();
                topic.error().is_none() && led == usize::try_from(partitions).expect("few")
            })
        });
    }

    /// Takes a topic away.
    pub async fn delete(&self, name: &str) {
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
        all.set("bootstrap.servers", &self.bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "20000000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("reconnect.backoff.max.ms", "1000")
            .set("linger.ms", "5");
        for (key, value) in config {
            all.set(*key, *value);
        }
        Records(all.create_with_context(Acknowledged::default()).expect("a producer"))
    }
}
