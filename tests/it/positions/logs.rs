//! What happens to a log itself, at a real Kafka: it is made anew, shortened by retention, or given
//! another partition.

use serde_json::{Value, json};

use super::world::{Kind, Place, Row, T0, World, entries};
use crate::support::kafka::shared;
use crate::support::sse::Events;
use crate::support::{block_on, eventually};

/// The old topic has five records, the new one so many.
fn made_anew(records: i64) {
    let mut world = World::new(Kind::Kafka, 1);
    world.write(&[(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4)]);
    world.settle();
    let id = world.id_after("both", (0, 0, 2));
    let (mut told, mut untold) = (world.listen("both?gap=event"), world.listen("both"));
    world.make_first_anew();
    let rows: Vec<Row> = (0..records).map(|n| (0, 0, 10_000 + n)).collect();
    world.write(&rows);
    let new: Vec<Place> = (0..records).map(|offset| (0, 0, offset)).collect();

    let gap = until_gap(&world, &mut told);
    assert_eq!(gap["topic"], json!(world.topics[0]));
    assert_eq!((&gap["partition"], &gap["reason"]), (&json!(0), &json!("recreated")));
    assert!(gap["from"].as_i64() >= Some(5), "where it stood: {gap}");
    assert_eq!(world.take(&mut told, new.len()), new, "from its beginning");
    let first = loop {
        let place = world.place(&untold.message());
        if place == new[0] {
            break place;
        }
        read_on_in_the_new_log(place);
    };
    assert_eq!([vec![first], world.take(&mut untold, new.len() - 1)].concat(), new);

    let counted = world.gateway.metric("tidegate_gaps_total{reason=\"recreated\"}");
    assert_eq!(counted, 2.0, "one for each reader");
    let response = world.resume("both?gap=event", &id);
    let said = format!("\"{}\";p=0;from=3;reason=recreated", world.topics[0]);
    assert_eq!(response.header("x-stream-gap"), Some(said.as_str()));
    let mut events = response.events();
    assert_eq!(until_gap(&world, &mut events)["from"], 3);
    assert_eq!(world.take(&mut events, new.len()), new);
    world.nothing_else_in(&mut events, 1);
    // A gateway that did not see it cannot tell it from another cluster; it gives all the same.
    world.restart();
    let mut events = world.resume("both", &id).events();
    let came = world.take_sorted(&mut events, new.len() + 1);
    assert_eq!(came, [&new[..], &[(1, 0, 1)]].concat());
}

/// Where the new log is longer, the client reads on in it until the topic's id is looked at; these
/// come again, from the beginning.
fn read_on_in_the_new_log(place: Place) {
    assert!(place.0 == 0 && place.2 >= 5, "{place:?}");
}

fn until_gap(world: &World, events: &mut Events) -> Value {
    loop {
        let event = events.next().expect("the stream goes on");
        if event.name == "gap" {
            let gap: Value = serde_json::from_str(&event.data).expect("JSON");
            assert_eq!(gap["gaps"].as_array().map(Vec::len), Some(1), "{gap}");
            return gap["gaps"][0].clone();
        }
        read_on_in_the_new_log(world.place(&event));
    }
}

#[test]
fn a_topic_made_anew_and_shorter_is_said_and_given_from_its_beginning() {
    made_anew(2);
}

#[test]
fn a_topic_made_anew_and_longer_is_said_and_given_from_its_beginning() {
    made_anew(9);
}

#[test]
fn a_topic_that_is_gone_for_a_while_is_said_when_it_comes_back() {
    let mut world = World::new(Kind::Kafka, 1);
    world.settle();
    let id = world.id_after("both", (0, 0, 0));
    let mut told = world.listen("both?gap=event");
    block_on(shared().delete_topic(&world.topics[0]));
    eventually("the gateway has seen that it is gone", || {
        let id = world.open("both?id=first", &[]).events().next().expect("an id").id;
        entries(&id).len() == 1
    });
    // Meanwhile an id that names it is no mistake, and the other topic goes on.
    let response = world.resume("both", &id);
    let said = format!("\"{}\";p=0;from=1;reason=no_partition", world.topics[0]);
    assert_eq!(response.header("x-stream-gap"), Some(said.as_str()));
    world.write(&[(1, 0, 1)]);
    assert_eq!(world.place(&told.message()), (1, 0, 1));
    world.make_first_again(1);
    world.write(&[(0, 0, 2), (0, 0, 3)]);
    assert_eq!(until_gap(&world, &mut told)["reason"], "recreated");
    assert_eq!(world.take(&mut told, 2), [(0, 0, 0), (0, 0, 1)]);
    let response = world.resume("both", &id);
    let said = format!("\"{}\";p=0;from=1;reason=recreated", world.topics[0]);
    assert_eq!(response.header("x-stream-gap"), Some(said.as_str()));
}

