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
use super::{eventually, sse};

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

    /// How many events were acknowledged.
    pub fn written(&self) -> usize {
        self.ledger.lock().expect("sound").values().map(Vec::len).sum()
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

    /// Writes some more, when the writing has ended.
    fn write_more(&self) {
        write(self.gateway.public(), 1_000_000, 20, &self.ledger);
    }

    /// Waits until a client has seen all that was written.
    #[track_caller]
    fn is_seen(&self, client: &mut Client) {
        let goal = checker::goal(&self.ledger.lock().expect("sound"));
        client.wait_for("all that was written", |trace| {
            goal.iter().all(|(place, last)| {
                let seen = trace.seen.get(place).and_then(|seen| seen.last());
                seen.is_some_and(|seen| seen >= last)
            })
        });
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
pub fn sees_all(served: &mut Served, cutter: &Cutter, calm: &AtomicBool, client: &mut Client) {
    client.wait_for("200 events, cuts and ends", |trace| {
        let seen: usize = trace.seen.values().map(Vec::len).sum();
        seen >= 200 && cutter.cuts() >= 4 && cutter.connections() >= 6
    });
    calm.store(true, Ordering::Release);
    let connections = cutter.connections();
    client.wait_for("a connection that is not cut", |_| cutter.connections() > connections);
    served.finish();
    served.is_seen(client);
}

/// What becomes of a client that is refused by a 503, and then by a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It comes again by itself, or its user's loop does.
    ComesAgain,
    /// It ends at the 503, or says that it will not come again.
    GivesUp,
}

/// A gateway that refuses: all of it, or this client's part, is taken.
struct Full {
    gateway: Gateway,
    _seat: sse::Response,
}

impl Full {
    fn new(limit: &str, held_by: [u8; 4]) -> Self {
        let more = format!("[session]\nretry_ms = 100\n[limits]\n{limit} = 1\n");
        let topics = ["eqiad.mediawiki.recentchange"];
        let gateway = Gateway::embedded(&[("recentchange", &topics)], &more);
        let seat = sse::get_from(held_by.into(), gateway.public(), STREAM).expect("a seat");
        assert_eq!(seat.status, 200);
        Self { gateway, _seat: seat }
    }

    fn has_refused(&self) {
        let refusals = || self.gateway.metric("tidegate_refusals_total");
        eventually("the client is refused", || refusals() > 0.0);
    }
}

/// Takes the gateway out of service under a client, which then gets to one that is full (503), to one
/// that thinks it has enough (429), and then back to the first, where more is written.
pub fn drains_and_refuses(
    served: &mut Served,
    cutter: &Cutter,
    client: &mut Client,
    refused: Refused,
) {
    let full = Full::new("streams", [127, 0, 0, 2]);
    cutter.lead_to(full.gateway.public());
    assert!(served.gateway.terminate().success(), "it drains");
    full.has_refused();
    if refused == Refused::GivesUp {
        return client.gives_up();
    }
    let enough = Full::new("streams_per_client", [127, 0, 0, 1]);
    cutter.lead_to(enough.gateway.public());
    // Who keeps its connection open over a refusal would else ask there again and again.
    drop(full);
    enough.has_refused();
    served.gateway.go();
    cutter.lead_to(served.gateway.public());
    drop(enough);
    served.write_more();
    served.is_seen(client);
}

/// As `sees_all`; what was seen.
pub fn until_all_is_seen(
    served: &mut Served,
    cutter: &Cutter,
    calm: &AtomicBool,
    mut client: Client,
) -> Trace {
    sees_all(served, cutter, calm, &mut client);
    client.end()
}
