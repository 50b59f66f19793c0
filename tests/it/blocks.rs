//! Blocks as operators have them: the binary beside running gateways, readers of many addresses,
//! and gateways that share what was decided through a real Kafka.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::gateway::{Gateway, Streams};
use crate::support::kafka::{Kafka, unique};
use crate::support::sse::{self, End, Events};
use crate::support::{eventually, free_port};

const STREAMS: Streams<'_> = &[("changes", &["test.changes"])];
const PATH: &str = "/v2/stream/changes";

fn block(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("block").args(arguments);
    command.args(["--admin", &format!("http://{}", gateway.admin())]);
    command.env_remove("SSH_CONNECTION").output().expect("the binary")
}

/// What it says on success.
#[track_caller]
fn says(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = block(gateway, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", err(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn list(gateway: &Gateway) -> Value {
    serde_json::from_str(&says(gateway, &["ls", "--json"])).expect("JSON")
}

fn host(n: u8) -> IpAddr {
    [127, 0, 0, n].into()
}

fn open(gateway: &Gateway, from: u8) -> Events {
    let response = sse::get_from(host(from), gateway.public(), PATH).expect("answered");
    let mut events = response.events();
    events.greet();
    events
}

/// What a new request is answered with; a stream that is opened is closed at once.
fn status(gateway: &Gateway, from: u8) -> u16 {
    sse::get_from(host(from), gateway.public(), PATH).expect("answered").status
}

fn becomes(gateway: &Gateway, from: u8, expected: u16) {
    eventually(&format!("127.0.0.{from} gets a {expected}"), || status(gateway, from) == expected);
}

fn write(gateway: &Gateway, n: usize) {
    let event = format!("{{\"meta\":{{\"stream\":\"changes\"}},\"n\":{n}}}");
    let (status, body) = sse::post(gateway.public(), "/v1/events", event.as_bytes()).expect("sent");
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
}

/// What the audit trail says was done to which prefix.
fn trail(dir: &Path) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(dir.join("audit.jsonl")).unwrap_or_default();
    let entries = text.lines().map(|line| {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        (word("action"), word("what"), word("by"))
    });
    entries.collect()
}

fn did(action: &str, what: &str, by: &str) -> (String, String, String) {
    (action.to_owned(), what.to_owned(), by.to_owned())
}

#[test]
fn a_range_is_blocked_at_once_over_kills_and_until_its_time_is_over() {
    let mut gateway = Gateway::embedded(STREAMS, "");
    let mut inside: Vec<Events> = [16, 23, 31].map(|n| open(&gateway, n)).into();
    let mut outside: Vec<Events> = [15, 32].map(|n| open(&gateway, n)).into();
    write(&gateway, 0);
    for events in inside.iter_mut().chain(&mut outside) {
        events.message();
    }
    let add = ["add", "127.0.0.19/28", "--for", "2d", "--reason", "it scrapes", "--by", "ann"];
    let said = says(&gateway, &add);
    assert!(said.starts_with("127.0.0.16/28 is blocked until "), "{said}");
    assert!(
        said.contains("; 3 stream(s) end\n") && said.contains("all of 127.0.0.16/28"),
        "{said}"
    );
    // In force when the command has ended.
    assert_eq!((status(&gateway, 16), status(&gateway, 15)), (403, 200));
    for mut events in inside {
        let error = events.next().expect("it is told why");
        assert_eq!(error.name, "error");
        let problem: Value = serde_json::from_str(&error.data).expect("JSON");
        assert_eq!(problem["detail"], "Your address has been blocked: it scrapes");
        assert!(matches!(events.next(), Err(End::Whole)), "and ends whole");
    }
    for n in 1..=20 {
        write(&gateway, n);
    }
    for events in &mut outside {
        for n in 1..=20 {
            let data: Value = serde_json::from_str(&events.message().data).expect("JSON");
            assert_eq!(data["n"], n, "the others lose nothing");
        }
    }
    let listed = list(&gateway);
    let first = &listed["blocks"][0];
    let (by, why) = (&first["by"], &first["reason"]);
    assert_eq!((by, why), (&"ann".into(), &"it scrapes".into()), "{listed}");
    assert!(first["since"].is_string() && first["until"].is_string(), "{listed}");
    let table = says(&gateway, &["ls"]);
    assert!(table.contains("127.0.0.16/28") && table.contains("it scrapes"), "{table}");
    // SIGKILL, then SIGTERM.
    gateway.kill();
    gateway.go();
    assert_eq!((status(&gateway, 31), status(&gateway, 32)), (403, 200));
    says(&gateway, &["add", "127.0.0.64/32", "--for", "3s", "--by", "bob"]);
    assert!(gateway.terminate().success());
    gateway.go();
    assert_eq!(status(&gateway, 31), 403);
    becomes(&gateway, 64, 200);
    assert_eq!(status(&gateway, 31), 403, "the other one goes on");
    says(&gateway, &["rm", "127.0.0.16/28", "--by", "ann"]);
    assert_eq!(status(&gateway, 31), 200);
    assert_eq!(says(&gateway, &["ls"]), "nobody is blocked\n");
    let state = gateway.log_dir().join("state");
    let expected = [
        did("block_added", "127.0.0.16/28", "ann"),
        did("block_added", "127.0.0.64/32", "bob"),
        did("block_expired", "127.0.0.64/32", "tidegate"),
        did("block_removed", "127.0.0.16/28", "ann"),
    ];
    eventually("all is in the trail", || {
        let mut trail = trail(&state);
        trail.sort();
        trail == expected
    });
    let refused = gateway.metric_of("tidegate_refusals_total", "reason=\"blocked\"");
    assert!(refused >= 1.0, "{refused}");
}

