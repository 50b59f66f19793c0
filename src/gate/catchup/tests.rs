//! Turns as their readers see them, on a paused clock.

use std::future::poll_fn;
use std::net::IpAddr;

use futures_util::FutureExt;
use http::HeaderMap;

use super::super::Settings;
use super::*;

fn key(n: u8) -> ClientKey {
    let identity = Settings::room_for(1).identity;
    identity.of(IpAddr::from([127, 0, 0, n]), &HeaderMap::new()).expect("a client").key
}

fn turns(all: usize) -> (Arc<Turns>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    (Turns::new(Budget { all, of_client: usize::MAX }, Arc::clone(&metrics)), metrics)
}

impl Turn {
    async fn reads(&mut self) {
        poll_fn(|cx| self.poll_read(cx)).await;
    }

    fn may_read(&mut self) -> bool {
        self.reads().now_or_never().is_some()
    }
}

fn numbers(metrics: &Metrics) -> (i64, i64) {
    (metrics.gate.catchups_running.get(), metrics.gate.catchups_waiting.get())
}

#[tokio::test(start_paused = true)]
async fn whoever_rests_too_long_loses_its_turn_and_what_it_holds_to_one_who_waits() {
    let (turns, metrics) = turns(1);
    let mut stalled = turns.turn(key(1), Errand::Replay);
    assert!(stalled.may_read());
    let luggage: Luggage = Arc::new("chunks");
    let held = Arc::downgrade(&luggage);
    stalled.rest(10, luggage);
    tokio::time::sleep(CATCHUP_REST_MAX * 10).await;
    assert!(held.upgrade().is_some(), "nobody else wants it");
    let mut next = turns.turn(key(2), Errand::Replay);
    assert!(next.may_read(), "it has rested long enough already");
    assert!(held.upgrade().is_none(), "its chunks are gone");
    assert!(!stalled.may_read(), "it queues anew");
    assert_eq!(numbers(&metrics), (1, 1));
    next.rest(10, Arc::new(()));
    let since = Instant::now();
    stalled.reads().await;
    assert!(since.elapsed() >= CATCHUP_REST_MAX, "a moment's rest is everybody's");
    assert!(!next.may_read());
    drop((stalled, next));
    assert_eq!(numbers(&metrics), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_keeps_its_turn_for_a_stretch_and_no_longer_if_others_wait() {
    let (turns, metrics) = turns(1);
    let mut one = turns.turn(key(1), Errand::Replay);
    let part = CATCHUP_STRETCH_BYTES / 4;
    for _ in 0..20 {
        assert!(one.may_read(), "nobody waits");
        one.rest(part, Arc::new(()));
    }
    assert!(one.may_read());
    let mut other = turns.turn(key(1), Errand::Replay);
    assert!(!other.may_read());
    one.rest(part, Arc::new(()));
    assert!(!one.may_read(), "it has had its stretch");
    for _ in 0..3 {
        assert!(other.may_read());
        other.rest(part, Arc::new(()));
    }
    assert!(other.may_read() && !one.may_read());
    other.rest(part, Arc::new(()));
    assert!(one.may_read() && !other.may_read());
    drop((one, other));
    assert_eq!(numbers(&metrics), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_reads_or_rests_may_vanish_and_the_next_is_woken() {
    let (turns, metrics) = turns(1);
    for stage in 0..3 {
        let mut first = turns.turn(key(1), Errand::Replay);
        assert!(first.may_read());
        let mut vanishes = turns.turn(key(2), Errand::Return);
        assert!(!vanishes.may_read());
        let mut waits = turns.turn(key(3), Errand::Replay);
        assert!(!waits.may_read());
        match stage {
            0 => {}
            1 => drop(std::mem::replace(&mut first, turns.turn(key(1), Errand::Replay))),
            _ => {
                drop(std::mem::replace(&mut first, turns.turn(key(1), Errand::Replay)));
                assert!(vanishes.may_read());
                vanishes.rest(1, Arc::new(()));
            }
        }
        drop(vanishes);
        let since = Instant::now();
        drop(first);
        waits.reads().await;
        assert_eq!(since.elapsed().as_millis(), 0, "{stage}: at once");
        drop(waits);
        assert_eq!(numbers(&metrics), (0, 0), "{stage}");
    }
}
