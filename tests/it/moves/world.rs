//! A gateway over something that moves, a writer that never rests, and readers: some that hold one
//! connection through everything, some that are cut and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::checker::{self, Goal, Ledger, Manner, Pulse, Reader, Report, Trace};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::kafka::{New, Records};
use crate::support::sse;

/// Keepalives as often as they can be had, so that a stream that lives can be told from one that
/// does not.
pub const LIVELY: &str = "[session]\nkeepalive_s = 1\n";

/// Writes into a topic, 200 records a second; and some more when all that counts is written, so that
/// who waits for an event learns that it was the last.
pub struct Writer {
    stop: Sender<()>,
    written: Receiver<Ledger>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Begins.
    #[must_use]
    pub fn start(records: Records, topic: &str, partitions: i32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (tell, written) = mpsc::channel();
        let topic = topic.to_owned();
        let thread = std::thread::spawn(move || {
            let mut n = 0;
            let mut write_until_told = |pause: Duration| {
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let value = format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(n % 300));
                    let partition = i32::try_from(n).expect("few") % partitions;
                    let value = Some(value.as_bytes());
                    records.send(&topic, New { partition, value, ..New::default() });
                    n += 1;
                }
            };
            write_until_told(Duration::from_millis(5));
            records.flush();
            let _ = tell.send(records.acknowledged().into_iter().collect());
            write_until_told(Duration::from_millis(50));
        });
        Self { stop, written, thread }
    }

    /// What was acknowledged so far. What is written from now on does not count.
    fn written(&self) -> Ledger {
        self.stop.send(()).expect("the writer does not panic");
        self.written.recv().expect("the writer does not panic")
    }

    fn end(self) {
        drop(self.stop);
        self.thread.join().expect("the writer does not panic");
    }
}

/// Readers of one stream.
pub struct Readers {
    /// Of those that hold one connection.
    pub pulses: Vec<&'static Pulse>,
    goal: Goal,
    steady: Vec<JoinHandle<Trace>>,
    cut: Vec<JoinHandle<Trace>>,
}

/// Nobody gives a connection up before: a gateway may be frozen while brokers start on a busy machine.
const STEADY: Duration = Duration::from_secs(300);

impl Readers {
    /// Two that hold one connection, and two that are cut. They begin at the latest.
    #[must_use]
    pub fn start(gateway: &Gateway, path: &str) -> Self {
        let (goal, started) = (Goal::default(), Arc::new(AtomicUsize::new(0)));
        let begin = |seed: u64, manner: Manner| {
            let (to, path, goal) = (gateway.public(), path.to_owned(), Arc::clone(&goal));
            let reader = Reader { to, path, seed, manner, goal };
            let started = Arc::clone(&started);
            let count = move || {
                started.fetch_add(1, Ordering::AcqRel);
            };
            std::thread::spawn(move || reader.run(count))
        };
        let pulses = vec![Pulse::new(), Pulse::new()];
        let held = pulses.iter().zip(0..).map(|(pulse, seed)| {
            let (events_max, patience, pulse) = (usize::MAX, STEADY, Some(*pulse));
            begin(seed, Manner { events_max, patience, pulse, ..Manner::default() })
        });
        let steady: Vec<_> = held.collect();
        let cut = (2..4).map(|seed| {
            begin(seed, Manner { events_max: 400, patience: STEADY, ..Manner::default() })
        });
        let cut: Vec<_> = cut.collect();
        eventually("every reader has its start", || started.load(Ordering::Acquire) == 4);
        Self { pulses, goal, steady, cut }
    }

    /// Waits until everybody with a connection has got something that was written from now on, or
    /// at least after it; and says how long that took.
    pub fn go_on(&self) -> Duration {
        let begun = Instant::now();
        eventually("every reader that is there gets the next event", || {
            self.pulses.iter().all(|pulse| pulse.since(begun))
        });
        begun.elapsed()
    }

    /// The longest wait of those with a connection, since the last call.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.pulses.iter().map(|pulse| pulse.longest()).max().unwrap_or_default()
    }

    /// Lets them come to the end. Nothing may be lost or repeated, and no connection may have been
    /// given up.
    pub fn finish(self, writer: Writer) {
        let ledger = writer.written();
        self.goal.set(checker::goal(&ledger)).expect("set once");
        let (mut sum, readers) = (Report::default(), self.steady.len());
        for (n, thread) in self.steady.into_iter().chain(self.cut).enumerate() {
            let trace = thread.join().expect("the reader does not panic");
            let report = checker::check(&trace, &ledger);
            assert!(report.is_clean(), "reader {n}: {report:?}");
            assert!(report.deliveries > 100, "reader {n}: {report:?}");
            assert!(n >= readers || trace.connections == 1, "a stream has ended: {n}");
            sum.deliveries += report.deliveries;
        }
        writer.end();
        println!("{sum:?}");
    }
}

/// Who comes is refused, and told when to come again; how long the answer took.
pub fn wait_for_refusal(gateway: &Gateway, path: &str) -> Duration {
    let mut took = Duration::ZERO;
    eventually("who comes is refused", || {
        let begun = Instant::now();
        let response = sse::get(gateway.public(), path, &[]).expect("answered");
        took = begun.elapsed();
        // A second is what is promised; a busy machine gets more.
        assert!(took < Duration::from_secs(20), "it hangs");
        let says_when = response.header("retry-after").and_then(|s| s.parse::<u64>().ok());
        match response.status {
            503 => says_when.is_some() || panic!("no retry-after"),
            200 => false,
            status => panic!("{status}"),
        }
    });
    took
}

/// Who comes is served; how long until then.
pub fn wait_for_service(gateway: &Gateway, path: &str) -> Duration {
    let begun = Instant::now();
    eventually("who comes is served", || {
        let response = sse::get(gateway.public(), path, &[]).expect("answered");
        response.status == 200
    });
    begun.elapsed()
}

/// Times that clients were made anew for this cause.
pub fn renewals(gateway: &Gateway, cause: &str) -> f64 {
    gateway.metric_of("tidegate_kafka_renewals_total", &format!("cause=\"{cause}\""))
}
