//! Nobody misses an event: readers that are cut, slow, or come back to a gateway that was killed
//! get every acknowledged event once and in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::checker::{self, Goal, Ledger, Manner, Reader, Report, Trace};
use crate::support::cutter::Cutter;
use crate::support::gateway::{Gateway, Streams};
use crate::support::intake::{Written, written};
use crate::support::kafka::{Kafka, New};
use crate::support::{eventually, sse};

const STREAMS: Streams<'_> = &[
    ("changes", &["eqiad.changes", "codfw.changes"]),
    ("creates", &["eqiad.creates"]),
    // Where intake writes what is for the second topic of `changes`.
    ("changes-codfw", &["codfw.changes"]),
];
/// Small rings and caches, so that readers fall behind and chunks are evicted.
const TIGHT: &str = "[limits]\nring_mb = 1\nhistory_cache_mb = 2\ntail_mb = 2\n";

/// Readers of every manner, started and at their places.
struct Readers {
    readers: Vec<(Goal, JoinHandle<Trace>)>,
    /// Cuts some of them in the middle of events.
    _cutter: Cutter,
}

impl Readers {
    fn start(gateway: &Gateway, how_many: usize) -> Self {
        let started = Arc::new(AtomicUsize::new(0));
        let cut = |connection: usize| Some(20_000 + connection * 7919 % 3_000_000);
        let cutter = Cutter::new(gateway.public(), Box::new(cut));
        let readers = (0..how_many).map(|n| {
            let (goal, honest) = (Goal::default(), Manner::default());
            let manner = match n % 4 {
                0 => Manner { events_max: 200, ..honest },
                1 => Manner { events_max: 1_000_000, pause: Duration::from_millis(150), ..honest },
                _ => honest,
            };
            let path = match n % 3 {
                0 => "/v2/stream/changes?id=first",
                1 => "/v2/stream/creates,changes?id=first",
                _ => "/v2/stream/changes,creates?id=first&since=0",
            };
            let reader = Reader {
                to: if n % 4 == 3 { cutter.address() } else { gateway.public() },
                path: path.to_owned(),
                seed: n as u64,
                manner,
                goal: Arc::clone(&goal),
            };
            let started = Arc::clone(&started);
            let thread = std::thread::spawn(move || {
                reader.run(|| {
                    started.fetch_add(1, Ordering::AcqRel);
                })
            });
            (goal, thread)
        });
        let readers = readers.collect();
        eventually("every reader has its start", || started.load(Ordering::Acquire) == how_many);
        Self { readers, _cutter: cutter }
    }

    /// Lets them come to the end of what was written, and says what they saw.
    fn finish(self, ledger: &Ledger) -> (Report, usize) {
        let of_reader = |n: usize| match n % 3 {
            0 => only("changes", ledger),
            _ => ledger.clone(),
        };
        for (n, (goal, _)) in self.readers.iter().enumerate() {
            goal.set(checker::goal(&of_reader(n))).expect("set once");
        }
        let (mut sum, mut connections) = (Report::default(), 0);
        for (n, (_, thread)) in self.readers.into_iter().enumerate() {
            let trace = thread.join().expect("the reader does not panic");
            let of_reader = of_reader(n);
            let report = checker::check(&trace, &of_reader);
            assert!(report.is_clean(), "reader {n}: {report:?}");
            sum.deliveries += report.deliveries;
            sum.unacknowledged = sum.unacknowledged.max(report.unacknowledged);
            connections += trace.connections;
        }
        (sum, connections)
    }
}

fn only(suffix: &str, ledger: &Ledger) -> Ledger {
    let of_stream = ledger.iter().filter(|(place, _)| place.0.ends_with(suffix));
    of_stream.map(|(place, offsets)| (place.clone(), offsets.clone())).collect()
}

/// An event of some hundred bytes.
fn event(stream: &str, n: usize) -> String {
    let filler = "x".repeat(50 + n * 37 % 700);
    format!(r#"{{"meta":{{"stream":"{stream}","key":"k{}"}},"n":{n},"text":"{filler}"}}"#, n % 17)
}

/// Writes through the intake, over whatever happens to the gateway.
struct Intake {
    /// What was acknowledged.
    ledger: Arc<Mutex<BTreeMap<checker::Place, Vec<i64>>>>,
    acknowledged: Arc<AtomicUsize>,
    /// Events that may have been written or not.
    unknown: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Intake {
    fn new() -> Self {
        let (ledger, acknowledged, unknown) = Default::default();
        Self { ledger, acknowledged, unknown, stop: Arc::default(), threads: Vec::new() }
    }

    /// Writes a batch; false if it is not known whether it was written.
    fn write(&self, gateway: std::net::SocketAddr, stream: &str, from: usize, n: usize) -> bool {
        let events: Vec<_> = (from..from + n).map(|n| event(stream, n)).collect();
        let body = format!("[{}]", events.join(","));
        let answer = sse::post(gateway, "/v1/events", body.as_bytes());
        let Ok((201, answer)) = answer else {
            self.unknown.fetch_add(n, Ordering::AcqRel);
            return false;
        };
        let results = written(&answer);
        assert_eq!(results.len(), n);
        let mut ledger = self.ledger.lock().expect("sound");
        for Written { topic, partition, offset } in results {
            ledger.entry((topic, partition)).or_default().push(offset);
        }
        self.acknowledged.fetch_add(n, Ordering::AcqRel);
        true
    }

    fn go(&mut self, gateway: &Gateway, stream: &'static str) {
        let writer = Self {
            ledger: Arc::clone(&self.ledger),
            acknowledged: Arc::clone(&self.acknowledged),
            unknown: Arc::clone(&self.unknown),
            stop: Arc::clone(&self.stop),
            threads: Vec::new(),
        };
        let to = gateway.public();
        self.threads.push(std::thread::spawn(move || {
            let mut n = 0;
            while !writer.stop.load(Ordering::Acquire) {
                let size = 1 + n * 31 % 200;
                if !writer.write(to, stream, n, size) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                n += size;
            }
        }));
    }

    fn wait_for(&self, how_many: usize) {
        eventually("events are written", || self.acknowledged.load(Ordering::Acquire) >= how_many);
    }

    /// Stops writing; what was acknowledged, and how much more may be there.
    fn finish(self) -> (Ledger, usize) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("the writer does not panic");
        }
        let mut ledger = self.ledger.lock().expect("sound").clone();
        ledger.values_mut().for_each(|offsets| offsets.sort_unstable());
        (ledger, self.unknown.load(Ordering::Acquire))
    }
}

