//! A gateway whose stream is written to all the time, and what is made of it: where connections are
//! cut, and how long a client has to read.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::checker::{self, Ledger, Trace};
use super::client::Client;
use super::cutter::{self, Cutter};
use super::gateway::Gateway;
use super::intake::{Written, written};
use super::sse;

/// Two partitions that speak, and a topic that is not there yet. Each response is ended by the
/// gateway after at most a second, between two events. (The first line belongs to the table of the
/// source.)
pub const CONFIG: &str = r#"
partitions = 2
[streams.recentchange]
topics = ["eqiad.mediawiki.recentchange", "codfw.mediawiki.recentchange"]
aliases = ["mediawiki.recentchange"]
[session]
retry_ms = 100
lifetime_s = 1
"#;
pub const STREAM: &str = "/v2/stream/recentchange";
/// Stands in the middle of each event's data.
pub const HALF: &[u8] = b"half";
/// Ends each event.
pub const WHOLE: &[u8] = b"}\n\n";

/// A gateway, and somebody who writes through its intake.
pub struct Served {
    /// The gateway.
    pub gateway: Gateway,
    /// What was acknowledged.
    pub ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Served {
    /// A gateway whose stream has some events.
    pub fn new(config: &str) -> Self {
        let gateway = Gateway::embedded(&[], config);
        let (ledger, stop) = (Arc::default(), Arc::default());
        for n in 0..10 {
            write(gateway.public(), n * 10, 10, &ledger);
        }
        Self { gateway, ledger, stop, writer: None }
    }

    /// Writes on, some 250 events a second.
    pub fn go_on(&mut self) {
        let (to, ledger) = (self.gateway.public(), Arc::clone(&self.ledger));
        let stop = Arc::clone(&self.stop);
        self.writer = Some(std::thread::spawn(move || {
            let mut n = 100;
            while !stop.load(Ordering::Acquire) {
                write(to, n, 5, &ledger);
                n += 5;
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
    }

    /// Ends the writing; all that was written.
    pub fn finish(&mut self) -> Ledger {
        self.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            writer.join().expect("the writer does not panic");
        }
        self.ledger.lock().expect("sound").clone()
    }
}

impl Drop for Served {
    /// The writer first, or it writes to a gateway that is gone.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.writer.take().map(JoinHandle::join);
    }
}

/// Writes some events, one by one in both partitions.
fn write(to: SocketAddr, from: usize, how_many: usize, ledger: &Mutex<Ledger>) {
    let event = |n: usize| {
        // One of them is big.
        let size = if n == 30 { 150_000 } else { 300 + n * 37 % 400 };
        let filler = "x".repeat(size);
        let meta = format!(r#"{{"stream":"mediawiki.recentchange","key":"k{n}"}}"#);
        format!(r#"{{"meta":{meta},"title":"Page {n}","text":"{filler}half{filler}"}}"#)
    };
    let events: Vec<_> = (from..from + how_many).map(event).collect();
    let body = format!("[{}]", events.join(","));
    let (status, answer) = sse::post(to, "/v1/events", body.as_bytes()).expect("an answer");
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    let results = written(&answer);
    let mut ledger = ledger.lock().expect("sound");
    for Written { topic, partition, offset } in results {
        ledger.entry((topic, partition)).or_default().push(offset);
    }
}

/// Where connections are cut: the first three after so many bytes, then every other one soon, until
/// it is to be calm. The gateway ends those between.
pub fn cuts(first: [usize; 3]) -> (Arc<AtomicBool>, Box<cutter::Plan>) {
    let calm = Arc::new(AtomicBool::new(false));
    let is_calm = Arc::clone(&calm);
    let plan = move |n: usize| match first.get(n) {
        Some(bytes) => Some(*bytes),
        None if n.is_multiple_of(2) && !is_calm.load(Ordering::Acquire) => Some(30_000),
        None => None,
    };
    (calm, Box::new(plan))
}

/// Waits for events, cuts and ends, and then for all that was written.
pub fn until_all_is_seen(
    served: &mut Served,
    cutter: &Cutter,
    calm: &AtomicBool,
    mut client: Client,
) -> Trace {
    client.wait_for("200 events, cuts and ends", |trace| {
        let seen: usize = trace.seen.values().map(Vec::len).sum();
        seen >= 200 && cutter.cuts() >= 4 && cutter.connections() >= 6
    });
    calm.store(true, Ordering::Release);
    let connections = cutter.connections();
    client.wait_for("a connection that is not cut", |_| cutter.connections() > connections);
    let goal = checker::goal(&served.finish());
    client.wait_for("all that was written", |trace| {
        goal.iter().all(|(place, last)| {
            trace.seen.get(place).and_then(|seen| seen.last()).is_some_and(|seen| seen >= last)
        })
    });
    client.end()
}
