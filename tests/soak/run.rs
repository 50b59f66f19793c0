//! One run: starts everything, lets the schedule go over it, and judges.
//!
//! ```text
//!  Schedule ─▶ lanes (gateways, cluster, readers) ─▶ Happened ─┐
//!     └─ loads ─▶ writers ─▶ Book ◀─ readers ─▶ Account ─▶ Verdict ─▶ Report
//! ```

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate::feed::encode::Encoding;

use crate::clock::{Clock, Orders};
use crate::cluster::Cluster;
use crate::gateways::Gateways;
use crate::lanes::{self, Happened, Machinery, OfReaders, Watched};
use crate::oracle::{self, Account, Book};
use crate::reader::{Reader, Shared};
use crate::report::Report;
use crate::schedule::{Lane, Schedule, Setup, Source};
use crate::support::checker::Place;
use crate::support::gateway::{Gateway, Streams};
use crate::support::packed::ENCODINGS;
use crate::writer::{Pen, Writers};

/// Two of one stream, one of another, and what intake writes the second one's with.
const STREAMS: Streams<'_> = &[
    ("changes", &["eqiad.changes", "codfw.changes"]),
    ("creates", &["eqiad.creates"]),
    ("changes-codfw", &["codfw.changes"]),
];
/// What is written to, through intake.
const WRITTEN: &[&str] = &["changes", "changes-codfw", "creates"];
const KAFKA_TOPICS: &[(&str, i32)] =
    &[("eqiad.changes", 3), ("codfw.changes", 1), ("eqiad.creates", 1)];
/// Partitions of each topic of the embedded log.
const EMBEDDED_PARTITIONS: i32 = 2;
/// Small rings and caches, so that readers fall behind and chunks are evicted; short times, so that
/// stalls and lifetimes end streams while it runs.
const CONFIG: &str = "[session]\nkeepalive_s = 1\nstall_s = 5\nlifetime_s = 30\nretry_ms = 100\n\
                      [drain]\ngrace_s = 0\nspread_s = 2\n\
                      [limits]\nring_mb = 1\nhistory_cache_mb = 4\ntail_mb = 4\n";
/// Retention keeps so much of the embedded log, in MB.
const RETENTION_MB: u32 = 1;
/// Most that a gateway's memory may be, in kB.
const RESIDENT_KB_MAX: u64 = 160 * 1024;
/// A schedule that is late, because recoveries were waited for, has so much more time.
const LATE_MS: u64 = 30_000;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// What the schedule is drawn for.
    pub setup: Setup,
    /// Events a second at the usual load.
    pub rate: f64,
}

struct Parts {
    gateways: Gateways,
    cluster: Option<Cluster>,
    places: Vec<Place>,
}

impl Parts {
    fn start(source: Source) -> Self {
        if source == Source::Embedded {
            let keys = format!(
                "retention_mb = {RETENTION_MB}\nsegment_mb = 1\npartitions = {EMBEDDED_PARTITIONS}"
            );
            let gateway = Gateway::embedded_with(&keys, STREAMS, CONFIG);
            let topics = ["eqiad.changes", "codfw.changes", "eqiad.creates"];
            let places = topics.iter().flat_map(|topic| {
                (0..EMBEDDED_PARTITIONS).map(|partition| ((*topic).to_owned(), partition))
            });
            let places = places.collect();
            return Self { gateways: Gateways::new(vec![gateway]), cluster: None, places };
        }
        let cluster = Cluster::start(KAFKA_TOPICS);
        let gateway = || Gateway::kafka(&cluster.bootstrap(), STREAMS, CONFIG);
        let gateways = (0..source.gateways()).map(|_| gateway()).collect();
        let places = cluster.places();
        Self { gateways: Gateways::new(gateways), cluster: Some(cluster), places }
    }

    fn write(&self, pen: &Pen) -> Writers {
        match &self.cluster {
            Some(cluster) => pen.kafka(&cluster.bootstrap()),
            None => pen.intake(self.gateways.first(), WRITTEN),
        }
    }

    fn kept_from(&self, book: &Book) -> Vec<i64> {
        match &self.cluster {
            Some(cluster) => cluster.kept_from(),
            None => self.gateways.kept_from(STREAMS, book),
        }
    }
}

/// Readers at work.
struct Readers {
    threads: Vec<JoinHandle<Account>>,
    orders: Vec<Arc<Orders>>,
    watched: Watched,
    slow: usize,
}

