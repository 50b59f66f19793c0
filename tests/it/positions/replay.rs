//! `since`, the order of a replay and its joint with what comes live, NDJSON, and topics that do
//! not exist yet.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::over_both_sources;
use super::world::{Kind, Place, Row, T0, World, entries, iso};

over_both_sources! {
    since_is_a_time_in_any_form_and_inclusive
    a_since_beyond_the_end_is_the_latest
    a_replay_is_merged_by_time_and_joins_live_without_gap_or_repetition
    ndjson_says_the_same_as_the_events
    a_topic_that_comes_later_is_taken_in_from_its_beginning
    a_stream_of_which_no_topic_exists_opens_and_waits
}

fn since_is_a_time_in_any_form_and_inclusive(kind: Kind) {
    let mut world = World::new(kind, 2);
    world.write(&[(0, 0, 1000), (0, 0, 1000), (0, 1, 999), (0, 1, 1001), (1, 0, 2000)]);
    let all = world.all();
    let expected = |from: i64| -> Vec<Place> {
        all.iter().copied().filter(|place| world.time(*place) >= from).collect()
    };
    let plain = |ms: i64| iso(T0 + ms).trim_end_matches('Z').to_owned();
    let at_1000 = plain(1000);
    let forms = [
        (T0.to_string(), 0),
        ((T0 + 999).to_string(), 999),
        ((T0 + 1000).to_string(), 1000),
        ((T0 + 1002).to_string(), 1002),
        (format!("{at_1000}Z"), 1000),
        (format!("{at_1000}.001Z"), 1001),
        (format!("{at_1000}+00:00"), 1000),
        (format!("{at_1000}%2B00:00"), 1000),
        (format!("{at_1000}%20+00:00").replace("%20+", "%20"), 1000),
        ("0".to_owned(), 0),
        ("1970-01-01".to_owned(), 0),
        ("1969-12-31T23:59:59Z".to_owned(), 0),
    ];
    let expected: Vec<_> = forms.iter().map(|(form, from)| (form, expected(*from))).collect();
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        for (form, expected) in &expected {
            let mut events = world.open(&format!("both?since={form}"), &[]).events();
            assert_eq!(world.take_sorted(&mut events, expected.len()), *expected, "{form}");
        }
    }
    let mut events = world.open(&format!("both?since={}", T0 + 2000), &[]).events();
    assert_eq!(world.take(&mut events, 1), [(1, 0, 1)]);
    world.nothing_else_in(&mut events, 0);
}

fn a_since_beyond_the_end_is_the_latest(kind: Kind) {
    let mut world = World::new(kind, 1);
    world.settle();
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        for since in [format!("{}", T0 + 2_000_000_000), "2100-01-01".to_owned()] {
            let mut events = world.open(&format!("both?since={since}"), &[]).events();
            events.greet();
            world.nothing_else_in(&mut events, 1);
        }
    }
}

fn a_replay_is_merged_by_time_and_joins_live_without_gap_or_repetition(kind: Kind) {
    let mut world = World::new(kind, 2);
    // Of each partition another density, and runs in which one has much and the others nothing.
    let row = |n: i64| -> Row {
        match n % 7 {
            0 => (0, 1, n),
            1 | 2 => (1, 0, n),
            3 if n > 400 => (1, 1, n),
            _ => (0, 0, n),
        }
    };
    let rows: Vec<Row> = (1..800).map(row).collect();
    rows.chunks(100).for_each(|rows| world.write(rows));
    world.restart();
    let before = world.all().len();
    let done = AtomicBool::new(false);
    let (mut came, mut readers) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let rows: Vec<Row> = (800..1200).map(row).collect();
            rows.chunks(20).for_each(|rows| world.write(rows));
            done.store(true, Ordering::Release);
        });
        // Readers who begin while it is written.
        while !done.load(Ordering::Acquire) || readers == 0 {
            readers += 1;
            let mut events = world.open("both?since=0", &[]).events();
            came.push((world.take(&mut events, before), events));
        }
    });
    let expected = world.all();
    for (mut came, mut events) in came.into_iter().take(8) {
        assert!(came.is_sorted_by_key(|place| world.time(*place)), "merged by time");
        came.extend(world.take(&mut events, expected.len() - before));
        came.sort_unstable();
        assert_eq!(came, expected);
    }
}

fn ndjson_says_the_same_as_the_events(kind: Kind) {
    let world = World::new(kind, 2);
    world.write(&[(0, 0, 1), (0, 1, 1), (1, 0, 2), (1, 1, 3)]);
    // What the gateway has not heard of yet comes live, and not merged by time.
    world.settle();
    let mut events = world.open("both?since=0", &[]).events();
    let data: Vec<_> = (0..6).map(|_| events.message().data).collect();
    for accept in ["application/json", "application/x-ndjson"] {
        let response = world.open("both?since=0", &[("accept", accept)]);
        assert!(response.header("content-type").is_some_and(|t| t.starts_with(accept)));
        assert_eq!(response.lines(6), data);
    }
    let id = world.id_after("both", (0, 0, 1));
    let headers = [("accept", "application/json"), ("last-event-id", &id)];
    assert_eq!(world.open("both", &headers).lines(3), data[3..]);
}

fn a_topic_that_comes_later_is_taken_in_from_its_beginning(kind: Kind) {
    let mut world = World::with_topics(kind, 1, 1);
    world.write(&[(0, 0, 0)]);
    let mut open = world.open("both?since=0", &[]).events();
    let first = open.message();
    assert_eq!(world.place(&first), (0, 0, 0));
    assert_eq!(entries(&first.id).len(), 1, "of what there is");
    world.settle();
    let mut live = world.listen("both");
    world.make_second();
    world.write(&[(1, 0, 1), (1, 0, 2)]);
    assert_eq!(world.take(&mut live, 2), [(1, 0, 0), (1, 0, 1)]);
    assert_eq!(world.take(&mut open, 2), [(1, 0, 0), (1, 0, 1)]);
    world.write(&[(0, 0, 3)]);
    let event = open.message();
    assert_eq!((world.place(&event), entries(&event.id).len()), ((0, 0, 1), 2));
    // A reader who was away meanwhile, and whose id does not name it.
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        let mut events = world.resume("both", &first.id).events();
        assert_eq!(world.take_sorted(&mut events, 3), [(0, 0, 1), (1, 0, 0), (1, 0, 1)]);
    }
}

fn a_stream_of_which_no_topic_exists_opens_and_waits(kind: Kind) {
    let world = World::with_topics(kind, 1, 0);
    let mut events = world.listen("second");
    let mut replay = world.open("second?since=0", &[]).events();
    replay.greet();
    world.make_second();
    world.write(&[(1, 0, 0), (1, 0, 1)]);
    for events in [&mut events, &mut replay] {
        assert_eq!(world.take(events, 2), [(1, 0, 0), (1, 0, 1)]);
    }
    let data: Value = serde_json::from_str(&replay_one(&world)).expect("JSON");
    assert_eq!(data["time"], 0);
}

/// What a stream that does not fail on a topic of the past says.
fn replay_one(world: &World) -> String {
    world.open("second?since=0", &[]).events().message().data
}
