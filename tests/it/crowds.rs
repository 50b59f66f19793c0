//! One address that takes all it can get, and crowds that fill the host, against the others: nobody
//! takes the service from anybody, and what it costs is bounded.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::{Gateway, Streams};
use crate::support::process::Process;
use crate::support::{PATIENCE, block_on, eventually, kafka, prometheus, sse, within};

const STREAMS: Streams<'_> = &[("changes", &["test.changes"])];
/// Streams that one client may hold here.
const PER_CLIENT: u64 = 64;
/// What the greedy address tries to hold.
const GREEDY: u64 = 10_000;

/// `tidegate load` beside the test.
struct Load {
    process: Process,
    dir: tempfile::TempDir,
}

impl Load {
    fn start(url: &str, arguments: &str) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_tidegate")), url, arguments)
    }

    /// The same from elsewhere: what makes the crowd takes no processor from the gateway.
    fn from_elsewhere(url: &str, arguments: &str) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", "10", env!("CARGO_BIN_EXE_tidegate")]);
        Self::run(command, url, arguments)
    }

    fn run(mut command: Command, url: &str, arguments: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        command.args(["load", url]).args(arguments.split_whitespace());
        let file = |name| File::create(dir.path().join(name)).expect("make a file");
        let files = (file("stdout"), file("stderr"));
        Self { process: Process::start(&command, &dir.path().join("pid"), files), dir }
    }

    /// Ends its measurement, and reads what it tells.
    fn stop(self) -> Value {
        self.process.signal("-INT");
        self.summary()
    }

    /// Waits for its end, and reads what it tells.
    fn summary(mut self) -> Value {
        let status = self.process.wait_within(4 * PATIENCE);
        let read = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        assert!(status.success(), "{}", read("stderr"));
        serde_json::from_str(&read("stdout")).expect("a summary")
    }
}

fn number(summary: &Value, pointer: &str) -> u64 {
    let value = summary.pointer(pointer).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("{pointer} in {summary:#}"))
}

/// Resident memory in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("on Linux");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("in kB") * 1024
}

#[test]
fn one_address_that_wants_ten_thousand_streams_costs_the_others_nothing() {
    let limits = format!("[limits]\nstreams_per_client = {PER_CLIENT}\n");
    let gateway = Gateway::embedded(STREAMS, &limits);
    let url = format!("http://{}/v2/stream/changes", gateway.public());
    let before = resident(gateway.pid());
    let greedy = format!(
        "-n {GREEDY} --sources 1 --from 127.66.0.1 --connect-rate 1000000 --connecting {GREEDY} \
         --again --seconds 600"
    );
    let mut greedy = Load::from_elsewhere(&url, &greedy);
    eventually("the greedy address holds all it may", || {
        gateway.metric("tidegate_streams_open") >= PER_CLIENT as f64
    });
    let others = Load::start(
        &url,
        "-n 200 --sources 200 --from 127.99.0.1 --connect-rate 50 --stay 2 --again --write 20 \
         --write-early --seconds 12 --drain 30",
    );
    let others = others.summary();
    let (held, during) = (gateway.metric("tidegate_streams_open"), resident(gateway.pid()));
    assert!(held <= (PER_CLIENT + 200) as f64, "{held}");
    assert!(during - before < GREEDY * 48 * 1024, "{before} before, {during} with it");

    // Each of the 200 came again and again, always got its stream, soon, and all that went over it.
    let opened = number(&others, "/connects/opened");
    assert!(opened >= 400 && number(&others, "/disconnects/left") >= 400, "{others:#}");
    assert_eq!(others["connects"]["refused"], serde_json::json!({}), "{others:#}");
    assert_eq!(others["connects"]["failed"], serde_json::json!({}), "{others:#}");
    for zero in ["deliveries/lost", "deliveries/repeated", "disconnects/ended", "disconnects/cut"] {
        assert_eq!(number(&others, &format!("/{zero}")), 0, "{zero}: {others:#}");
    }
    assert!(number(&others, "/connects/first_byte_us/p99") < 10_000_000, "{others:#}");
    assert!(number(&others, "/latency_us/p99") < 10_000_000, "{others:#}");

    assert!(greedy.process.ended().is_none(), "it was there all the time");
    let greedy = greedy.stop();
    let refused = number(&greedy, "/connects/refused/429");
    assert!(refused > 1000, "{greedy:#}");
    assert_eq!(number(&greedy, "/connects/opened"), PER_CLIENT, "and it keeps those: {greedy:#}");
    // By what it asked for, or before it could ask, for it has too many connections that do not.
    let counted = gateway.metric_of("tidegate_refusals_total", "reason=\"client_limit\"")
        + gateway.metric_of("tidegate_connections_ended_total", "reason=\"crowded\"");
    assert!(counted >= refused as f64, "{counted}, {greedy:#}");
    eventually("nobody holds anything", || gateway.metric("tidegate_streams_open") == 0.0);
}