impl Readers {
    /// `how_many` that keep up, and one that does not for each five of them.
    fn start(how_many: usize, parts: &Parts, shared: &Arc<Shared>, clock: Clock) -> Self {
        let slow = how_many.div_ceil(5);
        let mut readers = Self {
            threads: Vec::new(),
            orders: Vec::new(),
            watched: Watched { clock, readers: Vec::new() },
            slow,
        };
        for number in 0..how_many + slow {
            let (streams, more) = match number % 3 {
                0 => ("changes", ""),
                1 => ("creates,changes", ""),
                _ => ("changes,creates", "&since=0"),
            };
            let encoding = if number % 5 < 2 { None } else { ENCODINGS[number % ENCODINGS.len()] };
            let named = encoding.map_or("identity", Encoding::as_str);
            let is_read = |topic: &str| streams.contains("creates") || topic.ends_with("changes");
            let places = parts.places.iter().enumerate().filter(|(_, (topic, _))| is_read(topic));
            let places: Vec<usize> = places.map(|(n, _)| n).collect();
            let orders = Arc::new(Orders::new(parts.places.len()));
            let is_slow = number >= how_many;
            if !is_slow {
                readers.watched.readers.push((Arc::clone(&orders), places.clone()));
            }
            readers.orders.push(Arc::clone(&orders));
            let reader = Reader {
                number,
                ways: parts.gateways.ways(),
                path: format!("/v2/stream/{streams}?id=first&gap=event&encoding={named}{more}"),
                encoding,
                pause: Duration::from_millis(if is_slow { 400 } else { 0 }),
                orders,
                shared: Arc::clone(shared),
                places,
            };
            readers.threads.push(std::thread::spawn(move || {
                // Whoever waits for others does not wait for one that has come to its end.
                let _gone = Gone(Arc::clone(&reader.orders));
                reader.run()
            }));
        }
        readers
    }

    fn finish(self, shared: &Shared) -> Vec<Account> {
        let joined = self.threads.into_iter().enumerate().map(|(n, thread)| {
            thread.join().unwrap_or_else(|cause| {
                shared.is_odd(format!("reader {n} panicked: {}", said(&*cause)));
                Account::default()
            })
        });
        joined.collect()
    }
}

/// Says that a reader is away when it has ended, however that was.
struct Gone(Arc<Orders>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.is_away.store(true, Ordering::Release);
    }
}

/// Does it.
#[must_use]
pub fn run(order: &Order) -> Report {
    let setup = order.setup;
    let schedule = Arc::new(Schedule::draw(&setup));
    let mut parts = Parts::start(setup.source);
    let shared = Arc::new(Shared::new(Book::new(parts.places.clone())));
    let clock = Clock::start();
    let pen = Pen {
        clock,
        shared: Arc::clone(&shared),
        schedule: Arc::clone(&schedule),
        rate: order.rate,
        next: Arc::new(AtomicU64::new(0)),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let writers = parts.write(&pen);
    // Every partition is there before anyone asks where it ends.
    while pen.next.load(Ordering::Acquire) < 200 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let readers = Readers::start(setup.readers, &parts, &shared, clock);
    if let Some(cluster) = &mut parts.cluster {
        cluster.command(readers.orders.clone());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let looks = parts.gateways.look(clock, &stop);
    let until_ms = setup.seconds * 1000 + LATE_MS;
    let faults = go(&mut parts, &schedule, (&readers, &shared), until_ms);
    writers.finish(&pen);
    shared.goal.set(shared.book.goal()).expect("set once");
    let slow_readers = readers.slow;
    let accounts = readers.finish(&shared);
    let seconds = clock.ms() as f64 / 1000.0;
    stop.store(true, Ordering::Release);
    let memory = looks.join().unwrap_or_default();
    let verdict = oracle::judge(&shared.book, &accounts, &parts.kept_from(&shared.book));
    Report {
        setup,
        schedule: schedule.digest(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        rate: order.rate,
        slow_readers,
        seconds,
        verdict,
        odd: shared.odd(),
        connections: shared.connections.load(Ordering::Acquire),
        refused: shared.refused.load(Ordering::Acquire),
        planned: schedule.faults.len(),
        faults,
        loads: schedule.loads.clone(),
        resident_kb_max: RESIDENT_KB_MAX,
        memory,
    }
}

/// All lanes beside each other, to their ends.
fn go(
    parts: &mut Parts,
    schedule: &Schedule,
    (readers, shared): (&Readers, &Shared),
    until_ms: u64,
) -> Vec<Happened> {
    let mut of_readers = OfReaders(readers.orders.clone());
    let mut lanes: Vec<(Lane, &mut dyn Machinery)> =
        vec![(Lane::Gateway, &mut parts.gateways), (Lane::Reader, &mut of_readers)];
    if let Some(cluster) = &mut parts.cluster {
        lanes.push((Lane::Kafka, cluster));
    }
    let all = Mutex::new(Vec::new());
    let note = |fault| all.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    std::thread::scope(|scope| {
        for (lane, machinery) in lanes {
            let (faults, note) = (schedule.lane(lane), &note);
            scope.spawn(move || {
                let run = || lanes::run(machinery, &faults, &readers.watched, until_ms, note);
                if let Err(cause) = std::panic::catch_unwind(AssertUnwindSafe(run)) {
                    shared.is_odd(format!("{lane:?} lane panicked: {}", said(&*cause)));
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|fault| fault.begun_ms);
    all
}

/// What a panic has said.
fn said(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or(cause.downcast_ref::<&str>().copied()).unwrap_or_default()
}
