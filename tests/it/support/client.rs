//! Real clients as processes: the scripts of `tests/clients/`, with what `scripts/clients.sh`
//! installs. Each is given a URL, says `topic partition offset` for every event, and ends when its
//! stdin closes, so none outlives the test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use super::checker::Trace;
use super::{PATIENCE, eventually, within};

/// What a client has said so far.
#[derive(Default)]
struct Said {
    trace: Trace,
    /// All lines that are no event.
    others: Vec<String>,
}

/// A running client.
pub struct Client {
    process: Child,
    said: Arc<Mutex<Said>>,
    reader: Option<JoinHandle<()>>,
    /// Where it runs, and what it says goes into.
    dir: tempfile::TempDir,
}

/// A script of `tests/clients/`, run by what its name asks for, with the clients at hand.
#[must_use]
pub fn script(name: &str) -> Command {
    let (root, installed) = (Path::new(env!("CARGO_MANIFEST_DIR")), installed());
    let path = root.join("tests/clients").join(name);
    if let Some(reader) = name.strip_suffix(".rs") {
        return Command::new(installed.join(reader));
    }
    let mut command = match path.extension().and_then(|e| e.to_str()) {
        Some("py") => Command::new(python()),
        Some("cjs") => Command::new("node"),
        _ => Command::new("bash"),
    };
    command.arg(path).env("NODE_PATH", installed.join("node_modules"));
    // Two modules have the name `sseclient`.
    if name == "sseclient_client.py" {
        command.env("PYTHONPATH", installed.join("sseclient"));
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("TIDEGATE", env!("CARGO_BIN_EXE_tidegate"));
    command
}

/// Python with the clients.
#[must_use]
pub fn python() -> PathBuf {
    installed().join("venv/bin/python")
}

/// A folder in which Node finds the clients.
#[must_use]
pub fn folder(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(name).tempdir_in(installed()).expect("a folder")
}

/// Where the clients are. Installs them if need be.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let done = Command::new(root.join("scripts/clients.sh")).status().expect("a shell");
        assert!(done.success(), "scripts/clients.sh failed");
        root.join(".cache/clients")
    })
}

impl Client {
    /// Starts it.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let stderr = File::create(dir.path().join("stderr")).expect("a file");
        command.current_dir(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        // A group of its own, so that it can be ended with all that it has started.
        command.process_group(0);
        let mut process = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let said: Arc<Mutex<Said>> = Arc::default();
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let hears = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                hears.lock().expect("sound").take(line);
            }
        });
        Self { process, said, reader: Some(reader), dir }
    }

    /// Waits until `is` is true of what it has seen. Fails when the client ends before.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is: impl Fn(&Trace) -> bool) {
        self.wait(what, |said| is(&said.trace));
    }

    /// Waits until it has said a line. Fails when the client ends before.
    #[track_caller]
    pub fn wait_for_line(&mut self, line: &str) {
        self.wait(line, |said| said.others.iter().any(|other| other == line));
    }

    /// Waits until it has said so many of such lines. Fails when the client ends before.
    #[track_caller]
    pub fn wait_for_lines(&mut self, count: usize, is: impl Fn(&str) -> bool) {
        self.wait("lines", |said| said.others.iter().filter(|line| is(line)).count() >= count);
    }

    #[track_caller]
    fn wait(&mut self, what: &str, is: impl Fn(&Said) -> bool) {
        eventually(what, || {
            let ended = self.process.try_wait().expect("our child");
            is(&self.said.lock().expect("sound"))
                || ended.is_some_and(|status| panic!("{what}: the client ended: {status}"))
        });
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("our child").is_some()
    }

    /// Waits until it has ended by itself, or has said that it gives up.
    #[track_caller]
    pub fn gives_up(&mut self) {
        eventually("the client gives up", || {
            let said = self.said.lock().expect("sound").others.iter().any(|o| o == "gave up");
            said || self.has_ended()
        });
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Trace {
        self.said.lock().expect("sound").trace.clone()
    }

    /// Ends it; what it has seen.
    #[must_use]
    pub fn end(mut self) -> Trace {
        drop(self.process.stdin.take());
        eventually("the client ends with its stdin", || {
            self.process.try_wait().expect("our child").is_some()
        });
        self.reader.take().map(JoinHandle::join);
        let said = self.said.lock().expect("sound");
        said.trace.clone()
    }

    /// Waits until it has ended by itself; true if it was content.
    #[must_use]
    pub fn succeeds(&mut self) -> bool {
        let mut status = None;
        within(5 * PATIENCE, "the client is done", || {
            status = self.process.try_wait().expect("our child");
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }
}

impl Said {
    fn take(&mut self, line: String) {
        let mut words = line.split(' ');
        let mut event = || {
            let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
            Some(((topic.to_owned(), partition.parse().ok()?), offset.parse().ok()?))
        };
        match event() {
            Some((place, offset)) => self.trace.seen.entry(place).or_default().push(offset),
            None => self.others.push(line),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let group = format!("-{}", self.process.id());
            let _ = Command::new("kill").args(["-9", "--", &group]).status();
            let _ = self.process.wait();
        }
        if std::thread::panicking() {
            let stderr =
                std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
            let others = self.said.lock().map(|said| said.others.clone()).unwrap_or_default();
            println!("the client said: {others:#?}\n{stderr}");
        }
    }
}
