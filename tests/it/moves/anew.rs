//! What becomes of a log while nobody can look: made anew, cut, longer; and what comes to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::event::{Offset, TopicName, TopicPartition};
use tidegate::source::kafka::{KafkaSource, Settings};
use tidegate::source::{Loss, Source, TailEvent};
use tokio::sync::mpsc;

use crate::support::PATIENCE;
use crate::support::kafka::cluster::Cluster;
use crate::support::kafka::topics::Topics;
use crate::support::kafka::{New, Records};

/// A tail over a link, and the records that it tells.
struct Tail {
    events: mpsc::Receiver<TailEvent>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was told of the log; that the cluster is out of reach for a while is nobody's concern here.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened(i32, i64, Option<Loss>),
    Record(i32, i64, String),
}

impl Tail {
    /// Told of this broker only.
    fn of(cluster: &Cluster, broker: i32, topic: &str) -> Self {
        let settings = Settings {
            name: "main".into(),
            bootstrap: vec![cluster.address(broker).to_owned()],
            brokers_file: None,
            properties: BTreeMap::new(),
        };
        let source: Arc<KafkaSource> = KafkaSource::new(settings).expect("accepted");
        let topics = vec![TopicName::new(topic).expect("legal")];
        let (out, events) = mpsc::channel(16);
        Self { events, task: tokio::spawn(async move { source.tail(topics, out).await }) }
    }

    /// All that is told, the record or other thing that ends it included.
    async fn until(&mut self, is_last: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("not in time; so far {told:?}"));
            match event.expect("the tail goes on") {
                TailEvent::Opened { tp, next, after, .. } => {
                    told.push(Told::Opened(tp.partition.0, next.0, after));
                }
                TailEvent::Records { tp, records, .. } => {
                    let TopicPartition { partition, .. } = tp;
                    told.extend(records.into_iter().map(|record| {
                        let value = record.value.unwrap_or_default();
                        let text = String::from_utf8_lossy(&value).into_owned();
                        Told::Record(partition.0, record.offset.0, text)
                    }));
                }
                _ => {}
            }
            if told.last().is_some_and(&is_last) {
                return told;
            }
        }
    }
}

fn write(records: &Records, topic: &str, word: &str, how_many: i64) {
    for n in 0..how_many {
        let value = format!("{word}{n}");
        records.send(topic, New { value: Some(value.as_bytes()), ..New::default() });
    }
    records.flush();
}

fn is_record(word: &str) -> impl Fn(&Told) -> bool {
    let word = word.to_owned();
    move |told| matches!(told, Told::Record(_, _, text) if *text == word)
}

/// As somebody does who has a way of his own to the brokers.
fn inside(cluster: &Cluster) -> Topics {
    Topics::of(cluster.inside(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_behind_a_cut_is_read_from_its_beginning_and_new_partitions_too() {
    let mut cluster = Cluster::with_links(1);
    let topic = "eqiad.anew";
    cluster.create_topic((topic, 1, 1), &[]).await;
    let ours = inside(&cluster);
    let records = ours.producer(&[]);
    write(&records, topic, "before", 3);
    let mut tail = Tail::of(&cluster, 1, topic);
    assert_eq!(tail.until(|_| true).await, [Told::Opened(0, 3, None)]);
    write(&records, topic, "old", 3);
    let old = tail.until(is_record("old2")).await;
    assert_eq!(old.len(), 3, "{old:?}");

    // While it is cut off, the topic is made anew and is longer than it was. What it reads next has
    // the same name, and its offsets are there. Several times: who would not look first is sometimes
    // lucky.
    let link = cluster.brokers[&1].link.as_ref().expect("it has one");
    let mut records = records;
    for round in 1..=4 {
        link.hold();
        link.cut();
        ours.delete(topic).await;
        ours.create((topic, 1, 1), &[], false).await;
        records = ours.producer(&[]);
        write(&records, topic, &format!("new{round}-"), 20 * round);
        link.release();
        let told = tail.until(is_record(&format!("new{round}-{}", 20 * round - 1))).await;
        let mut expected = vec![Told::Opened(0, 0, Some(Loss::Recreated))];
        let all = (0..20 * round).map(|n| Told::Record(0, n, format!("new{round}-{n}")));
        expected.extend(all);
        assert_eq!(told, expected);
    }

    // Partitions that are added are read from their beginning.
    ours.grow(topic, 2).await;
    let value = Some(&b"added"[..]);
    records.send(topic, New { partition: 1, value, ..New::default() });
    records.flush();
    let told = tail.until(is_record("added")).await;
    assert_eq!(told, [Told::Opened(1, 0, None), Told::Record(1, 0, "added".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_and_written_anew_behind_a_cut_is_not_read_on_as_if_it_were_not() {
    let mut cluster = Cluster::with_links(2);
    let topic = "eqiad.cut";
    let config = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
    cluster.create_topic((topic, 1, 2), &config).await;
    let leader = cluster.leader(topic, 0);
    let follower = 3 - leader;
    let records = cluster.topics().producer(&[]);
    let times = |from: i64, how_many: i64| (from..from + how_many).collect::<Vec<_>>();
    let day = 1_700_000_000_000;
    records.times(topic, &times(day, 5));
    cluster.wait_until_whole();
    // It is told of the one that goes last and does not come back.
    let mut tail = Tail::of(&cluster, leader, topic);
    assert_eq!(tail.until(|_| true).await, [Told::Opened(0, 5, None)]);

    // The follower does not have what comes now.
    cluster.brokers.get_mut(&follower).expect("there").node.kill();
    records.times(topic, &times(day + 100, 5));
    let last = tail.until(is_record(&format!("{{\"n\":{}}}", day + 104))).await;
    assert_eq!(last.len(), 5, "{last:?}");
    // It is elected all the same, and others write where the lost ones were, and on.
    cluster.brokers.get_mut(&leader).expect("there").node.kill();
    for broker in cluster.brokers.values() {
        broker.link.as_ref().expect("it has one").hold();
    }
    cluster.brokers.get_mut(&follower).expect("there").node.go();
    let ours = Topics::of(cluster.inside(follower));
    ours.wait_for_brokers(1);
    let records = ours.producer(&[]);
    records.times(topic, &times(day + 200, 8));
    for broker in cluster.brokers.values() {
        broker.link.as_ref().expect("it has one").release();
    }
    let told = tail.until(is_record(&format!("{{\"n\":{}}}", day + 207))).await;
    let opened = told.iter().find_map(|told| match told {
        Told::Opened(0, next, Some(Loss::Truncated)) => Some(*next),
        _ => None,
    });
    assert!(opened.is_some_and(|next| next <= 5), "from before what replaced the lost: {told:?}");
    let new: Vec<_> = told
        .iter()
        .filter_map(|told| match told {
            Told::Record(_, offset, _) => Some(Offset(*offset)),
            _ => None,
        })
        .collect();
    assert!(new.ends_with(&(5..13).map(Offset).collect::<Vec<_>>()), "{told:?}");
}
