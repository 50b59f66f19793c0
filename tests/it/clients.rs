//! The clients that people have, unchanged: each reads through cuts inside events, and ends that the
//! gateway makes, and misses nothing.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;

use crate::support::checker::{self, Ledger, Report, Trace};
use crate::support::client::{self, Client};
use crate::support::cutter::Cutter;
use crate::support::gateway::Gateway;
use crate::support::sse;

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
const WHOLE: &[u8] = b"}\n\n";

/// A gateway, and somebody who writes through its intake.
pub struct Served {
    /// The gateway.
    pub gateway: Gateway,
    /// What was acknowledged.
    pub ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    topic: String,
    partition: i32,
    offset: i64,
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
        let filler = "x".repeat(300 + n * 37 % 400);
        format!(
            r#"{{"meta":{{"stream":"mediawiki.recentchange","key":"k{n}"}},"title":"Page {n}","text":"{filler}half{filler}"}}"#
        )
    };
    let events: Vec<_> = (from..from + how_many).map(event).collect();
    let body = format!("[{}]", events.join(","));
    let (status, answer) = sse::post(to, "/v1/events", body.as_bytes()).expect("an answer");
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    let Answer { results } = serde_json::from_slice(&answer).expect("results");
    let mut ledger = ledger.lock().expect("sound");
    for Written { topic, partition, offset } in results {
        ledger.entry((topic, partition)).or_default().push(offset);
    }
}

/// Reads from the first event on, through three cuts right behind `mark`, of which two are met in
/// the past and one live, and then through an end that the gateway makes.
fn reads_on(script: &str, mark: &'static [u8]) -> Report {
    let mut served = Served::new(CONFIG);
    let plan = |connection| [50_000, 20_000, 150_000].get(connection).copied();
    let cutter = Cutter::after(mark, served.gateway.public(), Box::new(plan));
    let mut command = client::script(script);
    command.arg(format!("http://{}{STREAM}?since=0", cutter.address()));
    let mut client = Client::start(command);
    client.wait_for("the first event", |trace| !trace.seen.is_empty());
    served.go_on();
    let report = until_all_is_seen(&mut served, &cutter, client, |_| {});
    println!("{script}: {report:?} in {} connections", cutter.connections());
    report
}

/// Waits for the cuts and for the events, and then for all that was written.
pub fn until_all_is_seen(
    served: &mut Served,
    cutter: &Cutter,
    mut client: Client,
    start: impl FnOnce(&mut Trace),
) -> Report {
    client.wait_for("200 events, three cuts and an end", |trace| {
        trace.seen.values().map(Vec::len).sum::<usize>() >= 200
            && cutter.cuts() >= 3
            && cutter.connections() >= 5
    });
    let ledger = served.finish();
    let goal = checker::goal(&ledger);
    client.wait_for("all that was written", |trace| {
        goal.iter().all(|(place, last)| {
            trace.seen.get(place).and_then(|seen| seen.last()).is_some_and(|seen| seen >= last)
        })
    });
    let mut trace = client.end();
    start(&mut trace);
    checker::check(&trace, &ledger)
}

#[track_caller]
fn misses_nothing(script: &str) {
    let report = reads_on(script, HALF);
    assert!(report.is_clean() && report.unacknowledged == 0, "{script}: {report:?}");
}

#[test]
fn curl_misses_nothing() {
    misses_nothing("curl.sh");
}

#[test]
fn requests_sse_misses_nothing() {
    misses_nothing("requests_client.py");
}

#[test]
fn sseclient_misses_nothing() {
    misses_nothing("sseclient_client.py");
}

#[test]
fn sseclient_py_misses_nothing() {
    misses_nothing("sseclient_py_client.py");
}

#[test]
fn httpx_sse_misses_nothing() {
    misses_nothing("httpx_client.py");
}

#[test]
fn aiohttp_sse_client_misses_nothing() {
    misses_nothing("aiohttp_client.py");
}

#[test]
fn pywikibot_misses_nothing() {
    misses_nothing("pywikibot_client.py");
}

#[test]
fn eventsource_4_misses_nothing() {
    misses_nothing("eventsource4.cjs");
}

#[test]
fn eventsource_client_misses_nothing() {
    misses_nothing("eventsource_client.cjs");
}

#[test]
fn wikimedia_streams_misses_nothing() {
    misses_nothing("wikimedia_streams.cjs");
}

#[test]
fn eventsource_2_misses_nothing_where_whole_events_reach_it() {
    let report = reads_on("eventsource2.cjs", WHOLE);
    assert!(report.is_clean() && report.unacknowledged == 0, "{report:?}");
}

/// A fault of its own: it takes an id for seen when the id's line is there, before the event is. (That
/// it is told here shows that these tests can tell.)
#[test]
fn eventsource_2_loses_exactly_the_events_that_are_cut_in_half() {
    let report = reads_on("eventsource2.cjs", HALF);
    assert_eq!(report.lost, 3, "{report:?}");
    assert_eq!((report.repeated, report.disordered), (0, 0), "{report:?}");
}

#[test]
fn eventsource_2_misses_nothing_when_its_user_keeps_the_id() {
    misses_nothing("eventsource2_exact.cjs");
}

/// The check that a fleet of monitors makes of the public service.
#[test]
fn the_public_check_passes() {
    let served = Served::new(CONFIG);
    let url = format!("http://{}{STREAM}?since=0", served.gateway.public());
    let check = r#"curl -s --max-time 10 "$0" | head -n 5 | grep -qE '^data:'"#;
    let status = Command::new("sh").args(["-c", check, &url]).status().expect("a shell");
    assert!(status.success());
}

#[test]
fn curl_reads_json_lines_where_it_asks_for_them() {
    let served = Served::new(CONFIG);
    let url = format!("http://{}{STREAM}?since=0", served.gateway.public());
    let mut curl = Command::new("curl");
    curl.args(["-sN", "--max-time", "30", "-H", "Accept: application/json", &url]);
    let out = curl.stdin(Stdio::null()).output().expect("curl");
    // The gateway ends the response after its time, and curl finds it whole.
    assert!(out.status.success(), "{:?}", out.status);
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let lines = text.lines().filter(|line| !line.is_empty());
    let mut trace = Trace::default();
    for line in lines {
        let event: serde_json::Value = serde_json::from_str(line).expect("an object a line");
        let meta: Written = serde_json::from_value(event["meta"].clone()).expect("a place");
        trace.seen.entry((meta.topic, meta.partition)).or_default().push(meta.offset);
    }
    let report = checker::check(&trace, &served.ledger.lock().expect("sound"));
    assert!(report.is_clean() && report.deliveries == 100, "{report:?}");
}
