//! Kafka behind the `Source` trait, against a real one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate::event::{Offset, Record, TimestampMs, TopicName, TopicPartition};
use tidegate::source::kafka::{KafkaSource, Settings};
use tidegate::source::{Loss, NewRecord, Sink, Source, SourceError, TailEvent};
use tokio::sync::mpsc;

use crate::support::PATIENCE;
use crate::support::kafka::{Kafka, New, shared, unique};

fn source(kafka: &Kafka) -> Arc<KafkaSource> {
    let settings = Settings {
        name: "main".into(),
        bootstrap: vec![kafka.bootstrap()],
        brokers_file: None,
        properties: BTreeMap::new(),
    };
    KafkaSource::new(settings).expect("accepted")
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).expect("legal"), partition)
}

/// A tail being listened to.
struct Tail {
    events: mpsc::Receiver<TailEvent>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tail {
    fn of(source: &Arc<KafkaSource>, topics: &[&str]) -> Self {
        let (out, events) = mpsc::channel(16);
        let topics = topics.iter().map(|t| TopicName::new(t).expect("legal")).collect();
        let source = Arc::clone(source);
        Self { events, task: tokio::spawn(async move { source.tail(topics, out).await }) }
    }

    async fn next(&mut self) -> TailEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("in time").expect("the tail goes on")
    }

    async fn surveyed(&mut self) {
        while !matches!(self.next().await, TailEvent::Surveyed) {}
    }

    /// Offsets of a partition up to `until`, and the events before that were no records.
    async fn until(&mut self, tp: &TopicPartition, until: i64) -> (Vec<i64>, Vec<TailEvent>) {
        let (mut offsets, mut others) = (Vec::new(), Vec::new());
        loop {
            match self.next().await {
                TailEvent::Records { tp: at, records, next } if at == *tp => {
                    offsets.extend(records.iter().map(|r| r.offset.0));
                    if next >= Offset(until) {
                        return (offsets, others);
                    }
                }
                TailEvent::Records { .. } => {}
                other => others.push(other),
            }
        }
    }

    async fn opened(&mut self) -> (TopicPartition, Offset, Option<TimestampMs>, Option<Loss>) {
        loop {
            if let TailEvent::Opened { tp, next, last, after, .. } = self.next().await {
                return (tp, next, last, after);
            }
        }
    }
}

