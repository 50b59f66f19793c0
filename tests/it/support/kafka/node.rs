//! One node of a cluster as a process of its own: its folder, its start, its faults. The jars come
//! from Maven's repository.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::process::Process;

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

/// What every node of ours is told. Another value of the same key, given before, would be passed
/// over: of two the last counts.
const COMMON: &str = "controller.listener.names=CONTROLLER\n\
    offsets.topic.replication.factor=1\n\
    offsets.topic.num.partitions=1\n\
    transaction.state.log.replication.factor=1\n\
    transaction.state.log.min.isr=1\n\
    transaction.state.log.num.partitions=4\n\
    share.coordinator.state.topic.replication.factor=1\n\
    share.coordinator.state.topic.min.isr=1\n\
    auto.create.topics.enable=false\n\
    message.max.bytes=20000000\nreplica.fetch.max.bytes=20000000\n\
    log.retention.ms=-1\nnum.partitions=1\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The jars, fetched once.
fn libs() -> PathBuf {
    let dir = root().join(".cache/kafka");
    std::fs::create_dir_all(&dir).expect("make the cache");
    let lock = File::create(dir.join("lock")).expect("make the lock");
    lock.lock().expect("one fetches, the others wait");
    let libs = dir.join("libs");
    if !libs.join("kafka-tools-4.3.0.jar").exists() {
        let pom = root().join("tests/it/support/kafka/pom.xml");
        let fetched = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", libs.display()))
            .arg("-DincludeScope=runtime")
            .status()
            .expect("Maven (mvn) is needed to fetch Apache Kafka");
        assert!(fetched.success(), "Maven could not fetch Apache Kafka");
    }
    libs
}

/// A program of Apache Kafka.
#[must_use]
pub fn java(args: &[&str]) -> Command {
    let mut command = Command::new("java");
    let log4j = root().join("tests/it/support/kafka/log4j2.properties");
    command
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("-cp")
        .arg(format!("{}/*", libs().display()))
        .args(args);
    command
}

/// A node, running or not.
pub struct Node {
    dir: tempfile::TempDir,
    running: Option<Process>,
}

impl Node {
    /// A node with a folder of its own. `properties`: who it is and where it listens.
    #[must_use]
    pub fn new(properties: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let node = Self { dir, running: None };
        node.configure(properties);
        node
    }

    /// Other properties, from its next start on.
    pub fn configure(&self, properties: &str) {
        let data = self.dir.path().join("data");
        let all = format!("{COMMON}log.dirs={}\n{properties}", data.display());
        std::fs::write(self.properties(), all).expect("write the properties");
    }

    /// A folder for what its properties name.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn properties(&self) -> PathBuf {
        self.dir.path().join("node.properties")
    }

    /// Makes its storage.
    pub fn format(&self) {
        let formatted = self.formatting().wait().expect("it is our child");
        assert!(formatted.success(), "the node's storage cannot be formatted");
    }

    /// The same, under way: several nodes can do it at the same time.
    #[must_use]
    pub fn formatting(&self) -> Child {
        let file = self.properties();
        let file = file.to_str().expect("a plain path");
        java(&["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", file])
            .stdout(Stdio::null())
            .spawn()
            .expect("Java is needed to run Apache Kafka")
    }

    /// Starts it (again). It answers some seconds later.
    pub fn go(&mut self) {
        let log = self.dir.path().join("node.log");
        let log = File::options().create(true).append(true).open(log).expect("make the log");
        let properties = self.properties();
        let java = java(&["-Xmx384m", "kafka.Kafka", properties.to_str().expect("plain")]);
        let files = (log.try_clone().expect("a descriptor"), log);
        self.running = Some(Process::start(&java, &self.dir.path().join("pid"), files));
    }

    /// Whether it has been started and neither killed nor stopped.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Ends it as an operator does (SIGTERM): its partitions go to others first.
    pub fn terminate(&mut self) {
        let mut process = self.running.take().expect("it runs");
        process.signal("-TERM");
        process.wait();
    }

    /// Freezes it (SIGSTOP): connections stay, nothing answers.
    pub fn freeze(&self) {
        self.running.as_ref().expect("it runs").signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.running.as_ref().expect("it runs").signal("-CONT");
    }
}
