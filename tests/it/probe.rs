//! `tidegate check` as the monitoring runs it: against gateways that are well and that are not, through
//! a proxy and over TLS, and against a server with other ids. And the checks that came before it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use crate::support::certificate::{Files, Identity};
use crate::support::gateway::Gateway;
use crate::support::sse;

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(&[("s", &["t"]), ("quiet", &["q"])], more)
}

/// Its status and its line.
fn check(args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.arg("check").args(args).output().expect("it runs");
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    (output.status.code().expect("no signal"), String::from_utf8(said).expect("UTF-8"))
}

/// Writes an event again and again until it is dropped.
struct Writer(Option<(std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>)>);

impl Writer {
    fn to(public: SocketAddr) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let write = move || {
            let pause = std::time::Duration::from_millis(50);
            while stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let dt = jiff::Timestamp::now();
                let event = format!(r#"{{"meta":{{"stream":"s","dt":"{dt}"}}}}"#);
                let _ = sse::post(public, "/v1/events", event.as_bytes());
            }
        };
        Self(Some((stop, std::thread::spawn(write))))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// Patient: a loaded machine is no fault.
const PATIENT: [&str; 6] = [
    "--first-byte=30",
    "--warn-first-byte=30",
    "--first-event=40",
    "--warn-first-event=40",
    "--age=60",
    "--warn-age=60",
];

fn patient<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &PATIENT].concat()
}

#[test]
fn a_stream_that_flows_is_ok_with_its_times_and_nothing_is_missed_after_a_cut() {
    let gateway = gateway("");
    let _writer = Writer::to(gateway.public());
    let url = format!("http://{}/v2/stream/s", gateway.public());
    let (status, line) = check(&patient(&[&url, "--resume"]));
    assert_eq!(status, 0, "{line}");
    assert!(line.starts_with("OK: s: first byte after "), "{line}");
    assert!(line.contains("event(s) came again after a cut, none missed"), "{line}");
    for label in ["'s_first_byte'=", "'s_first_event'=", "'s_age'="] {
        let (_, value) = line.split_once(label).unwrap_or_else(|| panic!("{label} in {line}"));
        assert!(value.split(['s', ' ']).next().is_some_and(|n| n.parse::<f64>().is_ok()), "{line}");
    }
    // What the fleet has used so far, to the letter.
    let old = format!("curl -s --max-time 10 {url} | head -n 5 | grep -qE '^data:'");
    assert!(Command::new("sh").args(["-c", &old]).status().expect("a shell").success());
}

#[test]
fn several_streams_are_read_and_a_quiet_one_is_fine_only_where_that_is_said() {
    let gateway = gateway("");
    let _writer = Writer::to(gateway.public());
    let base = format!("http://{}", gateway.public());
    let both =
        [&*base, "--stream", "s", "--stream", "quiet", "--first-byte=30", "--first-event=10"];
    let slow = ["--warn-first-byte=30", "--warn-age=60"];
    let (status, line) = check(&[&both[..], &slow].concat());
    assert_eq!(status, 2, "{line}");
    assert!(line.starts_with("CRITICAL: quiet: no event within 10 s (1 of 2 streams"), "{line}");
    let (status, line) = check(&[&both[..], &slow, &["--quiet"]].concat());
    assert_eq!(status, 0, "{line}");
    let (status, line) = check(&patient(&[&base, "--stream=s", "--warn-age=0.000001"]));
    assert_eq!(status, 3, "an argument given twice is wrong usage: {line}");
    let (status, line) = check(&[&base, "--stream=s", "--warn-age=0.0000001", "--first-byte=30"]);
    assert!(status == 1 && line.starts_with("WARNING: s: the first"), "{line}");
}

#[test]
fn what_cannot_be_read_is_critical_with_its_cause_and_unknown_is_only_wrong_usage() {
    let gateway = gateway("");
    let at = |path: &str| format!("http://{}{path}", gateway.public());
    let (status, line) = check(&[&at("/v2/stream/nothing"), "--first-byte=30"]);
    assert_eq!(status, 2, "{line}");
    assert!(line.contains("400") && line.contains("Invalid streams: nothing"), "{line}");
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let (status, line) = check(&[&format!("http://{nobody}/v2/stream/s"), "--first-byte=30"]);
    assert!(status == 2 && line.contains("cannot connect to"), "{line}");
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v2/stream/s", mute.local_addr().expect("bound"));
    let (status, line) = check(&[&url, "--first-byte=0.5"]);
    assert!(status == 2 && line.contains("no first byte within 0.5 s"), "{line}");
    for wrong in [&["x"][..], &[], &["http://a/", "--age=-1"], &["http://a/s", "--no-such"]] {
        let (status, line) = check(wrong);
        assert_eq!(status, 3, "{wrong:?}: {line}");
    }
    assert_eq!(check(&["--help"]).0, 0);
}

