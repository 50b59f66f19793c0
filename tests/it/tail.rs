//! `tidegate tail` and `tidegate streams` as people and pipelines run them: spans of time, a state
//! that is kept, refusals, pipes that close, a terminal. (That it misses nothing through cuts is
//! tested with the other clients.)

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::support::certificate::{Files, Identity};
use crate::support::checker::{self, Ledger, Trace};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::intake::written;
use crate::support::served::{CONFIG, STREAM, Served};
use crate::support::sse;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(
        &[("s", &["t"]), ("quiet", &["q"])],
        &format!("[session]\nretry_ms = 100\n{more}"),
    )
}

/// Seconds of the 21st of September, 2020.
fn at(second: usize) -> String {
    format!("2020-09-21T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Writes an event of each of these seconds.
fn write(gateway: &Gateway, stream: &str, seconds: impl Iterator<Item = usize>) {
    let event = |n| {
        format!(
            r#"{{"meta":{{"stream":"{stream}","dt":"{}","key":"k{n}"}},"n":{n},"title":"Page {n}"}}"#,
            at(n)
        )
    };
    let events: Vec<_> = seconds.map(event).collect();
    for part in events.chunks(200) {
        let body = format!("[{}]", part.join(","));
        let (status, answer) =
            sse::post(gateway.public(), "/v1/events", body.as_bytes()).expect("sent");
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        assert_eq!(written(&answer).len(), part.len());
    }
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.public())
}

/// Runs it to its own end.
fn tidegate(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().expect("it runs")
}

/// What it gives that ends well.
#[track_caller]
fn gives(args: &[&str]) -> String {
    let output = tidegate(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn numbers(text: &str) -> Vec<u64> {
    let number = |line| serde_json::from_str::<Value>(line).expect("JSON")["n"].as_u64();
    text.lines().map(|line| number(line).expect("a number")).collect()
}

/// A tail whose output goes on in a file. Ended when dropped.
struct Running {
    process: Child,
    dir: tempfile::TempDir,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name| File::create(dir.path().join(name)).expect("a file");
        let mut command = Command::new(PROGRAM);
        command.arg("tail").args(args).stdin(Stdio::null());
        let process = command.stdout(file("out")).stderr(file("err")).spawn().expect("it runs");
        Self { process, dir }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("a file")
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end; true if it ended well.
    fn ends(&mut self) -> bool {
        let mut status = None;
        eventually("it has ended", || {
            status = self.process.try_wait().expect("our child");
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

#[test]
fn a_span_of_time_is_given_whole_and_once_from_partitions_that_speak_and_that_are_silent() {
    let gateway = gateway("[streams.both]\ntopics = [\"t\", \"q\"]\n");
    write(&gateway, "s", 100..400);
    write(&gateway, "quiet", [150, 350].into_iter());
    let both = url(&gateway, "/v2/stream/both");
    let spans = [(100, 200), (200, 300), (300, 500)];
    let all = spans.map(|(from, to)| {
        let mut span = numbers(&gives(&["tail", &both, "--since", &at(from), "--until", &at(to)]));
        span.sort_unstable();
        span
    });
    let expected = |from, to, twice: &[u64]| {
        let mut span: Vec<u64> = (from..to).chain(twice.iter().copied()).collect();
        span.sort_unstable();
        span
    };
    assert_eq!(all[0], expected(100, 200, &[150]));
    assert_eq!(all[1], expected(200, 300, &[]));
    assert_eq!(all[2], expected(300, 400, &[350]));
    // A pipeline that goes from span to span by what it has kept.
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state").display().to_string();
    for (n, (from, to)) in spans.into_iter().enumerate() {
        let (from, to) = (at(if n == 0 { from } else { 0 }), at(to));
        let args = ["tail", &both, "--since", &from, "--until", &to, "--state", &state];
        let mut span = numbers(&gives(&args));
        span.sort_unstable();
        assert_eq!(span, all[n]);
    }
    // Nothing at all in it.
    let none = gives(&["tail", &both, "--since", &at(900), "--until", &at(1000)]);
    assert_eq!(none, "");
}

#[test]
fn what_is_asked_for_is_given_in_the_form_that_is_asked_for() {
    let gateway = gateway("");
    write(&gateway, "s", 0..100);
    let span = ["--since", &at(0), "--until", &at(100)];
    let s = url(&gateway, "/v2/stream/s");
    let tail = |more: &[&str]| gives(&[&["tail", &s], &span[..], more].concat());
    assert_eq!(
        numbers(&tail(&["--filter", "n>41 -n=43 \"page 4\""])),
        [42, 44, 45, 46, 47, 48, 49]
    );
    let pretty = tail(&["--filter", "n=7", "-o", "pretty"]);
    assert_eq!(pretty, "00:00:07  event      Page 7\n");
    let ids = tail(&["-o", "id"]);
    let last: Value = serde_json::from_str(ids.lines().last().expect("100")).expect("an id");
    assert_eq!((ids.lines().count(), &last[0]["offset"]), (100, &Value::from(100)));
    // The server and names, instead of a path.
    let server = url(&gateway, "");
    let args = [&["tail", &server, "--stream", "s", "--stream", "quiet"], &span[..]].concat();
    assert_eq!(numbers(&gives(&args)).len(), 100);
    let output = tidegate(&["tail", &server]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the URL names no stream"));
    for (arg, says) in [("--filter=n>x", "`n>x`: a number is accepted"), ("--since=1y", "7d")] {
        let output = tidegate(&["tail", &s, arg]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(says), "{said}");
    }
}

/// Runs again and again over one state: the ledger, and what came out of all runs.
fn in_pieces(signal: &str) -> (Ledger, Trace) {
    let mut served = Served::new(CONFIG);
    served.go_on();
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state").display().to_string();
    let stream = url(&served.gateway, STREAM);
    let args = ["--quiet", &stream, "--since", "0", "--state", &state];
    let mut trace = Trace::default();
    for n in 0..5 {
        let mut tail = Running::start(&args);
        eventually("it gives events", || tail.text("out").lines().count() > 40 * n + 1);
        if n == 4 {
            let goal = checker::goal(&served.finish());
            eventually("it gives all", || {
                let mut so_far = trace.clone();
                take(&mut so_far, &tail.text("out"));
                goal.iter().all(|(place, last)| {
                    so_far.seen.get(place).is_some_and(|seen| seen.contains(last))
                })
            });
        }
        tail.signal(signal);
        assert_eq!(tail.ends(), signal != "-KILL");
        take(&mut trace, &tail.text("out"));
    }
    (served.finish(), trace)
}

/// Takes whole lines.
fn take(trace: &mut Trace, text: &str) {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let meta = &event["meta"];
        let place = meta["topic"].as_str().zip(meta["partition"].as_i64()).expect("a place");
        let place = (place.0.to_owned(), i32::try_from(place.1).expect("small"));
        let offset = meta["offset"].as_i64().expect("an offset");
        trace.seen.entry(place).or_default().push(offset);
    }
}

#[test]
fn a_pipeline_that_is_asked_to_end_goes_on_exactly_where_it_was() {
    for signal in ["-TERM", "-INT"] {
        let (ledger, trace) = in_pieces(signal);
        let report = checker::check(&trace, &ledger);
        assert!(report.is_clean() && report.deliveries > 200, "{signal}: {report:?}");
    }
}

#[test]
fn a_pipeline_that_is_killed_loses_nothing() {
    let (ledger, trace) = in_pieces("-KILL");
    let report = checker::check(&trace, &ledger);
    assert_eq!(report.lost, 0, "{report:?}");
}

#[test]
fn a_state_of_another_stream_or_none_is_refused_with_its_name() {
    let gateway = gateway("");
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state").display().to_string();
    let refused = |text: &str, says: &str| {
        std::fs::write(&state, text).expect("written");
        let output = tidegate(&["tail", &url(&gateway, "/v2/stream/s"), "--state", &state]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&state) && said.contains(says), "{said}");
    };
    refused(r#"{"stream":"/v2/stream/x","id":"[]"}"#, "is of /v2/stream/x, not of /v2/stream/s");
    refused("offset 7", "is no state file");
    let nowhere = dir.path().join("no/state").display().to_string();
    let output = tidegate(&["tail", &url(&gateway, "/v2/stream/s"), "--state", &nowhere]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(&nowhere), "{said}");
}

#[test]
fn a_pipe_that_nobody_reads_any_more_ends_it_well_also_when_nothing_comes() {
    let gateway = gateway("");
    write(&gateway, "s", 0..2000);
    let script = |count: &str, stream: &str| {
        let script = "set -o pipefail; \"$0\" tail --since 0 \"$1\" | head -n \"$2\"";
        let stream = url(&gateway, stream);
        let mut command = Command::new("timeout");
        command.args(["60", "bash", "-c", script, PROGRAM, &stream, count]);
        command.output().expect("a shell")
    };
    let output = script("3", "/v2/stream/s");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(numbers(&String::from_utf8_lossy(&output.stdout)), [0, 1, 2]);
    // It hears of it without having to write.
    let output = script("0", "/v2/stream/quiet");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_refusal_is_waited_out_in_either_form_and_a_stream_that_will_never_be_is_an_error() {
    let gateway = gateway("[limits]\nstreams_per_client = 1\n");
    write(&gateway, "s", 0..10);
    let s = url(&gateway, "/v2/stream/s");
    // Who says `Origin` is taken for a browser, and is refused with an event.
    for header in ["x-any: 1", "origin: http://a.example"] {
        let held = sse::get(gateway.public(), "/v2/stream/s", &[]).expect("held");
        assert_eq!(held.status, 200);
        let tail = Running::start(&[&s, "--since", "0", "--header", header]);
        let says = if header.starts_with('o') { "refused: " } else { "answered 429" };
        eventually("it is refused", || tail.text("err").contains(says));
        assert_eq!(tail.text("out"), "");
        drop(held);
        eventually("it is let in", || tail.text("out").lines().count() == 10);
        drop(tail);
        eventually("its seat is free", || gateway.metric("eventstreams_connected_clients") == 0.0);
    }
    let output = tidegate(&["tail", &url(&gateway, "/v2/stream/nothing")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("answered 400") && said.contains("Invalid streams: nothing"), "{said}");
    let output = tidegate(&["tail", &url(&gateway, "/_info")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no event stream"), "{output:?}");
}

#[test]
fn a_server_that_is_gone_is_waited_for_unless_told_otherwise() {
    let mut gateway = gateway("");
    write(&gateway, "s", 0..10);
    let s = url(&gateway, "/v2/stream/s");
    gateway.kill();
    let output = tidegate(&["tail", &s, "--give-up", "0"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("cannot connect"), "{said}");
    let tail = Running::start(&[&s, "--since", "0"]);
    eventually("it says so", || tail.text("err").contains("again in"));
    gateway.go();
    eventually("it goes on", || tail.text("out").lines().count() == 10);
}

/// In a terminal of its own; the rest of the arguments is a command.
fn in_a_terminal(command: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/terminal.py");
    let mut python = Command::new("python3");
    python.arg(script).args(command).stdin(Stdio::piped()).stdout(Stdio::piped());
    let output = python.spawn().expect("python3");
    let Output { stdout, .. } = wait_with_stdin_open(output);
    String::from_utf8_lossy(&stdout).into_owned()
}

/// (`wait_with_output` closes stdin first, and the terminal is then ended.)
fn wait_with_stdin_open(mut process: Child) -> Output {
    let stdin = process.stdin.take();
    let output = process.wait_with_output().expect("it ends");
    drop(stdin);
    output
}

#[test]
fn a_terminal_sees_how_far_it_is_in_time_and_a_file_gets_no_bar() {
    let gateway = gateway("");
    write(&gateway, "s", 0..4000);
    let s = url(&gateway, "/v2/stream/s");
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let command = "\"$0\" tail \"$1\" --since 2020-09-21 --until \"$2\" >\"$3\"";
    let (to, file) = (at(5000), out.display().to_string());
    let drawn = in_a_terminal(&["/bin/sh", "-c", command, PROGRAM, &s, &to, &file]);
    assert!(drawn.contains("% · 2020-09-21 0") && drawn.contains(" events/s"), "{drawn}");
    assert!(drawn.contains("ended 0, the terminal is restored"), "{drawn}");
    let given = std::fs::read_to_string(&out).expect("a file");
    assert_eq!(numbers(&given), (0..4000).collect::<Vec<_>>());
    let drawn = in_a_terminal(&[PROGRAM, "tail", &s, "--since", "2020-09-21", "--until", &to]);
    assert_eq!(drawn.matches(r#""title":"Page "#).count(), 4000);
    let silent = tidegate(&["tail", &s, "--since", "2020-09-21", "--until", &to]);
    assert_eq!(silent.stderr, b"", "no terminal, no bar");
}

#[test]
fn over_tls_it_reads_from_whom_it_believes_and_lists_what_there_is() {
    let files = Files::of(&Identity::new());
    let about =
        "[streams.told]\ntopics = [\"x\"]\naliases = [\"also\"]\ndescription = \"All of x\"\n";
    let gateway = gateway(&format!("{about}{}", files.config()));
    let server = format!("https://localhost:{}", gateway.public().port());
    let ca = files.cert().display().to_string();
    let list = gives(&["streams", &server, "--ca", &ca]);
    assert!(list.contains("told   All of x\n"), "{list}");
    assert!(list.contains("also   another name of told\n"), "{list}");
    let list = gives(&["streams", &server, "--insecure", "--json"]);
    let list: Vec<Value> = serde_json::from_str(&list).expect("JSON");
    let told = list.iter().find(|stream| stream["name"] == "told").expect("listed");
    assert_eq!((&told["topics"][0], &told["alias_of"]), (&Value::from("x"), &Value::Null));
    let output = tidegate(&["streams", &server]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("TLS: "), "{said}");
    let s = format!("{server}/v2/stream/told");
    let tail = Running::start(&[&s, "--since", "0", "--ca", &ca]);
    let event = r#"{"meta":{"stream":"told"},"n":1}"#;
    let mut curl = Command::new("curl");
    curl.args(["-sk", "-o", "/dev/null", "-d", event, "-H", "content-type: application/json"]);
    let posted = curl.arg(format!("{server}/v1/events")).status().expect("curl");
    assert!(posted.success());
    eventually("it comes", || tail.text("out").contains("\"n\":1"));
}