#[test]
fn over_the_embedded_log_nothing_is_lost_or_repeated_whatever_is_cut_or_killed() {
    let more = format!("{TIGHT}[session]\nretry_ms = 100\n");
    let mut gateway = Gateway::embedded(STREAMS, &more);
    let mut intake = Intake::new();
    let streams = ["changes", "changes-codfw", "creates"];
    for stream in streams {
        assert!(intake.write(gateway.public(), stream, 0, 20));
    }
    let readers = Readers::start(&gateway, 16);
    for stream in streams {
        intake.go(&gateway, stream);
    }
    let mut fell_behind = 0.0;
    for (n, written) in [10_000, 16_000, 22_000, 28_000].into_iter().enumerate() {
        intake.wait_for(written);
        fell_behind += gateway.metric("tidegate_fell_behind_total");
        if n % 2 == 0 {
            gateway.kill();
        } else {
            assert!(gateway.terminate().success());
        }
        gateway.go();
    }
    intake.wait_for(40_000);
    let (ledger, unknown) = intake.finish();
    let (sum, connections) = readers.finish(&ledger);
    fell_behind += gateway.metric("tidegate_fell_behind_total");
    println!("{sum:?}, {connections} connections, {fell_behind} fell behind, {unknown} unknown");
    assert!(sum.deliveries >= 500_000, "{sum:?}");
    assert!(sum.unacknowledged <= unknown, "{sum:?}: {unknown} may be there unacknowledged");
    assert!(fell_behind > 0.0, "no reader fell off a ring: this has tried nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kafka_nothing_is_lost_or_repeated_whatever_is_cut_or_killed() {
    let mut kafka = Kafka::start();
    for (topic, partitions) in [("eqiad.changes", 3), ("codfw.changes", 1), ("eqiad.creates", 1)] {
        kafka.create_topic(topic, partitions, &[("retention.ms", "-1")]).await;
    }
    let mut gateway = Gateway::kafka(&kafka.bootstrap(), STREAMS, TIGHT);
    let (writer, aborted) = (kafka.producer(&[]), kafka.producer(&[("transactional.id", "t")]));
    let mut n = 0;
    let mut write = |how_many: usize| {
        for _ in 0..how_many {
            n += 1;
            let (topic, partition) = match n % 5 {
                0 => ("codfw.changes", 0),
                1 => ("eqiad.creates", 0),
                k => ("eqiad.changes", i32::try_from(k).expect("small") - 2),
            };
            let value = event("any", n);
            writer.send(topic, New { partition, value: Some(value.as_bytes()), ..New::default() });
        }
        writer.flush();
    };
    write(100);
    let readers = Readers::start(&gateway, 16);
    rdkafka::producer::Producer::init_transactions(&aborted.0, crate::support::PATIENCE)
        .expect("begun");
    let mut fell_behind = 0.0;
    for round in 0..20 {
        write(2000);
        hole(&aborted);
        match round {
            3 | 11 => {
                fell_behind += gateway.metric("tidegate_fell_behind_total");
                gateway.kill();
                write(500);
                gateway.go();
            }
            7 => {
                kafka.kill();
                kafka.go();
            }
            15 => {
                fell_behind += gateway.metric("tidegate_fell_behind_total");
                assert!(gateway.terminate().success());
                gateway.go();
            }
            _ => {}
        }
    }
    let ledger: Ledger = writer.acknowledged().into_iter().collect();
    let (sum, connections) = tokio::task::spawn_blocking(move || readers.finish(&ledger))
        .await
        .expect("the readers saw everything");
    fell_behind += gateway.metric("tidegate_fell_behind_total");
    println!("{sum:?}, {connections} connections, {fell_behind} fell behind");
    assert!(sum.deliveries >= 500_000, "{sum:?}");
    assert_eq!(sum.unacknowledged, 0, "aborted records are shown to nobody");
    assert!(fell_behind > 0.0, "no reader fell off a ring: this has tried nothing");
}

/// Some offsets that nobody is to see.
fn hole(writer: &crate::support::kafka::Records) {
    use rdkafka::producer::Producer;
    writer.0.begin_transaction().expect("begun");
    for topic in ["eqiad.changes", "codfw.changes"] {
        writer.send(topic, New { value: Some(br#"{"aborted":true}"#), ..New::default() });
    }
    writer.flush();
    writer.0.abort_transaction(crate::support::PATIENCE).expect("aborted");
}
