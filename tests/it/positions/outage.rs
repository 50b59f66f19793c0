//! A cluster that is out of reach: a 503 for who comes, a pause for who is there.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::world::T0;
use crate::support::gateway::Gateway;
use crate::support::kafka::{Kafka, New, unique};
use crate::support::sse::{self, End, Events};
use crate::support::{PATIENCE, block_on, eventually};

/// A cluster that may be harmed, with a topic of two partitions, and a gateway before it.
struct Outage {
    kafka: Kafka,
    gateway: Gateway,
    topic: String,
    /// Records in each partition.
    written: i64,
}

impl Outage {
    fn new() -> Self {
        let (kafka, topic) = (Kafka::start(), unique("outage"));
        block_on(kafka.create_topic(&topic, 2, &[("retention.ms", "-1")]));
        let gateway = Gateway::kafka(&kafka.bootstrap(), &[("s", &[&topic])], "");
        let mut new = Self { kafka, gateway, topic, written: 0 };
        new.write();
        new.wait_for_streams();
        new
    }

    /// One record more in each partition.
    fn write(&mut self) {
        let writer = self.kafka.producer(&[]);
        for partition in [0, 1] {
            let (value, time) = (Some(&b"{}"[..]), T0 + self.written);
            writer.send(&self.topic, New { partition, time, value, key: None });
        }
        writer.flush();
        self.written += 1;
    }

    /// What is answered: the status, whether it says when to come again, and the stream.
    fn ask(&self, query: &str, id: &str) -> (u16, bool, sse::Response) {
        let (path, begun) = (format!("/v2/stream/s{query}"), Instant::now());
        let headers = [("last-event-id", id)];
        let response = sse::get(self.gateway.public(), &path, &headers).expect("answered");
        // A second is what is promised; a busy machine gets more.
        assert!(begun.elapsed() < Duration::from_secs(20), "it hangs");
        let seconds = response.header("retry-after").and_then(|s| s.parse::<u64>().ok());
        (response.status, seconds.is_some(), response)
    }

    fn open(&self, query: &str, id: &str) -> Events {
        let mut opened = None;
        eventually("a stream is opened", || {
            let (status, _, response) = self.ask(query, id);
            opened = (status == 200).then_some(response);
            opened.is_some()
        });
        opened.expect("just opened").events()
    }

    fn wait_for_streams(&self) {
        drop(self.open("", ""));
    }

    fn wait_for_refusals(&self, how: &[(&str, &str)]) {
        for (query, id) in how {
            // Until it is known, who comes may join a feed that lives.
            eventually("it is refused", || {
                let (status, says_when, _) = self.ask(query, id);
                assert!(status == 200 || (status, says_when) == (503, true), "{status}");
                status == 503
            });
        }
    }
}

/// Partition and offset of the next so many events, sorted.
fn offsets(events: &mut Events, how_many: usize) -> Vec<(i64, i64)> {
    let one = |_| {
        let data: Value = serde_json::from_str(&events.message().data).expect("JSON");
        let of = |field: &str| data["meta"][field].as_i64().expect("a number");
        (of("partition"), of("offset"))
    };
    let mut all: Vec<_> = (0..how_many).map(one).collect();
    all.sort_unstable();
    all
}

/// The stream says nothing, and is open.
fn assert_pauses(events: &mut Events) {
    events.set_patience(Duration::from_secs(1));
    match events.next() {
        Err(End::Cut(error)) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("open and silent was expected: {other:?}"),
    }
    events.set_patience(PATIENCE);
}

#[test]
fn who_comes_is_refused_and_who_is_there_goes_on_after_it() {
    let mut world = Outage::new();
    let id = world.open("?since=0", "").message().id;
    let mut live = world.open("", "");
    live.greet();
    world.write();
    assert_eq!(offsets(&mut live, 2), [(0, 1), (1, 1)]);
    let everyone = [("", ""), ("", id.as_str()), ("?since=0", "")];
    let expected = |written: i64| {
        // The id stands after the first record of partition 0.
        let first = (1..written).map(|offset| (0, offset));
        first.chain((0..written).map(|offset| (1, offset))).collect::<Vec<_>>()
    };

    // All brokers are gone, which is known at once.
    world.kafka.kill();
    world.wait_for_refusals(&everyone);
    assert_pauses(&mut live);
    world.kafka.go();
    world.write();
    assert_eq!(offsets(&mut live, 2), [(0, 2), (1, 2)], "nothing lost, nothing twice");
    assert_eq!(offsets(&mut world.open("", &id), 5), expected(3));

    // They are there and do not answer: a start that has to ask them is refused in time.
    world.kafka.freeze();
    world.wait_for_refusals(&everyone[2..]);
    assert_pauses(&mut live);
    world.kafka.thaw();
    world.write();
    assert_eq!(offsets(&mut live, 2), [(0, 3), (1, 3)], "nothing lost, nothing twice");

    // A gateway that starts before its cluster listens, refuses, and serves when it comes.
    world.gateway.kill();
    world.kafka.kill();
    world.gateway.go();
    world.wait_for_refusals(&everyone);
    world.kafka.go();
    assert_eq!(offsets(&mut world.open("", &id), 7), expected(4));
}
