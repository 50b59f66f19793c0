//! A line for each stream that has ended, where the configuration asks for it, and no more of its
//! client's address than it allows.

use serde_json::Value;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::reading::write;
use crate::support::sse;

fn lines(gateway: &Gateway) -> Vec<Value> {
    let log = gateway.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "tidegate::access").collect()
}

/// The line of one stream that got two events; `None`: a moment after it had ended there was none.
fn line(more: &str) -> Option<Value> {
    let gateway = Gateway::embedded(&[("s", &["t"])], more);
    let agent = [("user-agent", "somebody/1.0")];
    let mut events = sse::get(gateway.public(), "/v2/stream/s", &agent).expect("answered").events();
    events.greet();
    write(gateway.public(), 2, 16);
    events.message();
    events.message();
    drop(events);
    eventually("it has ended", || gateway.metric("tidegate_streams_ended_total") == 1.0);
    if !more.is_empty() {
        eventually("it has a line", || !lines(&gateway).is_empty());
    }
    let mut lines = lines(&gateway);
    assert!(lines.len() <= 1, "{lines:?}");
    lines.pop()
}

#[test]
fn a_stream_that_has_ended_has_a_line_with_as_much_of_the_address_as_is_allowed() {
    let config = "[access_log]\nenabled = true\n";
    let said = line(config).expect("a line");
    assert_eq!(said["client"], "127.0.0.0/24", "by default");
    assert_eq!((&said["agent"], &said["streams"]), (&"somebody/1.0".into(), &"s".into()));
    assert_eq!((&said["encoding"], &said["events"]), (&"identity".into(), &2.into()));
    assert_eq!(said["reason"], "client_closed");
    assert!(said["bytes"].as_u64() > Some(100) && said["seconds"].is_f64(), "{said}");
    let said = line(&format!("{config}addresses = \"whole\"\n")).expect("a line");
    assert_eq!(said["client"], "127.0.0.1");
    let said = line(&format!("{config}addresses = \"none\"\n")).expect("a line");
    assert!(said["client"] == "-" && !said.to_string().contains("127.0"), "{said}");
    assert_eq!(line(""), None, "off unless it is asked for");
}
