//! Canaries against real gateways: through the public port as it is configured, told from a stream
//! that is broken, and made by others.

use serde_json::Value;

use crate::support::certificate::{Files, Identity};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sse;

const CANARY: &str = "[health]\nhold_s = 1\n[canary]\nstreams = [\"s\"]\ninterval_s = 1\n";

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(&[("s", &["t"])], &format!("{CANARY}deadline_s = 5\n{more}"))
}

/// What `/admin/health` says of the stream: level, cause, words.
fn stream(gateway: &Gateway) -> (String, String, String) {
    let health = gateway.health();
    let text = |key: &str| health["streams"][0][key].as_str().expect("a text").to_owned();
    (text("level"), text("cause"), text("says"))
}

#[track_caller]
fn becomes(gateway: &Gateway, level: &str, cause: &str) {
    let what = format!("the stream is {level}, {cause}");
    eventually(&what, || {
        let (now, why, _) = stream(gateway);
        (&*now, &*why) == (level, cause)
    });
}

fn passed(gateway: &Gateway) -> f64 {
    gateway.metric_of("tidegate_canaries_total", "outcome=\"passed\"")
}

#[test]
fn canaries_go_the_whole_way_and_readers_see_them_as_such() {
    let gateway = gateway("");
    let mut reader = sse::get(gateway.public(), "/v2/stream/s", &[]).expect("answered").events();
    let event: Value = serde_json::from_str(&reader.message().data).expect("JSON");
    assert_eq!(event["meta"]["domain"], "canary");
    assert_eq!(event["meta"]["stream"], "s");
    becomes(&gateway, "ok", "none");
    eventually("two have passed", || passed(&gateway) >= 2.0);
    let latency = gateway.metric("tidegate_canary_latency_seconds_sum");
    assert!(latency > 0.0 && latency < 60.0, "{latency}");
    assert_eq!(gateway.metric_of("tidegate_canaries_total", "outcome=\"lost\""), 0.0);
}

#[test]
fn canaries_find_the_way_in_where_this_host_is_a_trusted_proxy_and_over_tls() {
    let files = Files::of(&Identity::new());
    let tls = files.config();
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]\n";
    let header = format!("[limits]\n{trusted}client_ip_header = \"X-Forwarded-For\"\n");
    let protocol = format!("{tls}[limits]\n{trusted}client_from = \"proxy_protocol\"\n");
    for more in [header, protocol] {
        let gateway = gateway(&more);
        eventually("one has passed", || passed(&gateway) >= 1.0);
        becomes(&gateway, "ok", "none");
    }
}

#[test]
fn a_stream_that_readers_cannot_read_is_critical_and_is_well_again_afterwards() {
    let gateway = gateway("");
    becomes(&gateway, "ok", "none");
    let block = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("block").args(args);
        command.args(["--admin", &format!("http://{}", gateway.admin())]);
        assert!(command.status().expect("it runs").success());
    };
    block(&["add", "127.0.0.1/32", "--for", "1h", "--reason", "a test", "--force"]);
    becomes(&gateway, "critical", "canary_unread");
    let says = stream(&gateway).2;
    assert!(says.contains("403"), "{says}");
    assert!(gateway.log().contains("\"health\":\"critical\""), "a line of its own");
    block(&["rm", "127.0.0.1/32"]);
    becomes(&gateway, "ok", "none");
}

#[test]
fn canaries_that_others_make_are_missed_when_they_stop_and_events_tell_it_from_a_broken_stream() {
    let config = CANARY.replace("[canary]\n", "[canary]\nproduce = false\ndeadline_s = 1\n");
    let gateway = Gateway::embedded(&[("s", &["t"])], &config);
    let post = |domain: &str| {
        let dt = jiff::Timestamp::now();
        let event = format!(r#"{{"meta":{{"stream":"s","domain":"{domain}","dt":"{dt}"}}}}"#);
        let (status, _) =
            sse::post(gateway.public(), "/v1/events", event.as_bytes()).expect("sent");
        assert_eq!(status, 201);
    };
    becomes(&gateway, "critical", "canary_absent");
    eventually("canaries are seen, and it is well", || {
        post("canary");
        stream(&gateway).0 == "ok"
    });
    assert!(gateway.metric("tidegate_canary_latency_seconds_count") >= 1.0);
    eventually("they have stopped, and events go on", || {
        post("de.example.org");
        stream(&gateway).0 == "degraded"
    });
    becomes(&gateway, "critical", "canary_absent");
}
