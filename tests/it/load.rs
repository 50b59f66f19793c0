//! `tidegate load` tells what happened: its counts add up where nothing is lost, and it finds what
//! was left out, sent twice, kept back, cut or refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::cutter::Cutter;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Streams};

const STREAMS: Streams<'_> = &[("changes", &["test.changes"])];

/// Runs it to its end.
fn load(url: &str, arguments: &str) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["load", url]).args(arguments.split_whitespace());
    let output = command.output().expect("it runs");
    let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, summary)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(summary: &Value, pointer: &str) -> u64 {
    let value = summary.pointer(pointer).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("{pointer} in {summary:#}"))
}

#[test]
fn streams_leave_when_they_have_stayed_and_come_again_without_a_loss() {
    let gateway = Gateway::embedded(STREAMS, "");
    let url = format!("http://{}/v2/stream/changes", gateway.public());
    let arguments = "-n 20 --sources 5 --from 127.7.0.1 --stay 0.3 --again --write 50 --seconds 4 \
                     --drain 30";
    let (output, summary) = load(&url, arguments);
    assert!(output.status.success(), "{} {summary:#}", stderr(&output));
    let (opened, left) =
        (number(&summary, "/connects/opened"), number(&summary, "/disconnects/left"));
    assert!(left >= 40 && opened >= left && opened <= left + 20, "{summary:#}");
    // Each that was begun is open, or was under way at the end.
    let begun = number(&summary, "/connects/begun");
    let greeted = number(&summary, "/connects/first_byte_us/count");
    assert!((opened..=opened + 20).contains(&begun), "{summary:#}");
    assert!((opened.saturating_sub(20)..=opened).contains(&greeted), "{summary:#}");
    for none in ["refused", "failed"] {
        assert_eq!(summary["connects"][none], serde_json::json!({}), "{summary:#}");
    }
    assert!(number(&summary, "/deliveries/count") > 0, "{summary:#}");
    for zero in ["deliveries/lost", "deliveries/repeated", "disconnects/ended", "disconnects/cut"] {
        assert_eq!(number(&summary, &format!("/{zero}")), 0, "{zero}: {summary:#}");
    }
    let (output, _) = load(&url, "-n 2 --from 192.0.2.1");
    assert!(stderr(&output).contains("--from 192.0.2.1: 1 addresses"), "{}", stderr(&output));
}

#[test]
fn over_the_embedded_log_nothing_is_lost_and_the_counts_add_up() {
    let gateway = Gateway::embedded(STREAMS, "");
    let url = format!("http://{}/v2/stream/changes", gateway.public());
    let (output, summary) =
        load(&url, "-n 100 --sources 10 --write 50 --size 700 --seconds 3 --drain 60 --strict");
    assert!(output.status.success(), "{} {summary:#}", stderr(&output));
    let written = number(&summary, "/written/acknowledged");
    assert!(written > 0, "{summary:#}");
    assert_eq!(number(&summary, "/written/sent"), written, "{summary:#}");
    assert_eq!(number(&summary, "/written/statuses/201"), written, "{summary:#}");
    let deliveries = number(&summary, "/deliveries/count");
    assert_eq!(deliveries, 100 * written, "{summary:#}");
    assert_eq!(number(&summary, "/latency_us/count"), deliveries);
    eventually("it has counted what it has written", || {
        gateway.metric("tidegate_events_delivered_total") == deliveries as f64
    });
    assert_eq!(number(&summary, "/deliveries/blocks"), deliveries + 100, "each has an `:ok`");
    for zero in ["lost", "repeated", "foreign"] {
        assert_eq!(number(&summary, &format!("/deliveries/{zero}")), 0, "{summary:#}");
    }
    assert_eq!(number(&summary, "/connects/opened"), 100);
    for times in ["connect_us", "head_us", "first_byte_us", "first_event_us"] {
        assert_eq!(number(&summary, &format!("/connects/{times}/count")), 100, "{summary:#}");
    }
    let (wire, payload) = (number(&summary, "/bytes/wire"), number(&summary, "/bytes/payload"));
    assert!(wire > payload && payload > deliveries * 700, "{summary:#}");

    assert!(summary["server"].is_null());

    let us = std::process::id();
    let arguments =
        format!("-n 3 --seconds 60 --until {written} --connecting 1 --pid {us} --strict");
    let (output, replayed) = load(&format!("{url}?since=0"), &arguments);
    assert!(output.status.success(), "{} {replayed:#}", stderr(&output));
    assert_eq!(number(&replayed, "/deliveries/count"), 3 * written, "{replayed:#}");
    assert!(replayed["written"].is_null());
    assert!(number(&replayed, "/server/private_open_kb") > 0, "{replayed:#}");
}

