//! Look-up by time: the first record in log order with a time ≥ the one asked for, as Kafka has it.

use super::*;

fn at(rig: &Rig, time: i64) -> Option<i64> {
    rig.log.offset_at(&tp("t", 0), TimestampMs(time)).unwrap().map(|offset| offset.0)
}

/// One record a group, or all in one.
fn log_of(times: &[i64], in_one_group: bool) -> Rig {
    let mut rig = Rig::empty();
    let all: Vec<_> = times.iter().map(|time| new("t", "x", *time)).collect();
    if in_one_group {
        rig.group(&all);
    } else {
        all.into_iter().for_each(|one| drop(rig.group(&[one])));
    }
    rig
}

#[test]
fn times_that_go_backwards_do_not_hide_the_first_record_that_is_late_enough() {
    for in_one_group in [false, true] {
        let rig = log_of(&[10, 30, 20, 40, 5], in_one_group);
        for (time, offset) in [(0, 0), (10, 0), (11, 1), (20, 1), (30, 1), (31, 3), (40, 3)] {
            assert_eq!(at(&rig, time), Some(offset), "{time}");
        }
    }
}

#[test]
fn of_records_with_one_time_the_first_is_found() {
    for in_one_group in [false, true] {
        let rig = log_of(&[10, 20, 20, 20, 30], in_one_group);
        assert_eq!(at(&rig, 20), Some(1));
        assert_eq!(at(&rig, 11), Some(1));
    }
}

#[test]
fn beyond_the_newest_time_nothing_is_found() {
    let rig = log_of(&[10, 30, 20], false);
    assert_eq!(at(&rig, 31), None);
    assert_eq!(at(&rig, i64::MAX), None);
    assert_eq!(at(&rig, i64::MIN), Some(0));
}

#[test]
fn an_empty_partition_has_no_record_at_any_time() {
    let mut rig = Rig::empty();
    rig.create(&topic("t"), 1).unwrap();
    assert_eq!(at(&rig, i64::MIN), None);
}

#[test]
fn segments_are_searched_in_the_order_of_the_log_also_after_the_log_was_opened_again() {
    let mut rig = Rig::empty();
    for (n, time) in [50, 10, 70, 60, 90].into_iter().enumerate() {
        let value = format!("{n}{}", "x".repeat(2000));
        assert_eq!(rig.write("t", &value, time), n as i64);
    }
    assert_eq!(rig.files(".seg"), 5);
    for _ in 0..2 {
        for (time, offset) in [(1, 0), (50, 0), (51, 2), (65, 2), (71, 4)] {
            assert_eq!(at(&rig, time), Some(offset), "{time}");
        }
        rig = rig.reopen(settings()).unwrap();
    }
}

#[test]
fn what_retention_has_removed_is_not_found() {
    let mut rig = Rig::empty();
    for time in [90, 10, 20, 30] {
        rig.write("t", &"x".repeat(2000), time);
    }
    let bytes = Some(rig.log.lock().bytes() - 1);
    let mut rig = rig.reopen(Settings { retention_bytes: bytes, ..settings() }).unwrap();
    rig.retain();
    assert_eq!(rig.range("t"), (1, 4));
    assert_eq!(at(&rig, 25), Some(3));
    assert_eq!(at(&rig, 90), None);
}
