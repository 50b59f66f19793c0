//! Gateways of a cluster tell each other of blocks, through a compacted topic.
//!
//! ```text
//!  topic ─ read on ─▶ says: the last record of each prefix ─▶ desk.heard
//!    ▲                                   │ differs from what the desk knows?
//!    └────────────── publish ◀───────────┘
//! ```
//! One rule, whatever has happened (the cluster was away, the topic was made anew, an older record
//! came after a newer one): the topic has to say what this host knows, and where it says something
//! else, it is said again. Who decided it does so at once; the others after a while, in case that
//! one is gone. Since all take the latest of a prefix, what is said again changes nothing for those
//! who know it, and all come to say the same.
//!
//! Nobody waits for this: a block is in force and on the local disk before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use ipnet::IpNet;
use tokio::time::Instant;

use super::desk::{Desk, Standing};
use super::written::Written;
use crate::event::{Record, TimestampMs};
use crate::gate::blocks::Change;
use crate::limits::{CONTROL_LOOK_EVERY, CONTROL_RECORD_BYTES_MAX};
use crate::source::control::{ControlError, ControlLog, ReadTo};

/// How long the topic may lack what another host decided before this one says it.
const OTHERS_FIRST: Duration = Duration::from_secs(10);
/// Between two tries, at most.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Records that are written at the same time.
const PUBLISHED_AT_ONCE: usize = 64;

/// What the topic and this host say of each other.
#[derive(Debug)]
pub struct Share {
    desk: Arc<Desk>,
    log: Arc<dyn ControlLog>,
    prepared: bool,
    to: ReadTo,
    /// The last record of each prefix.
    says: HashMap<IpNet, Change>,
    /// Since when the topic has lacked what is known here.
    lacking: HashMap<IpNet, Instant>,
    /// When writing may be tried again, and how long the pause was.
    publish: (Instant, Duration),
}

/// A record that is to be written; `None`: nothing is known of the prefix any more.
type Due = (IpNet, Option<Change>);

impl Share {
    /// Nothing is asked or written yet.
    #[must_use]
    pub fn new(desk: Arc<Desk>, log: Arc<dyn ControlLog>) -> Self {
        let topic = log.topic().to_owned();
        *desk.standing.lock().expect("no holder panics") =
            Some(Standing { topic, ..Standing::default() });
        Self {
            desk,
            log,
            prepared: false,
            to: ReadTo::default(),
            says: HashMap::new(),
            lacking: HashMap::new(),
            publish: (Instant::now(), CONTROL_LOOK_EVERY),
        }
    }