#[test]
fn of_compressed_streams_one_is_decoded_and_checked_and_the_others_are_told_by_their_bytes() {
    let gateway = Gateway::embedded(STREAMS, "");
    let url = format!("http://{}/v2/stream/changes?encoding=gzip", gateway.public());
    let arguments = "-n 20 --write 50 --size 700 --seconds 3 --drain 60 --gzip --strict";
    let (output, summary) = load(&url, arguments);
    assert!(output.status.success(), "{} {summary:#}", stderr(&output));
    let written = number(&summary, "/written/acknowledged");
    assert_eq!(number(&summary, "/deliveries/count"), written, "{summary:#}");
    assert_eq!(number(&summary, "/deliveries/blocks"), written + 1, "{summary:#}");
    let inflated = number(&summary, "/bytes/inflated");
    assert!(inflated > written * 700, "{summary:#}");
    let least = number(&summary, "/bytes/least_per_stream");
    assert!(least > 0 && least < inflated, "{summary:#}");
    assert!(number(&summary, "/bytes/payload") >= 20 * least, "{summary:#}");

    let (output, summary) = load(&url, "-n 1 --write 50 --size 700 --seconds 3 --drain 0");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(number(&summary, "/deliveries/lost") > 0, "undecoded there is no event: {summary:#}");
}

#[test]
fn what_comes_in_the_warm_up_is_checked_but_not_measured() {
    let gateway = Gateway::embedded(STREAMS, "");
    let url = format!("http://{}/v2/stream/changes", gateway.public());
    let arguments = "-n 10 --write 50 --warm-up 2 --seconds 2 --drain 60 --strict";
    let (output, summary) = load(&url, arguments);
    assert!(output.status.success(), "{} {summary:#}", stderr(&output));
    let written = number(&summary, "/written/acknowledged");
    assert_eq!(number(&summary, "/deliveries/blocks"), 10 * written + 10, "{summary:#}");
    let measured = number(&summary, "/deliveries/count");
    assert!(measured > 0 && measured < 10 * written, "{summary:#}");
    assert_eq!(number(&summary, "/latency_us/count"), measured, "{summary:#}");
}

#[test]
fn streams_that_the_server_ends_resume_where_they_were_and_miss_nothing() {
    let gateway = Gateway::embedded(STREAMS, "[session]\nlifetime_s = 2\n");
    let url = format!("http://{}/v2/stream/changes", gateway.public());
    let arguments = "-n 30 --again --resume --write 300 --seconds 6 --drain 60";
    let (output, summary) = load(&url, arguments);
    assert!(output.status.success(), "{} {summary:#}", stderr(&output));
    assert!(number(&summary, "/connects/opened") >= 60, "each has come again: {summary:#}");
    assert!(number(&summary, "/disconnects/ended") >= 30, "{summary:#}");
    assert!(number(&summary, "/deliveries/count") > 0, "{summary:#}");
    for zero in ["/deliveries/lost", "/deliveries/repeated", "/disconnects/cut"] {
        assert_eq!(number(&summary, zero), 0, "{summary:#}");
    }
}

#[test]
fn streams_that_are_cut_are_disconnects_and_the_others_lose_nothing() {
    let gateway = Gateway::embedded(STREAMS, "");
    let plan = |connection: usize| connection.is_multiple_of(4).then_some(3_000);
    let cutter = Cutter::new(gateway.public(), Box::new(plan));
    let url = format!("http://{}/v2/stream/changes", cutter.address());
    let to = format!("http://{}/v1/events", gateway.public());
    let arguments = format!("-n 20 --write 40 --write-to {to} --seconds 2 --drain 60 --strict");
    let (output, summary) = load(&url, &arguments);
    assert_eq!(output.status.code(), Some(1), "{summary:#}");
    assert!(stderr(&output).contains("tidegate: 5 streams ended"), "{}", stderr(&output));
    assert_eq!(number(&summary, "/disconnects/cut"), 5, "{summary:#}");
    assert_eq!(number(&summary, "/disconnects/ended"), 0, "{summary:#}");
    assert_eq!(number(&summary, "/deliveries/lost"), 0, "{summary:#}");
    assert!(cutter.cuts() >= 5);
}

