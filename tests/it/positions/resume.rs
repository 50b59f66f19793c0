//! A reader that comes back: every form in which it may say where it was.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::over_both_sources;
use super::world::{Kind, Place, Row, T0, World, entries};

over_both_sources! {
    every_event_comes_once_when_the_connection_is_cut_after_each
    a_partition_that_never_spoke_loses_nothing_in_a_reconnect
    what_is_acknowledged_after_ok_is_delivered
    an_id_before_the_first_event_keeps_a_cut_from_losing_anything
    earliest_latest_offsets_and_times_are_what_they_say
    names_and_an_empty_id_start_at_the_latest
    an_id_that_was_parsed_and_written_again_is_the_same
    a_subset_of_the_partitions_leaves_the_others_to_since_or_the_latest
    an_id_of_12_kb_is_read_and_goes_on_exactly
    a_partition_that_does_not_exist_is_passed_over_and_said
    many_gaps_are_cut_in_the_header_and_whole_in_the_stream
    an_offset_above_the_end_starts_at_the_latest_and_is_said
    what_is_no_position_is_refused
    an_id_wins_over_since
}

/// The id of an event: all partitions in canonical order, each with the next offset, the time of
/// the last record before it and the log.
fn assert_exact(world: &World, id: &str, partitions: i32, passed: &BTreeMap<(usize, i32), i64>) {
    let all = entries(id);
    assert_eq!(all.len(), 2 * usize::try_from(partitions).expect("small"), "{id}");
    let order = all.iter().map(|e| (e["topic"].as_str(), e["partition"].as_i64()));
    assert!(order.is_sorted(), "{id}");
    for topic in 0..2 {
        for partition in 0..partitions {
            let entry = world.entry(id, topic, partition).expect("every partition is there");
            let next = passed.get(&(topic, partition)).copied().unwrap_or(0);
            assert_eq!(entry["offset"], next, "{topic}/{partition} in {id}");
            let time = entry["timestamp"].as_i64().expect("a time, also without a record");
            if next > 0 {
                assert_eq!(time, T0 + world.time((topic, partition, next - 1)), "{id}");
            }
            assert_eq!(entry["log"].as_str().map(str::len), Some(6), "{id}");
        }
    }
}

fn every_event_comes_once_when_the_connection_is_cut_after_each(kind: Kind) {
    let mut world = World::new(kind, 2);
    // Two of each partition share a millisecond, and all partitions do. (1, 1) never speaks.
    let tick = |time: i64| [(0, 0), (0, 1), (1, 0)].map(|(topic, p)| (topic, p, time));
    let rows: Vec<Row> = (1..4).flat_map(|t| [tick(t), tick(t)]).flatten().collect();
    world.write(&rows);
    world.restart();
    let (mut seen, mut passed) = (Vec::<Place>::new(), BTreeMap::new());
    let mut id: Option<String> = None;
    while seen.len() < world.all().len() {
        let response = match &id {
            None => world.open("both?since=0", &[]),
            Some(id) => world.resume("both", id),
        };
        assert_eq!(response.header("x-stream-gap"), None);
        let event = response.events().message();
        let (topic, partition, offset) = world.place(&event);
        passed.insert((topic, partition), offset + 1);
        assert_exact(&world, &event.id, 2, &passed);
        seen.push((topic, partition, offset));
        id = Some(event.id);
        if seen.len() == 10 {
            // Ties with what was there before, which come live or from memory.
            world.write(&[tick(3), tick(3)].concat());
        }
    }
    assert!(seen.is_sorted_by_key(|place| world.time(*place)), "{seen:?}");
    seen.sort_unstable();
    assert_eq!(seen, world.all());
    let mut rest = world.resume("both", &id.expect("some were seen")).events();
    world.nothing_else_in(&mut rest, 1);
}

