//! What is read from a `Last-Event-ID`, and that what was printed is read back.

use proptest::prelude::*;

use super::*;
use crate::position::{PartitionPosition, write_fragment, write_id};

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).expect("legal"), partition)
}

fn parsed(text: &str) -> Option<LastEventId> {
    parse_last_event_id(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refused(text: &str) -> BadPosition {
    parse_last_event_id(text.as_bytes()).expect_err(text)
}

fn positions(text: &str) -> Vec<ResumeEntry> {
    match parsed(text) {
        Some(LastEventId::Positions(entries)) => entries,
        other => panic!("{text}: {other:?}"),
    }
}

/// The one entry that `fields` make together with a topic and a partition.
fn at(fields: &str) -> ResumeAt {
    let entries = positions(&format!(r#"[{{"topic":"t","partition":0{fields}}}]"#));
    assert_eq!(entries[0].tp, tp("t", 0));
    entries[0].at
}

fn names(text: &str) -> Vec<String> {
    match parsed(text) {
        Some(LastEventId::Names(names)) => names,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn an_entry_has_an_offset_a_time_or_both() {
    let time = TimestampMs(1_790_000_000_000);
    assert_eq!(at(r#","offset":812"#), ResumeAt::Offset(Offset(812), None));
    assert_eq!(at(r#","timestamp":1790000000000"#), ResumeAt::Time(time));
    let both = ResumeAt::Offset(Offset(812), Some(PositionTime::Record(time)));
    assert_eq!(at(r#","offset":812,"timestamp":1790000000000"#), both);
    assert_eq!(at(r#","timestamp":0"#), ResumeAt::Time(TimestampMs(0)));
    let most = format!(r#","offset":{}"#, i64::MAX);
    assert_eq!(at(&most), ResumeAt::Offset(Offset(i64::MAX), None));
}

#[test]
fn minus_one_is_latest_and_minus_two_earliest_whatever_the_time() {
    assert_eq!(at(r#","offset":-1"#), ResumeAt::Latest);
    assert_eq!(at(r#","offset":-2"#), ResumeAt::Earliest);
    assert_eq!(at(r#","offset":-1,"timestamp":5"#), ResumeAt::Latest);
    assert_eq!(at(r#","offset":-2,"timestamp":5"#), ResumeAt::Earliest);
}

#[test]
fn a_time_is_made_up_at_offset_0_or_where_the_id_says_so() {
    let time = TimestampMs(5);
    let made_up = |o| ResumeAt::Offset(Offset(o), Some(PositionTime::MadeUp(time)));
    let record = |o| ResumeAt::Offset(Offset(o), Some(PositionTime::Record(time)));
    assert_eq!(at(r#","offset":0,"timestamp":5"#), made_up(0));
    assert_eq!(at(r#","offset":7,"timestamp":5,"assumed":true"#), made_up(7));
    assert_eq!(at(r#","offset":7,"timestamp":5,"assumed":false"#), record(7));
    assert_eq!(at(r#","offset":7,"timestamp":5,"assumed":1"#), record(7));
    assert_eq!(at(r#","offset":7,"assumed":true"#), ResumeAt::Offset(Offset(7), None));
}

#[test]
fn null_counts_as_absent() {
    assert_eq!(at(r#","offset":7,"timestamp":null"#), ResumeAt::Offset(Offset(7), None));
    assert_eq!(at(r#","offset":null,"timestamp":5"#), ResumeAt::Time(TimestampMs(5)));
}

#[test]
fn integers_written_as_floats_count_as_far_as_floats_are_exact() {
    assert_eq!(at(r#","offset":5.0"#), ResumeAt::Offset(Offset(5), None));
    assert_eq!(at(r#","offset":1e3"#), ResumeAt::Offset(Offset(1000), None));
    assert_eq!(at(r#","offset":-1.0"#), ResumeAt::Latest);
    assert_eq!(at(r#","timestamp":1.79e12"#), ResumeAt::Time(TimestampMs(1_790_000_000_000)));
    for wrong in ["5.5", "1e17", "9223372036854775807.0", "-0.5"] {
        let text = format!(r#"[{{"topic":"t","partition":0,"offset":{wrong}}}]"#);
        assert!(
            matches!(refused(&text), BadPosition::WrongField { field: "offset", .. }),
            "{text}"
        );
    }
}

#[test]
fn a_log_that_is_no_tag_is_an_unknown_field() {
    let log = |log: &str| {
        positions(&format!(r#"[{{"topic":"t","partition":0,"offset":1,"log":{log}}}]"#))[0].log
    };
    assert_eq!(log(r#""k3Zq9A""#), LogTag::new("k3Zq9A"));
    for other in [r#""k3Zq9""#, r#""k3Zq9A0""#, r#""k3 q9A""#, r#""ééé""#, "6", "null", "[]"] {
        assert_eq!(log(other), None, "{other}");
    }
}

#[test]
fn order_spaces_and_unknown_fields_do_not_matter() {
    let text = " [ {\"x\": {\"y\": [1]}, \"timestamp\": 5,\t\"offset\": 7,\n \"partition\" : 3, \
                \"topic\": \"\\u0061b\"} , {\"partition\":0,\"offset\":-1,\"topic\":\"ab\"} ] ";
    let entries = positions(text);
    assert_eq!(entries[0].tp, tp("ab", 3));
    let time = Some(PositionTime::Record(TimestampMs(5)));
    assert_eq!(entries[0].at, ResumeAt::Offset(Offset(7), time));
    assert_eq!(entries[1].tp, tp("ab", 0));
}

#[test]
fn names_come_as_an_array_or_as_a_string_with_commas() {
    assert_eq!(names(r#"["eqiad.a", " b "]"#), ["eqiad.a", "b"]);
    assert_eq!(names(r#""eqiad.a, b""#), ["eqiad.a", "b"]);
    assert_eq!(names(r#""a""#), ["a"]);
    assert_eq!(names(r#"["münchen"]"#), ["münchen"]);
}

#[test]
fn an_empty_header_counts_as_absent() {
    for text in ["", " ", "\t \r\n"] {
        assert_eq!(parsed(text), None);
    }
}

#[test]
fn what_says_nothing_is_refused() {
    for text in [r#""""#, r#""  ""#, r#""a,,b""#, r#""a,""#, "[]", r#"[""]"#, r#"["a"," "]"#] {
        assert!(matches!(refused(text), BadPosition::Empty(_)), "{text}");
    }
}

#[test]
fn what_is_no_id_is_refused() {
    for text in ["{}", "5", "true", "null", r#"{"topic":"t","partition":0,"offset":1}"#] {
        assert!(matches!(refused(text), BadPosition::WrongShape(_)), "{text}");
    }
    for text in ["undefined", "[", "[]]", "a,b", "[{topic:1}]", "\u{feff}[]", "[1e999]"] {
        assert!(matches!(refused(text), BadPosition::NotJson { .. }), "{text}");
    }
    for text in ["[1]", "[[]]", r#"["a",{}]"#, r#"[{"topic":"t","partition":0,"offset":1},"a"]"#] {
        assert!(matches!(refused(text), BadPosition::WrongEntry { .. }), "{text}");
    }
    assert_eq!(parse_last_event_id(b"[\"\xff\"]"), Err(BadPosition::NotUtf8));
}

#[test]
fn fields_that_are_missing_or_wrong_are_named() {
    let missing = [
        (r#"{"partition":0,"offset":1}"#, "topic"),
        (r#"{"topic":"t","offset":1}"#, "partition"),
        (r#"{"topic":"t","partition":0}"#, "offset and no timestamp"),
        (r#"{"topic":null,"partition":0,"offset":1}"#, "topic"),
        (r#"{"topic":"t","partition":0,"offset":null}"#, "offset and no timestamp"),
    ];
    for (entry, what) in missing {
        let error = refused(&format!("[{entry}]"));
        assert_eq!(error, BadPosition::Missing { index: 0, missing: what }, "{entry}");
    }
    let wrong = [
        (r#"{"topic":1,"partition":0,"offset":1}"#, "topic"),
        (r#"{"topic":"t","partition":-1,"offset":1}"#, "partition"),
        (r#"{"topic":"t","partition":2147483648,"offset":1}"#, "partition"),
        (r#"{"topic":"t","partition":"0","offset":1}"#, "partition"),
        (r#"{"topic":"t","partition":0,"offset":-3}"#, "offset"),
        (r#"{"topic":"t","partition":0,"offset":9223372036854775808}"#, "offset"),
        (r#"{"topic":"t","partition":0,"offset":99999999999999999999999}"#, "offset"),
        (r#"{"topic":"t","partition":0,"offset":"5"}"#, "offset"),
        (r#"{"topic":"t","partition":0,"offset":true}"#, "offset"),
        (r#"{"topic":"t","partition":0,"offset":1,"timestamp":-1}"#, "timestamp"),
        (r#"{"topic":"t","partition":0,"offset":-1,"timestamp":"x"}"#, "timestamp"),
        (r#"{"topic":"t","partition":0,"timestamp":1.5}"#, "timestamp"),
    ];
    for (entry, what) in wrong {
        let error = refused(&format!(r#"[{{"topic":"ok","partition":0,"offset":1}},{entry}]"#));
        let named = matches!(&error, BadPosition::WrongField { index: 1, field, .. }
            if *field == what);
        assert!(named, "{entry}: {error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
    for topic in ["", ".", "..", "a b", "a/b", "é", "a,b"] {
        let text = format!(r#"[{{"topic":"{topic}","partition":0,"offset":1}}]"#);
        assert!(matches!(refused(&text), BadPosition::WrongTopic { index: 0, .. }), "{text}");
    }
}

#[test]
fn a_partition_twice_is_refused_and_named() {
    let entry = r#"{"topic":"t","partition":4,"offset":1}"#;
    let error = refused(&format!("[{entry},{entry}]"));
    assert_eq!(error, BadPosition::Twice(tp("t", 4)));
    assert!(error.to_string().contains("t/4"), "{error}");
}

#[test]
fn long_ids_are_read_and_endless_ones_refused() {
    let entry =
        |n| format!(r#"{{"topic":"eqiad.mediawiki.page-create","partition":{n},"offset":1}}"#);
    let id = |n: usize| format!("[{}]", (0..n).map(entry).collect::<Vec<_>>().join(","));
    assert_eq!(positions(&id(ENTRIES_MAX)).len(), ENTRIES_MAX);
    assert_eq!(refused(&id(ENTRIES_MAX + 1)), BadPosition::TooMany(ENTRIES_MAX + 1));
    let names = format!("\"{}a\"", "a,".repeat(ENTRIES_MAX));
    assert_eq!(refused(&names), BadPosition::TooMany(ENTRIES_MAX + 1));
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    for open in ["[", "{\"a\":", "[{\"topic\":\"t\",\"x\":"] {
        assert!(matches!(refused(&open.repeat(1_000_000)), BadPosition::NotJson { .. }));
    }
}

#[test]
fn errors_stay_short_and_say_what_is_accepted() {
    let long = "x".repeat(100_000);
    for text in [
        long.clone(),
        format!("{{\"a\":\"{long}\"}}"),
        format!("[[\"{long}\"]]"),
        format!(r#"[{{"topic":"{long}","partition":0}}]"#),
        format!(r#"[{{"topic":"t","partition":"{long}"}}]"#),
    ] {
        let error = refused(&text).to_string();
        assert!(error.chars().count() < 500, "{error}");
        assert!(error.contains("accepted"), "{error}");
    }
}

#[test]
fn a_fragment_is_printed_as_the_contract_shows_it() {
    let printed = |next, time, log: Option<&str>| {
        let log = log.map(|l| LogTag::new(l).expect("a tag"));
        let mut out = Vec::new();
        let position = PartitionPosition { log, next: Offset(next), time };
        write_fragment(&mut out, &tp("codfw.mediawiki.page-create", 0), &position);
        String::from_utf8(out).expect("text")
    };
    let time = PositionTime::Record(TimestampMs(1_790_000_000_000));
    assert_eq!(
        printed(812, time, Some("k3Zq9A")),
        r#"{"topic":"codfw.mediawiki.page-create","partition":0,"offset":812,"timestamp":1790000000000,"log":"k3Zq9A"}"#
    );
    assert_eq!(
        printed(812, time, None),
        r#"{"topic":"codfw.mediawiki.page-create","partition":0,"offset":812,"timestamp":1790000000000}"#
    );
    let made_up = PositionTime::MadeUp(TimestampMs(5));
    assert_eq!(
        printed(812, made_up, Some("k3Zq9A")),
        r#"{"topic":"codfw.mediawiki.page-create","partition":0,"offset":812,"timestamp":5,"log":"k3Zq9A","assumed":true}"#
    );
    assert_eq!(
        printed(0, made_up, None),
        r#"{"topic":"codfw.mediawiki.page-create","partition":0,"offset":0,"timestamp":5}"#
    );
    assert_eq!(
        printed(1, PositionTime::Record(TimestampMs(-1)), None),
        r#"{"topic":"codfw.mediawiki.page-create","partition":0,"offset":1}"#
    );
}

#[test]
fn an_id_of_nothing_is_an_empty_array() {
    let mut out = Vec::new();
    write_id(&mut out, []);
    assert_eq!(out, b"[]");
}

fn any_position() -> impl Strategy<Value = PartitionPosition> {
    let log = prop::option::of("[A-Za-z0-9_-]{6}");
    let next = prop_oneof![Just(0), 0..1000_i64, 0..=i64::MAX];
    let ms = prop_oneof![0..1000_i64, 0..=i64::MAX];
    (log, next, ms, any::<bool>()).prop_map(|(log, next, ms, made_up)| {
        let log = log.map(|l| LogTag::new(&l).expect("a tag"));
        // At offset 0 there is no record whose time it could be.
        let kind = if made_up || next == 0 { PositionTime::MadeUp } else { PositionTime::Record };
        PartitionPosition { log, next: Offset(next), time: kind(TimestampMs(ms)) }
    })
}

fn any_vector() -> impl Strategy<Value = Vec<(TopicPartition, PartitionPosition)>> {
    let key = ("[A-Za-z0-9._-]{1,12}[a-z]", 0..=i32::MAX);
    prop::collection::btree_map(key, any_position(), 1..8).prop_map(|map| {
        map.into_iter().map(|((topic, p), position)| (tp(&topic, p), position)).collect()
    })
}

fn print(vector: &[(TopicPartition, PartitionPosition)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_id(&mut out, vector.iter().map(|(tp, p)| (tp, p)));
    out
}

fn expected(vector: &[(TopicPartition, PartitionPosition)]) -> Vec<ResumeEntry> {
    let entry = |(tp, p): &(TopicPartition, PartitionPosition)| ResumeEntry {
        tp: tp.clone(),
        at: ResumeAt::Offset(p.next, Some(p.time)),
        log: p.log,
    };
    vector.iter().map(entry).collect()
}

/// JSON text as another program might write it: keys in `order`, spaces, unknown fields.
fn rewritten(value: &Value, order: bool, space: &str) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|i| rewritten(i, order, space)).collect();
            format!("{space}[{space}{}{space}]{space}", items.join(&format!("{space},{space}")))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields
                .iter()
                .map(|(k, v)| format!("{space}\"{k}\"{space}:{space}{v}{space}"))
                .collect();
            fields.push("\"later\":{\"offset\":-9,\"x\":[null]}".to_owned());
            if order {
                fields.reverse();
            }
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(vector in any_vector()) {
        let text = print(&vector);
        prop_assert_eq!(
            parse_last_event_id(&text),
            Ok(Some(LastEventId::Positions(expected(&vector))))
        );
    }

    #[test]
    fn what_a_client_wrote_again_is_the_same(
        vector in any_vector(),
        order in any::<bool>(),
        space in "[ \t\n\r]{0,2}",
    ) {
        let value: Value = serde_json::from_slice(&print(&vector)).expect("JSON");
        let text = rewritten(&value, order, &space);
        prop_assert_eq!(
            parse_last_event_id(text.as_bytes()),
            Ok(Some(LastEventId::Positions(expected(&vector)))),
            "{}", text
        );
    }

    #[test]
    fn any_bytes_are_a_position_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_last_event_id(&bytes);
    }

    #[test]
    fn a_damaged_id_is_a_position_or_an_error(
        vector in any_vector(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut text = print(&vector);
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        match parse_last_event_id(&text) {
            Err(error) => prop_assert!(error.to_string().len() < 2000),
            Ok(None) => prop_assert!(false, "an id was taken for nothing"),
            Ok(Some(_)) => {}
        }
    }
}
