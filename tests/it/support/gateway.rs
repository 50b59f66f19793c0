//! The gateway as its users have it: the binary, a config file, a process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::process::Process;
use super::{eventually, free_port};

/// A gateway, on the same ports through all its restarts.
pub struct Gateway {
    dir: tempfile::TempDir,
    ports: (u16, u16),
    /// How many it may have; `None`: as many as the test.
    descriptors: Option<u32>,
    /// It makes its own events up.
    is_demo: bool,
    running: Option<Process>,
}

/// Streams as the config says them: name and topics.
pub type Streams<'a> = &'a [(&'a str, &'a [&'a str])];

impl Gateway {
    /// Over the embedded log in a folder of its own, with intake. `more`: further config text.
    #[must_use]
    pub fn embedded(streams: Streams<'_>, more: &str) -> Self {
        Self::embedded_with("", streams, more)
    }

    /// As `embedded`. `keys`: what else the config says of the log.
    #[must_use]
    pub fn embedded_with(keys: &str, streams: Streams<'_>, more: &str) -> Self {
        let more = format!("{more}\n[intake]\nenabled = true\n");
        let source = |dir: &Path| format!("[embedded]\ndata_dir = {:?}\n{keys}\n", dir.join("log"));
        Self::start(source, streams, &more)
    }

    /// As people try it.
    #[must_use]
    pub fn demo() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let ports = (free_port(), free_port());
        let mut gateway = Self { dir, ports, descriptors: None, is_demo: true, running: None };
        gateway.go();
        gateway
    }

    /// As `embedded`, with so few descriptors.
    #[must_use]
    pub fn embedded_within(descriptors: u32, streams: Streams<'_>, more: &str) -> Self {
        let mut gateway = Self::embedded(streams, more);
        assert!(gateway.terminate().success());
        gateway.descriptors = Some(descriptors);
        gateway.go();
        gateway
    }

    /// As `embedded`. `head`: what the config says before all else.
    #[must_use]
    pub fn embedded_with_head(head: &str, streams: Streams<'_>) -> Self {
        let source = |dir: &Path| format!("{head}[embedded]\ndata_dir = {:?}\n", dir.join("log"));
        Self::start(source, streams, "")
    }

    /// The folder of its embedded log.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// A folder of its own that it does not look at.
    #[must_use]
    pub fn other_dir(&self) -> PathBuf {
        let dir = self.dir.path().join("other");
        std::fs::create_dir_all(&dir).expect("made");
        dir
    }

    /// The folder of its state over a Kafka.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Over a Kafka of these brokers, with commas between. `more`: further config text.
    #[must_use]
    pub fn kafka(bootstrap: &str, streams: Streams<'_>, more: &str) -> Self {
        let brokers: Vec<_> = bootstrap.split(',').collect();
        Self::clusters(&format!("[kafka.main]\nbootstrap = {brokers:?}\n"), streams, more)
    }

    /// Over what `clusters` says, as the config has it.
    #[must_use]
    pub fn clusters(clusters: &str, streams: Streams<'_>, more: &str) -> Self {
        let source = |dir: &Path| format!("state_dir = {:?}\n{clusters}", dir.join("state"));
        Self::start(source, streams, more)
    }

    fn start(source: impl Fn(&Path) -> String, streams: Streams<'_>, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = source(dir.path());
        for (name, topics) in streams {
            config += &format!("[streams.{name:?}]\ntopics = {topics:?}\n");
        }
        // Many readers of a test come from one address, and again and again.
        let free = ["streams_per_client", "opens_per_client_s"];
        let free = free.into_iter().filter(|key| !more.contains(key));
        let free =
            "[limits]\n".to_owned() + &free.map(|key| format!("{key} = 0\n")).collect::<String>();
        config += &match more.split_once("[limits]\n") {
            Some((before, after)) => format!("{before}{free}{after}"),
            None => format!("{more}\n{free}"),
        };
        // Last, since what is given may go on with the table of the source.
        if !more.contains("[drain]") {
            config += "\n[drain]\ngrace_s = 0\nspread_s = 0\n";
        }
        std::fs::write(dir.path().join("tidegate.toml"), config).expect("write the config");
        let ports = (free_port(), free_port());
        let mut gateway = Self { dir, ports, descriptors: None, is_demo: false, running: None };
        gateway.go();
        gateway
    }

    /// Starts it (again) and waits until it listens.
    pub fn go(&mut self) {
        let mut process = self.launch();
        let lines = ["http", "https"].map(|s| format!("listening on {s}://{}\n", self.public()));
        eventually("the gateway listens", || {
            assert!(process.ended().is_none(), "it ended: {}", self.log());
            let said = std::fs::read_to_string(self.dir.path().join("stdout")).unwrap_or_default();
            lines.iter().any(|line| said.starts_with(line))
        });
        self.running = Some(process);
    }

    /// Starts it where it must not start; what it has said.
    pub fn does_not_start(&mut self) -> String {
        let status = self.launch().wait();
        assert!(!status.success(), "{status}");
        self.log()
    }

    fn launch(&self) -> Process {
        let mut command = self.program();
        match self.is_demo {
            true => command.args(["serve", "--demo", "--data-dir"]).arg(self.log_dir()),
            false => command.args(["serve", "--config"]).arg(self.dir.path().join("tidegate.toml")),
        };
        command.args(["--listen", &self.public().to_string()]);
        command.args(["--admin-listen", &self.admin().to_string()]);
        let out = self.dir.path().join("stdout");
        let stdout = File::create(&out).expect("make a file");
        let stderr = File::options().create(true).append(true).open(self.log_file());
        let files = (stdout, stderr.expect("make a file"));
        Process::start(&command, &self.dir.path().join("pid"), files)
    }

    fn program(&self) -> Command {
        let gateway = env!("CARGO_BIN_EXE_tidegate");
        let Some(descriptors) = self.descriptors else { return Command::new(gateway) };
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")).arg(gateway);
        command
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Freezes it: connections stay, nothing answers.
    pub fn freeze(&self) {
        self.running.as_ref().expect("it runs").signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.running.as_ref().expect("it runs").signal("-CONT");
    }

    /// Waits until it has ended by itself.
    pub fn ends(&mut self) -> ExitStatus {
        self.running.take().expect("it runs").wait()
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut process = self.running.take().expect("it runs");
        process.signal("-TERM");
        process.wait()
    }

    /// Changes its configuration's file, all at once.
    pub fn edit_config(&self, edit: impl FnOnce(&str) -> String) {
        let (file, new) = (self.dir.path().join("tidegate.toml"), self.dir.path().join("new"));
        let text = std::fs::read_to_string(&file).expect("it is there");
        std::fs::write(&new, edit(&text)).expect("written");
        std::fs::rename(new, file).expect("renamed");
    }

    /// Sends it a signal, such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        self.running.as_ref().expect("it runs").signal(signal);
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }

    /// Where readers go.
    #[must_use]
    pub fn public(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.0).into()
    }

    /// Where operators go.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.1).into()
    }

    /// The first line that it has printed.
    #[must_use]
    pub fn announced(&self) -> String {
        let said = std::fs::read_to_string(self.dir.path().join("stdout")).unwrap_or_default();
        said.lines().next().unwrap_or_default().to_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The whole answer of the admin port.
    #[must_use]
    pub fn ask_admin(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.admin()).expect("the admin port answers");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("asked");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("answered");
        text
    }

    /// What `/admin/health` says.
    #[must_use]
    pub fn health(&self) -> serde_json::Value {
        let answer = self.ask_admin("/admin/health");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The sum of a metric over its labels.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, "")
    }

    /// The sum of a metric where `label` is among its labels, such as `reason="lifetime"`.
    #[must_use]
    pub fn metric_of(&self, name: &str, label: &str) -> f64 {
        let text = self.ask_admin("/metrics");
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']) && rest.contains(label))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            let log = self.log();
            assert!(!log.contains("panicked"), "the gateway panicked: {log}");
        } else {
            let log = self.log();
            let tail = log.len().saturating_sub(4000);
            println!("the gateway said: {}", log.get(tail..).unwrap_or(&log));
        }
    }
}
