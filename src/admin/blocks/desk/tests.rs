//! The desk over a real folder.

use super::*;
use crate::gate::Settings;
use crate::limits::BLOCK_KNOWN_AFTER_MS;

pub(in crate::admin::blocks) fn desk(dir: Option<&Path>, host: &str) -> Arc<Desk> {
    let metrics = Arc::new(Metrics::new());
    let gate = Gate::new(Settings::room_for(10), Arc::clone(&metrics));
    Desk::open(gate, dir, host, metrics).expect("a desk")
}

pub(in crate::admin::blocks) fn order(prefix: &str, seconds: Option<i64>) -> Order {
    Order {
        prefix: prefix.parse().expect("a prefix"),
        seconds,
        reason: Some("scrapes".into()),
        by: "ann".into(),
        from: [127, 0, 0, 1].into(),
    }
}

fn remove(desk: &Desk, prefix: &str) -> Result<Done, NotDone> {
    let prefix = prefix.parse().expect("a prefix");
    desk.remove((prefix, "bob".to_owned(), [127, 0, 0, 1].into()), None)
}

/// What happened to which prefix, as the trail has it.
fn trail(dir: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(dir.join("audit.jsonl")).expect("a trail");
    let line = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        let word = |key: &str| entry[key].as_str().expect("a text").to_owned();
        assert!(!word("by").is_empty() && !word("host").is_empty());
        (word("action"), word("what"))
    };
    text.lines().map(line).collect()
}

fn blocks(desk: &Desk, address: &str) -> bool {
    desk.gate().admit(address.parse().expect("an address")).is_err()
}

fn said(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn what_is_decided_outlasts_the_process_and_is_in_the_trail() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let desk = desk(Some(dir.path()), "gw1:1");
        desk.add(order("198.51.100.0/24", None)).expect("added");
        desk.add(order("203.0.113.0/24", Some(3600))).expect("added");
        assert!(blocks(&desk, "198.51.100.9") && blocks(&desk, "203.0.113.9"));
        assert_eq!(remove(&desk, "203.0.113.0/24").expect("removed").unsaved, None);
        assert!(!blocks(&desk, "203.0.113.9"));
    }
    let desk = desk(Some(dir.path()), "gw1:1");
    assert!(blocks(&desk, "198.51.100.9") && !blocks(&desk, "203.0.113.9"));
    let known = desk.known();
    let block = &known[&"198.51.100.0/24".parse().expect("a prefix")];
    assert_eq!((&*block.by, block.reason.as_deref()), ("ann", Some("scrapes")));
    let expected = [
        ("block_added", "198.51.100.0/24"),
        ("block_added", "203.0.113.0/24"),
        ("block_removed", "203.0.113.0/24"),
    ];
    assert_eq!(trail(dir.path()), said(&expected));
}

#[test]
fn only_what_is_blocked_can_be_removed_and_it_is_said_what_is() {
    let desk = desk(None, "gw1:1");
    assert_eq!(remove(&desk, "198.51.100.0/24").err(), Some(NotDone::NotBlocked(None)));
    desk.add(order("198.51.0.0/16", None)).expect("added");
    let near = Some(NotDone::NotBlocked(Some("198.51.0.0/16".parse().expect("a prefix"))));
    assert_eq!(remove(&desk, "198.51.100.0/24").err(), near);
    remove(&desk, "198.51.0.0/16").expect("removed");
    assert_eq!(remove(&desk, "198.51.0.0/16").err(), Some(NotDone::NotBlocked(None)));
}

#[test]
fn who_decides_here_wins_over_what_a_host_with_a_fast_clock_decided_before() {
    let desk = desk(None, "gw1:1");
    let ahead = Change {
        at: TimestampMs(TimestampMs::now().0 + 1_000_000),
        host: "gw2:1".into(),
        verdict: Verdict::Blocked { until: None },
        prefix: "198.51.100.0/24".parse().expect("a prefix"),
        by: "eve".into(),
        reason: None,
    };
    desk.heard(vec![ahead.clone()]);
    assert!(blocks(&desk, "198.51.100.9"));
    remove(&desk, "198.51.100.0/24").expect("removed");
    desk.heard(vec![ahead]);
    assert!(!blocks(&desk, "198.51.100.9"));
}

