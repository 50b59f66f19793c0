//! The embedded log as an operator meets it: `tidegate log check|repair` on folders of every kind,
//! and what is in a log whose gateway was killed again and again.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidegate::event::{Offset, TimestampMs, TopicName, TopicPartition};
use tidegate::log::{Log, Settings};
use tidegate::source::NewRecord;

use crate::support::gateway::{Gateway, Streams};
use crate::support::intake::{Written, written};
use crate::support::{eventually, sse};

/// What a command said.
#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

fn log(command: &str, dir: &Path) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["log", command])
        .arg(dir)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let status = output.status.code().expect("it ends by itself");
    Said { status, out: text(output.stdout), err: text(output.stderr) }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("legal")
}

fn settings(dir: &Path) -> Settings {
    Settings { segment_bytes: 3000, ..Settings::new(dir) }
}

/// A log with six records in three segments.
async fn small_log(dir: &Path) -> Arc<Log> {
    let log = Log::open(settings(dir)).expect("it opens");
    for n in 0..6 {
        let value = Bytes::from(format!("{n}{}", "x".repeat(1500)));
        let record = NewRecord { topic: topic("t"), key: None, value, time: TimestampMs(n) };
        log.append(record).await.expect("it is taken");
    }
    log
}

/// Offsets that can be read.
fn offsets(dir: &Path) -> Vec<i64> {
    let log = Log::open(settings(dir)).expect("it opens");
    let tp = TopicPartition::new(topic("t"), 0);
    let end = log.watermarks(&tp).expect("it is there").end;
    let read = log.read(&tp, Offset(0), end, usize::MAX).expect("it can be read");
    read.records.iter().map(|record| record.offset.0).collect()
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("a file").path());
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    all.map(|path| (name(&path), std::fs::read(path).expect("it can be read"))).collect()
}

#[tokio::test]
async fn a_good_log_passes_its_check_and_repair_does_nothing_to_it() {
    let dir = tempfile::tempdir().expect("a folder");
    small_log(dir.path()).await.close().await;
    let before = files(dir.path());
    for command in ["check", "repair"] {
        let said = log(command, dir.path());
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(said.out, "3 segment(s), 6 record(s) can be read\n");
        assert_eq!(files(dir.path()), before);
    }
}

#[tokio::test]
async fn export_writes_each_record_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = Log::open(settings(dir.path())).expect("it opens");
    let values = [r#"{"n":1.0,"a":"\u00e9"}"#, "{\n}", "no JSON", "[1e400]"];
    let keys = [None, Some(&b"key"[..]), Some(&b"\xff"[..]), None];
    for (name, time) in [("t", 5), ("u", 6)] {
        for (value, key) in values.into_iter().zip(keys) {
            let (key, value) = (key.map(Bytes::from_static), Bytes::from_static(value.as_bytes()));
            let record = NewRecord { topic: topic(name), key, value, time: TimestampMs(time) };
            log.append(record).await.expect("it is taken");
        }
    }
    log.close().await;
    drop(log);
    let said = self::log("export", dir.path());
    let head = |topic: &str, n: usize, time: u32| {
        format!("{{\"topic\":\"{topic}\",\"partition\":0,\"offset\":{n},\"timestamp\":{time},")
    };
    let tails = [
        r#""value":{"n":1.0,"a":"\u00e9"}}"#,
        r#""key":"key","value":null,"value_base64":"ewp9"}"#,
        r#""key_base64":"/w==","value":null,"value_base64":"bm8gSlNPTg=="}"#,
        r#""value":[1e400]}"#,
    ];
    let lines = |topic: &str, time| {
        let lines = tails.iter().enumerate();
        lines.map(|(n, tail)| format!("{}{tail}\n", head(topic, n, time))).collect::<String>()
    };
    assert_eq!((said.status, &said.out), (0, &(lines("t", 5) + &lines("u", 6))), "{said:?}");
    let empty = tempfile::tempdir().expect("a folder");
    let said = self::log("export", empty.path());
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(files(empty.path()), BTreeMap::new(), "none is made");
}

