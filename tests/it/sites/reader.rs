//! A reader that knows events by their numbers, since offsets differ from cluster to cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PARTITIONS;
use super::mirror::{Progress, Written};
use crate::support::{PATIENCE, sse};

/// How it reads.
#[derive(Clone)]
pub struct Manner {
    /// Events until it leaves and comes again with its id.
    pub every: usize,
    /// A pause after each event.
    pub pause: Duration,
    /// The gateways that it goes to, in turns.
    pub to: Vec<SocketAddr>,
}

/// What it saw of a partition: numbers, and when.
type Trace = Vec<(Instant, i64)>;

/// What it has seen.
#[derive(Default)]
pub struct Seen {
    by_place: BTreeMap<(String, i32), Trace>,
    /// Gaps that were said.
    pub gaps: usize,
    /// Connections that were opened.
    pub connections: usize,
}

/// What is wrong with it.
#[derive(Debug, Default)]
pub struct Found {
    /// Events.
    pub deliveries: usize,
    /// Written, and did not come.
    pub lost: usize,
    /// Came again.
    pub repeated: usize,
    /// Came again although they may not.
    pub forbidden: usize,
}

/// A reader at work.
pub struct Reader {
    stop: Arc<AtomicBool>,
    /// No pauses any more.
    hurry: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: JoinHandle<()>,
}

/// Longer than clocks and buffers between two threads are apart.
const SKEW: Duration = Duration::from_secs(5);

impl Seen {
    fn last(&self, topic: &str) -> i64 {
        let of = self.by_place.iter().filter(|((t, _), _)| t == topic);
        of.filter_map(|(_, trace)| trace.iter().map(|(_, n)| *n).max()).max().unwrap_or(-1)
    }

    fn has_all(&self, written: &[Written]) -> bool {
        written.iter().all(|w| {
            (0..PARTITIONS).all(|partition| {
                let last =
                    (0..w.events).rev().find(|n| n % i64::from(PARTITIONS) == i64::from(partition));
                let trace = self.by_place.get(&(w.topic.clone(), partition));
                last.is_none_or(|last| trace.is_some_and(|t| t.iter().any(|(_, n)| *n == last)))
            })
        })
    }

    /// Holds it against what was written. An event may come again if it is the last one that came
    /// before, or if the copy did not have it yet by then.
    #[must_use]
    pub fn check(&self, topic: &str, written: &[Written], copied: &Progress) -> Found {
        let mut found = Found::default();
        let events = written.iter().find(|w| w.topic == topic).expect("written").events;
        for partition in 0..PARTITIONS {
            let place = (topic.to_owned(), partition);
            let trace = self.by_place.get(&place).map_or(&[][..], Vec::as_slice);
            found.deliveries += trace.len();
            let distinct: BTreeSet<i64> = trace.iter().map(|(_, n)| *n).collect();
            let expected =
                (0..events).filter(|n| n % i64::from(PARTITIONS) == i64::from(partition));
            found.lost += expected.filter(|n| !distinct.contains(n)).count();
            found.repeated += trace.len() - distinct.len();
            for pair in trace.windows(2) {
                let ((then, last), (_, next)) = (pair[0], pair[1]);
                let by_then = then.checked_sub(SKEW).unwrap_or(then);
                let may = next >= last || next > copied.at(partition, by_then);
                found.forbidden += usize::from(!may);
            }
        }
        found
    }
}

impl Reader {
    /// Begins at the first event of all.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Seen>>::default());
        let hurry = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&stop), Arc::clone(&hurry), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let (stop, hurry, seen) = shared;
            let mut id = None;
            for connection in 0.. {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let to = manner.to[connection % manner.to.len()];
                if read(to, &manner, &mut id, (&seen, &stop, &hurry)).is_none() {
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        });
        Self { stop, hurry, seen, thread }
    }

    /// The highest number so far.
    #[must_use]
    pub fn so_far(&self, topic: &str) -> i64 {
        self.seen.lock().expect("sound").last(topic)
    }

    /// Waits until it has come to the end, with nothing more to come.
    pub fn comes_to_the_end(&self, written: &[Written]) {
        self.hurry.store(true, Ordering::Release);
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen.lock().expect("sound");
            if seen.has_all(written) {
                break;
            }
            let last = |(place, trace): (_, &Trace)| (place, trace.last().copied());
            let so_far = seen.by_place.iter().map(last).collect::<Vec<_>>();
            assert!(Instant::now() < until, "it has not come to the end: {so_far:?}");
            drop(seen);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops at the next event, and says what it saw.
    #[must_use]
    pub fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the reader does not panic");
        std::mem::take(&mut *self.seen.lock().expect("sound"))
    }
}

/// One connection. `None`: it was refused, or has brought nothing.
fn read(
    to: SocketAddr,
    manner: &Manner,
    id: &mut Option<String>,
    (seen, stop, hurry): (&Mutex<Seen>, &AtomicBool, &AtomicBool),
) -> Option<()> {
    let headers: Vec<_> = id.iter().map(|id| ("last-event-id", id.as_str())).collect();
    let path = "/v2/stream/s?since=1700000000000&gap=event";
    let response = sse::get(to, path, &headers).ok()?;
    match response.status {
        200 => {}
        // Also who comes again and again while nobody is let in.
        503 | 429 => return None,
        status => panic!("{status} for {headers:?}"),
    }
    seen.lock().expect("sound").connections += 1;
    let mut events = response.events();
    for _ in 0..manner.every {
        let event = events.next().ok()?;
        if event.name == "gap" {
            seen.lock().expect("sound").gaps += 1;
        }
        if event.name != "message" {
            continue;
        }
        let data: Value = serde_json::from_str(&event.data).expect("JSON");
        let partition = data["meta"]["partition"].as_i64().expect("a number");
        let topic = data["meta"]["topic"].as_str().expect("a text").to_owned();
        let place = (topic, i32::try_from(partition).expect("few"));
        let now = (Instant::now(), data["n"].as_i64().expect("a number"));
        seen.lock().expect("sound").by_place.entry(place).or_default().push(now);
        *id = Some(event.id);
        if stop.load(Ordering::Acquire) {
            return Some(());
        }
        if !hurry.load(Ordering::Acquire) {
            std::thread::sleep(manner.pause);
        }
    }
    Some(())
}
