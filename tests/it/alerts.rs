//! Operators know first: each fault that readers feel is made to happen, and the probe, `/admin/health`
//! and the alerts of a real Prometheus say that it is critical, what is concerned and why, in time, and
//! that it is over. What is absorbed raises nothing above a warning.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, Streams};
use crate::support::kafka::{self, Kafka, unique};
use crate::support::prometheus::{Alert, RUNBOOKS, shared};
use crate::support::{PATIENCE, eventually, free_port, sse, within};

/// Quick to believe what it sees.
const QUICK: &str = "[health]\npatience_s = 3\nhold_s = 2\nsilence_min_s = 1\n";

/// What has to be said of a fault, everywhere.
struct Fault<'a> {
    /// Of `/admin/health`: which list, and which name in it.
    subject: (&'a str, &'a str),
    cause: &'a str,
    alert: &'a str,
    /// What the probe reads, from which it says why.
    stream: &'a str,
}

fn found(gateway: &Gateway, (kind, name): (&str, &str)) -> (String, String) {
    let health = gateway.health();
    let service = std::slice::from_ref(&health["service"]);
    let all = if kind == "service" { service } else { health[kind].as_array().expect("a list") };
    let one = all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{health}"));
    let text = |key: &str| one[key].as_str().expect("a text").to_owned();
    (text("level"), text("cause"))
}

/// Its status and its line.
fn probe(gateway: &Gateway, stream: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let url = format!("http://{}/v2/stream/{stream}", gateway.public());
    command.args(["check", &url, "--first-byte=20", "--warn-first-byte=20", "--first-event=5"]);
    command.args(["--age=86400", "--warn-age=86400"]);
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

fn firing(gateway: &Gateway, name: &str) -> Vec<Alert> {
    let mut alerts = shared().alerts(gateway.admin());
    alerts.retain(|alert| alert.fires && alert.label("alertname") == name);
    alerts
}

/// Waits: what happened in the last minute counts for some faults, and a machine that stands still
/// for a while makes every silence look usual.
#[track_caller]
fn in_time(what: &str, is: impl FnMut() -> bool) {
    within(4 * PATIENCE, what, is);
}

impl Fault<'_> {
    /// The fault has just begun.
    #[track_caller]
    fn is_said_everywhere(&self, gateway: &Gateway) {
        let began = Instant::now();
        let critical = ("critical".to_owned(), self.cause.to_owned());
        in_time("/admin/health says it", || found(gateway, self.subject) == critical);
        let health = began.elapsed();
        let named =
            |alert: &Alert| self.subject.0 == "service" || alert.label("name") == self.subject.1;
        let mut alerts = Vec::new();
        in_time("the alert fires, for both teams", || {
            alerts = firing(gateway, self.alert);
            alerts.retain(named);
            alerts.len() == 2
        });
        let alert = began.elapsed();
        let mut teams: Vec<_> = alerts.iter().map(|alert| alert.label("team")).collect();
        teams.sort_unstable();
        assert_eq!(teams, ["kafka", "service"]);
        for alert in &alerts {
            assert_eq!(alert.label("severity"), "critical");
            assert_eq!(alert.label("cause"), self.cause, "{alert:?}");
            let page = format!("{RUNBOOKS}/{}.md", self.alert);
            assert_eq!(alert.annotations["runbook_url"], page);
        }
        let (status, line) = probe(gateway, self.stream);
        assert_eq!(status, Some(2), "{line}");
        assert!(line.starts_with(&format!("CRITICAL: {}: ", self.stream)), "{line}");
        let ready = gateway.ask_admin("/readyz");
        assert!(ready.starts_with("HTTP/1.1 200"), "no fault of this host: {ready}");
        println!("{}: health after {health:?}, alert after {alert:?}, probe: {line}", self.cause);
        let log = gateway.log();
        assert!(log.contains(&format!("\"cause\":\"{}\"", self.cause)), "a line of its own");
    }

    /// It is over.
    #[track_caller]
    fn clears(&self, gateway: &Gateway) {
        in_time("/admin/health says that it is over", || found(gateway, self.subject).0 == "ok");
        in_time("the alert is over", || firing(gateway, self.alert).is_empty());
    }
}

