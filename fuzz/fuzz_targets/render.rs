//! Any value is skipped or becomes one line, which is rendered again to the same, and which a
//! parser reads as an object with our position.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::event::{Offset, Record, TimestampMs, TopicName, TopicPartition};
use tidegate::feed::render::render;

fuzz_target!(|input: (Option<&[u8]>, &[u8])| {
    let (key, value) = input;
    let tp = TopicPartition::new(TopicName::new("eqiad.t").expect("legal"), 3);
    let mut record = Record {
        offset: Offset(812),
        time: TimestampMs(0),
        key: key.map(Bytes::copy_from_slice),
        value: Some(Bytes::copy_from_slice(value)),
    };
    let Ok(line) = render(&tp, &record) else { return };
    let text = std::str::from_utf8(&line).expect("a data line is UTF-8");
    let inside = text.strip_suffix('\n').expect("a line ends");
    assert!(!inside.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']));
    // serde_json refuses what the contract lets pass: lone surrogates, 1e400, deep nesting.
    if let Ok(parsed) = serde_json::from_str::<Value>(inside) {
        assert_eq!(parsed["meta"]["topic"], "eqiad.t");
        assert_eq!(parsed["meta"]["partition"], 3);
        assert_eq!(parsed["meta"]["offset"], 812);
    }
    record.value = Some(line.clone());
    assert_eq!(render(&tp, &record), Ok(line));
});
