//! The ring and its cursors, held against a list of everything that was ever passed.

use proptest::prelude::*;

use super::ring::{Found, Ring};
use super::vector::{Carried, Cursor, Slot, Vector};
use crate::event::{LogTag, Offset, TimestampMs, TopicName, TopicPartition};
use crate::limits;
use crate::position::{PartitionPosition, PositionTime};

fn tp(n: usize) -> TopicPartition {
    TopicPartition::new(TopicName::new("t").expect("legal"), i32::try_from(n).expect("few"))
}

fn slot(n: usize, generation: u32, next: i64) -> Slot {
    let time = PositionTime::MadeUp(TimestampMs(7));
    let at = PartitionPosition { log: LogTag::new("aaaaaa"), next: Offset(next), time };
    Slot { tp: tp(n), at, generation, opened: at, append_time: false, carried: Carried::No }
}

#[derive(Debug, Clone)]
enum Op {
    Record {
        place: usize,
        shown: bool,
    },
    Hole {
        place: usize,
        by: i64,
    },
    Open {
        place: usize,
    },
    Close {
        place: usize,
    },
    /// Keep a cursor at the head, to be looked at much later.
    Pin,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        60 => (0..3usize, any::<bool>()).prop_map(|(place, shown)| Op::Record { place, shown }),
        4 => (0..3usize, 1..5i64).prop_map(|(place, by)| Op::Hole { place, by }),
        1 => (0..4usize).prop_map(|place| Op::Open { place }),
        1 => (0..4usize).prop_map(|place| Op::Close { place }),
        4 => Just(Op::Pin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_cursor_names_its_position_however_long_ago_its_frames_left(
        bytes in 200usize..20_000,
        ops in prop::collection::vec(op(), 1..1500),
    ) {
        let mut ring = Ring::new(Vector::new([slot(0, 0, 0), slot(1, 0, 5)]), bytes);
        let mut model = vec![ring.vector().clone()];
        let mut pinned: Vec<Cursor> = vec![ring.head()];
        for (n, op) in ops.into_iter().enumerate() {
            let n = u32::try_from(n).expect("few") + 1;
            match op {
                Op::Record { place, shown } => {
                    let Some((_, at)) = ring.vector().find(&tp(place)) else { continue };
                    let line = shown.then(|| bytes::Bytes::from_static(b"{}\n"));
                    ring.record(&tp(place), at.at.next, TimestampMs(i64::from(n)), line);
                }
                Op::Hole { place, by } => {
                    let Some((_, at)) = ring.vector().find(&tp(place)) else { continue };
                    ring.hole(&tp(place), Offset(at.at.next.0 + by));
                }
                Op::Open { place } => ring.open(slot(place, n, 100), None),
                Op::Close { place } if ring.vector().find(&tp(place)).is_some() => {
                    ring.close(&tp(place));
                }
                Op::Close { .. } => continue,
                Op::Pin => {
                    pinned.push(ring.head());
                    continue;
                }
            }
            model.push(ring.vector().clone());
        }
        let head = ring.head_index();
        prop_assert_eq!(model.len() as u64, head + 1);
        for cursor in &pinned {
            let index = usize::try_from(cursor.index).expect("small");
            prop_assert_eq!(&cursor.vector(), &model[index]);
        }
        for index in 0..=head {
            match ring.find(index) {
                Found::Behind => {}
                Found::AtHead => prop_assert_eq!(index, head),
                Found::Entries(entries) => {
                    prop_assert_eq!(entries.len() as u64, head - index);
                    let place = usize::try_from(index).expect("small");
                    prop_assert_eq!(&ring.cursor(index).vector(), &model[place]);
                }
            }
        }
    }
}

#[test]
fn the_oldest_entries_leave_and_the_newest_stays_however_large_it_is() {
    let mut ring = Ring::new(Vector::new([slot(0, 0, 0)]), 1000);
    let large = bytes::Bytes::from(vec![b'x'; 100_000]);
    for n in 0..10 {
        ring.record(&tp(0), Offset(n), TimestampMs(1), Some(large.clone()));
    }
    assert!(matches!(ring.find(8), Found::Behind));
    let Found::Entries(entries) = ring.find(9) else { panic!("the newest is there") };
    assert_eq!(entries.len(), 1);
}

#[test]
fn a_frame_is_the_event_with_the_position_after_it() {
    let mut ring = Ring::new(Vector::new([slot(1, 0, 8), slot(0, 0, 3)]), limits::RING_BYTES_MAX);
    let line = bytes::Bytes::from_static(b"{\"a\":1}\n");
    ring.record(&tp(1), Offset(8), TimestampMs(1_790_000_000_000), Some(line));
    let Found::Entries(mut entries) = ring.find(0) else { panic!("one entry") };
    let Some(super::ring::Entry::Event { sse, .. }) = entries.next() else { panic!("an event") };
    let frame = concat!(
        "event: message\nid: [",
        r#"{"topic":"t","partition":0,"offset":3,"timestamp":7,"log":"aaaaaa","assumed":true},"#,
        r#"{"topic":"t","partition":1,"offset":9,"timestamp":1790000000000,"log":"aaaaaa"}"#,
        "]\ndata: {\"a\":1}\n\n"
    );
    assert_eq!(std::str::from_utf8(&sse.plain()).expect("text"), frame);
}
