//! What `Source` promises, of the embedded log.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::event::Record;
use crate::log::Settings;

/// Nothing here takes longer, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(dir: &Path) -> Settings {
    let commit_interval = Duration::from_millis(1);
    Settings { commit_interval, segment_bytes: 1000, reserve_bytes: 0, ..Settings::new(dir) }
}

fn open(settings: Settings) -> Arc<EmbeddedSource> {
    EmbeddedSource::new(Log::open(settings).unwrap())
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn tp(name: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic(name), partition)
}

impl EmbeddedSource {
    async fn write(&self, name: &str, size: usize, time: i64) -> Offset {
        let (topic, time) = (topic(name), TimestampMs(time));
        let value = Bytes::from(vec![b'x'; size]);
        self.append(NewRecord { topic, key: None, value, time }).await.unwrap().1
    }
}

/// A tail that is asked to look, and what it tells then.
struct Asked<'a> {
    tail: Tail<'a>,
    told: mpsc::Receiver<TailEvent>,
    topics: Vec<TopicName>,
}

impl<'a> Asked<'a> {
    fn new(source: &'a EmbeddedSource, topics: &[&str]) -> Self {
        let (out, told) = mpsc::channel(1000);
        let topics = topics.iter().map(|name| topic(name)).collect();
        Self { tail: Tail::new(source, out), told, topics }
    }

    async fn look(&mut self) -> Vec<String> {
        assert!(!self.tail.round(&self.topics).await.ok().unwrap(), "something cannot be read");
        std::iter::from_fn(|| self.told.try_recv().ok()).map(|event| text(&event)).collect()
    }
}

/// An event in short.
fn text(event: &TailEvent) -> String {
    match event {
        TailEvent::Opened { tp, next, last, after, .. } => {
            let last = last.map_or("never".to_owned(), |last| last.to_string());
            let after = after.map_or(String::new(), |after| format!(", after {after:?}"));
            format!("{tp} from {next}, last {last}{after}")
        }
        TailEvent::Records { tp, records, next } => {
            let offsets: Vec<_> = records.iter().map(|record| record.offset.0).collect();
            format!("{tp} {offsets:?}, next {next}")
        }
        TailEvent::Surveyed => "surveyed".to_owned(),
        TailEvent::Gone { topic } => format!("{topic} is gone"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tail_begins_at_the_end_and_tells_every_record_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(settings(dir.path()));
    source.write("a", 1, 70).await;
    source.write("a", 1, 50).await;
    let mut tail = Asked::new(&source, &["a", "b"]);
    assert_eq!(tail.look().await, ["a/0 from 2, last 50", "surveyed"]);
    assert_eq!(tail.look().await, [""; 0], "nothing is told twice");
    source.write("a", 1, 60).await;
    source.write("a", 1, 61).await;
    assert_eq!(tail.look().await, ["a/0 [2, 3], next 4"]);
    assert_eq!(tail.look().await, [""; 0]);
}

#[tokio::test]
async fn topics_and_partitions_that_come_later_are_followed_from_their_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(settings(dir.path()));
    let mut tail = Asked::new(&source, &["a", "b"]);
    assert_eq!(tail.look().await, ["surveyed"]);
    source.write("b", 1, 5).await;
    source.write("unasked", 1, 5).await;
    assert_eq!(tail.look().await, ["b/0 from 0, last never", "b/0 [0], next 1"]);
    source.log.create_topic(&topic("b"), 3).await.unwrap();
    assert_eq!(tail.look().await, ["b/1 from 0, last never", "b/2 from 0, last never"]);
}

#[tokio::test]
async fn a_topic_made_anew_goes_on_as_another_one_also_when_it_was_seen_to_be_gone() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(settings(dir.path()));
    source.write("a", 1, 5).await;
    let mut tail = Asked::new(&source, &["a"]);
    tail.look().await;
    for is_seen in [false, true] {
        let old = source.topic(&topic("a")).await.unwrap().log;
        source.log.delete_topic(&topic("a")).await.unwrap();
        if is_seen {
            assert_eq!(tail.look().await, ["a is gone"]);
            assert_eq!(tail.look().await, [""; 0], "it is told once");
        }
        source.write("a", 1, 6).await;
        source.write("a", 1, 7).await;
        let told = tail.look().await;
        assert_eq!(told, ["a/0 from 0, last never, after Recreated", "a/0 [0, 1], next 2"]);
        let new = source.topic(&topic("a")).await.unwrap().log;
        assert!(new.is_some() && new != old);
        assert_eq!(tail.tail.followed[&tp("a", 0)], (new, Offset(2)));
    }
}

#[tokio::test]
async fn what_retention_removes_before_it_was_told_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(Settings { retention_bytes: Some(2500), ..settings(dir.path()) });
    let mut tail = Asked::new(&source, &["a"]);
    source.write("a", 1000, 5).await;
    tail.look().await;
    for time in 6..10 {
        source.write("a", 1000, time).await;
    }
    source.log.retain().await;
    let told = tail.look().await;
    assert_eq!(told, ["a/0 from 3, last never, after Retention", "a/0 [3, 4], next 5"]);
    let overtaken = source.read(&tp("a", 0), Offset(2), Offset(5), 1).await.unwrap_err();
    match &overtaken {
        SourceError::OutOfRange { kept, wanted, .. } => {
            assert_eq!((kept.start.0, kept.end.0, wanted.0), (3, 5, 2));
        }
        other => panic!("{other}"),
    }
    assert!(!overtaken.is_retryable());
}

