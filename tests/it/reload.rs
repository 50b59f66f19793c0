//! The configuration is read again while it runs: all of it is taken or nothing, and who reads what
//! has not changed does not notice.

use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::kafka::{New, shared, unique};
use crate::support::sse::{self, End, Events};
use tokio::runtime::Runtime;

/// `tidegate reload`.
fn reload(gateway: &Gateway) -> Output {
    let admin = format!("http://{}", gateway.admin());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["reload", "--admin", &admin]).output().expect("it runs")
}

#[track_caller]
fn reloads(gateway: &Gateway) -> String {
    let output = reload(gateway);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    said
}

/// What it says of a configuration that it does not take.
#[track_caller]
fn refuses(gateway: &Gateway) -> String {
    let output = reload(gateway);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(gateway.metric("tidegate_config_ok"), 0.0);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A start that could not be fixed in time on a busy machine (503) is asked for again, as clients do.
fn open(to: SocketAddr, stream: &str) -> Events {
    let mut answer = None;
    eventually("a stream is opened", || {
        let response = sse::get(to, &format!("/v2/stream/{stream}"), &[]).expect("an answer");
        let is_refused = response.status == 503;
        answer = Some(response);
        !is_refused
    });
    let mut events = answer.expect("just asked").events();
    events.greet();
    events
}

fn status(to: SocketAddr, stream: &str) -> u16 {
    sse::get(to, &format!("/v2/stream/{stream}"), &[]).expect("an answer").status
}

fn write(to: SocketAddr, stream: &str, n: u32) {
    let event = format!(r#"{{"meta":{{"stream":"{stream}"}},"n":{n}}}"#);
    let (status, answer) = sse::post(to, "/v1/events", event.as_bytes()).expect("an answer");
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
}

#[track_caller]
fn gets(events: &mut Events, n: u32) {
    let event = events.message();
    assert!(event.data.contains(&format!("\"n\":{n}")), "{event:?}");
}

#[track_caller]
fn ends_whole(mut events: Events) {
    match events.next() {
        Err(End::Whole) => {}
        other => panic!("not ended whole: {other:?}"),
    }
}

#[test]
fn streams_come_change_and_go_and_who_reads_the_others_does_not_notice() {
    let gateway = Gateway::embedded(&[("stays", &["a"]), ("grows", &["b"]), ("goes", &["c"])], "");
    let to = gateway.public();
    let [mut stays, grows, goes] = ["stays", "grows", "goes"].map(|stream| open(to, stream));
    write(to, "stays", 1);
    gets(&mut stays, 1);
    gateway.edit_config(|text| {
        let text = text.replace("\n[streams.\"goes\"]\ntopics = [\"c\"]", "");
        let text = text.replace("topics = [\"b\"]", "topics = [\"b\", \"more\"]");
        let text = text.replace("topics = [\"a\"]", "topics = [\"a\"]\naliases = [\"remains\"]");
        text + "\n[streams.comes]\ntopics = [\"d\"]\n"
    });
    assert_eq!(reloads(&gateway), "read again; changed: streams\n");
    // What they were shown is not what the stream is now, or no more.
    ends_whole(grows);
    ends_whole(goes);
    eventually("it is counted", || {
        gateway.metric_of("tidegate_streams_ended_total", "reason=\"reconfigured\"") == 2.0
    });
    assert_eq!(status(to, "goes"), 400);
    let mut others = ["comes", "remains", "grows"].map(|stream| open(to, stream));
    for (n, stream) in ["comes", "stays", "grows"].into_iter().enumerate() {
        let n = u32::try_from(n).expect("few") + 2;
        write(to, stream, n);
        gets(&mut others[n as usize - 2], n);
    }
    gets(&mut stays, 3);
    assert_eq!(reloads(&gateway), "read again; nothing has changed\n");
    // The file is looked at, too.
    gateway.edit_config(|text| text.to_owned() + "\n[streams.later]\ntopics = [\"e\", \"c\"]\n");
    eventually("it is seen", || status(to, "later") == 200);
    write(to, "stays", 5);
    gets(&mut stays, 5);
}

#[test]
fn what_takes_a_restart_or_is_wrong_changes_nothing_and_is_named() {
    let gateway = Gateway::embedded(&[("s", &["t"])], "[limits]\nstreams_per_client = 2\n");
    let to = gateway.public();
    assert_eq!(gateway.metric("tidegate_config_ok"), 1.0);
    gateway.edit_config(|text| {
        let text = text.replace("streams_per_client = 2", "streams_per_client = 1\nring_mb = 9");
        text + "\n[streams.new]\ntopics = [\"u\"]\n[session]\nshards = 3\n"
    });
    let said = refuses(&gateway);
    assert!(said.contains("limits.ring_mb: cannot be changed while it runs"), "{said}");
    assert!(said.contains("session.shards: cannot"), "all of them: {said}");
    assert_eq!(status(to, "new"), 400);
    let held = [open(to, "s"), open(to, "s")];
    gateway.edit_config(|text| text.replace("ring_mb = 9", "rings = 9").replace("shards = 3", ""));
    let said = refuses(&gateway);
    assert!(said.contains("limits.rings: there is no such key"), "{said}");
    gateway.edit_config(|text| text.replace("rings = 9", ""));
    gateway.signal("-HUP");
    eventually("it is taken", || gateway.metric("tidegate_config_ok") == 1.0);
    assert_eq!(status(to, "new"), 429, "of one stream two are held");
    drop(held);
    eventually("there is room", || status(to, "new") == 200);
    gateway.edit_config(|text| format!("log_level = \"debug\"\n{text}\n[drain]\nspread_s = 7\n"));
    // The harness has a table of that name already.
    assert!(refuses(&gateway).contains("is no TOML"));
    gateway.edit_config(|text| text.replace("\n[drain]\nspread_s = 7\n", ""));
    assert!(reloads(&gateway).contains("changed: log_level"));
    drop(open(to, "s"));
    eventually("more is logged", || gateway.log().contains("\"DEBUG\""));
}

#[test]
fn tokens_are_read_again_when_their_file_changes() {
    let tokens = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&tokens, "the-first-token-of-them-all\n").expect("written");
    let more = format!("[budgets.b]\ntokens_file = {:?}\nstreams = 9\n", tokens.path());
    let gateway = Gateway::embedded(&[("s", &["t"])], &more);
    let status = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        sse::get(gateway.public(), "/v2/stream/s", &headers).expect("an answer").status
    };
    assert_eq!(
        (status("the-first-token-of-them-all"), status("the-second-one-of-them")),
        (200, 401)
    );
    std::fs::write(&tokens, "the-second-one-of-them\n").expect("written");
    eventually("it is seen", || status("the-second-one-of-them") == 200);
    assert_eq!(status("the-first-token-of-them-all"), 401);
    std::fs::write(&tokens, "x\n").expect("written");
    assert!(refuses(&gateway).contains("line 1 is no token"));
    assert_eq!(status("the-second-one-of-them"), 200);
}

