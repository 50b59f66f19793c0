//! Who reads history, and who may start feeds: no reader and no client can take either from the
//! others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::reading::{Http, Reading, STREAM, all_ways, are_all, has, offsets, write};
use crate::support::sse;

#[test]
fn replays_that_stall_give_their_turns_to_those_who_read_and_miss_nothing_later() {
    const EVENTS: u64 = 6000;
    let limits = "[limits]\nring_mb = 1\ntail_mb = 1\nhistory_cache_mb = 1\ncatchups = 2\n\
                  [session]\nstall_s = 3600\n";
    let gateway = Gateway::embedded(&[("s", &["t"])], limits);
    let to = gateway.public();
    write(to, EVENTS as usize, 1600);
    let mut stalled: Vec<_> = all_ways().map(|way| Reading::open(to, way, "&since=0")).collect();
    // And one that the HTTP library delivers, since it expects something.
    let expects = sse::get(to, &format!("{STREAM}?since=0"), &[("expect", "nothing")]);
    stalled.push(Reading::of(expects.expect("an answer"), None));
    let waiting = || gateway.metric("tidegate_catchups_waiting");
    eventually("the first are stalled, and the others wait", || {
        gateway.metric("tidegate_catchup_readers") == 9.0
    });
    let read = |way| Reading::open(to, way, "&since=0").until("all of it", has(EVENTS - 1));
    read((Http::V1_1, None));
    read((Http::V1_0, None));
    assert!(gateway.metric("tidegate_catchups_running") <= 2.0);
    let threads = stalled.into_iter().map(|mut reading| {
        std::thread::spawn(move || {
            reading.until("all of it, later", has(EVENTS - 1));
            are_all(&offsets(reading.text()), 0, EVENTS);
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("it got everything");
    }
    eventually("nobody reads history any more", || {
        waiting() + gateway.metric("tidegate_catchups_running") == 0.0
    });
}

/// All sets of these streams, each as a path.
fn combinations(streams: &[&str]) -> Vec<String> {
    let sets = 1..1u32 << streams.len();
    let set = |bits: u32| {
        let chosen = streams.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1);
        chosen.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
    };
    sets.map(|bits| format!("/v2/stream/{}", set(bits))).collect()
}

#[test]
fn one_address_that_asks_for_every_combination_leaves_feeds_for_the_others() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let topics: Vec<[&str; 1]> = names.iter().map(|name| [*name]).collect();
    let streams: Vec<(&str, &[&str])> =
        names.iter().zip(&topics).map(|(name, topics)| (*name, &topics[..])).collect();
    let gateway = Gateway::embedded(&streams, "[limits]\nfeeds = 20\nfeeds_per_client = 8\n");
    let to = gateway.public();
    let from = |host: u8, path: &str| {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
        sse::get_from(address, to, path).expect("an answer")
    };
    let all = combinations(&names);
    let mut statuses = BTreeSet::new();
    // Some are kept, and of the others the feed lives on for a while.
    let mut kept = Vec::new();
    for (n, path) in all.iter().enumerate() {
        let response = from(1, path);
        statuses.insert(response.status);
        if response.status == 429 {
            assert!(response.header("retry-after").is_some());
        } else if n % 2 == 0 {
            kept.push(response);
        }
    }
    assert_eq!(statuses, BTreeSet::from([200, 429]));
    assert_eq!(gateway.metric("tidegate_feeds"), 8.0);
    assert_eq!(gateway.metric("tidegate_feeds_of_one_client_max"), 8.0);
    let refused = gateway.metric_of("tidegate_refusals_total", "reason=\"client_feeds\"");
    assert_eq!(refused, all.len() as f64 - 8.0);
    // What is there may be joined by everybody, also by who started it.
    let rest = &all[8..];
    assert_eq!(from(1, &all[0]).status, 200);
    assert_eq!(from(2, &all[1]).status, 200);
    let others: Vec<_> = rest[..8].iter().map(|path| from(2, path)).collect();
    assert!(others.iter().all(|response| response.status == 200), "another starts its own");
    assert_eq!(from(1, &rest[3]).status, 200, "and they can be joined");
    assert_eq!(from(1, &rest[20]).status, 429);
    assert_eq!(gateway.metric("tidegate_feeds"), 16.0);
}

#[test]
fn replays_of_the_same_past_travel_together_and_share_their_reads() {
    const EVENTS: u64 = 8_000;
    const READERS: usize = 16;
    let limits = "[limits]\nring_mb = 1\ntail_mb = 1\nhistory_cache_mb = 4\ncatchups = 2\n";
    let gateway = Gateway::embedded(&[("s", &["t"])], limits);
    let to = gateway.public();
    write(to, EVENTS as usize, 1600);
    let reads = || gateway.metric("tidegate_history_reads_total");
    let open = || Reading::open(to, (Http::V1_0, None), "&since=0");
    let read = |mut reading: Reading| reading.until("all of it", has(EVENTS - 1));
    read(open());
    let of_one = reads();
    // All are there before any reads: their sockets hold them close to each other.
    let all: Vec<_> = (0..READERS).map(|_| open()).collect();
    let threads = all.into_iter().map(|reading| std::thread::spawn(move || read(reading)));
    let threads: Vec<_> = threads.collect();
    threads.into_iter().for_each(|thread| thread.join().expect("it got all"));
    let of_all = reads() - of_one;
    assert!(of_one >= 10.0 && of_all <= 1.5 * of_one, "{of_all} where one needs {of_one}");
}
