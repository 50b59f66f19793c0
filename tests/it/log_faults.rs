//! The embedded log's faults as the users of a whole gateway meet them: a disk that is full, and
//! retention that overtakes a reader. (Torn writes and kills: `log_commands`, `delivery`.)

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use crate::support::checker::{Ledger, Manner, Reader, check, goal};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::intake::written;
use crate::support::sse;

/// A small disk; gone when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: only root may have one.
    fn at(dir: PathBuf) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "none"]).arg(&dir);
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then_some(Self(dir))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At once, also while somebody has a file of it open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// One event of some size; its offset, or the refusal.
fn write(to: SocketAddr, bytes: usize) -> Result<i64, (u16, String)> {
    let event = format!(r#"{{"meta":{{"stream":"s"}},"text":"{}"}}"#, "x".repeat(bytes));
    let (status, answer) = sse::post(to, "/v1/events", event.as_bytes()).expect("an answer");
    match status {
        201 => Ok(written(&answer)[0].offset),
        _ => Err((status, String::from_utf8_lossy(&answer).into_owned())),
    }
}

#[test]
fn a_full_disk_refuses_producers_in_words_and_readers_miss_nothing() {
    let mut gateway = Gateway::embedded_with("reserve_mb = 0", &[("s", &["t"])], "");
    assert!(gateway.terminate().success());
    let (dir, log) = (gateway.other_dir(), gateway.log_dir());
    let Some(disk) = SmallDisk::at(dir.clone()) else {
        println!("only root may mount a small disk: not tried");
        return gateway.go();
    };
    std::fs::write(disk.ballast(), vec![1; 8 << 20]).expect("there is room");
    let (old, new) = (format!("{log:?}"), format!("{:?}", dir.join("log")));
    gateway.edit_config(|text| text.replace(&old, &new));
    gateway.go();
    let to = gateway.public();
    let reached = Arc::default();
    let path = "/v2/stream/s?since=1".to_owned();
    let reader = |goal: &Arc<_>| {
        let goal = Arc::clone(goal);
        Reader { to, path: path.clone(), seed: 1, manner: Manner::default(), goal }
    };
    let mut offsets = vec![write(to, 100).expect("there is room")];
    let (live, began) = (reader(&reached), Arc::new(std::sync::Barrier::new(2)));
    let begins = Arc::clone(&began);
    let reading = std::thread::spawn(move || {
        live.run(|| {
            begins.wait();
        })
    });
    began.wait();
    let (status, says) = loop {
        match write(to, 60_000) {
            Ok(offset) => offsets.push(offset),
            Err(refused) => break refused,
        }
    };
    assert!(offsets.len() > 20, "{}", offsets.len());
    assert_eq!(status, 503);
    assert!(says.contains("unavailable") && says.contains("embedded"), "{says}");
    assert_eq!(gateway.metric("tidegate_intake_failing"), 1.0);
    assert!(gateway.log().contains("events cannot be written"));
    // As full as it is it starts, and those who read get what there is.
    gateway.kill();
    gateway.go();
    assert_eq!(write(to, 60_000).expect_err("it is full").0, 503);
    std::fs::remove_file(disk.ballast()).expect("removed");
    eventually("it goes on", || match write(to, 60_000) {
        Ok(offset) => {
            offsets.push(offset);
            true
        }
        Err(_) => false,
    });
    assert_eq!(gateway.metric("tidegate_intake_failing"), 0.0);
    offsets.extend((0..10).map(|_| write(to, 60_000).expect("there is room")));
    let ledger: Ledger = [(("t".to_owned(), 0), offsets)].into();
    reached.set(goal(&ledger)).expect("once");
    let trace = reading.join().expect("it has read");
    let report = check(&trace, &ledger);
    assert!(report.is_clean() && report.unacknowledged == 0, "{report:?}");
}

#[test]
fn a_reader_that_stands_still_until_retention_has_passed_it_is_told_what_it_misses() {
    const EVENTS: i64 = 400;
    let keys = "segment_mb = 1\nretention_mb = 2";
    let small = "[limits]\ntail_mb = 1\nring_mb = 1\nhistory_cache_mb = 1\n\
                 [session]\nstall_s = 3600\n";
    let gateway = Gateway::embedded_with(keys, &[("s", &["t"])], small);
    let to = gateway.public();
    let response = sse::get(to, "/v2/stream/s?gap=event", &[]).expect("an answer");
    let mut events = response.events();
    events.greet();
    let first = write(to, 60_000).expect("taken");
    let mut next = first + 1;
    assert!(events.message().data.contains("\"offset\":0"));
    // 24 MB: more than the sockets hold, and it reads none of it.
    (1..EVENTS).for_each(|n| assert_eq!(write(to, 60_000), Ok(n)));
    eventually("retention has passed it", || {
        let files = std::fs::read_dir(gateway.log_dir()).expect("a folder").flatten();
        files.filter(|file| file.path().extension().is_some_and(|e| e == "seg")).count() <= 4
    });
    let mut missed = 0;
    while next < EVENTS {
        let event = events.next().expect("it goes on");
        let data: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
        if event.name == "gap" {
            let gaps = data["gaps"].as_array().cloned().unwrap_or_else(|| vec![data.clone()]);
            for gap in gaps {
                assert_eq!((&gap["reason"], &gap["from"]), (&"retention".into(), &next.into()));
                let to = gap["to"].as_i64().expect("a number");
                missed += to - next;
                next = to;
            }
        } else {
            assert_eq!(data["meta"]["offset"], next, "what is not told is not missed");
            next += 1;
        }
    }
    assert!(missed > 0, "retention has not passed it");
    assert!(gateway.metric_of("tidegate_gaps_total", "reason=\"retention\"") >= 1.0);
}