#[test]
fn a_full_host_gives_everyone_the_same_and_comes_to_rest() {
    const ROOM: u64 = 300;
    let gateway = Gateway::embedded(STREAMS, &format!("[limits]\nstreams = {ROOM}\n"));
    let url = format!("http://{}/v2/stream/changes", gateway.public());
    let open = || gateway.metric("tidegate_streams_open") as u64;
    let displaced =
        || gateway.metric_of("tidegate_streams_ended_total", "reason=\"displaced\"") as u64;
    let full = || gateway.metric_of("tidegate_refusals_total", "reason=\"full\"") as u64;
    // Four addresses take all there is, and come again as soon as they have lost something.
    let greedy = Load::start(&url, "-n 400 --sources 4 --from 127.66.0.1 --again --seconds 600");
    eventually("all is full", || open() == ROOM);
    // Nobody loses a stream any more, though the greedy try on.
    let comes_to_rest = |what| {
        let (mut moved, mut tried) = (displaced(), full());
        eventually(what, || {
            if displaced() != moved {
                (moved, tried) = (displaced(), full());
            }
            full() >= tried + 100
        });
        moved
    };
    let before = comes_to_rest("the greedy have the same among themselves");
    // The fair share of 4 + 160 addresses: each of the 160 gets its one, and nobody takes it back.
    let few = Load::start(
        &url,
        "-n 160 --sources 160 --from 127.99.0.1 --connect-rate 100 --write 10 --seconds 600 \
         --drain 30 --strict",
    );
    eventually("the others are in", || displaced() >= before + 160);
    comes_to_rest("all have what is theirs");
    assert_eq!(open(), ROOM);
    eventually("something is written", || gateway.metric("tidegate_intake_events_total") >= 40.0);
    assert_eq!(number(&few.stop(), "/deliveries/lost"), 0);
    drop(greedy);
}

/// A gateway that has just started remembers nothing: whoever comes back, it has to ask Kafka.
#[test]
fn a_crowd_that_comes_back_to_a_gateway_that_has_just_started_is_let_in_at_once() {
    const CROWD: u64 = 2000;
    let (kafka, topic) = (kafka::shared(), kafka::unique("returns"));
    block_on(kafka.create_topic(&topic, 1, &[("retention.ms", "-1")]));
    let records = kafka.producer(&[]);
    records.times(&topic, &[1_000, 2_000, 3_000]);
    let mut gateway = Gateway::kafka(&kafka.bootstrap(), &[("changes", &[&topic])], "");
    let since = "/v2/stream/changes?since=2000";
    let mut seen = sse::get(gateway.public(), since, &[]).expect("a response").events();
    let id = format!("--header last-event-id:{}", seen.message().id);
    for (path, id) in [(since, ""), ("/v2/stream/changes", id.as_str())] {
        gateway.kill();
        gateway.go();
        let url = format!("http://{}{path}", gateway.public());
        let all = format!("-n {CROWD} --connect-rate 100000 --connecting {CROWD} {id} --seconds 1");
        let crowd = Load::start(&url, &all).summary();
        assert_eq!(number(&crowd, "/connects/opened"), CROWD, "{path} {id}: {crowd:#}");
        assert!(number(&crowd, "/bytes/least_per_stream") > 0, "{path} {id}: {crowd:#}");
    }
}

/// Streams that end all the time, as behind a proxy with a timeout: nothing is lost, nothing comes
/// twice, nobody falls behind, and memory is flat.
#[test]
fn ten_thousand_lifetimes_that_end_and_begin_again_cost_no_event_and_no_memory() {
    const READERS: u64 = 10_000;
    const LIFETIME_S: u64 = 10;
    /// All have come, and each has ended once at least.
    const UNDER_WAY: Duration = Duration::from_secs(60);
    /// How long memory is looked at, at the begin and at the end.
    const LOOK: Duration = Duration::from_secs(LIFETIME_S);
    const BETWEEN: Duration = Duration::from_secs(40);
    let gateway = Gateway::embedded(STREAMS, &format!("[session]\nlifetime_s = {LIFETIME_S}\n"));
    let url = format!("http://{}/v2/stream/changes", gateway.public());
    let readers = format!(
        "-n {READERS} --sources 200 --from 127.66.0.1 --connect-rate 1000 --again --resume \
         --write 2 --size 1200 --warm-up {} --seconds 600 --drain 60",
        UNDER_WAY.as_secs()
    );
    prometheus::shared().scrapes(gateway.admin());
    let readers = Load::start(&url, &readers);
    let lifetimes =
        || gateway.metric_of("tidegate_streams_ended_total", "reason=\"lifetime\"") as u64;
    within(4 * PATIENCE, "each has ended once at least", || lifetimes() >= 2 * READERS);
    let before = most(LOOK, || resident(gateway.pid()));
    std::thread::sleep(BETWEEN);
    let after = most(LOOK, || resident(gateway.pid()));
    assert!(after * 10 <= before * 11, "{before} bytes before, {after} after");

    within(4 * PATIENCE, "they end at their time", || lifetimes() >= 6 * READERS);
    let readers = readers.stop();
    for zero in ["deliveries/lost", "deliveries/repeated"] {
        assert_eq!(number(&readers, &format!("/{zero}")), 0, "{zero}: {readers:#}");
    }
    assert!(number(&readers, "/latency_us/max") < 60_000_000, "{readers:#}");
    let fired = prometheus::shared().ever_fired(gateway.admin(), "severity=\"critical\",");
    assert!(fired.is_empty(), "nobody is called for what is absorbed: {fired:?}");
    eventually("nobody holds anything", || gateway.metric("tidegate_streams_open") == 0.0);
}

/// The most that there was in a while.
fn most(during: Duration, read: impl Fn() -> u64) -> u64 {
    let until = Instant::now() + during;
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(read());
        std::thread::sleep(Duration::from_millis(200));
    }
    most
}
