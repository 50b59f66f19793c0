//! Counts what is lost, repeated or out of order, by what is known to have been written.
//!
//! ```text
//!  writers ─▶ Ledger (acknowledged offsets) ──┐
//!  Reader (cuts, pauses, resumes) ─▶ Trace ───┴─▶ check ─▶ Report
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

use super::PATIENCE;
use super::sse::{self, Event};

/// A topic and a partition.
pub type Place = (String, i32);

/// Every acknowledged offset, ascending.
pub type Ledger = BTreeMap<Place, Vec<i64>>;

/// An id as it is on the wire, as far as it matters here.
#[derive(Deserialize)]
struct Position {
    topic: String,
    partition: i32,
    offset: i64,
}

#[derive(Deserialize)]
struct Data {
    meta: Position,
}

/// What one reader has seen through all its connections.
#[derive(Debug, Default, Clone)]
pub struct Trace {
    /// The next offset of each partition at its start; a partition that came later starts at 0.
    pub start: BTreeMap<Place, i64>,
    /// What was delivered, in its order.
    pub seen: BTreeMap<Place, Vec<i64>>,
    /// Events whose id does not say the event's own place.
    pub wrong_ids: usize,
    /// Connections that were opened.
    pub connections: usize,
}

/// What is wrong.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Events that came.
    pub deliveries: usize,
    /// Acknowledged, and did not come.
    pub lost: usize,
    /// Came more than once.
    pub repeated: usize,
    /// Came after a later one of their partition.
    pub disordered: usize,
    /// Events with a wrong id.
    pub wrong_ids: usize,
    /// Came, and were not acknowledged to their writer: they may come once.
    pub unacknowledged: usize,
}

impl Report {
    /// Nothing is lost, repeated, out of order or misnamed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        (self.lost, self.repeated, self.disordered, self.wrong_ids) == (0, 0, 0, 0)
    }
}

/// Holds what was seen against what was written.
#[must_use]
pub fn check(trace: &Trace, ledger: &Ledger) -> Report {
    let mut report = Report { wrong_ids: trace.wrong_ids, ..Report::default() };
    let (none, empty) = (Vec::new(), Vec::new());
    let places: BTreeSet<&Place> = ledger.keys().chain(trace.seen.keys()).collect();
    for place in places {
        let seen = trace.seen.get(place).unwrap_or(&none);
        let written = ledger.get(place).unwrap_or(&empty);
        let start = trace.start.get(place).copied().unwrap_or(0);
        let distinct: BTreeSet<i64> = seen.iter().copied().collect();
        report.deliveries += seen.len();
        report.repeated += seen.len() - distinct.len();
        report.disordered += seen.windows(2).filter(|pair| pair[1] < pair[0]).count();
        report.lost += written.iter().filter(|o| **o >= start && !distinct.contains(o)).count();
        let unknown = distinct.iter().filter(|o| written.binary_search(o).is_err());
        report.unacknowledged += unknown.count();
    }
    report
}

/// When a reader is done: the last written offset of each partition.
pub type Goal = Arc<OnceLock<BTreeMap<Place, i64>>>;

/// The goal that a ledger sets.
#[must_use]
pub fn goal(ledger: &Ledger) -> BTreeMap<Place, i64> {
    let last = |offsets: &Vec<i64>| offsets.last().copied();
    ledger.iter().filter_map(|(place, offsets)| Some((place.clone(), last(offsets)?))).collect()
}

/// How a reader behaves.
#[derive(Clone, Copy)]
pub struct Manner {
    /// Events that a connection gets at most before it is cut; each draws its own number.
    pub events_max: usize,
    /// A pause after every hundred events, until the writing is over.
    pub pause: Duration,
    /// What becomes of an id before it is sent back; honest readers change nothing.
    pub tamper: fn(&str) -> String,
    /// A proxy makes chunks of its own.
    pub rechunked: bool,
    /// How long nothing may come, not even a keepalive, before it gives a connection up.
    pub patience: Duration,
    /// Where each event is noted.
    pub pulse: Option<&'static Pulse>,
}

/// When a reader got something last, and its longest wait.
#[derive(Default)]
pub struct Pulse(Mutex<(Option<Instant>, Duration)>);

impl Pulse {
    /// One that lasts as long as the tests.
    #[must_use]
    pub fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    fn beat(&self) {
        let mut pulse = self.0.lock().expect("sound");
        let now = Instant::now();
        let wait = pulse.0.replace(now).map_or(Duration::ZERO, |last| now - last);
        pulse.1 = pulse.1.max(wait);
    }