#[test]
fn a_command_that_would_do_harm_or_cannot_be_read_changes_nothing_and_says_why() {
    let gateway = Gateway::embedded(STREAMS, "[limits]\ntrusted_proxies = [\"127.9.0.0/16\"]\n");
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let output = block(&gateway, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(why), "{arguments:?}: {}", err(&output));
    };
    refused(&["add", "198.51.100.0/33", "--for", "2d"], 2, "198.51.100.0/24 or");
    refused(&["add", "198.51.100.0/24"], 2, "--for");
    refused(&["add", "198.51.100.0/24", "--for", "soon"], 2, "30m, 12h, 2d or 4w");
    refused(&["add", "198.51.100.0/24", "--for", "2d", "--by", " "], 2, "say who decides it");
    refused(&["add", "0.0.0.0/0", "--for", "2d"], 1, "--force");
    refused(&["add", "::/0", "--for", "2d"], 1, "--force");
    refused(&["add", "127.0.0.0/24", "--for", "2d"], 1, "from where you ask");
    refused(&["add", "127.9.1.0/24", "--for", "2d"], 1, "limits.trusted_proxies");
    refused(&["rm", "198.51.100.0/24"], 1, "198.51.100.0/24 is not blocked");
    assert_eq!(list(&gateway)["blocks"], serde_json::json!([]));
    says(&gateway, &["add", "0.0.0.0/0", "--for", "1h", "--force"]);
    assert_eq!(status(&gateway, 1), 403);
    refused(&["rm", "198.51.100.0/24"], 1, "0.0.0.0/0 is");
    says(&gateway, &["rm", "0.0.0.0/0"]);
    assert_eq!(status(&gateway, 1), 200);
    let mut nobody = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    nobody.args(["block", "ls", "--admin", &format!("http://127.0.0.1:{}", free_port())]);
    let output = nobody.output().expect("the binary");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("cannot connect to the admin port at http://127.0.0.1:"),
        "{}",
        err(&output)
    );
}

#[test]
fn with_a_token_only_who_has_it_decides() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        path.to_str().expect("plain").to_owned()
    };
    let (right, wrong) = (file("right", "0123456789abcdef\n"), file("wrong", "fedcba9876543210\n"));
    let gateway = Gateway::embedded_with_head(&format!("admin_token_file = {right:?}\n"), STREAMS);
    for arguments in [&["ls"][..], &["ls", "--token-file", &wrong]] {
        let output = block(&gateway, arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains("the gateway says 401"), "{}", err(&output));
    }
    says(&gateway, &["add", "127.0.0.16/28", "--for", "ever", "--token-file", &right]);
    assert_eq!(status(&gateway, 17), 403);
}

#[test]
fn a_damaged_file_stops_the_start_and_says_what_to_do() {
    let mut gateway = Gateway::embedded(STREAMS, "");
    says(&gateway, &["add", "127.0.0.16/28", "--for", "ever"]);
    assert!(gateway.terminate().success());
    let file = gateway.log_dir().join("state/blocks.json");
    let whole = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("write");
    let said = gateway.does_not_start();
    assert!(said.contains("blocks.json cannot be read"), "{said}");
    assert!(said.contains("move it away"), "{said}");
    std::fs::write(&file, &whole).expect("write");
    gateway.go();
    assert_eq!(status(&gateway, 17), 403);
}

/// Two gateways over one cluster, and their control topic.
struct Two {
    kafka: Kafka,
    one: Gateway,
    two: Gateway,
    topic: String,
}

