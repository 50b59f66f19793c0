//! What the model has found, by name: crashes after failures, over many throws of the disk's dice.

use super::super::disk::Disk;
use super::*;

const SEEDS: std::ops::Range<u64> = 0..60;

fn reopened(disk: &Arc<FaultyDisk>) -> Rig {
    Rig::open(disk, settings()).unwrap()
}

/// A log with one record in it.
fn begun(seed: u64) -> Rig {
    let mut rig = reopened(&FaultyDisk::new(seed));
    rig.write("t", "before", 5);
    rig
}

#[test]
fn what_was_told_to_be_not_written_does_not_turn_up_after_a_crash() {
    let mut unavailable = 0;
    for seed in SEEDS {
        let mut rig = begun(seed);
        rig.write("u", "before", 5);
        let failed = [new("t", "failed", 5), new("u", &"x".repeat(100), 5)];
        rig.disk.plan(Plan { write_fails: Some(0), ..Plan::default() });
        let outcomes = rig.group(&failed);
        unavailable += usize::from(matches!(outcomes[0], Err(SinkError::Unavailable(..))));
        let disk = Arc::clone(&rig.disk);
        drop(rig);
        disk.crash();
        assert_eq!(reopened(&disk).values("t"), ["before"], "seed {seed}: {outcomes:?}");
    }
    assert_eq!(unavailable, SEEDS.count());
}

#[test]
fn what_is_shown_after_a_failed_sync_and_a_restart_is_still_there_after_a_crash() {
    let mut shown = 0;
    for seed in SEEDS {
        let mut rig = begun(seed);
        rig.disk.plan(Plan { sync_fails: Some(0), ..Plan::default() });
        let outcome = &rig.group(&[new("t", "perhaps", 5)])[0];
        assert!(matches!(outcome, Err(SinkError::Unknown(..))), "{outcome:?}");
        assert_eq!(rig.values("t"), ["before"], "readers see only what is durable");
        let rig = rig.reopen(settings()).unwrap();
        let before = rig.values("t");
        shown += before.len() - 1;
        let disk = Arc::clone(&rig.disk);
        drop(rig);
        disk.crash();
        assert_eq!(reopened(&disk).values("t"), before, "seed {seed}");
    }
    assert!(shown > 0, "it was never shown: this has tried nothing");
}

#[test]
fn a_topic_whose_making_was_interrupted_keeps_what_is_written_to_it() {
    for (seed, step) in SEEDS.flat_map(|seed| (0..8).map(move |step| (seed, step))) {
        let mut rig = begun(seed);
        rig.disk.plan(Plan { power_off: Some(step), ..Plan::default() });
        let _ = rig.create(&topic("u"), 1);
        let mut rig = rig.reopen(settings()).unwrap();
        rig.write("u", "acknowledged", 5);
        let disk = Arc::clone(&rig.disk);
        drop(rig);
        disk.crash();
        assert_eq!(reopened(&disk).values("u"), ["acknowledged"], "seed {seed}, step {step}");
    }
}

#[test]
fn a_topic_whose_deletion_failed_keeps_what_is_written_to_it() {
    let mut failed = 0;
    for (seed, sync) in SEEDS.flat_map(|seed| (0..2).map(move |sync| (seed, sync))) {
        let mut rig = begun(seed);
        rig.disk.plan(Plan { sync_fails: Some(sync), ..Plan::default() });
        failed += usize::from(rig.delete(&topic("t")).is_err());
        rig.write("t", "acknowledged", 5);
        let disk = Arc::clone(&rig.disk);
        drop(rig);
        disk.crash();
        let values = reopened(&disk).values("t");
        assert_eq!(values, ["before", "acknowledged"], "seed {seed}, sync {sync}");
    }
    assert_eq!(failed, SEEDS.count() * 2);
}

#[test]
fn a_log_whose_making_was_interrupted_anywhere_is_made_at_the_next_open() {
    for (seed, step) in SEEDS.flat_map(|seed| (0..20).map(move |step| (seed, step))) {
        let disk = FaultyDisk::new(seed);
        disk.plan(Plan { power_off: Some(step), ..Plan::default() });
        if let Ok(mut rig) = Rig::open(&disk, settings()) {
            let _ = rig.group(&[new("t", "perhaps", 5)]);
        }
        disk.crash();
        let mut rig = reopened(&disk);
        let offset = rig.write("t", "acknowledged", 5);
        assert!(offset <= 1, "seed {seed}, step {step}");
    }
}

#[test]
fn the_number_of_a_segment_that_was_deleted_is_not_used_again() {
    for seed in SEEDS {
        let small = Settings { retention_bytes: Some(0), ..settings() };
        let mut rig = Rig::open(&FaultyDisk::new(seed), small.clone()).unwrap();
        rig.write("t", &"x".repeat(2000), 5);
        // The next segment is begun, and nothing comes to stand in it.
        rig.disk.plan(Plan { write_fails: Some(2), ..Plan::default() });
        assert!(rig.group(&[new("t", "failed", 5)])[0].is_err());
        rig.retain();
        assert_eq!(rig.range("t"), (1, 1));
        let disk = Arc::clone(&rig.disk);
        drop(rig);
        disk.crash();
        let mut rig = Rig::open(&disk, small).unwrap();
        assert_eq!(rig.write("t", "next", 5), 1, "seed {seed}");
        let segments = rig.disk.list().unwrap();
        assert!(!segments.contains(&"0000000000000001.seg".to_owned()), "{segments:?}");
        assert_eq!(rig.reopen(settings()).unwrap().values("t"), ["next"]);
    }
}