fn a_partition_that_never_spoke_loses_nothing_in_a_reconnect(kind: Kind) {
    let mut world = World::new(kind, 2);
    world.settle();
    for restart in [false, true] {
        let mut live = world.listen("both");
        world.write(&[(0, 0, 1)]);
        let event = live.message();
        drop(live);
        let (quiet, time) = if restart { ((0, 1), 3) } else { ((1, 1), 2) };
        let entry = world.entry(&event.id, quiet.0, quiet.1).expect("it is in the id");
        assert_eq!(entry["offset"], 0, "a real offset: {}", event.id);
        world.write(&[(quiet.0, quiet.1, time), (quiet.0, quiet.1, time)]);
        if restart {
            world.restart();
        }
        let mut events = world.resume("both", &event.id).events();
        let came = world.take(&mut events, 2);
        assert_eq!(came, [(quiet.0, quiet.1, 0), (quiet.0, quiet.1, 1)]);
        world.nothing_else_in(&mut events, 0);
    }
}

fn what_is_acknowledged_after_ok_is_delivered(kind: Kind) {
    let world = World::new(kind, 2);
    world.settle();
    for n in 0..20 {
        let mut events = world.listen("both");
        let row = (usize::from(n % 2 == 0), i32::from(n % 3 == 0), 100 + i64::from(n));
        world.write(&[row]);
        let place = world.place(&events.message());
        assert_eq!((place.0, place.1, world.time(place)), row);
    }
}

fn an_id_before_the_first_event_keeps_a_cut_from_losing_anything(kind: Kind) {
    let mut world = World::new(kind, 2);
    world.settle();
    let browser = [("accept", "text/event-stream"), ("origin", "https://a.example")];
    for (restart, path, headers) in
        [(false, "both?id=first", &[][..]), (true, "both", &browser), (false, "both", &browser)]
    {
        let mut events = world.open(path, headers).events();
        let first = events.next().expect("the id");
        assert!(events.retry.is_some(), "retry stands before it");
        assert_eq!((first.name.as_str(), first.data.as_str()), ("", ""), "nothing is dispatched");
        drop(events);
        let before = world.all();
        world.write(&[(0, 0, 5), (0, 1, 5), (1, 1, 6)]);
        if restart {
            world.restart();
        }
        let mut events = world.resume("both", &first.id).events();
        let came = world.take_sorted(&mut events, 3);
        let new: Vec<_> = world.all().into_iter().filter(|p| !before.contains(p)).collect();
        assert_eq!(came, new);
        world.nothing_else_in(&mut events, 1);
    }
}

fn earliest_latest_offsets_and_times_are_what_they_say(kind: Kind) {
    let mut world = World::new(kind, 1);
    world.write(&[(0, 0, 10), (0, 0, 20), (0, 0, 30), (1, 0, 15)]);
    world.restart();
    let (first, second) = (world.topics[0].clone(), world.topics[1].clone());
    let at = |fields: Value| {
        let mut entry = json!({"topic": first, "partition": 0});
        let fields = fields.as_object().expect("fields").clone();
        entry.as_object_mut().expect("an entry").extend(fields);
        json!([entry]).to_string()
    };
    for (fields, begins) in [
        (json!({"offset": -2}), 0),
        (json!({"offset": -2, "timestamp": T0 + 20}), 0),
        (json!({"timestamp": T0 + 10}), 1),
        (json!({"timestamp": T0 + 11}), 2),
        (json!({"timestamp": 0}), 0),
        (json!({"offset": 2}), 2),
        (json!({"offset": 0}), 0),
        // Between these two times stands this offset and no other.
        (json!({"offset": 2, "timestamp": T0 + 10}), 2),
        // The offset is not where this time is: the time decides, inclusively.
        (json!({"offset": 1, "timestamp": T0 + 20}), 2),
        (json!({"offset": 3, "timestamp": T0 + 10}), 1),
        (json!({"offset": 1000, "timestamp": T0 + 10}), 1),
    ] {
        let response = world.resume(&first, &at(fields.clone()));
        assert_eq!(response.header("x-stream-gap"), None, "{fields}");
        let mut events = response.events();
        let came = world.take(&mut events, usize::try_from(4 - begins).expect("small"));
        let expected: Vec<Place> = (begins..4).map(|offset| (0, 0, offset)).collect();
        assert_eq!(came, expected, "{fields}");
    }
    // What clients of the reference send: the time after the last event, and -1 elsewhere.
    let pair = json!([
        {"topic": first, "partition": 0, "timestamp": T0 + 21},
        {"topic": second, "partition": 0, "offset": -1},
    ]);
    let mut events = world.resume("both", &pair.to_string()).events();
    assert_eq!(world.take(&mut events, 1), [(0, 0, 3)]);
    world.nothing_else_in(&mut events, 1);
}