#[test]
fn a_refusal_is_counted_by_its_status() {
    let gateway = Gateway::embedded(STREAMS, "");
    let url = format!("http://{}/v2/stream/none", gateway.public());
    let (output, summary) = load(&url, "-n 7 --seconds 60");
    assert!(output.status.success(), "without --strict it only tells: {}", stderr(&output));
    assert_eq!(number(&summary, "/connects/refused/400"), 7, "{summary:#}");
    assert_eq!(number(&summary, "/connects/opened"), 0, "{summary:#}");
    let (output, _) = load(&url, "-n 7 --seconds 60 --strict");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("7 streams never opened"), "{}", stderr(&output));
}

#[test]
fn what_a_server_leaves_out_or_sends_twice_is_reported() {
    let event = |seq: u64| format!("data: {{\"sent_us\":1,\"seq\":{seq},\"writer\":9}}\n\n");
    let clean: String = (5..25).map(event).collect();
    let planted: String = (5..15).chain(17..20).chain(18..20).chain(20..25).map(event).collect();
    let server =
        Fake::new(move |connection| if connection == 1 { planted.clone() } else { clean.clone() });
    let url = format!("http://{}/", server.address);
    let (output, summary) = load(&url, "-n 3 --until 20 --seconds 60 --strict");
    assert_eq!(output.status.code(), Some(1), "{summary:#}");
    assert!(stderr(&output).contains("2 events lost, 2 events repeated"), "{}", stderr(&output));
    assert_eq!(number(&summary, "/deliveries/lost"), 2, "{summary:#}");
    assert_eq!(number(&summary, "/deliveries/repeated"), 2, "{summary:#}");
    assert_eq!(number(&summary, "/deliveries/count"), 60, "{summary:#}");
}

#[test]
fn what_was_acknowledged_and_never_came_is_lost() {
    let server = Fake::new(|_| ":ok\n\n".to_owned());
    let url = format!("http://{}/", server.address);
    let (output, summary) = load(&url, "-n 3 --write 100 --seconds 1 --drain 0.2 --strict");
    assert_eq!(output.status.code(), Some(1), "{summary:#}");
    let written = number(&summary, "/written/acknowledged");
    assert!(written > 0, "{summary:#}");
    assert_eq!(number(&summary, "/deliveries/lost"), 3 * written, "{summary:#}");
    assert_eq!(number(&summary, "/deliveries/count"), 0, "{summary:#}");
}

#[test]
fn another_host_and_more_streams_than_descriptors_are_refused_before_anything_is_done() {
    let (output, _) = load("http://192.0.2.1:8092/v2/stream/a", "-n 1");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`192.0.2.1` is not a loopback address"));
    let (output, _) = load("http://127.0.0.1:9/", "-n 1 --write 1 --write-to http://192.0.2.1/");
    assert!(stderr(&output).contains("`192.0.2.1` is not a loopback address"));
    let (output, _) = load("http://127.0.0.1:9/", "-n 4000000000");
    assert!(stderr(&output).contains("missing; at most"), "{}", stderr(&output));
}

/// A server that sends a fixed text to every stream, and acknowledges whatever is posted.
struct Fake {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Fake {
    fn new(text: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = Arc::<AtomicBool>::default();
        let (stopped, text, streams) = (Arc::clone(&stop), Arc::new(text), AtomicUsize::new(0));
        let streams = Arc::new(streams);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (text, streams) = (Arc::clone(&text), Arc::clone(&streams));
                std::thread::spawn(move || {
                    answer(client, || text(streams.fetch_add(1, Ordering::AcqRel)))
                });
            }
        });
        Self { address, stop }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers the requests of one connection until the client closes it.
fn answer(client: TcpStream, text: impl Fn() -> String) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut client = client;
    loop {
        let (mut line, mut is_post, mut length) = (String::new(), false, 0);
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            is_post |= line.starts_with("POST ");
            if let Some(n) = line.strip_prefix("content-length: ") {
                length = n.trim().parse().ok()?;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let answer = match is_post {
            true => "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            false => format!("HTTP/1.1 200 OK\r\n\r\n{}", text()),
        };
        client.write_all(answer.as_bytes()).ok()?;
    }
}
