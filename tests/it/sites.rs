//! Two clusters with copies of the same topics, and readers that go from one to the other: by their
//! gateway's failover, and by going to another gateway. Nobody misses an event, also one that the
//! copy gets late; what comes twice is what may.

mod mirror;
mod reader;

use std::time::Duration;

use self::mirror::{Mirror, Progress, Writer};
use self::reader::{Manner, Reader};
use crate::support::gateway::Gateway;
use crate::support::kafka::{Kafka, New};
use crate::support::{block_on, eventually};

const PARTITIONS: i32 = 2;
const STREAM: (&str, &[&str]) = ("s", &["eqiad.s", "codfw.s"]);

/// A cluster that has both topics; `shift`: how many records of old times the copy of `topic` has
/// before all others, so that no offset is the same in both.
fn cluster(topic: &str, shift: i64) -> Kafka {
    let kafka = Kafka::start();
    for topic in STREAM.1 {
        block_on(kafka.create_topic(topic, PARTITIONS, &[("retention.ms", "-1")]));
    }
    let records = kafka.producer(&[]);
    for n in 0..shift {
        for partition in 0..PARTITIONS {
            let new = New { partition, time: 1000 + n, value: Some(b"{\"n\":-1}"), key: None };
            records.send(topic, new);
        }
    }
    records.flush();
    kafka
}

#[test]
fn readers_go_from_one_cluster_to_the_other_and_back_and_miss_nothing() {
    let begun = std::time::Instant::now();
    let second = std::thread::spawn(|| cluster("eqiad.s", 7));
    let (mut first, second) = (cluster("codfw.s", 3), second.join().expect("started"));
    let (there, back) = (Progress::default(), Progress::default());
    let (eqiad, codfw) = (first.bootstrap(), second.bootstrap());
    let there = Mirror::start((&eqiad, &codfw), ("eqiad.s", 0), &there);
    let back = Mirror::start((&codfw, &eqiad), ("codfw.s", 0), &back);
    let gateway = |order: &[&str]| {
        let clusters = format!(
            "[kafka.eqiad]\nbootstrap = [{eqiad:?}]\n[kafka.codfw]\nbootstrap = [{codfw:?}]\n\
             [failover]\nclusters = {order:?}\nafter_s = 3\nback_after_s = 3\n"
        );
        Gateway::clusters(&clusters, &[STREAM], "[session]\nkeepalive_s = 1\n")
    };
    let (both, other) = (gateway(&["eqiad", "codfw"]), gateway(&["codfw", "eqiad"]));
    let writers = [
        Writer::start(first.producer(&[]), "eqiad.s", PARTITIONS),
        Writer::start(second.producer(&[]), "codfw.s", PARTITIONS),
    ];
    let in_use = |name: &str| {
        let label = format!("source=\"kafka.{name}\"");
        both.metric_of("tidegate_cluster_in_use", &label) > 0.5
    };
    eventually("the preferred cluster is read", || in_use("eqiad") && !in_use("codfw"));
    let to = [both.public(), other.public()];
    let once = Manner { every: usize::MAX, pause: Duration::ZERO, to: vec![to[0]] };
    let readers = [
        // One connection, live for most of the time.
        Reader::start(once.clone()),
        // One connection, too slow to become live.
        Reader::start(Manner { pause: Duration::from_millis(8), ..once.clone() }),
        // Again and again to the same gateway.
        Reader::start(Manner { every: 150, ..once.clone() }),
        // To the one and the other in turns.
        Reader::start(Manner { every: 200, to: to.to_vec(), ..once }),
    ];
    let everybody_is_past = |what: &str, topic: &str| {
        let so_far = readers.iter().map(|reader| reader.so_far(topic)).collect::<Vec<_>>();
        eventually(what, || readers.iter().zip(&so_far).all(|(r, n)| r.so_far(topic) > n + 20));
    };
    everybody_is_past("everybody reads", "eqiad.s");
    println!("{:?}: all read", begun.elapsed());

    // The first goes, with records that the second does not have yet and gets later.
    there.hold();
    everybody_is_past("some are not mirrored", "eqiad.s");
    let writer = &writers[0];
    writer.pause();
    there.has_read(writer.acknowledged());
    first.kill();
    println!("{:?}: the first is gone", begun.elapsed());
    eventually("the other cluster is taken", || in_use("codfw") && !in_use("eqiad"));
    let says = |gateway: &Gateway, cause: &str| {
        eventually(cause, || gateway.health()["sources"][0]["cause"] == cause);
    };
    says(&both, "failed_over");
    says(&other, "no_standby");
    everybody_is_past("everybody reads what is written there", "codfw.s");
    there.release();
    let last = writer.acknowledged() - 1;
    eventually("what is mirrored late comes", || {
        readers.iter().all(|reader| reader.so_far("eqiad.s") >= last)
    });
    assert!(both.log().contains("another is taken"));
    println!("{:?}: all have what came late", begun.elapsed());

    // It comes back, and is taken again once it has been there for a while.
    first.go();
    writer.go_on();
    eventually("the preferred cluster is taken again", || in_use("eqiad") && !in_use("codfw"));
    everybody_is_past("everybody reads on", "eqiad.s");
    everybody_is_past("everybody reads on", "codfw.s");
    assert!(both.metric("tidegate_failovers_total") >= 2.0);
    says(&both, "none");
    says(&other, "none");

    println!("{:?}: all read what is preferred", begun.elapsed());
    writers.iter().for_each(Writer::pause);
    let written = writers.each_ref().map(Writer::so_far);
    readers.iter().for_each(|reader| reader.comes_to_the_end(&written));
    // They write on: a reader stops at an event.
    writers.iter().for_each(Writer::go_on);
    for (n, reader) in readers.into_iter().enumerate() {
        let seen = reader.finish();
        for (topic, mirror) in [("eqiad.s", &there), ("codfw.s", &back)] {
            let found = seen.check(topic, &written, mirror.progress());
            println!("reader {n}, {topic}: {found:?}");
            assert_eq!((found.lost, found.forbidden), (0, 0), "reader {n}, {topic}: {found:?}");
        }
        assert_eq!(seen.gaps, 0, "reader {n}: nothing was lost, and nothing may be said to be");
        assert!(n > 1 || seen.connections == 1, "reader {n}: a stream has ended");
    }
}
