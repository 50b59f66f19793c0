//! A real Prometheus with the rules that are deployed: it scrapes the gateways that tests name to it,
//! every second, and says which alerts there are.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::process::Process;
use super::{eventually, free_port, sse};

/// Where the runbooks are said to be.
pub const RUNBOOKS: &str = "https://docs.example.org/runbooks";

/// The one for all tests. Its process ends with ours.
pub struct Prometheus {
    dir: tempfile::TempDir,
    port: u16,
    targets: Mutex<Vec<SocketAddr>>,
    _running: Process,
}

/// An alert of one gateway.
#[derive(Debug, Clone)]
pub struct Alert {
    /// All labels.
    pub labels: Value,
    /// All annotations.
    pub annotations: Value,
    /// It fires (else it waits for its time).
    pub fires: bool,
}

impl Alert {
    /// A label's text.
    #[must_use]
    pub fn label(&self, key: &str) -> &str {
        self.labels[key].as_str().unwrap_or_default()
    }
}

/// What is deployed, by its path under `deploy/`.
#[must_use]
pub fn deployed(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// The one for all tests.
pub fn shared() -> &'static Prometheus {
    static SHARED: OnceLock<Prometheus> = OnceLock::new();
    SHARED.get_or_init(Prometheus::start)
}

impl Prometheus {
    fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let at = |name: &str| dir.path().join(name);
        std::fs::copy(deployed("prometheus/tidegate.rules.yml"), at("rules.yml")).expect("copied");
        std::fs::write(at("targets.json"), "[]").expect("written");
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  \
             external_labels: {{runbooks: {RUNBOOKS:?}}}\n\
             rule_files: [rules.yml]\nscrape_configs:\n  - job_name: tidegate\n    \
             file_sd_configs:\n      - files: [targets.json]\n        refresh_interval: 1s\n"
        );
        std::fs::write(at("prometheus.yml"), config).expect("written");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", at("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", at("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = File::create(at("log")).expect("a file");
        let files = (log.try_clone().expect("a descriptor"), log);
        let running = Process::start(&command, &at("pid"), files);
        let targets = Mutex::new(Vec::new());
        let prometheus = Self { dir, port, targets, _running: running };
        let said = || std::fs::read_to_string(prometheus.dir.path().join("log"));
        eventually("Prometheus (Debian's package prometheus) is ready", || {
            let status = sse::get(prometheus.address(), "/-/ready", &[]).map(|r| r.status);
            let log = said().unwrap_or_default();
            assert!(!log.contains("not found"), "it does not start: {log}");
            status.is_ok_and(|status| status == 200)
        });
        prometheus
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Scrapes this admin port from now on; returns when it has once.
    pub fn scrapes(&self, admin: SocketAddr) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.push(admin);
        let all: Vec<_> = targets.iter().map(ToString::to_string).collect();
        let file = serde_json::json!([{ "targets": all }]).to_string();
        let new = self.dir.path().join("targets.new");
        std::fs::write(&new, file).expect("written");
        std::fs::rename(new, self.dir.path().join("targets.json")).expect("renamed");
        drop(targets);
        eventually("it is scraped", || {
            !self.query(&format!("up{{instance=\"{admin}\"}} == 1")).is_empty()
        });
    }

    /// The series that an expression gives now.
    #[must_use]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let query =
            percent_encoding::utf8_percent_encode(expression, percent_encoding::NON_ALPHANUMERIC);
        let answer = self.ask(&format!("/api/v1/query?query={query}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// What alerts of this gateway there are now.
    #[must_use]
    pub fn alerts(&self, admin: SocketAddr) -> Vec<Alert> {
        let answer = self.ask("/api/v1/alerts");
        let all = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let own = all.into_iter().map(|alert| Alert {
            labels: alert["labels"].clone(),
            annotations: alert["annotations"].clone(),
            fires: alert["state"] == "firing",
        });
        own.filter(|alert| alert.label("instance") == admin.to_string()).collect()
    }

    /// The alerts of this gateway with these labels (`a="b",`) that have fired so far.
    #[must_use]
    pub fn ever_fired(&self, admin: SocketAddr, labels: &str) -> Vec<Value> {
        let of = format!("ALERTS{{alertstate=\"firing\",{labels}instance=\"{admin}\"}}");
        self.query(&format!("count_over_time({of}[1h])"))
    }

    fn ask(&self, path: &str) -> Value {
        // As HTTP/1.0 has it: until the connection ends.
        let mut body = sse::get_1_0(self.address(), path).expect("answered").bytes();
        let mut text = Vec::new();
        while let Ok(more) = body.next() {
            text.extend(more);
        }
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {path}"))
    }
}