async fn read_all(source: &KafkaSource, tp: &TopicPartition, from: i64) -> (Vec<Record>, Offset) {
    let marks = source.watermarks(tp).await.expect("marks");
    let (mut all, mut next) = (Vec::new(), Offset(from));
    while next < marks.end {
        let fetched = source.read(tp, next, marks.end, 1 << 20).await.expect("read");
        assert!(fetched.next > next, "a read gets on");
        next = fetched.next;
        all.extend(fetched.records);
    }
    (all, next)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_from_any_offset_to_any_other_and_times_are_looked_up() {
    let (kafka, topic) = (shared(), unique("ranges"));
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await;
    kafka.producer(&[]).times(&topic, &[100, 100, 300, 200, 400]);
    let (source, tp) = (source(kafka), tp(&topic, 0));
    let fetched = source.read(&tp, Offset(1), Offset(3), 1 << 20).await.expect("read");
    let offsets: Vec<_> = fetched.records.iter().map(|r| r.offset.0).collect();
    assert_eq!((offsets, fetched.next), (vec![1, 2], Offset(3)));
    let one = source.read(&tp, Offset(0), Offset(5), 1).await.expect("read");
    assert_eq!((one.records.len(), one.next), (1, Offset(1)));
    let at = async |time| source.offset_at(&tp, TimestampMs(time)).await.expect("asked");
    assert_eq!(at(100).await, Some(Offset(0)));
    assert_eq!(at(101).await, Some(Offset(2)), "the first in log order, later ones may be older");
    assert_eq!(at(400).await, Some(Offset(4)));
    assert_eq!(at(401).await, None);
    let info = source.topic(&tp.topic).await.expect("a topic");
    assert_eq!((info.partitions, info.append_time, info.log.is_some()), (1, false, true));
    let beyond = source.read(&tp, Offset(50), Offset(60), 1).await;
    assert!(matches!(beyond, Err(SourceError::OutOfRange { kept, .. }) if kept.end == Offset(5)));
    let nowhere = source.topic(&TopicName::new("nowhere").expect("legal")).await;
    assert!(matches!(nowhere, Err(SourceError::UnknownTopic(_))), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_partition_has_no_time_and_nothing_to_read() {
    let (kafka, topic) = (shared(), unique("empty"));
    kafka.create_topic(&topic, 1, &[]).await;
    let (source, tp) = (source(kafka), tp(&topic, 0));
    assert_eq!(source.offset_at(&tp, TimestampMs(1)).await.expect("asked"), None);
    let fetched = source.read(&tp, Offset(0), Offset(10), 1).await.expect("read");
    assert_eq!((fetched.records.len(), fetched.next), (0, Offset(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_transactions_are_holes_and_an_open_one_is_the_end() {
    use rdkafka::producer::Producer;
    let (kafka, topic) = (shared(), unique("transactions"));
    kafka.create_topic(&topic, 1, &[]).await;
    let (source, tp) = (source(kafka), tp(&topic, 0));
    let mut tail = Tail::of(&source, &[&topic]);
    tail.surveyed().await;
    let id = unique("id");
    let writer = kafka.producer(&[("transactional.id", &id)]);
    writer.0.init_transactions(PATIENCE).expect("begun");
    let write = |commit: Option<bool>, n: usize| {
        writer.0.begin_transaction().expect("begun");
        for _ in 0..n {
            writer.send(&topic, New { value: Some(b"{}"), ..New::default() });
        }
        writer.flush();
        match commit {
            Some(true) => writer.0.commit_transaction(PATIENCE).expect("committed"),
            Some(false) => writer.0.abort_transaction(PATIENCE).expect("aborted"),
            None => {}
        }
    };
    write(Some(true), 2); // 0 1, marker 2
    write(Some(false), 3); // 3 4 5, marker 6
    write(Some(true), 1); // 7, marker 8
    let (offsets, _) = tail.until(&tp, 9).await;
    assert_eq!(offsets, [0, 1, 7], "the tail passes holes, also the last one");
    let (records, next) = read_all(&source, &tp, 0).await;
    assert_eq!(records.iter().map(|r| r.offset.0).collect::<Vec<_>>(), [0, 1, 7]);
    assert_eq!(next, Offset(9));
    write(None, 2); // 9 10, open
    assert_eq!(source.watermarks(&tp).await.expect("marks").end, Offset(9));
    writer.0.abort_transaction(PATIENCE).expect("aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_begins_at_the_end_and_takes_in_what_comes_later_from_its_beginning() {
    let (kafka, topic, late) = (shared(), unique("tail"), unique("late"));
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await;
    let writer = kafka.producer(&[]);
    writer.times(&topic, &[100, 200]);
    let source = source(kafka);
    let mut tail = Tail::of(&source, &[&topic, &late]);
    let (opened, next, last, after) = tail.opened().await;
    assert_eq!((opened, next), (tp(&topic, 0), Offset(2)));
    assert_eq!((last, after), (Some(TimestampMs(200)), None));
    tail.surveyed().await;
    writer.times(&topic, &[300]);
    assert_eq!(tail.until(&tp(&topic, 0), 3).await.0, [2]);
    // A partition that is added.
    kafka.grow(&topic, 2).await;
    writer.send(&topic, New { partition: 1, value: Some(b"{}"), ..New::default() });
    writer.flush();
    let (offsets, others) = tail.until(&tp(&topic, 1), 1).await;
    assert_eq!(offsets, [0]);
    assert!(matches!(others[..], [TailEvent::Opened { next: Offset(0), after: None, .. }]));
    // A topic that comes later.
    kafka.create_topic(&late, 1, &[]).await;
    writer.times(&late, &[400]);
    assert_eq!(tail.until(&tp(&late, 0), 1).await.0, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_followed_from_its_beginning_shorter_or_longer() {
    let (kafka, topic) = (shared(), unique("anew"));
    let writer = kafka.producer(&[]);
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await;
    writer.times(&topic, &[100, 200, 300]);
    let (source, tp) = (source(kafka), tp(&topic, 0));
    let mut tail = Tail::of(&source, &[&topic]);
    tail.surveyed().await;
    let before = source.topic(&tp.topic).await.expect("there").log;
    for times in [&[400][..], &[500, 600, 700, 800, 900]] {
        kafka.delete_topic(&topic).await;
        kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await;
        kafka.producer(&[]).times(&topic, times);
        let (tag, after) = loop {
            match tail.next().await {
                TailEvent::Opened { log, after, next: Offset(0), .. } => break (log, after),
                TailEvent::Gone { .. } => {}
                // Where the new one is longer, the client reads on in it until its id is looked at:
                // these come again, from the beginning.
                TailEvent::Records { records, .. } if records.iter().all(|r| r.time.0 >= 500) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_ne!(tag, before);
        assert!(matches!(after, None | Some(Loss::Recreated)));
        let all: Vec<i64> = (0..).take(times.len()).collect();
        assert_eq!(tail.until(&tp, all.len() as i64).await.0, all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_go_before_they_are_read_are_a_loss_that_is_said() {
    let (kafka, topic) = (Kafka::start(), unique("retention"));
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await;
    let writer = kafka.producer(&[]);
    writer.times(&topic, &[100, 200, 300]);
    let (source, tp) = (source(&kafka), tp(&topic, 0));
    kafka.delete_records(&topic, 0, 2).await;
    let gone = source.read(&tp, Offset(0), Offset(3), 1 << 20).await;
    assert!(matches!(gone, Err(SourceError::OutOfRange { kept, .. }) if kept.start == Offset(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_is_said_and_nothing_is_lost_or_told_twice() {
    let (mut kafka, topic) = (Kafka::start(), unique("restart"));
    kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]).await;
    kafka.producer(&[]).times(&topic, &[100]);
    let (source, tp) = (source(&kafka), tp(&topic, 0));
    let mut tail = Tail::of(&source, &[&topic]);
    tail.surveyed().await;
    kafka.producer(&[]).times(&topic, &[200, 300]);
    assert_eq!(tail.until(&tp, 3).await.0, [1, 2]);
    kafka.kill();
    while !matches!(tail.next().await, TailEvent::Unreachable { .. }) {}
    let record = NewRecord {
        topic: tp.topic.clone(),
        key: None,
        value: "{}".into(),
        time: TimestampMs(400),
    };
    assert!(source.append(record.clone()).await.is_err(), "nobody is there to take it");
    kafka.go();
    while !matches!(tail.next().await, TailEvent::Reachable) {}
    kafka.producer(&[]).times(&topic, &[500]);
    let (offsets, others) = tail.until(&tp, 4).await;
    assert!(offsets.len() == 1 && offsets[0] == 3, "{offsets:?}");
    assert!(!others.iter().any(|e| matches!(e, TailEvent::Opened { .. })), "{others:?}");
    let (_, offset) = source.append(record).await.expect("taken");
    assert!(offset >= Offset(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_and_every_codec_arrive_as_they_were() {
    let (kafka, topic) = (shared(), unique("codecs"));
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "20000000")]).await;
    let (source, tp) = (source(kafka), tp(&topic, 0));
    let large = vec![b'x'; 5 * 1024 * 1024];
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let writer = kafka.producer(&[("compression.codec", codec)]);
        let new = New { key: Some(codec.as_bytes()), value: Some(&large), ..New::default() };
        writer.send(&topic, new);
        writer.flush();
    }
    let (records, _) = read_all(&source, &tp, 0).await;
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|r| r.value.as_deref() == Some(&large[..])));
    let keys: Vec<_> = records.iter().map(|r| r.key.as_deref().expect("a key")).collect();
    assert_eq!(keys, [&b"none"[..], b"gzip", b"snappy", b"lz4", b"zstd"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_log_sets_the_times_says_so() {
    let (kafka, topic) = (shared(), unique("append-time"));
    kafka.create_topic(&topic, 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let info = source(kafka).topic(&TopicName::new(&topic).expect("legal")).await.expect("there");
    assert!(info.append_time);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_found_and_reads_end_in_time() {
    let (kafka, topic) = (Kafka::start(), unique("frozen"));
    kafka.create_topic(&topic, 1, &[]).await;
    kafka.producer(&[]).times(&topic, &[100]);
    let (source, tp) = (source(&kafka), tp(&topic, 0));
    let mut tail = Tail::of(&source, &[&topic]);
    tail.surveyed().await;
    kafka.freeze();
    let read = tokio::time::timeout(PATIENCE, source.read(&tp, Offset(0), Offset(1), 1)).await;
    assert!(matches!(read, Ok(Err(SourceError::Unreachable { .. }))), "{read:?}");
    while !matches!(tail.next().await, TailEvent::Unreachable { .. }) {}
    kafka.thaw();
    while !matches!(tail.next().await, TailEvent::Reachable) {}
    kafka.producer(&[]).times(&topic, &[200]);
    assert_eq!(tail.until(&tp, 2).await.0, [1]);
    tokio::time::sleep(Duration::from_millis(1)).await;
}
