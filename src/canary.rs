//! Canaries: small events (`meta.domain` is `canary`, which clients drop) that go the whole way,
//! from the source to a reader at the public port. So a quiet stream is told from a broken one.
//!
//! ```text
//!  writer ─▶ Sink ─▶ source ─▶ … ─▶ the public port ─▶ visit ─▶ reader
//!     └──────────────────▶ trial (what is under way, what passed) ◀──┘ ─▶ board
//! ```
//! Where others make the canaries there is no writer. The reader is a client like any other, and
//! counts as one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::event::{TimestampMs, TopicName};
use crate::health::{Aspect, Board, Subject};
use crate::metrics::{ByCanary, ByStream, Metrics};
use crate::source::{NewRecord, Sink};
use crate::visit::{Event, Target, Visit, VisitError, Way};

mod trial;

pub use trial::Terms;
use trial::Trial;

/// How often it is looked whether one is overdue.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two attempts to read or to write.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A stream that is tried out.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Its name.
    pub stream: Arc<str>,
    /// Where its canaries are written; `None`: others make them.
    pub topic: Option<TopicName>,
    /// The `$schema` of its events, if one is given.
    pub schema: Option<String>,
}

/// Where the public port is, seen from this host.
#[derive(Debug, Clone)]
pub struct Door {
    /// Its address.
    pub address: SocketAddr,
    /// It speaks TLS.
    pub https: bool,
    /// How to get in.
    pub way: Way,
}

/// The address at which a socket that is bound to `bound` is reached from here.
#[must_use]
pub fn reached_at(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// Tries all of them out, until it is dropped.
pub async fn run(
    all: Vec<Tried>,
    terms: Terms,
    door: Door,
    sink: Arc<dyn Sink>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
) {
    let one = |tried: Tried| {
        let trial = Mutex::new(Trial::new(terms, tried.topic.is_some(), Instant::now()));
        let (door, sink) = (door.clone(), Arc::clone(&sink));
        let (board, metrics) = (Arc::clone(&board), Arc::clone(&metrics));
        let canary = Canary { tried, trial, terms, door, sink, board, metrics };
        async move { tokio::join!(canary.read(), canary.write(), canary.judge()) }
    };
    join_all(all.into_iter().map(one)).await;
}

struct Canary {
    tried: Tried,
    trial: Mutex<Trial>,
    terms: Terms,
    door: Door,
    sink: Arc<dyn Sink>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
}

/// What is looked at of an event.
#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    meta: Meta<'a>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    domain: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    dt: Option<std::borrow::Cow<'a, str>>,
}

impl Canary {
    /// Reads the stream as a reader does, and comes again after a cut without missing anything.
    async fn read(&self) {
        let mut last_id = None;
        loop {
            let failed = match self.visit(&mut last_id).await {
                Ok(()) => "the stream ended".to_owned(),
                Err(VisitError::Refused { status, says }) => {
                    // What was refused may be the id.
                    last_id = None;
                    VisitError::Refused { status, says }.to_string()
                }
                Err(error) => error.to_string(),
            };
            self.trial().unread(Instant::now(), failed);
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// One connection, to its end.
    async fn visit(&self, last_id: &mut Option<String>) -> Result<(), VisitError> {
        let name = utf8_percent_encode(&self.tried.stream, NON_ALPHANUMERIC);
        let (address, https) = (self.door.address, self.door.https);
        let target = Target {
            https,
            host: address.ip().to_string(),
            port: address.port(),
            path: format!("/v2/stream/{name}?encoding=identity"),
        };
        let late = |_| VisitError::Broken("no answer in time".to_owned());
        let opening = Visit::open(&target, &self.door.way, last_id.as_deref());
        let opened = tokio::time::timeout(self.terms.deadline, opening).await.map_err(late)?;
        let mut visit = opened?;
        self.trial().reads(Instant::now());
        while let Some(event) = visit.next().await? {
            self.seen(&event);
            *last_id = Some(event.id);
        }
        Ok(())
    }

    fn seen(&self, event: &Event) {
        let now = Instant::now();
        self.trial().event(now);
        // Most are none, and need not be read to know it.
        if !event.data.contains("canary") {
            return;
        }
        let Ok(Outer { meta }) = serde_json::from_str(&event.data) else { return };
        if meta.domain != "canary" {
            return;
        }
        let made = meta.dt.and_then(|dt| dt.parse::<jiff::Timestamp>().ok());
        let age_ms = made.map(|dt| TimestampMs::now().0.saturating_sub(dt.as_millisecond()).max(0));
        let age = age_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let id = meta.id.unwrap_or_default();
        let Some(passed) = self.trial().canary(now, &id, age) else { return };
        self.count("passed", 1);
        self.count("lost", passed.overtaken);
        if let Some(latency) = passed.latency {
            let stream = ByStream { stream: self.tried.stream.to_string() };
            let latencies = &self.metrics.health.canary_latency;
            latencies.get_or_create(&stream).observe(latency.as_secs_f64());
        }
    }

    /// Writes one as often as it is said, from when somebody reads.
    async fn write(&self) {
        let Some(topic) = &self.tried.topic else { return std::future::pending().await };
        while !self.trial().is_read() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut due = Instant::now();
        loop {
            tokio::time::sleep_until(due).await;
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
            let now = Instant::now();
            let time = TimestampMs::now();
            let value = self.event(&id, time).into();
            let record = NewRecord { topic: topic.clone(), key: None, value, time };
            self.trial().written(now, &id);
            let append = tokio::time::timeout(self.terms.deadline, self.sink.append(record)).await;
            let failed = match append {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no acknowledgement in time".to_owned()),
            };
            due = match failed {
                None => {
                    self.trial().acknowledged(&id);
                    due.max(now) + self.terms.interval
                }
                Some(says) => {
                    self.count("unwritten", 1);
                    self.trial().unwritten(Instant::now(), &id, says);
                    Instant::now() + AGAIN_AFTER.min(self.terms.interval)
                }
            };
        }
    }

    fn event(&self, id: &str, time: TimestampMs) -> String {
        let dt = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let meta = json!({
            "stream": *self.tried.stream,
            "domain": "canary",
            "id": id,
            "dt": format!("{dt:.3}"),
        });
        match &self.tried.schema {
            Some(schema) => json!({ "$schema": schema, "meta": meta }).to_string(),
            None => json!({ "meta": meta }).to_string(),
        }
    }

    /// Says on the board how it goes.
    async fn judge(&self) {
        loop {
            let now = Instant::now();
            let finding = self.trial().verdict(now);
            if let Some(finding) = finding {
                let subject = Subject::Stream(Arc::clone(&self.tried.stream));
                self.board.found(subject, Aspect::Canary, now, finding);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn count(&self, outcome: &'static str, count: u64) {
        let label = ByCanary { stream: self.tried.stream.to_string(), outcome };
        self.metrics.health.canaries.get_or_create(&label).inc_by(count);
    }

    fn trial(&self) -> MutexGuard<'_, Trial> {
        self.trial.lock().expect("no holder panics")
    }
}
