//! Torn writes and damage: what opens, what is refused, what `check` says and `repair` does.

use super::super::check::{Report, check_on, repair_on};
use super::super::disk::Disk;
use super::super::segment;
use super::*;

const ONE: &str = "0000000000000001.seg";
const TWO: &str = "0000000000000002.seg";

type Files = BTreeMap<String, Vec<u8>>;

fn open(files: &Files) -> Result<Rig, OpenError> {
    Rig::open(&FaultyDisk::holding(files), settings())
}

fn check(files: &Files) -> Report {
    let disk = FaultyDisk::holding(files);
    let report = check_on(&*disk).unwrap();
    assert_eq!(disk.contents(), *files, "check changes nothing");
    report
}

fn repaired(files: &Files) -> (Report, Files) {
    let disk = FaultyDisk::holding(files);
    let report = repair_on(&*disk).unwrap();
    (report, disk.contents())
}

fn with(files: &Files, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Files {
    let mut files = files.clone();
    change(files.get_mut(name).expect("it is there"));
    files
}

fn text(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("value {n}")).collect()
}

/// A log with four records of its own group each; with `sealed` in a segment that is sealed, and
/// one more in the next. And where the four begin.
fn four(sealed: bool) -> (Files, Vec<usize>) {
    let mut rig = Rig::empty();
    let mut starts = Vec::new();
    rig.create(&topic("t"), 1).unwrap();
    for value in text(4) {
        starts.push(rig.disk.contents().get(ONE).map_or(16, Vec::len));
        rig.write("t", &value, 5);
    }
    if sealed {
        rig.write("big", &"x".repeat(2000), 5);
        rig.write("t", "value 4", 5);
    }
    (rig.disk.contents(), starts)
}

#[test]
fn a_last_write_that_is_torn_at_any_byte_is_cut_off_and_the_log_goes_on() {
    let mut rig = Rig::empty();
    rig.create(&topic("t"), 1).unwrap();
    rig.create(&topic("u"), 1).unwrap();
    rig.write("t", "value 0", 5);
    let before = rig.disk.contents()[ONE].len();
    rig.group(&[new("t", "value 1", 5), new("u", "last", 5)]);
    let files = rig.disk.contents();
    let all = files[ONE].len();
    let mut undamaged = 0;
    for cut in before..all {
        for zeros in [false, true] {
            let torn = with(&files, ONE, |bytes| {
                bytes.truncate(cut);
                bytes.resize(if zeros { all } else { cut }, 0);
            });
            let report = check(&torn);
            assert!(report.damages.iter().all(|d| d.torn && d.file == ONE), "{cut}: {report}");
            undamaged += usize::from(report.damages.is_empty());
            for files in [&torn, &repaired(&torn).1] {
                let mut rig = open(files).unwrap();
                let kept = rig.values("t");
                assert!(kept == text(1) || kept == text(2), "{cut}: {kept:?}");
                assert_eq!(rig.values("u"), [""; 0], "{cut}");
                let offset = rig.write("t", "next", 5);
                assert_eq!(offset, kept.len() as i64);
                let files = rig.disk.contents();
                assert!(check(&files).damages.is_empty());
                assert_eq!(open(&files).unwrap().values("t"), [kept, vec!["next".into()]].concat());
            }
        }
    }
    assert_eq!(undamaged, 2, "cut between two batches there is nothing to see");
}

