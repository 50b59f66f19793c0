//! What stands in records, from a real Kafka: large and compressed ones, those of aborted
//! transactions, keys, and values that are no event.

use rdkafka::producer::Producer;
use serde_json::{Value, json};

use super::world::{Kind, Place, World, entries};
use crate::support::kafka::{New, Records, shared, unique};
use crate::support::sse::Events;
use crate::support::{PATIENCE, block_on, eventually};

/// Two topics whose records the test writes itself.
fn empty(partitions: i32) -> World {
    World::with_topics(Kind::Kafka, partitions, 2)
}

fn put(writer: &Records, topic: &str, value: &str) {
    writer.send(topic, New { value: Some(value.as_bytes()), ..New::default() });
}

/// Every way of reading the same: live, from memory, and from the log after a restart.
fn each_way(world: &mut World, live: Events, mut check: impl FnMut(&World, Events)) {
    check(world, live);
    check(world, world.open("both?since=0", &[]).events());
    world.restart();
    check(world, world.open("both?since=0", &[]).events());
}

#[test]
fn events_of_300_kb_and_5_mb_arrive_as_they_were() {
    let mut world = empty(1);
    let topic = world.topics[0].clone();
    let writer = shared().producer(&[]);
    let live = world.listen("both");
    let values: Vec<String> = [300_000, 5_000_000, 10, 300_001]
        .map(|bytes| format!(r#"{{"bytes":{bytes},"text":"{}"}}"#, "æ".repeat(bytes / 2)))
        .into();
    for value in &values {
        put(&writer, &topic, value);
    }
    writer.flush();
    each_way(&mut world, live, |_, mut events| {
        for (offset, value) in (0..).zip(&values) {
            let meta = format!(r#""topic":"{topic}","partition":0,"offset":{offset}"#);
            let expected = format!("{},\"meta\":{{{meta}}}}}", &value[..value.len() - 1]);
            assert!(events.message().data == expected, "{offset} is another");
        }
    });
    // Resumed between the large ones.
    let id = world.id_after("both", (0, 0, 0));
    let mut events = world.resume("both", &id).events();
    assert_eq!(world.take(&mut events, 3), [(0, 0, 1), (0, 0, 2), (0, 0, 3)]);
}

#[test]
fn every_codec_is_read_from_any_place_within_a_batch() {
    let mut world = empty(1);
    let topic = world.topics[0].clone();
    let live = world.listen("both");
    for codec in ["zstd", "lz4", "snappy", "gzip", "none"] {
        let writer = shared().producer(&[("compression.codec", codec), ("linger.ms", "200")]);
        for n in 0..4 {
            put(&writer, &topic, &format!(r#"{{"codec":"{codec}","n":{n}}}"#));
        }
        writer.flush();
    }
    let all: Vec<Place> = (0..20).map(|offset| (0, 0, offset)).collect();
    let mut ids = Vec::new();
    each_way(&mut world, live, |world, mut events| {
        ids.clear();
        for place in &all {
            let event = events.message();
            assert_eq!(world.place(&event), *place);
            ids.push(event.id);
        }
    });
    for (n, id) in ids.iter().enumerate().take(19) {
        let mut events = world.resume("both", id).events();
        assert_eq!(world.take(&mut events, 19 - n), all[n + 1..]);
    }
}

/// One transaction.
fn transaction(writer: &Records, topic: &str, records: usize, commit: bool) {
    writer.0.begin_transaction().expect("begun");
    for _ in 0..records {
        put(writer, topic, "{}");
    }
    writer.flush();
    let done = match commit {
        true => writer.0.commit_transaction(PATIENCE),
        false => writer.0.abort_transaction(PATIENCE),
    };
    done.expect("ended");
}

#[test]
fn aborted_transactions_are_holes_that_no_reader_notices() {
    let mut world = empty(1);
    let topic = world.topics[0].clone();
    let writer = shared().producer(&[("transactional.id", &unique("holes"))]);
    writer.0.init_transactions(PATIENCE).expect("begun");
    let live = world.listen("both?gap=event");
    for (records, commit) in [(2, true), (3, false), (1, true), (1, false), (2, true), (2, false)] {
        transaction(&writer, &topic, records, commit);
    }
    // Committed: 0 1, 7, 11 12; each transaction ends with a marker; 14 15 16 are the last hole.
    let shown: Vec<Place> = [0, 1, 7, 11, 12].map(|offset| (0, 0, offset)).into();
    let mut ids = Vec::new();
    each_way(&mut world, live, |world, mut events| {
        for place in &shown {
            let event = events.next().expect("an event");
            assert_eq!((event.name.as_str(), world.place(&event)), ("message", *place));
            ids.push((*place, event.id));
        }
    });
    eventually("the position has passed the last hole", || {
        let id = world.open("both?id=first", &[]).events().next().expect("an id").id;
        world.entry(&id, 0, 0).expect("there")["offset"] == 17
    });
    for (place, id) in ids {
        let response = world.resume("both?gap=event", &id);
        assert_eq!(response.header("x-stream-gap"), None, "a hole is no gap");
        let mut events = response.events();
        let rest: Vec<Place> = shown.iter().filter(|p| **p > place).copied().collect();
        assert_eq!(world.take(&mut events, rest.len()), rest, "{id}");
        if rest.is_empty() {
            let plain = shared().producer(&[]);
            put(&plain, &world.topics[1], "{}");
            plain.flush();
            let event = events.next().expect("what comes next");
            assert_eq!(world.place(&event).0, 1, "{event:?}");
            break;
        }
    }
}

#[test]
fn an_open_transaction_holds_back_its_partition_and_no_reader() {
    let world = empty(1);
    let [first, second] = world.topics.clone();
    let writer = shared().producer(&[("transactional.id", &unique("open"))]);
    writer.0.init_transactions(PATIENCE).expect("begun");
    transaction(&writer, &first, 1, true);
    writer.0.begin_transaction().expect("begun");
    put(&writer, &first, r#"{"open":true}"#);
    writer.flush();
    let plain = shared().producer(&[]);
    let mut events = world.open("both?since=0", &[]).events();
    assert_eq!(world.place(&events.message()), (0, 0, 0));
    // The replay is over although the partition's end is not reached: what comes is live.
    put(&plain, &second, "{}");
    plain.flush();
    let event = events.message();
    assert_eq!(world.place(&event), (1, 0, 0));
    // Before or after the marker of the first transaction, never behind the open one.
    let next = world.entry(&event.id, 0, 0).expect("there")["offset"].as_i64();
    assert!(matches!(next, Some(1 | 2)), "{}", event.id);
    writer.0.commit_transaction(PATIENCE).expect("committed");
    assert_eq!(world.place(&events.message()), (0, 0, 2));
    let mut events = world.resume("both", &event.id).events();
    assert_eq!(world.place(&events.message()), (0, 0, 2));
}

#[test]
fn keys_are_told_and_what_is_no_event_is_skipped_and_counted() {
    let mut world = empty(1);
    let [first, second] = world.topics.clone();
    let live = world.listen("both");
    let writer = shared().producer(&[]);
    let records: [(Option<&[u8]>, Option<&str>); 13] = [
        (Some("schlüssel \"1\"".as_bytes()), Some(r#"{"n":0}"#)),
        (Some(b"k\xff\x00"), Some(r#"{"n":1,"meta":{"key":"forged","offset":99}}"#)),
        (Some(b"gone"), None),
        (None, Some("[1,2]")),
        (None, Some("5")),
        (None, Some("\"text\"")),
        (None, Some("null")),
        (None, Some("a: [yaml]")),
        (None, Some("{\"n\":8} and text")),
        (None, Some("")),
        (None, Some("{\"n\":10")),
        (Some(b""), Some("{\n \"n\" : 11\n}")),
        (None, Some(r#"{"n":12,"big":9007199254740993,"float":1.0,"meta":7}"#)),
    ];
    for (key, value) in records {
        let value = value.map(str::as_bytes);
        writer.send(&first, New { key, value, ..New::default() });
    }
    writer.flush();
    let meta = |offset: i64| format!(r#""topic":"{first}","partition":0,"offset":{offset}"#);
    let expected = [
        format!(r#"{{"n":0,"meta":{{{},"key":"schlüssel \"1\""}}}}"#, meta(0)),
        format!(r#"{{"n":1,"meta":{{{},"key":"k{}\u0000"}}}}"#, meta(1), '\u{fffd}'),
        format!(r#"{{ "n" : 11,"meta":{{{},"key":""}}}}"#, meta(11)),
        format!(r#"{{"n":12,"big":9007199254740993,"float":1.0,"meta":{{{}}}}}"#, meta(12)),
    ];
    let mut counted = false;
    each_way(&mut world, live, |world, mut events| {
        for expected in &expected {
            let event = events.message();
            let (ours, theirs): (Value, Value) = (parsed(&event.data), parsed(expected));
            assert_eq!(ours, theirs);
            for digits in ["9007199254740993", "1.0"] {
                assert_eq!(event.data.contains(digits), expected.contains(digits));
            }
            world.place(&event);
        }
        if !std::mem::replace(&mut counted, true) {
            for (reason, how_many) in
                [("tombstone", 1.0), ("not_object", 4.0), ("not_json", 3.0), ("trailing_text", 1.0)]
            {
                for stream in ["both", &first] {
                    let label = format!("{{stream=\"{stream}\",reason=\"{reason}\"}}");
                    let name = format!("tidegate_events_skipped_total{label}");
                    assert_eq!(world.gateway.metric(&name), how_many, "{name}");
                }
            }
        }
    });
    // Their offsets are passed all the same.
    let id = world.id_after("both", (0, 0, 1));
    let mut events = world.resume("both", &id).events();
    let next = events.message();
    assert_eq!(world.place(&next), (0, 0, 11));
    // A log that ends with what is no event is followed on.
    let mut events = world.listen("both");
    put(&writer, &second, "no event");
    put(&writer, &second, "{}");
    writer.flush();
    assert_eq!(world.place(&events.message()), (1, 0, 1));
}

fn parsed(data: &str) -> Value {
    serde_json::from_str(data).expect("JSON")
}

#[test]
fn times_that_the_log_sets_are_used_with_a_slack() {
    let world = World::with_topics(Kind::Kafka, 1, 0);
    let [by_log, by_producer] = world.topics.clone();
    for (topic, kind) in [(&by_log, "LogAppendTime"), (&by_producer, "CreateTime")] {
        block_on(shared().create_topic(topic, 1, &[("message.timestamp.type", kind)]));
    }
    let writer = shared().producer(&[]);
    for topic in [&by_log, &by_producer] {
        (0..3).for_each(|n| put(&writer, topic, &format!("{{\"n\":{n}}}")));
        writer.flush();
    }
    for (n, topic) in [(0, &by_log), (1, &by_producer)] {
        let mut events = world.open(&format!("{topic}?since=0"), &[]).events();
        let ids: Vec<String> = (0..3).map(|_| events.message().id).collect();
        // This very log's: exact.
        let mut events = world.resume(topic, &ids[1]).events();
        assert_eq!(world.place(&events.message()), (n, 0, 2));
        // The same place at another cluster, whose broker took the records half a minute later.
        let mut foreign = entries(&ids[2]);
        foreign[0]["log"] = json!("other_");
        let time = foreign[0]["timestamp"].as_i64().expect("a time") + 30_000;
        foreign[0]["timestamp"] = json!(time);
        let response = world.resume(topic, &json!(foreign).to_string());
        let mut events = response.events();
        events.greet();
        put(&writer, topic, r#"{"n":3}"#);
        writer.flush();
        let begins = if n == 0 { 0 } else { 3 };
        assert_eq!(world.place(&events.message()), (n, 0, begins), "{topic}");
    }
}
