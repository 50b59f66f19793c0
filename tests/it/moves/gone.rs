//! A cluster that is gone altogether: killed, frozen, cut off without a word.

use std::time::{Duration, Instant};

use serde_json::json;

use super::world::{LIVELY, Readers, Writer, renewals, wait_for_refusal, wait_for_service};
use crate::support::gateway::Gateway;
use crate::support::kafka::cluster::{Broker, Cluster};
use crate::support::sse::{Bytes, get};
use crate::support::{block_on, eventually, prometheus};

const PATH: &str = "/v2/stream/s?id=first";

/// What is done to a broker.
type Do = fn(&mut Broker);

/// A stream that has nothing to say lives: its keepalives come.
fn assert_lives(still: &mut Bytes) {
    let chunk = still.next().expect("a stream that is open stays open, and says so");
    assert!(chunk.starts_with(b":"), "{}", String::from_utf8_lossy(&chunk));
}

/// Whether operators are told, by `/admin/health` and by the alerts of both teams.
fn is_said(gateway: &Gateway) -> bool {
    let health = gateway.health();
    let source = &health["sources"][0];
    let critical = [&source["name"], &source["level"], &source["cause"]];
    let alerts = prometheus::shared().alerts(gateway.admin());
    let teams = alerts.iter().filter(|alert| {
        let is_it = alert.label("alertname") == "TidegateSourceUnreachable";
        is_it && alert.fires && alert.label("name") == "kafka.main"
    });
    let mut teams: Vec<_> = teams.map(|alert| alert.label("team")).collect();
    teams.sort_unstable();
    critical == [&json!("kafka.main"), &json!("critical"), &json!("unreachable")]
        && teams == ["kafka", "service"]
}

/// Whether nobody is told anything any more.
fn is_cleared(gateway: &Gateway) -> bool {
    let mut alerts = prometheus::shared().alerts(gateway.admin()).into_iter();
    gateway.health()["service"]["level"] == "ok"
        && alerts.all(|a| a.label("severity") != "critical")
}

#[test]
fn all_brokers_go_and_come_back_and_who_was_there_goes_on() {
    let mut cluster = Cluster::with_links(2);
    block_on(cluster.create_topic(("eqiad.gone", 2, 1), &[("retention.ms", "-1")]));
    block_on(cluster.create_topic(("eqiad.still", 1, 1), &[("retention.ms", "-1")]));
    let streams: [(&str, &[&str]); 2] = [("s", &["eqiad.gone"]), ("still", &["eqiad.still"])];
    let gateway = Gateway::kafka(cluster.address(1), &streams, LIVELY);
    let writer = Writer::start(cluster.producer(&[]), "eqiad.gone", 2);
    wait_for_service(&gateway, PATH);
    prometheus::shared().scrapes(gateway.admin());
    let readers = Readers::start(&gateway, PATH);
    let still = get(gateway.public(), "/v2/stream/still", &[]).expect("answered");
    let mut still = still.bytes();

    let faults: [(&str, Do, Do); 3] = [
        ("killed", |broker| broker.node.kill(), |broker| broker.node.go()),
        ("frozen", |broker| broker.node.freeze(), |broker| broker.node.thaw()),
        (
            "cut off without a word",
            |broker| broker.link.as_ref().expect("it has one").hold(),
            |broker| broker.link.as_ref().expect("it has one").release(),
        ),
    ];
    for (name, begin, end) in faults {
        readers.go_on();
        let _ = readers.longest();
        let begun = Instant::now();
        cluster.all(begin);
        let refused = wait_for_refusal(&gateway, PATH);
        println!("{name}: known after {:?}, refused in {refused:?}", begun.elapsed());
        let reachable = gateway.metric("tidegate_source_reachable");
        assert!(reachable.abs() < 0.1, "{name}: the metric says {reachable}");
        wait_for_refusal(&gateway, "/v2/stream/s?since=0");
        // Once until operators are told, once past the time at which all clients are made anew.
        let (known, renewed) = (Instant::now(), renewals(&gateway, "unreachable"));
        eventually("it lasts", || {
            assert_lives(&mut still);
            match name {
                "killed" => is_said(&gateway),
                "frozen" => renewals(&gateway, "unreachable") > renewed,
                _ => known.elapsed() > Duration::from_secs(3),
            }
        });
        println!("{name}: ends after {:?}", begun.elapsed());
        cluster.all(end);
        cluster.topics().wait_for_brokers(2);
        let back = Instant::now();
        readers.go_on();
        println!("{name}: back, events again after {:?}", back.elapsed());
        wait_for_service(&gateway, PATH);
        eventually("nobody is told any more", || is_cleared(&gateway));
    }
    readers.finish(writer);
}