#[tokio::test]
async fn much_at_once_is_told_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(Settings { segment_bytes: 1 << 30, ..settings(dir.path()) });
    source.log.create_topic(&topic("a"), 1).await.unwrap();
    let mut tail = Asked::new(&source, &["a"]);
    tail.look().await;
    for time in 0..5 {
        source.write("a", TAIL_BYTES_MAX * 2 / 5, time).await;
    }
    assert_eq!(tail.look().await, ["a/0 [0, 1, 2], next 3", "a/0 [3, 4], next 5"]);
}

#[tokio::test]
async fn a_last_record_that_is_damaged_does_not_keep_the_later_ones_from_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(settings(dir.path()));
    source.write("a", 1000, 5).await;
    source.write("b", 1, 5).await;
    source.log.close().await;
    drop(source);
    let file = dir.path().join("0000000000000001.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let source = open(settings(dir.path()));
    let mut tail = Asked::new(&source, &["a"]);
    assert_eq!(tail.look().await, ["a/0 from 1, last never", "surveyed"]);
    source.write("a", 1, 6).await;
    assert_eq!(tail.look().await, ["a/0 [1], next 2"]);
    let read = source.read(&tp("a", 0), Offset(0), Offset(2), 1).await;
    assert!(matches!(read, Err(SourceError::Damaged { at: Offset(0), .. })), "{read:?}");
    let found = source.offset_at(&tp("a", 0), TimestampMs(0)).await;
    assert!(matches!(found, Err(SourceError::Damaged { .. })), "{found:?}");
    assert_eq!(source.offset_at(&tp("a", 0), TimestampMs(6)).await.unwrap(), Some(Offset(1)));
}

#[tokio::test]
async fn a_running_tail_is_woken_by_appends_and_ends_with_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(Settings { partitions_default: 2, ..settings(dir.path()) });
    // A listener that is slow: the tail waits for it.
    let (out, mut told) = mpsc::channel(1);
    let topics = vec![topic("a"), topic("b")];
    let tail = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.tail(topics, out).await }
    });
    let first = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert!(matches!(first, TailEvent::Surveyed), "{first:?}");
    let writers = (0..4).map(|n| {
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            for _ in 0..50 {
                source.write(["a", "b"][n % 2], 100, 5).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut seen: BTreeMap<TopicPartition, Vec<i64>> = BTreeMap::new();
    while seen.values().map(Vec::len).sum::<usize>() < 200 {
        let event = tokio::time::timeout(PATIENCE, told.recv()).await.expect("in time");
        if let Some(TailEvent::Records { tp, records, .. }) = event {
            seen.entry(tp).or_default().extend(records.iter().map(|r: &Record| r.offset.0));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for (tp, offsets) in seen {
        let end = source.watermarks(&tp).await.unwrap().end.0;
        assert_eq!(offsets, (0..end).collect::<Vec<_>>(), "{tp}");
    }
    assert!(told.try_recv().is_err(), "nothing more is told");
    // A closed log is no reason to end: its listener is.
    source.log.close().await;
    assert!(!tail.is_finished());
    drop(told);
    tokio::time::timeout(PATIENCE, tail).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_range_is_read_within_its_bounds_and_gets_on() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(settings(dir.path()));
    for time in 0..5 {
        source.write("a", 600, time).await;
    }
    let a = tp("a", 0);
    for (from, until, bytes, expected, next) in [
        (0, 5, 1 << 20, 0..5, 5),
        (0, 99, 1 << 20, 0..5, 5),
        (1, 3, 1 << 20, 1..3, 3),
        (1, 3, 1, 1..2, 2),
        (1, 3, 0, 1..2, 2),
        (0, 5, 1000, 0..2, 2),
        (5, 99, 1 << 20, 5..5, 5),
        (2, 2, 1 << 20, 2..2, 2),
    ] {
        let fetched = source.read(&a, Offset(from), Offset(until), bytes).await.unwrap();
        let offsets: Vec<_> = fetched.records.iter().map(|r| r.offset.0).collect();
        assert_eq!(offsets, expected.collect::<Vec<_>>(), "{from}..{until}, {bytes} bytes");
        assert_eq!(fetched.next.0, next, "{from}..{until}, {bytes} bytes");
    }
    for wanted in [6, -1] {
        let read = source.read(&a, Offset(wanted), Offset(9), 1).await;
        assert!(matches!(read, Err(SourceError::OutOfRange { .. })), "{wanted}: {read:?}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(settings(dir.path()));
    source.write("a", 1, 5).await;
    assert!(matches!(source.topic(&topic("b")).await, Err(SourceError::UnknownTopic(_))));
    for (tp, is_topic) in [(tp("b", 0), true), (tp("a", 1), false), (tp("a", -1), false)] {
        let errors = [
            source.watermarks(&tp).await.unwrap_err(),
            source.offset_at(&tp, TimestampMs(0)).await.unwrap_err(),
            source.read(&tp, Offset(0), Offset(1), 1).await.unwrap_err(),
        ];
        for error in errors {
            match error {
                SourceError::UnknownTopic(_) => assert!(is_topic, "{tp}"),
                SourceError::UnknownPartition(_) => assert!(!is_topic, "{tp}"),
                other => panic!("{tp}: {other}"),
            }
        }
    }
}
