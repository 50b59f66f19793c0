//! What is to be hidden is hidden from everyone: those who read live, those who read the past from
//! memory or from the log, in every encoding, and those who look at the gateway.

use crate::support::gateway::Gateway;
use crate::support::reading::{Reading, STREAM, all_ways, has, write};
use crate::support::sse;

const RULES: &str = r#"
[redact.names]
streams = ["s"]
match = { "meta.domain" = ["hidden.org"] }
remove = ["user", "performer.name"]
replace = { comment = "" }
[mediawiki_redacted_pages]
ruwiki = ["Some Page"]
"#;

/// Written in all the ways that could get past a rule; those that no rule means say `open`.
const EVENTS: [&str; 5] = [
    r#"{"meta":{"stream":"s","domain":"hidden.org"},"user":"SECRET","n":1.0}"#,
    r#"{"us\u0065r":["SECRET"],"user":"SECRET","performer":[{"n\u0061me":"SECRET","x":1}],"comment":"SECRET","meta":{"stream":"s","domain":"hidden.\u006frg"}}"#,
    r#"{"title":"some_page","wiki":"ruwiki","user":"SECRET","meta":{"stream":"s"}}"#,
    r#"{"meta":{"stream":"s","domain":"other.org"},"user":"open","n":1.50}"#,
    r#"{"meta":{"stream":"s"},"title":"Some Page","wiki":"jawiki","user":"open"}"#,
];

fn send(gateway: &Gateway) {
    let body = format!("[{}]", EVENTS.join(","));
    let (status, answer) =
        sse::post(gateway.public(), "/v1/events", body.as_bytes()).expect("sent");
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
}

#[track_caller]
fn is_hidden(text: &str, times: usize) {
    assert!(!text.contains("SECRET"), "{text}");
    assert_eq!(text.matches(r#""user":"open""#).count(), 2 * times, "{text}");
    assert_eq!(text.matches(r#""n":1.50}"#).count(), times, "what no rule means stays: {text}");
    assert_eq!(text.matches(r#""performer":[{"x":1}],"comment":"""#).count(), times, "{text}");
}

#[test]
fn what_rules_hide_is_hidden_live_and_in_the_past_and_from_operators() {
    let mut gateway = Gateway::embedded(&[("s", &["s"])], RULES);
    // Something to begin with, so that the topic is there.
    write(gateway.public(), 1, 16);
    let mut live: Vec<_> = all_ways().map(|how| Reading::open(gateway.public(), how, "")).collect();
    for reading in &mut live {
        reading.until("it is open", |text| text.starts_with(":ok"));
    }
    send(&gateway);
    for reading in &mut live {
        reading.until("all are there", has(5));
        is_hidden(reading.text(), 1);
    }
    for path in ["/metrics", "/admin/sessions", "/admin/clients"] {
        assert!(!gateway.ask_admin(path).contains("SECRET"), "{path}");
    }
    drop(live);
    // The past: first from memory, then from the log, which knows all.
    for _ in 0..2 {
        for how in all_ways() {
            let mut past = Reading::open(gateway.public(), how, "&since=1");
            past.until("all are there", has(5));
            is_hidden(past.text(), 1);
        }
        let json = ("accept", "application/json");
        let path = format!("{STREAM}?since=1");
        let response =
            sse::request(gateway.public(), "GET", &path, &[json], b"").expect("an answer");
        is_hidden(&response.lines(6).join("\n"), 1);
        for rule in ["names", "mediawiki_redacted_pages"] {
            let counted =
                gateway.metric_of("tidegate_events_redacted_total", &format!("rule=\"{rule}\""));
            assert!(counted >= 1.0, "{rule}: {counted}");
        }
        assert!(gateway.terminate().success());
        gateway.go();
    }
    assert!(!gateway.log().contains("SECRET"));
}