#[test]
fn the_end_of_a_block_is_recorded_once_also_when_it_came_while_nobody_ran() {
    let dir = tempfile::tempdir().expect("a folder");
    let ended = TimestampMs(TimestampMs::now().0 - 1000);
    let over = Change {
        at: TimestampMs(ended.0 - 5000),
        host: "gw2:1".into(),
        verdict: Verdict::Blocked { until: Some(ended) },
        prefix: "198.51.100.0/24".parse().expect("a prefix"),
        by: "ann".into(),
        reason: None,
    };
    {
        // As it is when the process ended before the block did.
        let store = Store::open(dir.path()).expect("taken");
        store.save(&[over], &HashSet::new()).expect("saved");
    }
    for _ in 0..2 {
        let desk = desk(Some(dir.path()), "gw1:1");
        desk.sweep();
        assert!(!blocks(&desk, "198.51.100.9"));
        assert_eq!(trail(dir.path()), said(&[("block_expired", "198.51.100.0/24")]));
    }
    let desk = desk(Some(dir.path()), "gw1:1");
    desk.add(order("198.51.100.0/24", Some(1))).expect("blocked again");
    let since = std::time::Instant::now();
    while trail(dir.path()).len() < 3 {
        assert!(since.elapsed().as_secs() < 20, "not in time");
        std::thread::sleep(std::time::Duration::from_millis(50));
        desk.sweep();
    }
    assert_eq!(
        trail(dir.path())[1..],
        said(&[("block_added", "198.51.100.0/24"), ("block_expired", "198.51.100.0/24"),])
    );
}

#[test]
fn what_has_long_been_over_is_forgotten_and_not_taken_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let desk = desk(Some(dir.path()), "gw1:1");
    let long_ago = TimestampMs(TimestampMs::now().0 - BLOCK_KNOWN_AFTER_MS - 1000);
    let old = Change {
        at: long_ago,
        host: "gw2:1".into(),
        verdict: Verdict::Removed,
        prefix: "198.51.100.0/24".parse().expect("a prefix"),
        by: "ann".into(),
        reason: None,
    };
    desk.heard(vec![old.clone()]);
    assert!(desk.known().is_empty());
    desk.gate().learn(vec![old]);
    desk.sweep();
    assert!(desk.known().is_empty());
}

#[test]
fn a_disk_that_does_not_take_it_is_said_and_tried_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let desk = desk(Some(dir.path()), "gw1:1");
    // A folder in the file's place: nobody can write it, whoever runs this.
    std::fs::create_dir(dir.path().join("blocks.json.tmp")).expect("a folder");
    let done = desk.add(order("198.51.100.0/24", None)).expect("in force");
    assert!(done.unsaved.is_some() && blocks(&desk, "198.51.100.9"));
    assert!(desk.metrics().render().contains("tidegate_blocks_unsaved 1\n"));
    std::fs::remove_dir(dir.path().join("blocks.json.tmp")).expect("free again");
    desk.sweep();
    assert!(desk.metrics().render().contains("tidegate_blocks_unsaved 0\n"));
    let text = std::fs::read_to_string(dir.path().join("blocks.json")).expect("a file");
    assert!(text.contains("198.51.100.0/24"), "{text}");
}

#[test]
fn there_are_no_more_than_there_may_be() {
    let desk = desk(None, "gw1:1");
    let many = (0..BLOCKS_MAX).map(|n| Change {
        at: TimestampMs(1),
        host: "gw2:1".into(),
        verdict: Verdict::Blocked { until: None },
        prefix: IpNet::from(IpAddr::from([10, 0, (n >> 8) as u8, n as u8])),
        by: "ann".into(),
        reason: None,
    });
    desk.heard(many.collect());
    assert_eq!(desk.add(order("198.51.100.0/24", None)).err(), Some(NotDone::Full));
    assert!(desk.add(order("10.0.0.7/32", None)).is_ok(), "it is known already");
}
