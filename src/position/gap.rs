//! What could not be given, and how it is said: the header `x-stream-gap` and the gap event.
//! Finding gaps is not done here.

use std::fmt::Write as _;

use crate::event::{Offset, TopicPartition};
use crate::limits::GAP_HEADER_BYTES_MAX;

/// Why there is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Retention removed it.
    Retention,
    /// The topic was made anew.
    Recreated,
    /// The log became shorter (unclean leader election).
    Truncated,
    /// The position is above the end, and nothing tells where it belongs.
    OutOfRange,
    /// The position is another log's, and no time goes with it.
    ForeignLog,
    /// The partition does not exist.
    NoPartition,
}

impl GapReason {
    /// The word in the header, in the event, in metrics and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Recreated => "recreated",
            Self::Truncated => "truncated",
            Self::OutOfRange => "out_of_range",
            Self::ForeignLog => "foreign_log",
            Self::NoPartition => "no_partition",
        }
    }
}

/// One gap. `from ≤ lost < to`; an end that nobody knows is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// In which partition.
    pub tp: TopicPartition,
    /// The first offset that was not given.
    pub from: Offset,
    /// Where reading goes on.
    pub to: Option<Offset>,
    /// Why.
    pub reason: GapReason,
}

/// The value of `x-stream-gap`, a structured field list (RFC 9651):
/// `"topic";p=0;from=10;to=50;reason=retention, …`; `to` is left out where it is unknown. At most
/// `GAP_HEADER_BYTES_MAX` bytes; what does not fit is counted at the end: `"...";more=12`.
/// `None`: there is no gap to tell.
#[must_use]
pub fn header_value(gaps: &[Gap]) -> Option<String> {
    let mut value = String::new();
    for (n, gap) in gaps.iter().enumerate() {
        let separator = if n == 0 { "" } else { ", " };
        let item = header_item(gap);
        let after = gaps.len() - n - 1;
        // As long as something follows, there must be room to say how much.
        let reserve = if after == 0 { 0 } else { more_item(after).len() + 2 };
        if value.len() + separator.len() + item.len() + reserve > GAP_HEADER_BYTES_MAX {
            return Some(value + separator + &more_item(after + 1));
        }
        value += separator;
        value += &item;
    }
    (!gaps.is_empty()).then_some(value)
}

fn header_item(gap: &Gap) -> String {
    // A topic's name holds no character that would have to be escaped.
    let mut item = format!("\"{}\";p={}", gap.tp.topic, gap.tp.partition);
    let ends = [("from", Some(gap.from)), ("to", gap.to)];
    for (name, offset) in ends.into_iter().filter_map(|(name, o)| Some((name, o?))) {
        // A structured field's integer has at most 15 digits.
        if offset.0.unsigned_abs() <= 999_999_999_999_999 {
            write!(item, ";{name}={offset}").expect("a string takes everything");
        }
    }
    item + ";reason=" + gap.reason.as_str()
}

fn more_item(more: usize) -> String {
    format!("\"...\";more={more}")
}

/// All gaps as one line of JSON, without a line break at its end:
/// `{"gaps":[{"topic":"t","partition":0,"from":10,"to":50,"reason":"retention"}]}`; `to` is left
/// out where it is unknown.
#[must_use]
pub fn event_json(gaps: &[Gap]) -> Vec<u8> {
    let mut json = String::from("{\"gaps\":[");
    for (n, gap) in gaps.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let (topic, partition, from) = (&gap.tp.topic, gap.tp.partition, gap.from);
        write!(json, "{comma}{{\"topic\":\"{topic}\",\"partition\":{partition},\"from\":{from}")
            .expect("a string takes everything");
        if let Some(to) = gap.to {
            write!(json, ",\"to\":{to}").expect("a string takes everything");
        }
        json += ",\"reason\":\"";
        json += gap.reason.as_str();
        json += "\"}";
    }
    (json + "]}").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::TopicName;

    fn gap(topic: &str, partition: i32, from: i64, to: Option<i64>, reason: GapReason) -> Gap {
        let tp = TopicPartition::new(TopicName::new(topic).expect("legal"), partition);
        Gap { tp, from: Offset(from), to: to.map(Offset), reason }
    }

    #[test]
    fn the_header_is_a_structured_list() {
        assert_eq!(header_value(&[]), None);
        let gaps = [
            gap("eqiad.a", 0, 10, Some(50), GapReason::Retention),
            gap("b", 3, 7, None, GapReason::NoPartition),
        ];
        let expected = "\"eqiad.a\";p=0;from=10;to=50;reason=retention, \
                        \"b\";p=3;from=7;reason=no_partition";
        assert_eq!(header_value(&gaps).as_deref(), Some(expected));
    }

    #[test]
    fn an_offset_too_long_for_a_structured_field_is_left_out() {
        let gaps = [gap("t", 0, 5, Some(i64::MAX), GapReason::Truncated)];
        assert_eq!(header_value(&gaps).as_deref(), Some("\"t\";p=0;from=5;reason=truncated"));
    }

    #[test]
    fn the_event_has_all_gaps_on_one_line() {
        let gaps = [
            gap("t", 0, 10, Some(50), GapReason::Retention),
            gap("t", 1, 10, None, GapReason::ForeignLog),
        ];
        let expected = r#"{"gaps":[{"topic":"t","partition":0,"from":10,"to":50,"reason":"retention"},{"topic":"t","partition":1,"from":10,"reason":"foreign_log"}]}"#;
        assert_eq!(String::from_utf8(event_json(&gaps)).expect("text"), expected);
        assert_eq!(event_json(&[]), b"{\"gaps\":[]}");
    }

    #[test]
    fn one_gap_of_the_longest_topic_fits() {
        let gaps = [gap(&"x".repeat(249), i32::MAX, 1, Some(2), GapReason::OutOfRange)];
        assert!(!header_value(&gaps).expect("a gap").contains("more="));
    }

    proptest! {
        #[test]
        fn the_header_is_short_and_counts_what_it_leaves_out(
            lens in prop::collection::vec(1..249_usize, 1..200),
            to in prop::option::of(0..i64::MAX),
        ) {
            let gaps: Vec<_> = lens.iter().map(|&len| {
                gap(&"t".repeat(len), 1, 12, to, GapReason::Recreated)
            }).collect();
            let value = header_value(&gaps).expect("gaps");
            prop_assert!(value.len() <= GAP_HEADER_BYTES_MAX);
            let items: Vec<_> = value.split(", ").collect();
            let more = items.last().and_then(|last| last.strip_prefix("\"...\";more="));
            let told = items.len() - usize::from(more.is_some());
            let left: usize = more.map_or(0, |n| n.parse().expect("a count"));
            prop_assert_eq!(told + left, gaps.len());
            prop_assert!(told >= 1);
            prop_assert_ne!(more, Some("0"));
            let json: serde_json::Value = serde_json::from_slice(&event_json(&gaps)).expect("JSON");
            prop_assert_eq!(json["gaps"].as_array().map(Vec::len), Some(gaps.len()));
        }
    }
}