#[tokio::test]
async fn a_torn_write_is_called_so_and_repair_cuts_it() {
    let dir = tempfile::tempdir().expect("a folder");
    small_log(dir.path()).await.close().await;
    let last = dir.path().join("0000000000000003.seg");
    let whole = std::fs::read(&last).expect("it is there");
    std::fs::write(&last, [&whole[..], b"TGB1 and then the power went"].concat()).expect("written");
    let said = log("check", dir.path());
    assert_eq!(said.status, 1, "{said:?}");
    let at = format!("torn write: 0000000000000003.seg at byte {}: ", whole.len());
    assert!(said.out.contains(&at) && !said.out.contains("\ndamage:"), "{said:?}");
    assert!(said.err.contains("1 damage(s); `tidegate log repair"), "{said:?}");
    let said = log("repair", dir.path());
    assert_eq!(said.status, 0, "{said:?}");
    let done = format!("done: 0000000000000003.seg cut at byte {}", whole.len());
    assert!(said.out.contains(&done), "{said:?}");
    assert_eq!(std::fs::read(&last).expect("it is there"), whole);
    assert_eq!(log("check", dir.path()).status, 0);
}

#[tokio::test]
async fn damage_is_named_and_after_repair_the_log_opens_without_it() {
    let dir = tempfile::tempdir().expect("a folder");
    small_log(dir.path()).await.close().await;
    let file = dir.path().join("0000000000000002.seg");
    let mut bytes = std::fs::read(&file).expect("it is there");
    bytes[200] ^= 1;
    std::fs::write(&file, &bytes).expect("written");
    let said = log("check", dir.path());
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.out.contains("\ndamage: 0000000000000002.seg at byte 16: "), "{said:?}");
    assert!(said.out.contains("\nmissing: t/0, offsets 2 to 2"), "{said:?}");
    let said = log("repair", dir.path());
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("\ndone: 0000000000000002.seg written anew"), "{said:?}");
    assert_eq!(files(dir.path())["0000000000000002.seg.damaged"], bytes, "nothing is deleted");
    let said = log("check", dir.path());
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("missing: t/0, offsets 2 to 2"), "it still says so: {said:?}");
    assert_eq!(offsets(dir.path()), [0, 1, 3, 4, 5]);
}

#[test]
fn what_is_no_log_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("letter.txt"), "dear").expect("written");
    let before = files(dir.path());
    for command in ["check", "repair"] {
        let said = log(command, dir.path());
        assert_eq!((said.status, &*said.out), (1, ""), "{said:?}");
        assert!(said.err.contains("is no log of tidegate's"), "{said:?}");
        assert_eq!(files(dir.path()), before);
        let said = log(command, &dir.path().join("none"));
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.err.contains("No such file"), "{said:?}");
    }
    let without = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["log", "check"]).output();
    assert_eq!(without.expect("it runs").status.code(), Some(2));
}

#[tokio::test]
async fn a_log_in_use_is_not_touched() {
    let dir = tempfile::tempdir().expect("a folder");
    let open = small_log(dir.path()).await;
    for command in ["check", "repair"] {
        let said = log(command, dir.path());
        assert_eq!((said.status, &*said.out), (1, ""), "{said:?}");
        assert!(said.err.contains("is in use by another process"), "{said:?}");
    }
    open.close().await;
    drop(open);
    assert_eq!(log("check", dir.path()).status, 0);
}

const STREAMS: Streams<'_> = &[("changes", &["changes"]), ("creates", &["creates"])];

/// Acknowledged events: where, and which.
type Ledger = BTreeMap<(String, i32, i64), String>;

#[derive(Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