#[test]
fn a_stream_of_a_topic_that_kafka_has_shows_all_that_comes_from_its_greeting_on() {
    let (old, new) = (unique("before-the-reload"), unique("after-the-reload"));
    for topic in [&old, &new] {
        let made = shared().create_topic(topic, 2, &[]);
        Runtime::new().expect("a runtime").block_on(made);
    }
    let gateway =
        Gateway::kafka(&shared().bootstrap(), &[("s", &[&old])], "[blocks]\ntopic = \"\"\n");
    let producer = shared().producer(&[]);
    let write = |topic: &str, n: u32| {
        let value = format!("{{\"n\":{n}}}");
        producer.send(topic, New { value: Some(value.as_bytes()), ..New::default() });
        producer.flush();
    };
    let mut events = open(gateway.public(), "s");
    write(&new, 0);
    gateway.edit_config(|text| format!("{text}\n[streams.added]\ntopics = [{new:?}]\n"));
    reloads(&gateway);
    for n in 1..20 {
        let mut added = open(gateway.public(), "added");
        write(&new, n);
        gets(&mut added, n);
    }
    write(&old, 1);
    gets(&mut events, 1);
    gateway.edit_config(|text| text.replace("bootstrap = [", "bootstrap = [\"127.0.0.1:9\", "));
    assert_eq!(reloads(&gateway), "read again; changed: kafka.main.bootstrap\n");
    // All clients are made anew, and nothing is missed by that.
    for n in 2..12 {
        write(&old, n);
        gets(&mut events, n);
    }
    gateway.edit_config(|text| {
        let list = text.lines().find(|line| line.starts_with("bootstrap")).expect("there");
        text.replace(list, "brokers_file = \"/nowhere\"")
    });
    assert!(refuses(&gateway).contains("kafka.main.brokers_file: cannot be changed"));
}
