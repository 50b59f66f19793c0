//! Real folders: which are taken, which are refused and left alone, and the log's own thread.

use std::path::Path;

use super::super::{check, repair};
use super::*;
use crate::event::answers::NewRecord;

type Files = BTreeMap<String, Vec<u8>>;

/// Records that readers race with.
const RECORDS: i64 = 300;

fn files(dir: &Path) -> Files {
    let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    all.map(|path| (name(&path), std::fs::read(path).unwrap())).collect()
}

fn record(value: &str) -> NewRecord {
    let (topic, value) = (topic("t"), Bytes::from(value.to_owned()));
    NewRecord { topic, key: None, value, time: TimestampMs(5) }
}

#[test]
fn a_folder_of_something_else_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["topics.json", "photo.jpg"] {
        std::fs::write(dir.path().join(name), "something else").unwrap();
        let before = files(dir.path());
        for error in [
            Log::open(Settings::new(dir.path())).unwrap_err(),
            check(dir.path()).unwrap_err(),
            repair(dir.path()).unwrap_err(),
        ] {
            assert!(matches!(error, OpenError::Foreign(_)), "{error}");
            assert!(error.to_string().contains("empty folder"), "{error}");
        }
        assert_eq!(files(dir.path()), before);
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
}

#[test]
fn another_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tidegate-log"), r#"{"format":2,"new":"thing"}"#).unwrap();
    std::fs::write(dir.path().join("0000000000000001.seg"), "of another kind").unwrap();
    let before = files(dir.path());
    for error in [
        Log::open(Settings::new(dir.path())).unwrap_err(),
        check(dir.path()).unwrap_err(),
        repair(dir.path()).unwrap_err(),
    ] {
        assert!(matches!(&error, OpenError::Format(format) if format == "2"), "{error}");
        assert!(error.to_string().contains("version that made it"), "{error}");
    }
    assert_eq!(files(dir.path()), before);
}

#[test]
fn segments_without_the_mark_are_not_taken_for_an_empty_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("0000000000000001.seg"), "").unwrap();
    let before = files(dir.path());
    let error = Log::open(Settings::new(dir.path())).unwrap_err();
    assert!(error.to_string().contains(r#"write {"format":1} into it"#), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn check_and_repair_begin_no_log() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(check(dir.path()), Err(OpenError::Foreign(_))));
    assert!(matches!(repair(dir.path()), Err(OpenError::Foreign(_))));
    assert_eq!(files(dir.path()), Files::new());
    let none = dir.path().join("none");
    assert!(matches!(check(&none), Err(OpenError::Io(_))));
    assert!(!none.exists());
}

#[test]
fn a_process_that_ended_while_it_made_the_log_left_a_folder_that_is_taken() {
    for left in [&["lock"][..], &["lock", "tidegate-log.tmp"]] {
        let dir = tempfile::tempdir().unwrap();
        left.iter().for_each(|name| std::fs::write(dir.path().join(name), "").unwrap());
        Log::open(Settings::new(dir.path())).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tidegate-log"), "{\"format\":1}\n").unwrap();
    assert!(check(dir.path()).unwrap().damages.is_empty());
    Log::open(Settings::new(dir.path())).unwrap();
}

#[tokio::test]
async fn a_log_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made").join("with its parents");
    let log = Log::open(Settings::new(&dir)).unwrap();
    log.append(record("one")).await.unwrap();
    for error in [
        Log::open(Settings::new(&dir)).unwrap_err(),
        check(&dir).unwrap_err(),
        repair(&dir).unwrap_err(),
    ] {
        assert!(matches!(error, OpenError::InUse(_)), "{error}");
        assert!(error.to_string().contains("stop that one first"), "{error}");
    }
    log.close().await;
    drop(log);
    assert!(check(&dir).unwrap().damages.is_empty());
    let log = Log::open(Settings::new(&dir)).unwrap();
    assert_eq!(log.watermarks(&tp("t", 0)).unwrap().end, Offset(1));
}

#[tokio::test]
async fn what_is_appended_at_once_is_one_commit_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let commit_interval = std::time::Duration::from_millis(300);
    let log = Log::open(Settings { commit_interval, ..Settings::new(dir.path()) }).unwrap();
    let appends = (0..100).map(|n| log.append(record(&n.to_string())));
    let outcomes = futures_util::future::join_all(appends).await;
    let offsets: Vec<_> = outcomes.into_iter().map(|o| o.unwrap().1.0).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    let entries = log.index.lock().unwrap().segments[&1].entries.clone().unwrap();
    assert_eq!(entries[&(0, 0)].len(), 1, "one batch");
    let read = log.read(&tp("t", 0), Offset(0), Offset(100), 1 << 20).unwrap();
    let value = |r: &Record| String::from_utf8(r.value.as_ref().unwrap().to_vec()).unwrap();
    let values: Vec<_> = read.records.iter().map(value).collect();
    assert_eq!(values, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_for_ever_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(Settings::new(dir.path())).unwrap();
    let large = NewRecord { value: vec![0; 64 * 1024 * 1024 + 1].into(), ..record("") };
    let outcome = log.append(large).await;
    assert!(matches!(outcome, Err(SinkError::Refused(_))), "{outcome:?}");
    log.append(record("small")).await.unwrap();
    log.close().await;
    let outcome = log.append(record("late")).await;
    assert!(matches!(outcome, Err(SinkError::Unavailable(..))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_race_with_commits_rolls_and_retention_see_what_was_written_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        commit_interval: std::time::Duration::from_millis(1),
        segment_bytes: 1000,
        retention_bytes: Some(12_000),
        ..Settings::new(dir.path())
    };
    let log = Log::open(settings).unwrap();
    log.create_topic(&topic("t"), 1).await.unwrap();
    let readers = (0..2).map(|_| {
        let log = Arc::clone(&log);
        std::thread::spawn(move || {
            let (tp, mut seen, mut overtaken) = (tp("t", 0), 0, 0);
            loop {
                let marks = log.watermarks(&tp).unwrap();
                match log.read(&tp, marks.start, marks.end, 1 << 20) {
                    Ok(fetched) => {
                        for record in fetched.records {
                            let value = record.value.unwrap();
                            let number = value.split(|b| *b == b' ').next().unwrap();
                            assert_eq!(number, record.offset.to_string().as_bytes());
                            seen += 1;
                        }
                    }
                    Err(SourceError::OutOfRange { .. }) => overtaken += 1,
                    Err(other) => panic!("{other}"),
                }
                let found = log.offset_at(&tp, TimestampMs(marks.start.0)).unwrap();
                assert!(found.is_none_or(|found| found >= marks.start));
                if marks.end.0 == RECORDS {
                    return (seen, overtaken);
                }
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for n in 0..RECORDS {
        let value = format!("{n} {}", "x".repeat(200));
        log.append(NewRecord { time: TimestampMs(n), ..record(&value) }).await.unwrap();
        log.retain().await;
    }
    for reader in readers {
        let (seen, _) = tokio::task::spawn_blocking(|| reader.join()).await.unwrap().unwrap();
        assert!(seen > RECORDS);
    }
    assert!(log.watermarks(&tp("t", 0)).unwrap().start.0 > RECORDS / 2);
}
