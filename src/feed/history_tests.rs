//! What the shared history promises: one read for all, exact ends, nothing of another log.

use std::sync::Arc;

use futures_util::future::join_all;

use super::history::History;
use super::lines::Lines;
use super::{Hub, Settings};
use crate::catalog::Catalog;
use crate::event::{LogTag, Offset, TopicName, TopicPartition};
use crate::metrics::Metrics;
use crate::source::memory::MemorySource;
use crate::source::{Source, SourceError, TailEvent};

fn tp() -> TopicPartition {
    TopicPartition::new(TopicName::new("a").expect("legal"), 0)
}

fn log() -> Option<LogTag> {
    LogTag::new("aaaaaa")
}

/// A log of `records` and a history over it whose hub remembers nothing.
fn history(records: i64, bytes_max: usize) -> (Arc<MemorySource>, Arc<History>, Arc<Metrics>) {
    let (source, _, history, metrics) = over_hub(records, bytes_max);
    (source, history, metrics)
}

type OverHub = (Arc<MemorySource>, Arc<Hub>, Arc<History>, Arc<Metrics>);

fn over_hub(records: i64, bytes_max: usize) -> OverHub {
    let source = Arc::new(MemorySource::default());
    source.create("a", Some("aaaaaa"), 1);
    for n in 0..records {
        source.append(&tp(), Some((n, "{\"x\":1}".to_owned())));
    }
    let metrics = Arc::new(Metrics::new());
    let lines = Lines::new(&Catalog::default(), &[], 1 << 20, Arc::clone(&metrics));
    let hub = Hub::new("m", lines, Settings::default(), Arc::clone(&metrics));
    let over = (Arc::clone(&source) as _, Arc::clone(&hub));
    let history = History::new(over.0, over.1, (bytes_max, 4), Arc::clone(&metrics));
    (source, hub, history, metrics)
}

const ALL: (Offset, Offset) = (Offset(0), Offset(100));

#[tokio::test]
async fn a_thousand_replays_of_one_range_read_the_source_once() {
    let (_source, history, metrics) = history(100, 1 << 20);
    let reads = (0..1000).map(|_| {
        let history = Arc::clone(&history);
        async move { history.read(&tp(), (log(), 1), ALL, 1 << 20).await.expect("read") }
    });
    let chunks = join_all(reads).await;
    assert!(chunks.iter().all(|c| c.items.len() == 100 && c.next == Offset(100)));
    assert_eq!(metrics.history_reads.get(), 1);
}

#[tokio::test]
async fn a_read_ends_where_something_cached_begins() {
    let (_source, history, _) = history(100, 1 << 20);
    let later = (Offset(40), Offset(100));
    history.read(&tp(), (log(), 1), later, 1 << 20).await.expect("read");
    let first = history.read(&tp(), (log(), 1), ALL, 1 << 20).await.expect("read");
    assert_eq!((first.items.len(), first.next), (40, Offset(40)));
    let inside = (Offset(50), Offset(100));
    let second = history.read(&tp(), (log(), 1), inside, 1 << 20).await.expect("read");
    assert_eq!(second.from, Offset(40), "the cached chunk serves who starts inside it");
}

#[tokio::test]
async fn chunks_of_another_generation_are_never_given() {
    let (source, history, _) = history(100, 1 << 20);
    history.read(&tp(), (log(), 1), ALL, 1 << 20).await.expect("read");
    source.create("a", Some("bbbbbb"), 1);
    source.append(&tp(), Some((1, "{}".to_owned())));
    let new = (Offset(0), Offset(1));
    let tag = LogTag::new("bbbbbb");
    let chunk = history.read(&tp(), (tag, 2), new, 1 << 20).await.expect("read");
    assert_eq!(chunk.items.len(), 1);
    // Read under the old name, the records are the new topic's: refused, not given.
    let outside = (Offset(0), Offset(1));
    let stale = history.read(&tp(), (log(), 3), outside, 1 << 20).await;
    assert!(matches!(stale, Err(SourceError::UnknownTopic(_))));
}

#[tokio::test]
async fn the_cache_keeps_to_its_bytes() {
    let (_source, history, metrics) = history(100, 2000);
    for from in 0..99 {
        let range = (Offset(from), Offset(from + 1));
        history.read(&tp(), (log(), 1), range, 1).await.expect("read");
    }
    let held = metrics.history_cache_bytes.get();
    assert!((1..=2000).contains(&held), "{held}");
}

#[tokio::test]
async fn what_the_tail_has_in_memory_is_shown_once_for_all_and_by_the_cache_alone() {
    let (source, hub, history, metrics) = over_hub(100, 1 << 20);
    let (log, next) = (log(), Offset(0));
    let opened =
        TailEvent::Opened { tp: tp(), log, append_time: false, next, last: None, after: None };
    hub.apply(opened);
    let records = source.read(&tp(), ALL.0, ALL.1, 1 << 20).await.expect("read").records;
    hub.apply(TailEvent::Records { tp: tp(), records, next: ALL.1 });
    let generation = hub.slot(&tp()).expect("followed").generation;
    let read = async || history.read(&tp(), (log, generation), ALL, 1 << 20).await.expect("read");
    let (first, second) = (read().await, read().await);
    assert_eq!((first.items.len(), first.next), (100, ALL.1));
    assert!(Arc::ptr_eq(&first, &second), "made once");
    assert_eq!(metrics.history_reads.get(), 0, "the source is not asked");
    let (records, _) = hub.read_tail(&tp(), generation, ALL.0, 1 << 20).expect("in memory");
    assert!(records.iter().all(|record| record.made().is_none()), "no line is left there");
}