#[test]
fn a_bit_that_flips_in_a_sealed_segment_fails_only_the_reads_of_its_records() {
    let (files, starts) = four(true);
    for at in starts[1]..starts[2] {
        let bad = with(&files, ONE, |bytes| bytes[at] ^= 4);
        let rig = open(&bad).unwrap();
        let read = |from, until| rig.log.read(&tp("t", 0), Offset(from), Offset(until), 1 << 20);
        assert_eq!(read(0, 1).unwrap().records.len(), 1);
        assert_eq!(read(2, 9).unwrap().records.len(), 3);
        let up_to_it = read(0, 9).unwrap();
        assert_eq!((up_to_it.records.len(), up_to_it.next), (1, Offset(1)));
        match read(1, 9) {
            Err(SourceError::Damaged { at, cause, .. }) => {
                assert_eq!(at, Offset(1));
                assert!(cause.contains(&format!("{ONE} at byte {}", starts[1])), "{cause}");
                assert!(cause.contains("log check"), "{cause}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        let report = check(&bad);
        assert_eq!(report.damages.len(), 1, "{report}");
        let damage = &report.damages[0];
        assert_eq!((&*damage.file, damage.at, damage.torn), (ONE, starts[1] as u64, false));
        assert_eq!(report.missing, [("t/0".to_owned(), 1, 2)]);
    }
}

#[test]
fn repair_sets_damage_aside_and_the_rest_opens() {
    let (files, starts) = four(true);
    let bad = with(&files, ONE, |bytes| bytes[starts[1] + 20] ^= 4);
    let (report, mended) = repaired(&bad);
    assert_eq!(mended[&format!("{ONE}.damaged")], bad[ONE], "nothing is deleted");
    assert!(report.to_string().contains("done: "), "{report}");
    assert!(check(&mended).damages.is_empty());
    let mut rig = open(&mended).unwrap();
    let offsets: Vec<_> = rig.read(&tp("t", 0), 0).unwrap().iter().map(|r| r.offset.0).collect();
    assert_eq!(offsets, [0, 2, 3, 4]);
    let over_the_hole = rig.log.read(&tp("t", 0), Offset(1), Offset(2), 100).unwrap();
    assert_eq!((over_the_hole.records.len(), over_the_hole.next), (0, Offset(2)));
    assert_eq!(rig.write("t", "next", 5), 5);
    // It is damaged once more: what was set aside first stays.
    let files = rig.disk.contents();
    let bad_again = with(&files, ONE, |bytes| bytes[40] ^= 4);
    let (_, mended) = repaired(&bad_again);
    assert_eq!(mended[&format!("{ONE}.damaged")], bad[ONE]);
    assert_eq!(mended[&format!("{ONE}.damaged-2")], bad_again[ONE]);
    open(&mended).unwrap();
}

#[test]
fn damage_that_whole_batches_follow_is_refused_with_what_to_do() {
    let (files, starts) = four(false);
    for at in starts[0]..starts[3] {
        let bad = with(&files, ONE, |bytes| bytes[at] ^= 4);
        let disk = FaultyDisk::holding(&bad);
        let says = Rig::open(&disk, settings()).err().unwrap().to_string();
        assert!(says.contains("tidegate log check DIR"), "{says}");
        assert!(says.contains("tidegate log repair DIR"), "{says}");
        assert_eq!(disk.contents(), bad, "nothing was changed");
        let report = check(&bad);
        assert_eq!(report.damages.len(), 1);
        assert!(!report.damages[0].torn, "{report}");
        let (_, mended) = repaired(&bad);
        assert_eq!(open(&mended).unwrap().values("t").len(), 3);
    }
}

#[test]
fn a_damaged_batch_of_a_group_is_no_torn_write_when_another_group_follows() {
    let mut rig = Rig::empty();
    rig.group(&[new("t", "first", 5), new("u", "first", 5)]);
    rig.group(&[new("t", "second", 5), new("u", "second", 5)]);
    let bad = with(&rig.disk.contents(), ONE, |bytes| bytes[30] ^= 4);
    assert!(matches!(open(&bad), Err(OpenError::Damaged(_))));
    let report = check(&bad);
    assert!(!report.damages[0].torn, "{report}");
    let rig = open(&repaired(&bad).1).unwrap();
    assert_eq!(rig.values("t"), ["second"]);
    assert_eq!(rig.values("u"), ["first", "second"]);
}

#[test]
fn an_index_that_is_damaged_is_made_anew_after_repair_and_nothing_is_lost() {
    let (files, _) = four(true);
    let index = ONE.replace("seg", "idx");
    for at in 0..files[&index].len() {
        let bad = with(&files, &index, |bytes| bytes[at] ^= 4);
        // It opens where only its entries are damaged; then their reads fail.
        match open(&bad) {
            Ok(rig) => {
                let read = rig.log.read(&tp("t", 0), Offset(0), Offset(9), 100);
                assert!(matches!(read, Err(SourceError::Damaged { .. })), "{at}: {read:?}");
            }
            Err(error) => assert!(matches!(error, OpenError::Damaged(_)), "{at}: {error}"),
        }
        assert!(check(&bad).damages.iter().any(|d| d.file == index), "byte {at}");
        let (_, mended) = repaired(&bad);
        let rig = open(&mended).unwrap();
        assert_eq!(rig.values("t"), text(5));
        assert_eq!(rig.disk.contents()[&index], files[&index], "it is the same again");
    }
}

#[test]
fn a_segment_that_does_not_begin_as_one_is_damage_and_repair_keeps_its_records() {
    for (name, sealed) in [(ONE, true), (ONE, false), (TWO, true)] {
        let (files, _) = four(sealed);
        let bad = with(&files, name, |bytes| bytes[3] ^= 4);
        assert!(matches!(open(&bad), Err(OpenError::Damaged(_))));
        assert!(!check(&bad).damages.is_empty());
        let (_, mended) = repaired(&bad);
        assert_eq!(open(&mended).unwrap().values("t").len(), if sealed { 5 } else { 4 });
    }
}

#[test]
fn a_segment_that_is_gone_is_damage_and_named() {
    let mut rig = Rig::empty();
    for _ in 0..3 {
        rig.write("t", &"x".repeat(2000), 5);
    }
    let mut files = rig.disk.contents();
    files.remove(TWO).unwrap();
    assert!(matches!(open(&files), Err(OpenError::Damaged(says)) if says.contains(TWO)));
    let report = check(&files);
    assert_eq!(report.damages[0].file, TWO);
    assert_eq!(report.missing, [("t/0".to_owned(), 1, 2)]);
    assert_eq!(open(&repaired(&files).1).unwrap().values("t").len(), 2);
}

#[test]
fn a_fault_at_the_end_of_a_segment_that_others_follow_is_no_torn_write() {
    let (mut files, starts) = four(true);
    files.remove(&ONE.replace("seg", "idx")).unwrap();
    let bad = with(&files, ONE, |bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 4;
    });
    assert!(matches!(open(&bad), Err(OpenError::Damaged(_))));
    let report = check(&bad);
    assert!(!report.damages[0].torn && report.damages[0].at > starts[3] as u64, "{report}");
    assert_eq!(open(&repaired(&bad).1).unwrap().values("t"), text(5));
}

#[test]
fn a_repair_that_is_interrupted_anywhere_can_be_repeated() {
    let (files, starts) = four(true);
    let bad = with(&files, ONE, |bytes| bytes[starts[1] + 20] ^= 4);
    for step in 0.. {
        let disk = FaultyDisk::holding(&bad);
        disk.plan(Plan { power_off: Some(step), ..Plan::default() });
        let is_done = repair_on(&*disk).is_ok();
        disk.crash();
        repair_on(&*disk).unwrap();
        let rig = Rig::open(&disk, settings()).unwrap();
        assert_eq!(rig.read(&tp("t", 0), 0).unwrap().len(), 4, "step {step}");
        let is_kept =
            |(name, bytes): (&String, &Vec<u8>)| name.contains("damaged") && bytes == &bad[ONE];
        assert!(disk.contents().iter().any(is_kept), "step {step}");
        if is_done {
            assert!(step > 8, "a repair has more steps than {step}");
            break;
        }
    }
}

#[test]
fn a_lost_list_of_topics_is_not_said_to_be_repairable() {
    let (files, _) = four(false);
    let mut lost = files.clone();
    lost.remove("topics.json").unwrap();
    for bad in [lost, with(&files, "topics.json", |bytes| bytes.truncate(9))] {
        let disk = FaultyDisk::holding(&bad);
        for error in [
            Rig::open(&disk, settings()).err().unwrap(),
            check_on(&*disk).unwrap_err(),
            repair_on(&*disk).unwrap_err(),
        ] {
            let says = error.to_string();
            assert!(says.contains("topics.json") && says.contains("from a copy"), "{says}");
        }
        assert_eq!(disk.contents(), bad, "nothing was changed");
    }
}

#[test]
fn what_was_not_acknowledged_does_not_come_back_with_a_lost_index() {
    let mut rig = Rig::empty();
    rig.write("t", "value 0", 5);
    rig.disk.plan(Plan { sync_fails: Some(0), ..Plan::default() });
    let outcome = &rig.group(&[new("t", "not synced", 5)])[0];
    assert!(matches!(outcome, Err(SinkError::Unknown(..))), "{outcome:?}");
    rig.write("t", "value 1", 5);
    let mut files = rig.disk.contents();
    let number = segment::number_of(ONE).unwrap();
    files.remove(&segment::index_name(number)).unwrap();
    assert_eq!(open(&files).unwrap().values("t"), text(2));
    assert_eq!(FaultyDisk::holding(&files).list().unwrap().len(), files.len());
}

#[test]
fn a_batch_behind_damage_is_found_wherever_it_begins() {
    for size in (3990..4110).chain([20_000, 100_000]) {
        let mut rig =
            Rig::open(&FaultyDisk::new(0), Settings { segment_bytes: 1 << 20, ..settings() });
        let rig = rig.as_mut().unwrap();
        rig.write("t", &"x".repeat(size), 5);
        rig.write("t", "behind", 5);
        let bad = with(&rig.disk.contents(), ONE, |bytes| bytes[40] ^= 4);
        assert!(matches!(open(&bad), Err(OpenError::Damaged(_))), "{size}");
        assert_eq!(open(&repaired(&bad).1).unwrap().values("t"), ["behind"], "{size}");
    }
}