#[test]
fn a_position_that_retention_removed_goes_on_at_the_earliest_kept_and_the_gap_is_said() {
    let mut world = World::new(Kind::Kafka, 1);
    let rows: Vec<Row> = (1..60).map(|n| (0, 0, n)).collect();
    world.write(&rows);
    world.restart();
    let topic = world.topics[0].clone();
    let id = world.id_after(&topic, (0, 0, 9));
    block_on(shared().delete_records(&topic, 0, 50));
    let kept: Vec<Place> = (50..60).map(|offset| (0, 0, offset)).collect();
    let said = format!("\"{topic}\";p=0;from=10;to=50;reason=retention");
    let alone = json!([{"topic": topic, "partition": 0, "offset": 10}]).to_string();
    let before = world.gateway.metric("tidegate_gaps_total{reason=\"retention\"}");
    for id in [&id, &alone] {
        let response = world.resume(&format!("{topic}?gap=event"), id);
        assert_eq!(response.header("x-stream-gap"), Some(said.as_str()));
        let mut events = response.events();
        let gap = until_gap(&world, &mut events);
        assert_eq!((&gap["from"], &gap["to"]), (&json!(10), &json!(50)));
        assert_eq!(gap["reason"], "retention");
        assert_eq!(world.take(&mut events, 10), kept);
    }
    let after = world.gateway.metric("tidegate_gaps_total{reason=\"retention\"}");
    assert_eq!(after - before, 2.0);
    // Who asks for a time or for the earliest gets what is kept.
    let earliest = json!([{"topic": topic, "partition": 0, "offset": -2}]).to_string();
    let time = json!([{"topic": topic, "partition": 0, "timestamp": T0 + 5}]).to_string();
    let since = format!("{topic}?since={}", T0 + 5);
    for (path, id) in [(&topic, earliest.as_str()), (&topic, &time), (&since, "")] {
        let response = world.resume(path, id);
        assert_eq!(response.header("x-stream-gap"), None);
        assert_eq!(world.take(&mut response.events(), 10), kept);
    }
}

#[test]
fn a_partition_that_is_added_is_given_from_its_beginning() {
    let mut world = World::new(Kind::Kafka, 1);
    world.write(&[(0, 0, 1), (0, 0, 2)]);
    world.settle();
    let id = world.id_after("both", (0, 0, 1));
    let mut live = world.listen("both");
    block_on(shared().grow(&world.topics[0], 2));
    world.write(&[(0, 1, 3), (0, 1, 4), (0, 1, 5)]);
    let new = [(0, 1, 0), (0, 1, 1), (0, 1, 2)];
    assert_eq!(world.take(&mut live, 3), new);
    world.write(&[(1, 0, 6)]);
    let event = live.message();
    assert_eq!((world.place(&event), entries(&event.id).len()), ((1, 0, 1), 3));
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        // This id does not name it.
        assert_eq!(entries(&id).len(), 2);
        let mut events = world.resume("both", &id).events();
        assert_eq!(world.take(&mut events, 5), [&[(0, 0, 2)][..], &new, &[(1, 0, 1)]].concat());
        // And this one does.
        let mut events = world.resume("both", &event.id).events();
        events.greet();
        world.write(&[(0, 1, 7)]);
        let next = if restart { 4 } else { 3 };
        let came = world.take(&mut events, usize::from(restart) + 1);
        assert_eq!(came.last(), Some(&(0, 1, next)));
    }
}

#[test]
fn a_topic_made_anew_with_fewer_partitions_leaves_those_out_that_are_gone() {
    let mut world = World::new(Kind::Kafka, 2);
    world.write(&[(0, 1, 1), (0, 1, 2), (1, 0, 3)]);
    world.settle();
    let id = world.id_after("both", (0, 1, 0));
    let mut live = world.listen("both");
    block_on(shared().delete_topic(&world.topics[0]));
    world.make_first_again(1);
    world.write(&[(0, 0, 10_000), (0, 0, 10_001)]);
    // (What was read on in the new log comes again.)
    while world.place(&live.message()) != (0, 0, 0) {}
    let event = live.message();
    assert_eq!(world.place(&event), (0, 0, 1));
    let named: Vec<_> = entries(&event.id).iter().map(|e| e["partition"].clone()).collect();
    assert_eq!(named, [json!(0), json!(0), json!(1)], "{}", event.id);
    let response = world.resume("both", &event.id);
    assert_eq!(response.header("x-stream-gap"), None, "there is nothing to be said for ever");
    let response = world.resume("both", &id);
    let gaps = response.header("x-stream-gap").expect("gaps are said").to_owned();
    let gone = format!("\"{}\";p=1;from=1;reason=no_partition", world.topics[0]);
    assert!(gaps.contains(&gone), "{gaps}");
    let came = world.take(&mut response.events(), 3);
    assert_eq!(came, [(1, 0, 1), (0, 0, 0), (0, 0, 1)]);
}
