//! A position that another log made: another cluster's, where the same records have other
//! offsets. The time decides; nothing is lost, and nothing older than the position comes again.

use serde_json::{Value, json};

use super::over_both_sources;
use super::world::{Kind, Row, T0, World, entries};

over_both_sources! {
    a_position_of_another_log_goes_by_time_inclusively
    an_offset_without_a_log_is_believed_only_where_it_cannot_be_another
    an_offset_of_another_log_without_a_time_starts_at_the_latest_and_is_said
    a_time_that_no_record_had_is_used_with_a_slack
}

/// Partition by partition the second topic holds the same records as the first, but shifted: by
/// this many that are older and only there, or (below 0) by this many that it lacks.
const SHIFTS: [i64; 6] = [1, 50, -1, -2, -3, 0];
/// Whole seconds, with records that share one: what time alone can tell least.
const SECONDS: [i64; 9] = [1, 1, 2, 2, 2, 3, 4, 5, 5];
/// After all others, so that something follows everywhere.
const END: i64 = 9;

/// The two topics; all records of the first are in the past of the gateway.
fn mirrored(kind: Kind) -> World {
    let mut world = World::new(kind, i32::try_from(SHIFTS.len() + 1).expect("small"));
    let mut rows = Vec::<Row>::new();
    // Partition 0 has its first words already, and is not looked at.
    for (partition, shift) in (1..).zip(SHIFTS) {
        let at = |seconds: i64| 1_000_000 + seconds * 1000;
        let own: Vec<i64> = SECONDS.into_iter().chain([END]).collect();
        rows.extend(own.iter().map(|s| (0, partition, at(*s))));
        rows.extend((0..shift).map(|n| (1, partition, at(0) - 1000 * (shift - n))));
        let lacks = usize::try_from(-shift).unwrap_or(0);
        rows.extend(own[lacks..].iter().map(|s| (1, partition, at(*s))));
    }
    world.write(&rows);
    world.restart();
    world
}

/// For every record of the first topic: the position after it as an entry, changed, for the
/// second. Where reading begins there, the offset that would be exact, and the earliest offset
/// that may come again.
fn each(world: &World, change: fn(&mut Value)) -> Vec<(String, i64, i64, i64)> {
    let (first, second) = (world.topics[0].clone(), world.topics[1].clone());
    let mut all = Vec::new();
    let mut events = world.open(&format!("{first}?since=0"), &[]).events();
    loop {
        let event = events.message();
        let (_, partition, offset) = world.place(&event);
        if partition > 0 {
            let shift = SHIFTS[usize::try_from(partition - 1).expect("small")];
            let time = world.time((0, partition, offset));
            if time == 1_000_000 + END * 1000 {
                return all;
            }
            let mut ours = world.entry(&event.id, 0, partition).expect("its own");
            ours["topic"] = json!(second);
            change(&mut ours);
            let others = (0..7).filter(|p| *p != partition);
            let latest = |p: i32| json!({"topic": second, "partition": p, "offset": -1});
            let mut id: Vec<Value> = others.map(latest).collect();
            id.push(ours);
            let id = json!(id).to_string();
            let response = world.resume(&second, &id);
            assert_eq!(response.header("x-stream-gap"), None, "{id}");
            let begins = world.place(&response.events().message());
            assert_eq!((begins.0, begins.1), (1, partition), "{id}");
            let places = world.all();
            let mut there = places.into_iter().filter(|p| (p.0, p.1) == (1, partition));
            let earliest = there.find(|p| world.time(*p) >= time).expect("the end is there").2;
            all.push((id, begins.2, (offset + 1 + shift).max(0), earliest));
        }
    }
}

fn a_position_of_another_log_goes_by_time_inclusively(kind: Kind) {
    let world = mirrored(kind);
    let all = each(&world, |_| {});
    assert_eq!(all.len(), SHIFTS.len() * SECONDS.len());
    for (id, begins, exact, earliest) in all {
        assert!(begins <= exact, "lost: begins at {begins}, {exact} would be exact, for {id}");
        assert_eq!(begins, earliest, "the first of that time, for {id}");
    }
}

fn an_offset_without_a_log_is_believed_only_where_it_cannot_be_another(kind: Kind) {
    let world = mirrored(kind);
    let all = each(&world, |entry| drop(entry.as_object_mut().expect("an entry").remove("log")));
    assert_eq!(all.len(), SHIFTS.len() * SECONDS.len());
    let mut exactly = 0;
    for (id, begins, exact, earliest) in all {
        assert!(begins <= exact, "lost: begins at {begins}, {exact} would be exact, for {id}");
        assert!(begins >= earliest, "older than the position: {begins} < {earliest}, for {id}");
        exactly += usize::from(begins == exact);
    }
    assert!(exactly > 0, "some are told apart by their times");
}

fn an_offset_of_another_log_without_a_time_starts_at_the_latest_and_is_said(kind: Kind) {
    let world = World::new(kind, 1);
    world.write(&[(0, 0, 1), (1, 0, 1)]);
    world.settle();
    let mut id = entries(&world.id_after(&world.topics[0], (0, 0, 0)));
    id[0]["topic"] = json!(world.topics[1]);
    id[0].as_object_mut().expect("an entry").remove("timestamp");
    let response = world.resume("second", &json!(id).to_string());
    let said = format!("\"{}\";p=0;from=1;reason=foreign_log", world.topics[1]);
    assert_eq!(response.header("x-stream-gap"), Some(said.as_str()));
    let mut events = response.events();
    events.greet();
    world.nothing_else_in(&mut events, 1);
}

fn a_time_that_no_record_had_is_used_with_a_slack(kind: Kind) {
    let mut world = World::new(kind, 2);
    world.settle();
    // Of (0, 1), which never spoke, the id says when it was made.
    let id = world.open("both?id=first", &[]).events().next().expect("an id").id;
    let mut ours = world.entry(&id, 0, 1).expect("quiet partitions too");
    let made = ours["timestamp"].as_i64().expect("a time") - T0;
    // The other cluster has records of about that time, by its own clocks.
    world.write(&[(1, 1, made - 120_000), (1, 1, made - 30_000), (1, 1, made + 1)]);
    world.restart();
    ours["topic"] = json!(world.topics[1]);
    let mut events = world.resume("second", &json!([ours]).to_string()).events();
    assert_eq!(world.take(&mut events, 2), [(1, 1, 1), (1, 1, 2)]);
}
