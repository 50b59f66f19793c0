//! A full disk: producers are refused, readers are not, and it is over when there is room.

use super::super::disk::Disk;
use super::*;

#[track_caller]
fn refused(rig: &mut Rig, value: &str) -> String {
    match &rig.group(&[new("t", value, 5)])[0] {
        Err(error @ SinkError::Unavailable(..)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn producers_are_refused_below_the_reserve_and_readers_are_not() {
    let mut rig = Rig::empty();
    rig.write("t", "before", 5);
    rig.disk.set_room(Some(499));
    let says = refused(&mut rig, "refused");
    assert!(says.contains("499 bytes") && says.contains("500 are kept"), "{says}");
    assert_eq!(rig.values("t"), ["before"]);
    rig.disk.set_room(Some(500));
    assert_eq!(rig.write("t", "after", 5), 1);
    assert_eq!(rig.values("t"), ["before", "after"]);
}

#[test]
fn a_write_that_does_not_fit_is_refused_wherever_it_ends_and_leaves_nothing() {
    let fits = |room| {
        let mut rig = Rig::empty();
        rig.write("t", "before", 5);
        rig.disk.set_room(Some(room));
        let outcome = rig.group(&[new("t", &"x".repeat(900), 5)]).remove(0);
        let expected: &[&str] = if outcome.is_ok() { &["before", "x"] } else { &["before"] };
        for _ in 0..2 {
            let values = rig.values("t");
            let first = values.iter().map(|v| if v.starts_with('x') { "x" } else { v });
            assert_eq!(first.collect::<Vec<_>>(), expected);
            let disk = Arc::clone(&rig.disk);
            drop(rig);
            disk.crash();
            rig = Rig::open(&disk, settings()).unwrap();
        }
        rig.disk.set_room(None);
        let next = rig.write("t", "with room", 5);
        assert_eq!(next, expected.len() as i64, "offsets go on without a hole");
        if let Err(error) = &outcome {
            assert!(matches!(error, SinkError::Unavailable(..)), "{error:?}");
        }
        outcome.is_ok()
    };
    let outcomes: Vec<_> = (500..1100).map(fits).collect();
    assert!(outcomes.contains(&true) && outcomes.contains(&false));
    assert!(outcomes.is_sorted(), "with more room it is never refused where less was enough");
}

#[test]
fn the_next_segment_and_a_new_topic_wait_for_room() {
    let mut rig = Rig::open(&FaultyDisk::new(0), Settings { reserve_bytes: 0, ..settings() });
    let rig = rig.as_mut().unwrap();
    rig.write("t", &"x".repeat(2000), 5);
    rig.disk.set_room(Some(10));
    refused(rig, "needs a segment");
    let outcome = &rig.group(&[new("other", "needs a topic", 5)])[0];
    assert!(matches!(outcome, Err(SinkError::Unavailable(..))), "{outcome:?}");
    assert!(rig.create(&topic("other"), 1).is_err());
    assert!(rig.log.topic(&topic("other")).is_none());
    assert_eq!(rig.values("t").len(), 1);
    rig.disk.set_room(None);
    assert_eq!(rig.write("t", "with room", 5), 1);
    assert_eq!(rig.write("other", "with room", 5), 0);
}

#[test]
fn a_log_opens_on_a_full_disk_and_is_read() {
    let mut rig = Rig::empty();
    rig.write("t", &"x".repeat(2000), 5);
    // The next group seals the segment, and ends before the next one is begun.
    rig.disk.plan(Plan { power_off: Some(7), ..Plan::default() });
    assert!(rig.group(&[new("t", "lost", 5)])[0].is_err());
    rig.disk.restart();
    assert_eq!((rig.files(".seg"), rig.files(".idx")), (2, 1));
    rig.disk.set_room(Some(0));
    let mut rig = rig.reopen(settings()).unwrap();
    assert_eq!(rig.values("t").len(), 1);
    refused(&mut rig, "refused");
    rig.disk.set_room(None);
    assert_eq!(rig.write("t", "with room", 5), 1);
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let mut rig = Rig::empty();
    for _ in 0..3 {
        rig.write("t", &"x".repeat(2000), 5);
    }
    rig.disk.set_room(Some(0));
    let mut rig = rig.reopen(Settings { retention_bytes: Some(1), ..settings() }).unwrap();
    rig.retain();
    assert_eq!(rig.range("t"), (2, 3));
    assert!(rig.disk.free_bytes().unwrap() > 4000);
    assert_eq!(rig.write("t", "with room", 5), 3);
}