fn names_and_an_empty_id_start_at_the_latest(kind: Kind) {
    let world = World::new(kind, 1);
    world.settle();
    let [first, second] = world.topics.clone();
    for (path, id) in [
        ("both", json!([first, second])),
        ("both", json!(format!("{first},{second}"))),
        ("both", json!([first])),
        ("both", json!("both")),
        ("second", json!(["also-second"])),
        ("also-second", json!(format!("second,{second}"))),
        ("both", json!([{"topic": second, "partition": 0, "offset": -1}])),
    ] {
        let mut events = world.resume(path, &id.to_string()).events();
        events.greet();
        world.nothing_else_in(&mut events, 1);
    }
    for empty in ["", "  "] {
        let mut events = world.resume("both", empty).events();
        events.greet();
        world.nothing_else_in(&mut events, 1);
        let mut events = world.resume("second?since=0", empty).events();
        assert_eq!(world.take(&mut events, 1), [(1, 0, 0)], "then since counts");
    }
}

fn an_id_that_was_parsed_and_written_again_is_the_same(kind: Kind) {
    let mut world = World::new(kind, 2);
    world.write(&[(0, 0, 1), (0, 1, 1), (0, 1, 1), (1, 1, 1), (0, 0, 2), (1, 0, 2)]);
    world.restart();
    let id = world.id_after("both", (0, 1, 0));
    let rest = |id: &str| {
        let mut events = world.resume("both", id).events();
        world.take(&mut events, 4)
    };
    let expected = rest(&id);
    assert_eq!(expected[0], (0, 1, 1), "the tie that the cut left");
    let field = |(name, value): (&String, &Value)| format!("\"{name}\" :\t{value}");
    let objects: Vec<_> = entries(&id)
        .iter()
        .map(|entry| entry.as_object().expect("an object").iter().rev().map(field).collect())
        .map(|fields: Vec<_>| fields.join(" , "))
        .collect();
    let again = |before: &str, after: &str| {
        let all: Vec<_> = objects.iter().map(|o| format!("{{ {before}{o}{after} }}")).collect();
        format!(" [ {} ] ", all.join(" ,  "))
    };
    assert_eq!(rest(&again("", "")), expected);
    assert_eq!(rest(&again("\"x\": [{\"offset\": 0}], ", ", \"leader\": null")), expected);
    let mut reversed = entries(&id);
    reversed.reverse();
    assert_eq!(rest(&json!(reversed).to_string()), expected);
}