    /// Goes on until it is dropped.
    pub async fn run(mut self) {
        let mut pause = CONTROL_LOOK_EVERY;
        loop {
            let read = self.read_all().await;
            pause = if read.is_ok() { CONTROL_LOOK_EVERY } else { (pause * 2).min(PAUSE_MAX) };
            let outcome = match read {
                Ok(()) => self.publish_all().await,
                Err(error) => Err(error),
            };
            self.report(outcome);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.desk.changed.notified() => {}
            }
        }
    }

    /// Reads to the end.
    async fn read_all(&mut self) -> Result<(), ControlError> {
        loop {
            if !self.prepared {
                self.log.prepare().await?;
                self.prepared = true;
            }
            let heard = match self.log.read_on(&mut self.to).await {
                Ok(heard) => heard,
                Err(error) => {
                    self.prepared = !matches!(error, ControlError::NoTopic { .. });
                    return Err(error);
                }
            };
            if heard.anew {
                self.says.clear();
            }
            let changes: Vec<Change> =
                heard.records.iter().filter_map(|record| self.take(record)).collect();
            if !changes.is_empty() {
                let desk = Arc::clone(&self.desk);
                // It writes to the disk.
                let taken = tokio::task::spawn_blocking(move || desk.heard(changes)).await;
                taken.map_err(|error| ControlError::Unavailable(error.to_string()))?;
            }
            if heard.at_end {
                return Ok(());
            }
        }
    }

    /// A record as a decision, if it is one.
    fn take(&mut self, record: &Record) -> Option<Change> {
        let topic = self.log.topic();
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let Some(prefix) = key.and_then(|key| key.parse::<IpNet>().ok()) else {
            tracing::warn!(topic, offset = %record.offset, "a record's key is no prefix");
            return None;
        };
        let Some(value) = &record.value else {
            self.says.remove(&prefix);
            return None;
        };
        match read(value, prefix) {
            Ok(change) => {
                self.says.insert(prefix, change.clone());
                Some(change)
            }
            Err(says) => {
                let offset = record.offset;
                tracing::warn!(topic, %offset, %prefix, says, "a record is no block");
                // It may be a later version's: it is left alone until somebody decides anew here.
                match self.desk.gate().blocks().get(&prefix) {
                    Some(known) => self.says.insert(prefix, known.clone()),
                    None => self.says.remove(&prefix),
                };
                None
            }
        }
    }

    /// What the topic lacks, and of that what this host is to write now.
    fn due(&mut self, now: Instant) -> (usize, Vec<Due>) {
        let time = TimestampMs::now();
        let all: Vec<Due> = {
            let known = self.desk.gate().blocks();
            let lacks = known.all().filter(|c| self.says.get(&c.prefix) != Some(*c));
            let history = self.says.values().filter(|change| change.is_history(time));
            let forgotten = history.filter(|change| known.get(&change.prefix).is_none());
            let lacks = lacks.map(|change| (change.prefix, Some(change.clone())));
            lacks.chain(forgotten.map(|change| (change.prefix, None))).collect()
        };
        let mut lacking = HashMap::new();
        for (prefix, _) in &all {
            lacking.insert(*prefix, self.lacking.get(prefix).copied().unwrap_or(now));
        }
        self.lacking = lacking;
        let count = all.len();
        let own = |due: &Due| {
            let change = due.1.as_ref().or_else(|| self.says.get(&due.0));
            change.is_some_and(|change| &*change.host == self.desk.host())
        };
        let waited = |due: &Due| self.lacking.get(&due.0).is_some_and(|t| *t + OTHERS_FIRST <= now);
        let due = all.into_iter().filter(|due| own(due) || waited(due)).collect();
        (count, due)
    }

    async fn publish_all(&mut self) -> Result<(), ControlError> {
        let now = Instant::now();
        let (_, due) = self.due(now);
        if due.is_empty() {
            return Ok(());
        }
        if now < self.publish.0 {
            // What was wrong is known; it is tried again soon.
            let problem = self.standing(|standing| standing.problem.clone());
            return problem.map_or(Ok(()), |says| Err(ControlError::Unavailable(says)));
        }
        let writes = due.into_iter().map(|(prefix, change)| {
            let log = Arc::clone(&self.log);
            async move {
                let value = change.as_ref().map(|change| {
                    let text = serde_json::to_vec(&Written::from(change));
                    Bytes::from(text.expect("texts and numbers"))
                });
                log.publish(&prefix.to_string(), value).await.map(|()| (prefix, change))
            }
        });
        let mut writes = futures_util::stream::iter(writes).buffer_unordered(PUBLISHED_AT_ONCE);
        while let Some(written) = writes.next().await {
            match written {
                // It is read again soon; until then it counts as said.
                Ok((prefix, Some(change))) => drop(self.says.insert(prefix, change)),
                Ok((prefix, None)) => drop(self.says.remove(&prefix)),
                Err(error) => {
                    let pause = (self.publish.1 * 2).min(PAUSE_MAX);
                    self.publish = (Instant::now() + pause, pause);
                    return Err(error);
                }
            }
        }
        self.publish = (Instant::now(), CONTROL_LOOK_EVERY);
        Ok(())
    }

    fn standing<T>(&self, with: impl FnOnce(&mut Standing) -> T) -> T {
        let mut standing = self.desk.standing.lock().expect("no holder panics");
        with(standing.get_or_insert_default())
    }

    /// Says what has changed, once.
    fn report(&mut self, outcome: Result<(), ControlError>) {
        let (unshared, _) = self.due(Instant::now());
        let problem = outcome.err().map(|error| error.to_string());
        let in_step = problem.is_none() && unshared == 0;
        let metrics = &self.desk.metrics().control;
        metrics.blocks_unshared.set(i64::try_from(unshared).unwrap_or(i64::MAX));
        metrics.control_in_step.set(in_step.into());
        let topic = self.log.topic();
        self.standing(|standing| {
            match (&standing.problem, &problem) {
                (before, Some(now)) if before.as_ref() != Some(now) => tracing::warn!(
                    topic,
                    unshared,
                    problem = now,
                    "blocks are not shared with other gateways now; they hold on this one"
                ),
                (Some(_), None) => tracing::info!(topic, "blocks are shared again"),
                _ => {}
            }
            (standing.in_step, standing.unshared, standing.problem) = (in_step, unshared, problem);
        });
    }
}

/// What a record says of the prefix that it is about.
fn read(value: &[u8], prefix: IpNet) -> Result<Change, String> {
    if value.len() > CONTROL_RECORD_BYTES_MAX {
        return Err(format!("has {} bytes", value.len()));
    }
    let written: Written = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let change = written.read()?;
    if change.prefix != prefix {
        return Err(format!("is about {}", change.prefix));
    }
    Ok(change)
}

#[cfg(test)]
mod tests;
