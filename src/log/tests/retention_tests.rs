//! Retention by age and by size, and topics that are deleted and made anew.

use std::time::Duration;

use super::*;

const HOUR: i64 = 3_600_000;

/// Three sealed segments of a record each, appended an hour apart, and a last one.
fn hourly(settings: Settings) -> Rig {
    let mut rig = Rig::open(&FaultyDisk::new(0), settings).unwrap();
    for n in 0..4 {
        // The record's own time is far ahead: it does not count.
        rig.write("t", &"x".repeat(2000), 1 << 50);
        rig.now += if n < 3 { HOUR } else { 0 };
    }
    assert_eq!((rig.files(".seg"), rig.files(".idx")), (4, 3));
    rig
}

fn by_age(hours: u64) -> Settings {
    let retention_age = Some(Duration::from_secs(hours * 3600));
    Settings { retention_age, ..settings() }
}

#[test]
fn by_age_of_their_last_append_segments_go_and_younger_ones_stay() {
    let mut rig = hourly(by_age(3));
    rig.retain();
    assert_eq!(rig.range("t"), (0, 4), "three hours ago is not yet too old");
    rig.now -= HOUR;
    rig.retain();
    assert_eq!(rig.range("t"), (0, 4), "a clock that goes back deletes nothing");
    rig.now += HOUR + 1;
    rig.retain();
    assert_eq!(rig.range("t"), (1, 4));
    assert_eq!((rig.files(".seg"), rig.files(".idx")), (3, 2));
    let rig = rig.reopen(by_age(3)).unwrap();
    assert_eq!(rig.range("t"), (1, 4));
}

#[test]
fn by_size_the_oldest_segments_go_until_it_fits() {
    let mut rig = hourly(settings());
    let size = rig.log.index.lock().unwrap().bytes();
    for (most, start) in [(size, 0), (size - 1, 1), (size / 2, 2), (1, 3), (0, 3)] {
        let now = rig.now;
        rig = rig.reopen(Settings { retention_bytes: Some(most), ..settings() }).unwrap();
        rig.now = now;
        rig.retain();
        assert_eq!(rig.range("t"), (start, 4), "{most} of {size} bytes");
    }
}

#[test]
fn offsets_go_on_when_no_record_is_left() {
    let mut rig = hourly(by_age(2));
    rig.now += 10 * HOUR;
    rig.write("other", &"x".repeat(2000), 5);
    rig.now += 10 * HOUR;
    rig.write("other", "y", 5);
    rig.now += 10 * HOUR;
    rig.retain();
    for _ in 0..2 {
        assert_eq!(rig.range("t"), (4, 4));
        assert_eq!(rig.read(&tp("t", 0), 4).unwrap(), []);
        match rig.read(&tp("t", 0), 3) {
            Err(SourceError::OutOfRange { kept, wanted, .. }) => {
                assert_eq!((kept.start, kept.end, wanted), (Offset(4), Offset(4), Offset(3)));
            }
            other => panic!("{other:?}"),
        }
        let disk = Arc::clone(&rig.disk);
        drop(rig);
        disk.crash();
        rig = Rig::open(&disk, by_age(2)).unwrap();
    }
    assert_eq!(rig.write("t", "next", 5), 4);
}

#[test]
fn the_last_segment_stays_however_old_and_large_it_is() {
    let mut rig =
        Rig::open(&FaultyDisk::new(0), Settings { retention_bytes: Some(0), ..by_age(1) }).unwrap();
    rig.write("t", &"x".repeat(5000), 5);
    rig.now += 100 * HOUR;
    rig.retain();
    assert_eq!(rig.range("t"), (0, 1));
}

#[test]
fn a_reader_that_retention_overtakes_is_told_so_and_not_of_damage() {
    let mut rig = hourly(by_age(2));
    // Opened again, so that the entries are on the disk, and a reader has found its segments.
    rig = Rig { now: rig.now + 1, ..rig.reopen(by_age(2)).unwrap() };
    let id = Log::id(&rig.log.lock(), &tp("t", 0)).unwrap();
    let found: Vec<_> = rig.log.lock().from(id, 0).collect();
    rig.retain();
    assert_eq!(rig.range("t"), (2, 4));
    let pick = |segment| rig.log.entries(&tp("t", 0), id, segment, <[_]>::len).unwrap();
    let picked: Vec<_> = found.iter().map(|(segment, _)| pick(segment)).collect();
    assert_eq!(picked, [None, None, Some(1), Some(1)]);
    assert!(matches!(rig.read(&tp("t", 0), 1), Err(SourceError::OutOfRange { .. })));
}

#[test]
fn a_topic_made_anew_has_another_tag_and_nothing_of_the_old_one() {
    let mut rig = Rig::empty();
    rig.write("t", "old", 5);
    let old = rig.log.topic(&topic("t")).unwrap().log.unwrap();
    rig.delete(&topic("t")).unwrap();
    assert_eq!(rig.log.topic(&topic("t")), None);
    assert!(matches!(rig.read(&tp("t", 0), 0), Err(SourceError::UnknownTopic(_))));
    rig = rig.reopen(settings()).unwrap();
    assert_eq!(rig.log.topic(&topic("t")), None);
    assert_eq!(rig.write("t", "new", 5), 0);
    let new = rig.log.topic(&topic("t")).unwrap().log.unwrap();
    assert_ne!(new, old);
    rig = rig.reopen(settings()).unwrap();
    assert_eq!(rig.log.topic(&topic("t")).unwrap().log, Some(new));
    assert_eq!(rig.values("t"), ["new"]);
    assert_eq!(rig.log.offset_at(&tp("t", 0), TimestampMs(0)).unwrap(), Some(Offset(0)));
}

#[test]
fn a_topic_gets_more_partitions_and_never_fewer() {
    let mut rig = Rig::empty();
    for (asked, has) in [(2, 2), (5, 5), (1, 5)] {
        rig.create(&topic("t"), asked).unwrap();
        assert_eq!(rig.log.topic(&topic("t")).unwrap().partitions, has);
    }
    assert_eq!(rig.log.watermarks(&tp("t", 4)).unwrap().end, Offset(0));
    for p in [5, -1] {
        let unknown = rig.log.watermarks(&tp("t", p));
        assert!(matches!(unknown, Err(SourceError::UnknownPartition(_))), "{unknown:?}");
    }
}