fn a_subset_of_the_partitions_leaves_the_others_to_since_or_the_latest(kind: Kind) {
    const HOUR: i64 = 3_600_000;
    let mut world = World::new(kind, 2);
    world.write(&[(0, 0, HOUR), (0, 0, HOUR + 1)]);
    world.write(&[(0, 1, 1), (0, 1, 2), (0, 1, 2 * HOUR)]);
    // Younger than the id: this partition came after it.
    world.write(&[(1, 1, HOUR + 500), (1, 1, HOUR + 501)]);
    world.restart();
    let whole = world.id_after(&world.topics[0].clone(), (0, 0, 1));
    let only = json!([world.entry(&whole, 0, 0).expect("there")]).to_string();
    let mut events = world.resume("both", &only).events();
    let came = world.take_sorted(&mut events, 3);
    assert_eq!(came, [(0, 0, 2), (1, 1, 0), (1, 1, 1)], "the others at their latest");
    world.nothing_else_in(&mut events, 1);
    let since = format!("both?since={}", T0 + 2);
    let mut events = world.resume(&since, &only).events();
    let came = world.take_sorted(&mut events, 6);
    let others = [(0, 1, 1), (0, 1, 2)];
    assert_eq!(came, [&[(0, 0, 2)][..], &others, &[(1, 0, 1), (1, 1, 0), (1, 1, 1)]].concat());
    world.nothing_else_in(&mut events, 1);
}

fn an_id_of_12_kb_is_read_and_goes_on_exactly(kind: Kind) {
    let mut world = World::new(kind, 60);
    let rows: Vec<Row> = (0..60).map(|p| (usize::from(p % 2 == 0), p, 1)).collect();
    world.write(&rows);
    world.settle();
    let id = world.id_after("both", (0, 31, 0));
    assert!(id.len() > 12_000, "{} bytes", id.len());
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        let passed: Vec<_> =
            entries(&id).iter().map(|e| e["offset"].as_i64().expect("a number")).collect();
        let mut events = world.resume("both", &id).events();
        let left = world.all().len() - usize::try_from(passed.iter().sum::<i64>()).expect("small");
        let came = world.take_sorted(&mut events, left);
        let expected = world.all().into_iter().filter(|(topic, partition, offset)| {
            let entry = world.entry(&id, *topic, *partition).expect("there");
            *offset >= entry["offset"].as_i64().expect("a number")
        });
        assert_eq!(came, expected.collect::<Vec<_>>());
        world.nothing_else_in(&mut events, 0);
    }
}

fn a_partition_that_does_not_exist_is_passed_over_and_said(kind: Kind) {
    let world = World::new(kind, 1);
    world.write(&[(0, 0, 1), (0, 0, 2), (1, 0, 3)]);
    // What the tail has not told yet comes after what it has, whatever its time is.
    let mut all = world.open("both?since=0", &[]).events();
    world.take_sorted(&mut all, 5);
    let topic = world.topics[0].clone();
    let mut id = entries(&world.id_after("both", (0, 0, 1)));
    id.push(json!({"topic": topic, "partition": 7, "offset": 3, "timestamp": T0}));
    let response = world.resume("both?gap=event", &json!(id).to_string());
    let said = format!("\"{topic}\";p=7;from=3;reason=no_partition");
    assert_eq!(response.header("x-stream-gap"), Some(said.as_str()));
    let mut events = response.events();
    let gap = events.next().expect("the gap");
    assert_eq!(gap.name, "gap");
    let gap: Value = serde_json::from_str(&gap.data).expect("JSON");
    let expected = json!({"topic": topic, "partition": 7, "from": 3, "reason": "no_partition"});
    assert_eq!(gap, json!({"gaps": [expected]}));
    assert_eq!(world.take(&mut events, 2), [(0, 0, 2), (1, 0, 1)]);
    // Who did not ask gets events alone.
    let mut events = world.resume("both", &json!(id).to_string()).events();
    let event = events.next().expect("an event");
    assert_eq!((event.name.as_str(), world.place(&event)), ("message", (0, 0, 2)));
    assert_eq!(entries(&event.id).len(), 2, "it is in no id");
}

