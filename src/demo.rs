//! A busy wiki farm that does not exist: events for trying Tidegate out, in the shapes, sizes and
//! rates of the real ones.
//!
//! ```text
//!  generator (pure, from a seed) ─▶ run (paces, from the clock) ─▶ Sink::append
//! ```
//! Streams `recentchange`, `revision-create` and `page-create`; each has a busy topic
//! (`eqiad.mediawiki.…`) and a quiet one (`codfw.mediawiki.…`) that carries a canary a minute.
//! A revision and a page belong to a recent change: same title, same ids, same request. All
//! accounts are made up. Knows nothing of readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalog::Stream;
use crate::event::TimestampMs;
use crate::intake::append::{Appended, append_all};
use crate::source::{NewRecord, Sink};

mod change;
mod generator;
mod language;
mod people;
mod prose;
mod shape;
mod wikis;

pub use generator::Generator;

const PAGE_CREATE: &str = "page-create";
const REVISION: &str = "revision-create";
/// The demo's streams, the busiest first.
pub const STREAMS: [&str; 3] = ["recentchange", REVISION, PAGE_CREATE];

/// Happenings that may wait for the sink at the same time; beyond it the demo waits too.
const PENDING_MAX: usize = 256;
/// A demo that has fallen further behind than this does not catch up.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// The catalogue's entries for the demo.
#[must_use]
pub fn streams() -> Vec<Stream> {
    let stream = |(name, schema, description): (&str, &str, &str)| Stream {
        name: name.into(),
        topics: vec![generator::topic("eqiad", name), generator::topic("codfw", name)],
        aliases: vec![format!("mediawiki.{name}").into()],
        description: format!("{description} (made up, for trying out)"),
        schema: Some(schema.to_owned()),
        produce_to: None,
        topics_allowed: Vec::new(),
    };
    let all = [
        (STREAMS[0], shape::RECENTCHANGE, "Every change of every wiki"),
        (REVISION, shape::REVISION_CREATE, "New revisions of pages"),
        (PAGE_CREATE, shape::REVISION_CREATE, "New pages"),
    ];
    all.map(stream).into()
}

/// What its events look like.
#[must_use]
pub fn schemas() -> BTreeMap<String, Value> {
    let all = [
        (shape::RECENTCHANGE, include_str!("demo/schemas/recentchange.json")),
        (shape::REVISION_CREATE, include_str!("demo/schemas/revision-create.json")),
    ];
    let parsed = |text| serde_json::from_str(text).expect("JSON, and of ours");
    all.map(|(uri, text)| (uri.to_owned(), parsed(text))).into()
}

/// Writes the demo's events into `sink` as they would happen, until `shutdown`. What the sink
/// does not take is lost, and said once in the log until the sink takes events again.
pub async fn run(sink: Arc<dyn Sink>, seed: u64, shutdown: CancellationToken) {
    let mut generator = Generator::new(seed);
    let mut pending = FuturesUnordered::new();
    let mut refused = false;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(answers) = pending.next() => note(answers, &mut refused),
            () = tokio::time::sleep_until(due), if pending.len() < PENDING_MAX => {
                let now = TimestampMs::now();
                pending.push(append_owned(Arc::clone(&sink), generator.next(now)));
                let latest = Instant::now();
                let earliest = latest.checked_sub(BEHIND_MAX).unwrap_or(latest);
                due = due.max(earliest) + generator.pause(now);
            }
        }
    }
    // What was handed over is waited for, so that nothing is torn off in the middle.
    while let Some(answers) = pending.next().await {
        note(answers, &mut refused);
    }
}

async fn append_owned(sink: Arc<dyn Sink>, records: Vec<NewRecord>) -> Vec<Appended> {
    append_all(&*sink, records).await
}

/// Says a change from taken to not taken, and back.
fn note(answers: Vec<Appended>, refused: &mut bool) {
    let error = answers.into_iter().find_map(Result::err);
    match error {
        Some(ref error) if !*refused => tracing::warn!(%error, "the demo's events are not taken"),
        None if *refused => tracing::info!("the demo's events are taken again"),
        _ => {}
    }
    *refused = error.is_some();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::catalog::Catalog;
    use crate::event::Partition;
    use crate::intake::memory::MemorySink;
    use crate::source::SinkError;

    #[tokio::test]
    async fn events_arrive_at_once_and_end_with_the_shutdown() {
        let sink = Arc::new(MemorySink::new(1));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(sink.clone(), 1, shutdown.clone()));
        let written = || sink.values("eqiad.mediawiki.recentchange").len();
        let patience = Instant::now() + Duration::from_secs(30);
        while written() < 30 && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(written() >= 30, "{} events", written());
        shutdown.cancel();
        running.await.expect("ends by itself");
        let at_the_end = written();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(written(), at_the_end);
        assert_eq!(sink.values("codfw.mediawiki.page-create").len(), 1, "the first canary");
    }

    #[tokio::test]
    async fn a_sink_that_fails_does_not_end_the_demo() {
        let down = Arc::new(AtomicBool::new(true));
        let is_down = Arc::clone(&down);
        let sink =
            Arc::new(MemorySink::deciding(1, move |_| match is_down.load(Ordering::Relaxed) {
                true => Err(SinkError::Unavailable("memory".into(), "down".into())),
                false => Ok(()),
            }));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(sink.clone(), 1, shutdown.clone()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        down.store(false, Ordering::Relaxed);
        let patience = Instant::now() + Duration::from_secs(30);
        let topic = "eqiad.mediawiki.recentchange";
        while sink.written(topic, Partition(0)).is_empty() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!sink.written(topic, Partition(0)).is_empty());
        shutdown.cancel();
        running.await.expect("ends by itself");
    }

    #[test]
    fn every_topic_that_is_written_belongs_to_a_stream_of_the_catalogue() {
        let catalog = Catalog::new(streams());
        let mut generator = Generator::new(3);
        let topics = catalog.topics();
        assert_eq!(topics.len(), 6);
        for n in 0..500 {
            for record in generator.next(TimestampMs(1_790_000_000_000 + n * 30)) {
                assert!(topics.contains(&record.topic), "{}", record.topic);
                let event = std::str::from_utf8(&record.value).expect("JSON");
                let routed = crate::intake::record(event, &catalog, None, record.time);
                let routed = routed.expect("an event that the intake takes");
                assert_eq!(routed.time, record.time);
            }
        }
    }
}
