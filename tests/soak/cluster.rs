//! What can be done to the three brokers, and what is asked of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::Consumer;

use crate::clock::Orders;
use crate::lanes::Machinery;
use crate::schedule::{Fault, Kind, Source};
use crate::support::checker::Place;
use crate::support::eventually;
use crate::support::kafka::cluster;

/// The brokers, each behind a link, with topics that each have all of.
pub struct Cluster {
    brokers: cluster::Cluster,
    places: Vec<Place>,
    orders: Vec<Arc<Orders>>,
}

impl Cluster {
    /// Starts it with these topics. What two brokers have is acknowledged.
    #[must_use]
    pub fn start(topics: &[(&str, i32)]) -> Self {
        let replicas = i32::try_from(Source::Kafka.brokers()).expect("few");
        let mut brokers = cluster::Cluster::with_links(replicas);
        for (name, partitions) in topics {
            let config = [("min.insync.replicas", "2"), ("retention.ms", "-1")];
            wait(brokers.create_topic((name, *partitions, replicas), &config));
        }
        let places = topics.iter().flat_map(|(t, n)| (0..*n).map(|p| ((*t).to_owned(), p)));
        Self { brokers, places: places.collect(), orders: Vec::new() }
    }

    /// Who can be sent away while old records are removed.
    pub fn command(&mut self, orders: Vec<Arc<Orders>>) {
        self.orders = orders;
    }

    /// Where clients begin.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.brokers.bootstrap()
    }

    /// All partitions.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.places.clone()
    }

    /// The first offset of each partition that is kept.
    #[must_use]
    pub fn kept_from(&self) -> Vec<i64> {
        self.ends().into_iter().map(|(from, _)| from).collect()
    }

    /// Where each partition begins and ends.
    fn ends(&self) -> Vec<(i64, i64)> {
        let asks = self.brokers.topics().asks();
        let of_place = |(topic, partition): &Place| {
            let mut ends = None;
            eventually("Kafka says where a partition begins and ends", || {
                ends = asks.fetch_watermarks(topic, *partition, Duration::from_secs(3)).ok();
                ends.is_some()
            });
            ends.expect("just seen")
        };
        self.places.iter().map(of_place).collect()
    }

    /// Removes all but the last records of each partition.
    fn remove_old(&self, keep: u32) {
        let topics = self.brokers.topics();
        for ((topic, partition), (_, end)) in self.places.iter().zip(self.ends()) {
            let before = end - i64::from(keep);
            if before > 0 {
                wait(topics.delete_records(topic, *partition, before));
            }
        }
    }
}

impl Machinery for Cluster {
    fn begin(&mut self, fault: &Fault) {
        if fault.kind == Kind::Retention {
            return self.orders[fault.target].is_away.store(true, Ordering::Release);
        }
        let id = id(fault);
        let broker = self.brokers.brokers.get_mut(&id).expect("it is there");
        let link = broker.link.as_ref().expect("the cluster has links");
        match fault.kind {
            Kind::BrokerKill => broker.node.kill(),
            Kind::BrokerTerm => broker.node.terminate(),
            Kind::BrokerFreeze => broker.node.freeze(),
            Kind::BrokerCut => link.cut(),
            Kind::BrokerHeld => link.hold(),
            Kind::LeaderMove => self.brokers.lead_elsewhere(id),
            other => unreachable!("{other:?} is not of this lane"),
        }
    }

    fn end(&mut self, fault: &Fault) {
        if fault.kind == Kind::Retention {
            self.remove_old(fault.keep);
            return self.orders[fault.target].is_away.store(false, Ordering::Release);
        }
        let broker = self.brokers.brokers.get_mut(&id(fault)).expect("it is there");
        match fault.kind {
            Kind::BrokerKill | Kind::BrokerTerm => broker.node.go(),
            Kind::BrokerFreeze => broker.node.thaw(),
            Kind::BrokerHeld => broker.link.as_ref().expect("the cluster has links").release(),
            _ => {}
        }
        // Two of three brokers always have everything.
        self.brokers.wait_until_whole();
    }
}

/// The broker that a fault is for; their numbers begin with 1.
fn id(fault: &Fault) -> i32 {
    i32::try_from(fault.target + 1).expect("few")
}

fn wait<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(what)
}