#[test]
fn tls_is_looked_at_and_proxies_are_gone_through() {
    let files = Files::of(&Identity::new());
    let secure = gateway(&files.config());
    let plain = gateway("");
    let (cert, proxy) = (files.cert(), Proxy::start());
    let ca = cert.to_str().expect("text");
    let proxy = format!("http://{}", proxy.0);
    let url = format!("https://localhost:{}/v2/stream/quiet", secure.public().port());
    let quiet = ["--quiet", "--first-byte=30", "--warn-first-byte=30", "--first-event=0.2"];
    let fine = |args: &[&str]| {
        let (status, line) = check(&[args, &quiet].concat());
        assert_eq!(status, 0, "{args:?}: {line}");
    };
    let (status, line) = check(&[&url, "--first-byte=30"]);
    assert!(status == 2 && line.contains("TLS: "), "{line}");
    fine(&[&url, "--ca", ca]);
    fine(&[&url, "--insecure"]);
    fine(&[&url, "--ca", ca, "--proxy", &proxy]);
    let plain = format!("http://{}/v2/stream/quiet", plain.public());
    fine(&[&plain, "--proxy", &proxy]);
}

/// A proxy for HTTP, for one connection after the other: CONNECT, and whole URLs.
struct Proxy(SocketAddr);

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || Self::serve(client));
            }
        });
        Self(addr)
    }

    fn serve(mut client: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if client.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        let text = String::from_utf8(head.clone()).expect("a head");
        let asked = text.split(' ').nth(1).expect("a target").to_owned();
        let connect = text.starts_with("CONNECT ");
        let rest = asked.strip_prefix("http://");
        assert!(connect || rest.is_some(), "a proxy is told the whole URL: {text}");
        let to = rest.map_or(&*asked, |rest| rest.split('/').next().expect("a host"));
        let mut server = TcpStream::connect(to).expect("the target");
        if connect {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").expect("said");
        } else {
            server.write_all(&head).expect("passed on");
        }
        let (mut from, mut back) =
            (client.try_clone().expect("fd"), server.try_clone().expect("fd"));
        std::thread::spawn(move || std::io::copy(&mut from, &mut back));
        let _ = std::io::copy(&mut server, &mut client);
    }
}

/// A server whose ids are those of the reference: times, and `-1` for what has not spoken yet. `gives`
/// says which of its ten events a reader gets that comes again.
fn with_times_for_ids(gives: fn(i64) -> bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v2/stream/x", listener.local_addr().expect("bound"));
    let serve = move |mut client: TcpStream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head");
        let (_, after) = head.split_once("\"timestamp\":").unwrap_or(("", "0}"));
        let next: i64 = after.split('}').next().expect("a number").parse().expect("a number");
        let dt = jiff::Timestamp::now();
        let mut text =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:ok\n\n".to_owned();
        for n in (0..10).filter(|n| *n >= next && (next == 0 || gives(*n))) {
            text += &format!(
                "event: message\nid: [{{\"topic\":\"eqiad.x\",\"partition\":0,\"timestamp\":{}}},\
                 {{\"topic\":\"codfw.x\",\"partition\":0,\"offset\":-1}}]\n\
                 data: {{\"meta\":{{\"topic\":\"eqiad.x\",\"partition\":0,\"offset\":{n},\"dt\":\"{dt}\"}}}}\n\n",
                n + 1
            );
        }
        let _ = client.write_all(text.as_bytes());
        // Open until the reader goes.
        while client.read(&mut byte).is_ok_and(|n| n == 1) {}
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || serve(client));
        }
    });
    url
}

#[test]
fn other_ids_are_gone_on_with_as_well_and_what_is_missed_after_a_cut_is_critical() {
    let (status, line) = check(&patient(&[&with_times_for_ids(|_| true), "--resume"]));
    assert_eq!(status, 0, "{line}");
    assert!(line.contains("9 event(s) came again after a cut, none missed"), "{line}");
    let short =
        ["--first-event=4", "--warn-first-event=4", "--first-byte=30", "--warn-first-byte=30"];
    let forgets = with_times_for_ids(|n| n != 4);
    let (status, line) = check(&[&[&*forgets, "--resume"], &short[..]].concat());
    assert_eq!(status, 2, "{line}");
    assert!(line.contains("1 of 9 event(s) missed after a cut, such as eqiad.x/0/4"), "{line}");
}