/// Writes until it is told to stop; what is not acknowledged is not written again.
fn write(to: std::net::SocketAddr, writer: usize, shared: &Shared) {
    let mut n = 0;
    while !shared.stop.load(Ordering::Acquire) {
        let ids: Vec<_> = (n..n + 1 + n % 30).map(|n| format!("{writer}-{n}")).collect();
        n += ids.len();
        let event = |id: &String| {
            let stream = if id.len().is_multiple_of(2) { "changes" } else { "creates" };
            let (key, filler) = (id.len() % 5, "x".repeat(n * 37 % 3000));
            format!(
                r#"{{"meta":{{"stream":"{stream}","key":"{key}"}},"id":"{id}","text":"{filler}"}}"#
            )
        };
        let events: Vec<_> = ids.iter().map(event).collect();
        let body = format!("[{}]", events.join(","));
        let Ok((201, answer)) = sse::post(to, "/v1/events", body.as_bytes()) else {
            std::thread::sleep(std::time::Duration::from_millis(20));
            continue;
        };
        let results = written(&answer);
        assert_eq!(results.len(), ids.len());
        let mut ledger = shared.ledger.lock().expect("sound");
        for (Written { topic, partition, offset }, id) in results.into_iter().zip(ids) {
            let twice = ledger.insert((topic, partition, offset), id);
            assert_eq!(twice, None, "an offset was given out twice");
            shared.acknowledged.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Everything that is in the log.
fn contents(dir: &Path) -> Ledger {
    let log = Log::open(Settings::new(dir)).expect("it opens");
    let mut all = Ledger::new();
    for name in ["changes", "creates"] {
        let topic = topic(name);
        for partition in 0..log.topic(&topic).expect("it is there").partitions {
            let tp = TopicPartition::new(topic.clone(), partition);
            let marks = log.watermarks(&tp).expect("it is there");
            let mut from = marks.start;
            while from < marks.end {
                let read = log.read(&tp, from, marks.end, 1 << 20).expect("it can be read");
                for record in read.records {
                    let value = record.value.expect("no tombstones");
                    let event: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
                    let id = event["id"].as_str().expect("an id").to_owned();
                    all.insert((name.to_owned(), partition, record.offset.0), id);
                }
                from = read.next;
            }
        }
    }
    all
}

#[test]
fn a_gateway_that_is_killed_again_and_again_loses_nothing_that_it_acknowledged() {
    let keys = "segment_mb = 1\npartitions = 3\ncommit_interval_ms = 2";
    let mut gateway = Gateway::embedded_with(keys, STREAMS, "");
    let shared = Arc::new(Shared::default());
    let writers = (0..4).map(|n| {
        let (to, shared) = (gateway.public(), Arc::clone(&shared));
        std::thread::spawn(move || write(to, n, &shared))
    });
    let writers: Vec<_> = writers.collect();
    for round in 1..=6 {
        eventually("events are written", || {
            shared.acknowledged.load(Ordering::Acquire) >= round * 700
        });
        gateway.kill();
        let said = log("check", &gateway.log_dir());
        assert!(!said.out.contains("\ndamage:"), "a kill tears the last write at most: {said:?}");
        assert!(said.out.contains(" segment(s), "), "{said:?}");
        gateway.go();
    }
    shared.stop.store(true, Ordering::Release);
    for writer in writers {
        writer.join().expect("the writer does not panic");
    }
    gateway.kill();
    let there = contents(&gateway.log_dir());
    let said = log("check", &gateway.log_dir());
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains(&format!(", {} record(s)", there.len())), "{said:?}");
    assert!(!said.out.starts_with("1 segment(s)"), "no segment was ever sealed: {said:?}");
    let ledger = shared.ledger.lock().expect("sound");
    assert!(ledger.len() >= 4200);
    for (place, id) in &*ledger {
        assert_eq!(there.get(place), Some(id), "{place:?} was acknowledged");
    }
    let mut ids: Vec<_> = there.values().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), there.len(), "nothing is there twice");
}
