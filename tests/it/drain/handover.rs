//! The socket is the service manager's: whatever becomes of the process, nobody meets a closed
//! port. And what the manager is told.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::checker::{Manner, Reader, check, goal};
use crate::support::intake::written;
use crate::support::{PATIENCE, eventually, free_port, sse};

/// The manager and its service.
struct Manager {
    process: Child,
    said: Arc<Mutex<Vec<String>>>,
    ports: (u16, u16),
    dir: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let (dir, ports) = (tempfile::tempdir().expect("a folder"), (free_port(), free_port()));
        let config = format!(
            "[embedded]\ndata_dir = {:?}\n[streams.s]\ntopics = [\"t\"]\n[intake]\nenabled = true\n\
             [drain]\ngrace_s = 0\nspread_s = 1\n\
             [limits]\nstreams_per_client = 0\nopens_per_client_s = 0\n",
            dir.path().join("log")
        );
        let file = dir.path().join("tidegate.toml");
        std::fs::write(&file, config).expect("written");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/manager.py");
        let mut process = Command::new("python3")
            .arg(script)
            .args([ports.0.to_string(), ports.1.to_string()])
            .args([env!("CARGO_BIN_EXE_tidegate"), "serve", "--config"])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("stderr")).expect("a file"))
            .spawn()
            .expect("python3");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&said);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| hears.lock().expect("sound").push(line));
        });
        let manager = Self { process, said, ports, dir };
        manager.hears("held", 1);
        manager
    }

    fn public(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.0).into()
    }

    /// Does this, and waits until so many lines begin so.
    #[track_caller]
    fn does(&mut self, word: &str, line: &str, times: usize) {
        writeln!(self.process.stdin.as_mut().expect("a pipe"), "{word}").expect("it reads");
        self.hears(line, times);
    }

    #[track_caller]
    fn hears(&self, line: &str, times: usize) {
        eventually(line, || {
            let said = self.said.lock().expect("sound");
            said.iter().filter(|said| said.starts_with(line)).count() >= times
        });
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("stderr"));
            println!("{:#?}\n{}", self.said.lock(), log.unwrap_or_default());
        }
    }
}

/// Writes an event; waits as long as it takes, and is never refused a connection.
fn write(to: SocketAddr) -> Option<i64> {
    let socket = std::net::TcpStream::connect(to);
    drop(socket.expect("the port is never closed"));
    let answer = sse::post(to, "/v1/events", br#"{"meta":{"stream":"s"}}"#);
    // A process that dies takes the connections along that it has accepted.
    let (status, answer) = answer.ok()?;
    (status == 201).then(|| written(&answer)[0].offset)
}

#[test]
fn nobody_meets_a_closed_port_while_one_process_follows_another() {
    let mut manager = Manager::new();
    // Nobody is there yet, and who comes waits.
    let first = std::thread::spawn({
        let to = manager.public();
        move || write(to)
    });
    manager.does("start", "READY=1", 1);
    manager.hears("STATUS=serving at http://", 1);
    assert_eq!(first.join().expect("it waited"), Some(0));
    manager.does("hup", "RELOADING=1", 1);
    manager.hears("MONOTONIC_USEC=", 1);
    manager.hears("READY=1", 2);
    let (done, tries) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    let reached = Arc::default();
    let reader = Reader {
        to: manager.public(),
        path: "/v2/stream/s".to_owned(),
        seed: 1,
        manner: Manner { events_max: usize::MAX, ..Manner::default() },
        goal: Arc::clone(&reached),
    };
    let (starts, begins) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || reader.run(|| starts.send(()).expect("heard")));
    let to = manager.public();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut offsets = Vec::new();
            while !done.load(Ordering::Acquire) && begun.elapsed() < 4 * PATIENCE {
                offsets.extend(write(to));
                tries.fetch_add(1, Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(5));
            }
            offsets
        });
        begins.recv().expect("it reads");
        for turn in 1..=4 {
            let (word, ended) = [("term", "ended 0"), ("kill", "ended -9")][turn % 2];
            manager.does(word, ended, turn.div_ceil(2));
            manager.does("start", "READY=1", turn + 2);
            let before = tries.load(Ordering::Acquire);
            eventually("it goes on", || tries.load(Ordering::Acquire) > before + 20);
        }
        done.store(true, Ordering::Release);
        let offsets = writing.join().expect("no connection was refused");
        let ledger = [(("t".to_owned(), 0), offsets)].into();
        reached.set(goal(&ledger)).expect("once");
        let trace = reading.join().expect("it has read");
        let report = check(&trace, &ledger);
        assert!(report.is_clean() && trace.connections >= 4, "{report:?} {}", trace.connections);
    });
    manager.hears("STOPPING=1", 2);
    manager.hears("WATCHDOG=1", 2);
}