/// Writes an event every 20 ms until it is dropped; whether it is taken is the test's affair.
struct Lively(Option<(std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>)>);

impl Lively {
    fn new(write: impl Fn() + Send + 'static) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let pause = Duration::from_millis(20);
            while stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                write();
            }
        });
        Self(Some((stop, thread)))
    }

    fn to(public: SocketAddr, stream: &str) -> Self {
        let event = format!(r#"{{"meta":{{"stream":{stream:?}}}}}"#);
        Self::new(move || drop(sse::post(public, "/v1/events", event.as_bytes())))
    }
}

impl Drop for Lively {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_frozen_and_one_that_is_gone_are_said_everywhere_and_clear() {
    let mut kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let gateway = Gateway::kafka(&kafka.bootstrap(), &[("s", &["t"])], QUICK);
    shared().scrapes(gateway.admin());
    let source = Fault {
        subject: ("sources", "kafka.main"),
        cause: "unreachable",
        alert: "TidegateSourceUnreachable",
        stream: "s",
    };
    let stream = Fault { subject: ("streams", "s"), alert: "TidegateStreamBroken", ..source };
    eventually("it is well", || found(&gateway, source.subject).0 == "ok");
    kafka.freeze();
    source.is_said_everywhere(&gateway);
    stream.is_said_everywhere(&gateway);
    kafka.thaw();
    source.clears(&gateway);
    kafka.kill();
    source.is_said_everywhere(&gateway);
    kafka.go();
    source.clears(&gateway);
    stream.clears(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_dead_brokers_is_said_everywhere_and_clears_when_one_answers() {
    let (kafka, topic, port) = (kafka::shared(), unique("alerts"), free_port());
    kafka.create_topic(&topic, 1, &[]).await;
    let dead = format!("127.0.0.1:{port}");
    let gateway = Gateway::kafka(&dead, &[("s", &[&topic])], QUICK);
    shared().scrapes(gateway.admin());
    let fault = Fault {
        subject: ("sources", "kafka.main"),
        cause: "unreachable",
        alert: "TidegateSourceUnreachable",
        stream: "s",
    };
    fault.is_said_everywhere(&gateway);
    // Somebody answers there again: what it says leads to the brokers that there are.
    let listener = TcpListener::bind(&dead).expect("the port is free");
    let to = kafka.bootstrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(broker) = TcpStream::connect(&to) else { continue };
            let both = [(&client, &broker), (&broker, &client)];
            for (from, to) in both.map(|(a, b)| (a.try_clone(), b.try_clone())) {
                let (mut from, mut to) = (from.expect("a descriptor"), to.expect("a descriptor"));
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    fault.clears(&gateway);
}

#[test]
fn a_broken_stream_and_one_that_fell_silent_are_said_everywhere_and_a_quiet_one_is_nothing() {
    let streams: Streams<'_> = &[("tried", &["a"]), ("lively", &["b"]), ("quiet", &["c"])];
    let canary = "[canary]\nstreams = [\"tried\"]\ninterval_s = 1\ndeadline_s = 5\n";
    let gateway = Gateway::embedded(streams, &format!("{QUICK}{canary}"));
    // From the start on: how long it is silent now counts for what is usual of it.
    let lively = Lively::to(gateway.public(), "lively");
    shared().scrapes(gateway.admin());
    eventually("canaries pass", || found(&gateway, ("streams", "tried")).0 == "ok");
    let silent = Fault {
        subject: ("streams", "lively"),
        cause: "silent",
        alert: "TidegateStreamBroken",
        stream: "lively",
    };
    let taken = || gateway.metric("tidegate_intake_events_total");
    // Known is what has been looked at for ten times the least silence.
    let begun = Instant::now();
    eventually("its rate is known", || {
        taken() > 400.0 && begun.elapsed() > Duration::from_secs(12)
    });
    drop(lively);
    silent.is_said_everywhere(&gateway);
    let lively = Lively::to(gateway.public(), "lively");
    silent.clears(&gateway);
    drop(lively);
    let block = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("block").args(args);
        command.args(["--admin", &format!("http://{}", gateway.admin())]);
        assert!(command.status().expect("it runs").success());
    };
    let broken =
        Fault { subject: ("streams", "tried"), cause: "canary_unread", stream: "tried", ..silent };
    block(&["add", "127.0.0.1/32", "--for", "1h", "--reason", "a test", "--force"]);
    broken.is_said_everywhere(&gateway);
    block(&["rm", "127.0.0.1/32"]);
    broken.clears(&gateway);
    assert_eq!(found(&gateway, ("streams", "quiet")).0, "ok");
    let quiet = shared().ever_fired(gateway.admin(), "name=\"quiet\",");
    assert!(quiet.is_empty(), "nothing was ever raised for what is only quiet: {quiet:?}");
}

fn host(n: u8) -> IpAddr {
    [127, 0, 1, n].into()
}

#[test]
fn readers_under_their_share_that_are_refused_are_said_everywhere_and_clear() {
    let more = format!("{QUICK}[limits]\nstreams = 2\n");
    let gateway = Gateway::embedded(&[("s", &["t"])], &more);
    shared().scrapes(gateway.admin());
    let open = |n| sse::get_from(host(n), gateway.public(), "/v2/stream/s").expect("answered");
    let held = [open(1), open(2)];
    assert!(held.iter().all(|response| response.status == 200));
    let fault = Fault {
        subject: ("service", "tidegate"),
        cause: "refused_under_share",
        alert: "TidegateReadersRefused",
        stream: "s",
    };
    for n in 3..12 {
        assert_eq!(open(n).status, 503);
    }
    // They count for a minute: until all have seen it, somebody comes again and again.
    let public = gateway.public();
    let comes = Lively::new(move || drop(sse::get_from(host(12), public, "/v2/stream/s")));
    fault.is_said_everywhere(&gateway);
    drop((comes, held));
    fault.clears(&gateway);
}

/// A greedy address, newcomers who displace its streams, readers that stop reading, short lifetimes, and
/// a restart.
#[test]
fn what_is_absorbed_raises_nothing_above_a_warning() {
    let canary = "[canary]\nstreams = [\"s\"]\ninterval_s = 1\ndeadline_s = 10\n";
    let more =
        format!("{QUICK}{canary}[limits]\nstreams = 9\n[session]\nstall_s = 2\nlifetime_s = 3\n");
    let mut gateway = Gateway::embedded(&[("s", &["t"])], &more);
    shared().scrapes(gateway.admin());
    let public = gateway.public();
    let open = |n| sse::get_from(host(n), public, "/v2/stream/s").expect("answered");
    eventually("canaries pass", || found(&gateway, ("streams", "s")).0 == "ok");
    let greedy: Vec<_> = (0..20).map(|_| open(1)).collect();
    assert!(greedy.iter().any(|response| response.status == 503), "it is full");
    for n in 2..5 {
        assert_eq!(open(n).status, 200, "a newcomer is let in");
    }
    // None of the greedy one's is read any more, while much is written.
    let _lively = Lively::to(public, "s");
    eventually("some are ended", || gateway.metric("tidegate_streams_ended_total") > 3.0);
    assert!(gateway.terminate().success());
    gateway.go();
    eventually("it is well again", || found(&gateway, ("service", "tidegate")).0 == "ok");
    eventually("it is scraped again", || {
        let up = format!("up{{instance=\"{}\"}} == 1", gateway.admin());
        !shared().query(&up).is_empty()
    });
    let fired = shared().ever_fired(gateway.admin(), "severity=\"critical\",");
    assert!(fired.is_empty(), "{fired:?}");
    assert_eq!(gateway.metric("tidegate_refusals_under_share_total"), 0.0);
    drop(greedy);
}
