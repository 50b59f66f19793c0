//! Brokers that are replaced by others, until none is left of those that the gateway was told of.

use std::path::Path;
use std::time::Instant;

use super::world::{LIVELY, Readers, Writer, renewals, wait_for_refusal, wait_for_service};
use crate::support::gateway::Gateway;
use crate::support::kafka::cluster::Cluster;
use crate::support::{block_on, prometheus};

const PATH: &str = "/v2/stream/s?id=first";

/// A list of brokers as an operator replaces it: a new file in the place of the old one.
fn write_list(file: &Path, brokers: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, brokers.replace(',', "\n") + "\n").expect("written");
    std::fs::rename(new, file).expect("in its place");
}

#[test]
fn brokers_are_replaced_one_by_one_and_all_at_once_and_nobody_notices() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("brokers");
    let mut cluster = Cluster::start(3);
    block_on(cluster.create_topic(("eqiad.moved", 3, 2), &[("retention.ms", "-1")]));
    // It knows one of them, the first to go.
    write_list(&file, cluster.address(1));
    let clusters = format!("[kafka.main]\nbrokers_file = {file:?}\n");
    let gateway = Gateway::clusters(&clusters, &[("s", &["eqiad.moved"])], LIVELY);
    let writer = Writer::start(cluster.producer(&[]), "eqiad.moved", 3);
    wait_for_service(&gateway, PATH);
    prometheus::shared().scrapes(gateway.admin());
    let readers = Readers::start(&gateway, PATH);

    // One by one: the next comes, takes over, and the old one goes for good.
    for (old, new, then) in [(1, 4, [2, 3, 4]), (2, 5, [3, 4, 5]), (3, 6, [4, 5, 6])] {
        cluster.add(&[new]);
        cluster.move_to(&then);
        cluster.retire(old);
        readers.go_on();
        wait_for_service(&gateway, PATH);
        println!("broker {old} replaced by {new}: longest wait {:?}", readers.longest());
    }

    // One that leads freezes: Kafka itself has to find that out, the rest is ours.
    let frozen = cluster.leader("eqiad.moved", 0);
    cluster.brokers[&frozen].node.freeze();
    let begun = Instant::now();
    crate::support::eventually("another leads", || {
        let leader = cluster.leader_without(frozen, "eqiad.moved", 0);
        leader.is_some_and(|leader| leader > 0 && leader != frozen)
    });
    let elected = begun.elapsed();
    readers.go_on();
    println!(
        "a leader frozen: another was elected after {elected:?}, longest wait {:?}",
        readers.longest()
    );
    cluster.brokers[&frozen].node.thaw();
    cluster.wait_until_whole();
    let fired = prometheus::shared().ever_fired(gateway.admin(), "severity=\"critical\",");
    assert!(fired.is_empty(), "nobody is called for what is absorbed: {fired:?}");

    // All at once: while it does not look, everything goes elsewhere.
    gateway.freeze();
    cluster.add(&[7, 8]);
    cluster.move_to(&[7, 8]);
    for old in [4, 5, 6] {
        cluster.retire(old);
    }
    gateway.thaw();
    let refused = wait_for_refusal(&gateway, PATH);
    println!("all replaced: refused in {refused:?}");
    let begun = Instant::now();
    write_list(&file, &cluster.bootstrap());
    readers.go_on();
    assert!(renewals(&gateway, "brokers_changed") >= 1.0);
    println!("the list changed: events again after {:?}", begun.elapsed());
    let served = wait_for_service(&gateway, PATH);
    println!("and who comes is served after {served:?} more");
    readers.finish(writer);
}