impl Two {
    fn over(kafka: Kafka, topic: &str) -> Self {
        let gateway = || {
            let more = format!("[blocks]\ntopic = {topic:?}\n");
            Gateway::kafka(&kafka.bootstrap(), STREAMS, &more)
        };
        let (one, two) = (gateway(), gateway());
        Self { one, two, topic: topic.to_owned(), kafka }
    }

    fn both(&self) -> [&Gateway; 2] {
        [&self.one, &self.two]
    }

    fn are_in_step(&self) {
        for gateway in self.both() {
            eventually("it is in step", || gateway.metric("tidegate_control_in_step") == 1.0);
        }
    }
}

#[test]
fn gateways_of_a_cluster_share_blocks_also_after_kafka_was_away() {
    let mut all = Two::over(Kafka::start(), &unique("control"));
    all.are_in_step();
    let add = ["add", "127.0.0.16/28", "--for", "2d", "--reason", "it scrapes", "--by", "ann"];
    says(&all.one, &add);
    becomes(&all.two, 17, 403);
    assert_eq!(list(&all.two)["blocks"][0]["by"], "ann");
    says(&all.two, &["add", "127.0.0.32/28", "--for", "ever", "--by", "bob"]);
    becomes(&all.one, 33, 403);
    all.are_in_step();

    // Kafka is away: what is decided here holds here, and over a kill.
    all.kafka.kill();
    says(&all.two, &["rm", "127.0.0.16/28", "--by", "bob"]);
    says(&all.one, &["add", "127.0.0.48/28", "--for", "2d", "--by", "ann"]);
    // (Who is not blocked may meet a 503 now.)
    assert_ne!(status(&all.two, 17), 403);
    assert_eq!(status(&all.one, 49), 403);
    for gateway in all.both() {
        eventually("it says so", || {
            gateway.metric("tidegate_control_in_step") == 0.0
                && gateway.metric("tidegate_blocks_unshared") == 1.0
        });
        assert!(list(gateway)["shared"]["problem"].is_string());
    }
    all.two.kill();
    all.two.go();
    assert_eq!(status(&all.two, 33), 403, "from its disk");
    assert_ne!(status(&all.two, 17), 403, "what was removed here is not blocked again");

    all.kafka.go();
    all.are_in_step();
    for gateway in all.both() {
        becomes(gateway, 49, 403);
        becomes(gateway, 33, 403);
        // The older block of it is still in the topic's log, and loses.
        becomes(gateway, 17, 200);
    }
    // In force first, written down then.
    eventually("the trail of the other has it too", || {
        trail(&all.one.state_dir()).contains(&did("block_removed", "127.0.0.16/28", "bob"))
    });

    // One that has never been there learns all of it.
    let more = format!("[blocks]\ntopic = {:?}\n", all.topic);
    let three = Gateway::kafka(&all.kafka.bootstrap(), STREAMS, &more);
    becomes(&three, 49, 403);
    becomes(&three, 33, 403);
    eventually("it is in step", || three.metric("tidegate_control_in_step") == 1.0);
    becomes(&three, 17, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_topic_may_not_be_made_it_is_said_what_to_make_and_then_it_is_used() {
    let (kafka, topic) = (Kafka::with_rights(), unique("control"));
    kafka.deny_making(&topic, true);
    let all = Two::over(kafka, &topic);
    let made = format!("--create --topic {topic} --partitions 1 --config cleanup.policy=compact");
    eventually("it says what to make", || all.one.log().contains(&made));
    says(&all.one, &["add", "127.0.0.16/28", "--for", "2d"]);
    assert_eq!(status(&all.one, 17), 403, "here it holds");
    let problem = list(&all.one)["shared"]["problem"].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains(&made), "{problem}");
    assert!(says(&all.one, &["ls"]).contains("not shared with other gateways now"));
    all.kafka.deny_making(&topic, false);
    all.kafka.create_topic_unless_there(&topic, 1, &[("cleanup.policy", "compact")]).await;
    becomes(&all.two, 17, 403);
    all.are_in_step();

    // It may only be read now: what is decided holds here, and is shared when it may be.
    all.kafka.deny_writing(&topic, true);
    eventually("the rights are known", || {
        says(&all.one, &["add", "127.0.0.32/28", "--for", "2d"]);
        let problem = list(&all.one)["shared"]["problem"].is_string();
        problem && all.one.metric("tidegate_blocks_unshared") == 1.0
    });
    assert_eq!(status(&all.one, 33), 403);
    all.kafka.deny_writing(&topic, false);
    becomes(&all.two, 33, 403);
    all.are_in_step();
}