fn many_gaps_are_cut_in_the_header_and_whole_in_the_stream(kind: Kind) {
    let world = World::new(kind, 1);
    let topic = world.topics[0].clone();
    let entry = |p: i32| json!({"topic": topic, "partition": p, "offset": 5});
    let id = json!((0..60).map(|p| entry(p + 1)).collect::<Vec<_>>()).to_string();
    let response = world.resume("both?gap=event", &id);
    let header = response.header("x-stream-gap").expect("gaps are said").to_owned();
    assert!(header.len() <= 1024, "{} bytes", header.len());
    let told = header.matches("reason=no_partition").count();
    assert!(header.ends_with(&format!(", \"...\";more={}", 60 - told)), "{header}");
    assert!(told >= 10, "{header}");
    let gap = response.events().next().expect("the gaps");
    let gap: Value = serde_json::from_str(&gap.data).expect("JSON");
    assert_eq!(gap["gaps"].as_array().map(Vec::len), Some(60));
    let headers = [("accept", "application/x-ndjson"), ("last-event-id", id.as_str())];
    let lines = world.open("both?gap=event", &headers).lines(1);
    let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!((line["event"].as_str(), &line["gaps"]), (Some("gap"), &gap["gaps"]));
}

fn an_offset_above_the_end_starts_at_the_latest_and_is_said(kind: Kind) {
    let world = World::new(kind, 1);
    world.settle();
    let topic = world.topics[0].clone();
    let id = json!([{"topic": topic, "partition": 0, "offset": 1000}]).to_string();
    let response = world.resume("both?gap=event", &id);
    let said = format!("\"{topic}\";p=0;from=1000;reason=out_of_range");
    assert_eq!(response.header("x-stream-gap"), Some(said.as_str()));
    let mut events = response.events();
    assert_eq!(events.next().expect("the gap").name, "gap");
    world.nothing_else_in(&mut events, 0);
}

fn what_is_no_position_is_refused(kind: Kind) {
    let world = World::new(kind, 1);
    let topic = &world.topics[0];
    let with = |fields: &str| format!("[{{\"topic\":\"{topic}\",{fields}}}]");
    let one = with("\"partition\":0,\"offset\":1");
    for id in [
        with("\"partition\":0,\"offset\":-3"),
        with("\"partition\":0,\"offset\":9223372036854775808"),
        with("\"partition\":0,\"offset\":1.5"),
        with("\"partition\":-1,\"offset\":1"),
        with("\"partition\":2147483648,\"offset\":1"),
        with("\"partition\":0,\"timestamp\":-1"),
        with("\"partition\":0,\"timestamp\":1e300"),
        with("\"partition\":0"),
        format!("{},{}", &one[..one.len() - 1], &one[1..]),
        "\"\"".to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
        "nonsense".to_owned(),
    ] {
        let problem = refused(&world, &id, 400);
        assert_eq!(problem["type"], "invalid_assignment", "{id}: {problem}");
    }
    for id in [
        r#"[{"topic":"elsewhere","partition":0,"offset":1}]"#.to_owned(),
        r#"["elsewhere"]"#.to_owned(),
        // It exists, and is not asked for.
        format!("[{:?}]", world.topics[1]),
    ] {
        let problem = refused(&world, &id, 404);
        assert_eq!(problem["type"], "topic_not_available", "{id}: {problem}");
        assert!(!problem["detail"].to_string().contains(topic), "what there is: {problem}");
    }
}

fn refused(world: &World, id: &str, status: u16) -> Value {
    let headers = [("last-event-id", id), ("connection", "close")];
    let response = world.open(&world.topics[0], &headers);
    assert_eq!(response.status, status, "{id}");
    let mut problem: Value =
        serde_json::from_slice(&response.text().expect("a body")).expect("JSON");
    problem["uri"].take();
    problem
}

fn an_id_wins_over_since(kind: Kind) {
    let world = World::new(kind, 1);
    world.write(&[(0, 0, 1), (0, 0, 2), (1, 0, 3)]);
    world.settle();
    let id = world.id_after("both", (0, 0, 1));
    let mut events = world.resume("both?since=0", &id).events();
    assert_eq!(world.take(&mut events, 2), [(0, 0, 2), (1, 0, 1)]);
}
