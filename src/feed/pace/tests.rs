//! The tail's pace, on a paused clock: what it waits for, and how long at most.

use std::convert::Infallible;

use super::super::ring::Found;
use super::super::{Charge, FeedHandle, Settings};
use super::*;
use crate::catalog::{Catalog, Selection};
use crate::event::{Offset, TimestampMs, TopicPartition};
use crate::feed::lines::Lines;
use crate::limits::TAIL_LEAST_BYTES_S;
use crate::metrics::Metrics;

const RING: usize = 1024 * 1024;
const RECORD: usize = 1000;

fn tp() -> TopicPartition {
    TopicPartition::new(TopicName::new("a").expect("legal"), 0)
}

/// A hub and a feed of its one topic.
fn feed() -> (Arc<Hub>, FeedHandle) {
    let metrics = Arc::new(Metrics::new());
    let lines = Lines::new(&Catalog::default(), &[], 1 << 20, Arc::clone(&metrics));
    let settings = Settings { ring_bytes: RING, ..Settings::default() };
    let hub = Hub::new("m", lines, settings, metrics);
    let (log, last) = (None, None);
    hub.apply(TailEvent::Opened {
        tp: tp(),
        log,
        append_time: false,
        next: Offset(0),
        last,
        after: None,
    });
    let selection = Selection { streams: vec!["a".into()], topics: vec![tp().topic] };
    let free = || Ok::<Charge, Infallible>(Box::new(()));
    let feed = hub.feed(&selection, free).expect("room");
    feed.ring().resize(RING);
    (hub, feed)
}

/// Records as a source tells them that has many at once.
fn burst(from: i64, how_many: i64) -> TailEvent {
    let value = format!("{{\"x\":\"{}\"}}", "y".repeat(RECORD - 8));
    let record = |offset| Record {
        offset: Offset(offset),
        time: TimestampMs(1),
        key: None,
        value: Some(value.clone().into()),
    };
    let next = Offset(from + how_many);
    TailEvent::Records { tp: tp(), records: (from..next.0).map(record).collect(), next }
}

/// Four times what the ring holds.
const MANY: i64 = 4 * (RING / RECORD) as i64;

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_every_lane_before_it_takes_from_the_ring_what_that_has_not_seen() {
    let (hub, feed) = feed();
    let lanes =
        [feed.is_written_by(Waker::noop().clone()), feed.is_written_by(Waker::noop().clone())];
    let since = Instant::now();
    let mut asked = 0;
    let following = hub.follow(burst(0, MANY));
    tokio::pin!(following);
    loop {
        tokio::select! {
            biased;
            () = &mut following => break,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        for lane in &lanes {
            let index = lane.asked().expect("it waits for both");
            let ring = feed.ring();
            assert!(!matches!(ring.find(index), Found::Behind), "what a lane stands at is there");
            let behind = ring.head_index() - index;
            assert!(behind <= (RING / RECORD / 4) as u64, "{behind}: more than a quarter of it");
            drop(ring);
            asked += 1;
            lane.answer();
        }
    }
    assert!(asked >= 2 * 12, "{asked}: at each stretch but the first ones");
    assert!(since.elapsed() < Duration::from_millis(200), "who answers holds nobody up");
    assert_eq!(feed.ring().head_index(), MANY as u64);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_never_answers_slows_a_burst_to_its_least_pace_and_not_below() {
    let (hub, feed) = feed();
    let lane = feed.is_written_by(Waker::noop().clone());
    let since = Instant::now();
    hub.follow(burst(0, MANY)).await;
    let least = Duration::from_secs_f64(MANY as f64 * RECORD as f64 / TAIL_LEAST_BYTES_S as f64);
    let took = since.elapsed();
    assert!(took <= least + Duration::from_millis(10), "{took:?} where {least:?} is the most");
    assert!(took >= least / 2, "{took:?}: it does wait");
    drop(lane);
    let since = Instant::now();
    hub.follow(burst(MANY, MANY)).await;
    assert_eq!(since.elapsed(), Duration::ZERO, "nobody is left to wait for");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_goes_while_it_is_waited_for_is_waited_for_no_more() {
    let (hub, feed) = feed();
    let lane = feed.is_written_by(Waker::noop().clone());
    let since = Instant::now();
    let goes = async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        assert!(lane.asked().is_some());
        drop(lane);
    };
    tokio::join!(hub.follow(burst(0, MANY)), goes);
    assert_eq!(since.elapsed(), Duration::from_millis(3));
}

#[tokio::test(start_paused = true)]
async fn below_the_least_pace_nobody_is_asked() {
    let (hub, feed) = feed();
    let lane = feed.is_written_by(Waker::noop().clone());
    let since = Instant::now();
    for n in 0..100 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        hub.follow(burst(n * 50, 50)).await;
        assert_eq!(lane.asked(), None);
    }
    assert_eq!(since.elapsed(), Duration::from_millis(6000), "5 MB in 6 s");
}