    /// Whether something came after `then`.
    #[must_use]
    pub fn since(&self, then: Instant) -> bool {
        self.0.lock().expect("sound").0.is_some_and(|last| last > then)
    }

    /// The longest wait since the last call.
    #[must_use]
    pub fn longest(&self) -> Duration {
        std::mem::take(&mut self.0.lock().expect("sound").1)
    }
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            events_max: 5000,
            pause: Duration::ZERO,
            tamper: str::to_owned,
            rechunked: false,
            patience: Duration::from_secs(5),
            pulse: None,
        }
    }
}

/// A reader that is cut at random and comes back.
pub struct Reader {
    /// The gateway, or a proxy to it.
    pub to: SocketAddr,
    /// Path and query of the stream.
    pub path: String,
    /// Of its random numbers.
    pub seed: u64,
    /// How it behaves.
    pub manner: Manner,
    /// When it is done.
    pub goal: Goal,
}

/// A reader at work.
struct Run {
    reader: Reader,
    trace: Trace,
    last_id: Option<String>,
    progress: Instant,
}

impl Reader {
    /// Reads until the goal, or until nothing has come for so long that nothing will. `started` is
    /// called when the start is fixed.
    pub fn run(self, started: impl FnOnce()) -> Trace {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let (trace, progress) = (Trace::default(), Instant::now());
        let mut run = Run { reader: self, trace, last_id: None, progress };
        let mut started = Some(started);
        let give_up = PATIENCE.max(run.reader.manner.patience);
        while !run.is_done() && run.progress.elapsed() < give_up {
            let events = rng.random_range(1..=run.reader.manner.events_max);
            if run.connection(events, &mut started).is_none() {
                std::thread::sleep(Duration::from_millis(rng.random_range(20..100)));
            }
        }
        run.trace
    }
}

impl Run {
    fn is_done(&self) -> bool {
        let Some(goal) = self.reader.goal.get() else { return false };
        goal.iter().all(|(place, last)| {
            let seen = self.trace.seen.get(place).and_then(|seen| seen.last());
            seen.is_some_and(|seen| seen >= last)
                || self.trace.start.get(place).is_some_and(|start| start > last)
        })
    }

    /// One connection. `None`: it could not be opened.
    fn connection(&mut self, events_max: usize, started: &mut Option<impl FnOnce()>) -> Option<()> {
        let mut headers = Vec::new();
        let id = self.last_id.as_deref().map(self.reader.manner.tamper);
        if let Some(id) = &id {
            headers.push(("last-event-id", id.as_str()));
        }
        let response = sse::get(self.reader.to, &self.reader.path, &headers).ok()?;
        match response.status {
            200 => {}
            503 => return None,
            status => panic!("{status} for {headers:?}"),
        }
        self.trace.connections += 1;
        let mut events = response.events();
        events.set_patience(self.reader.manner.patience);
        if self.reader.manner.rechunked {
            events.expect_other_chunks();
        }
        for n in 1..=events_max {
            let Ok(event) = events.next() else { break };
            self.take(&event);
            if let Some(started) = started.take() {
                started();
            }
            let writing = self.reader.goal.get().is_none();
            if writing && n % 100 == 0 && !self.reader.manner.pause.is_zero() {
                std::thread::sleep(self.reader.manner.pause);
            }
            if !writing && self.is_done() {
                break;
            }
        }
        Some(())
    }

    fn take(&mut self, event: &Event) {
        let id: Vec<Position> = serde_json::from_str(&event.id).expect("an id");
        if self.last_id.is_none() {
            let start = id.iter().map(|p| ((p.topic.clone(), p.partition), p.offset));
            self.trace.start = start.collect();
        }
        self.last_id = Some(event.id.clone());
        if event.name.is_empty() {
            return;
        }
        self.progress = Instant::now();
        if let Some(pulse) = self.reader.manner.pulse {
            pulse.beat();
        }
        let Data { meta } = serde_json::from_str(&event.data).expect("data with meta");
        let own = id.iter().find(|p| p.topic == meta.topic && p.partition == meta.partition);
        if own.is_none_or(|own| own.offset != meta.offset + 1) {
            self.trace.wrong_ids += 1;
        }
        let place = (meta.topic, meta.partition);
        self.trace.seen.entry(place).or_default().push(meta.offset);
    }
}
