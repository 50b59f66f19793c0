//! Where blocks are decided: in force, then on the disk, then in the audit trail; other gateways
//! hear of it afterwards.
//!
//! ```text
//!  operator ──────▶ add, remove ─┐        ┌─▶ gate      in force, open streams end
//!  control topic ─▶ heard ───────┼─ news ─┼─▶ kept      blocks.json
//!  clock ─────────▶ sweep ───────┘        ├─▶ audit     audit.jsonl, and a log line
//!                                         └─▶ changed   whoever shares it looks again
//! ```
//! All of it blocks on the disk: it is not called on a thread that serves readers.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::kept::{StateError, Store};
use crate::admin::audit::{Audit, Entry};
use crate::event::TimestampMs;
use crate::gate::Gate;
use crate::gate::blocks::{Change, Verdict};
use crate::limits::BLOCKS_MAX;
use crate::metrics::Metrics;

/// A block that an operator wants, checked.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) prefix: IpNet,
    /// `None`: for ever.
    pub(super) seconds: Option<i64>,
    pub(super) reason: Option<String>,
    pub(super) by: String,
    pub(super) from: IpAddr,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) change: Change,
    /// Streams that were told to go.
    pub(super) ended: usize,
    /// Why it is not on the disk, though it should be.
    pub(super) unsaved: Option<String>,
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// There are as many as there may be.
    Full,
    /// This very prefix is not blocked; a wider or narrower one that is.
    NotBlocked(Option<IpNet>),
}

/// How far the control topic is, for who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) topic: String,
    pub(super) in_step: bool,
    pub(super) unshared: usize,
    /// What is wrong, if something is.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    store: Option<Store>,
    audit: Option<Audit>,
    /// Prefixes of blocks that are over, of which that has been recorded.
    end_recorded: HashSet<IpNet>,
    /// What was decided last is not on the disk.
    unsaved: Option<String>,
}

/// The blocks of this host.
#[derive(Debug)]
pub struct Desk {
    gate: Arc<Gate>,
    /// What other gateways know this one by.
    host: Arc<str>,
    state: Mutex<State>,
    /// Rings when something is known that was not.
    pub(super) changed: Notify,
    /// `None`: nothing is shared.
    pub(super) standing: Mutex<Option<Standing>>,
    metrics: Arc<Metrics>,
}

impl Desk {
    /// Takes the folder and what is in it; from then on the gate knows it. Without a folder blocks
    /// last as long as the process.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub fn open(
        gate: Arc<Gate>,
        dir: Option<&Path>,
        host: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, StateError> {
        let mut state = State::default();
        if let Some(dir) = dir {
            let store = Store::open(dir)?;
            let loaded = store.load()?;
            let failed = |error| StateError::Io { path: dir.join("audit.jsonl"), error };
            state.audit = Some(Audit::open(dir).map_err(failed)?);
            state.store = Some(store);
            state.end_recorded = loaded.end_recorded;
            gate.learn(loaded.changes);
        }
        let (state, changed, standing) = (Mutex::new(state), Notify::new(), Mutex::new(None));
        let desk = Self { gate, host: host.into(), state, changed, standing, metrics };
        desk.sweep();
        Ok(Arc::new(desk))
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The file, if there is one.
    pub(super) fn kept_in(&self) -> Option<PathBuf> {
        self.lock().store.as_ref().map(Store::path)
    }

    /// All that is known, by prefix.
    pub(super) fn known(&self) -> BTreeMap<IpNet, Change> {
        self.gate.blocks().all().map(|change| (change.prefix, change.clone())).collect()
    }

    /// Blocks a prefix; a block of the same prefix is replaced.
    pub(super) fn add(&self, order: Order) -> Result<Done, NotDone> {
        let mut state = self.lock();
        let (known, len) = self.latest(&order.prefix);
        if known.is_none() && len >= BLOCKS_MAX {
            return Err(NotDone::Full);
        }
        let now = TimestampMs::now();
        let until =
            order.seconds.map(|s| TimestampMs(now.0.saturating_add(s.saturating_mul(1000))));
        let change = Change {
            at: after(now, known.as_ref()),
            host: Arc::clone(&self.host),
            verdict: Verdict::Blocked { until },
            prefix: order.prefix,
            by: order.by.into(),
            reason: order.reason.map(Into::into),
        };
        Ok(self.decide(&mut state, change, order.from))
    }

    /// Ends the block of this very prefix.
    pub(super) fn remove(
        &self,
        (prefix, by, from): (IpNet, String, IpAddr),
        why: Option<String>,
    ) -> Result<Done, NotDone> {
        let mut state = self.lock();
        let now = TimestampMs::now();
        let (known, _) = self.latest(&prefix);
        let Some(known) = known.filter(|known| known.is_in_force(now)) else {
            let known = self.known();
            let meets = |p: &IpNet| p.contains(&prefix) || prefix.contains(p);
            let mut near = known.into_values().filter(|c| c.is_in_force(now) && meets(&c.prefix));
            return Err(NotDone::NotBlocked(near.next().map(|change| change.prefix)));
        };
        let change = Change {
            at: after(now, Some(&known)),
            host: Arc::clone(&self.host),
            verdict: Verdict::Removed,
            prefix,
            by: by.into(),
            reason: why.map(Into::into),
        };
        Ok(self.decide(&mut state, change, from))
    }

    fn latest(&self, prefix: &IpNet) -> (Option<Change>, usize) {
        let blocks = self.gate.blocks();
        (blocks.get(prefix).cloned(), blocks.len())
    }

    fn decide(&self, state: &mut State, change: Change, from: IpAddr) -> Done {
        let (_, ended) = self.gate.learn(vec![change.clone()]);
        state.end_recorded.remove(&change.prefix);
        self.save(state);
        let mut entry = entry(&change);
        entry.from = Some(from.to_canonical().to_string());
        entry.more.insert("streams_ended".to_owned(), ended.into());
        self.record(state, &[entry]);
        self.changed.notify_one();
        Done { change, ended, unsaved: state.unsaved.clone() }
    }

    /// Takes what other gateways have decided.
    pub(super) fn heard(&self, changes: Vec<Change>) {
        let now = TimestampMs::now();
        let changes: Vec<_> = changes.into_iter().filter(|c| !c.is_history(now)).collect();
        if changes.is_empty() {
            return;
        }
        let mut state = self.lock();
        let (news, ended) = self.gate.learn(changes);
        if news.is_empty() {
            return;
        }
        for change in &news {
            state.end_recorded.remove(&change.prefix);
        }
        if ended > 0 {
            tracing::info!(streams = ended, "streams end by blocks of other gateways");
        }
        self.save(&mut state);
        let entries: Vec<_> = news.iter().map(entry).collect();
        self.record(&mut state, &entries);
    }

    /// What time brings: blocks that are over, decisions that nobody needs to know any more, and
    /// another try to write what could not be written.
    pub fn sweep(&self) {
        let now = TimestampMs::now();
        let (mut over, mut history, mut in_force) = (Vec::new(), Vec::new(), 0);
        let mut state = self.lock();
        for change in self.gate.blocks().all() {
            in_force += i64::from(change.is_in_force(now));
            if change.is_history(now) {
                history.push(change.clone());
            } else if let (Verdict::Blocked { .. }, Some(end)) = (change.verdict, change.ended(now))
                && !state.end_recorded.contains(&change.prefix)
            {
                over.push((change.clone(), end));
            }
        }
        self.metrics.control.blocks.set(in_force);
        let entries: Vec<_> = over.iter().map(|(change, end)| expired(change, *end)).collect();
        state.end_recorded.extend(over.iter().map(|(change, _)| change.prefix));
        for change in &history {
            state.end_recorded.remove(&change.prefix);
        }
        self.gate.forget(&history);
        if !over.is_empty() || !history.is_empty() || state.unsaved.is_some() {
            self.save(&mut state);
        }
        self.record(&mut state, &entries);
    }

    fn save(&self, state: &mut State) {
        let changes: Vec<_> = self.known().into_values().collect();
        let now = TimestampMs::now();
        let in_force = changes.iter().filter(|change| change.is_in_force(now)).count();
        self.metrics.control.blocks.set(i64::try_from(in_force).unwrap_or(i64::MAX));
        let Some(store) = &state.store else { return };
        let failed = store.save(&changes, &state.end_recorded).err().map(|e| e.to_string());
        match (&failed, &state.unsaved) {
            (Some(error), None) => tracing::error!(
                file = %store.path().display(),
                error,
                "blocks are in force and not on the disk: they would not survive a restart"
            ),
            (None, Some(_)) => tracing::info!("blocks are on the disk again"),
            _ => {}
        }
        self.metrics.control.blocks_unsaved.set(failed.is_some().into());
        state.unsaved = failed;
    }

    /// Each is a log line too: who has no place for a trail still has that.
    fn record(&self, state: &mut State, entries: &[Entry]) {
        for Entry { action, what, by, host, why, more, .. } in entries {
            let (why, until) =
                (why.as_deref().unwrap_or(""), more.get("until").map(Value::to_string));
            tracing::info!(
                action,
                prefix = what,
                by,
                host,
                why,
                until,
                "a block is decided or over"
            );
        }
        let Some(audit) = &mut state.audit else { return };
        if !entries.is_empty()
            && let Err(error) = audit.record(entries)
        {
            let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            self.metrics.control.audit_failures.inc_by(count);
            tracing::error!(%error, lines = count, "the audit trail cannot be written");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// Now, but after what is known: who decides here has seen that, whatever another clock said.
fn after(now: TimestampMs, known: Option<&Change>) -> TimestampMs {
    known.map_or(now, |known| now.max(TimestampMs(known.at.0.saturating_add(1))))
}

fn entry(change: &Change) -> Entry {
    let mut more = Map::new();
    let action = match change.verdict {
        Verdict::Blocked { until } => {
            more.insert("until".to_owned(), until.map(in_words).into());
            "block_added"
        }
        Verdict::Removed => "block_removed",
    };
    more.insert("decided".to_owned(), in_words(change.at).into());
    Entry {
        time: Timestamp::now(),
        action,
        what: change.prefix.to_string(),
        by: change.by.to_string(),
        host: change.host.to_string(),
        from: None,
        why: change.reason.as_deref().map(str::to_owned),
        more,
    }
}

fn expired(change: &Change, end: TimestampMs) -> Entry {
    let added = entry(change);
    let more = Map::from_iter([
        ("until".to_owned(), in_words(end).into()),
        ("added_by".to_owned(), added.by.into()),
    ]);
    Entry { action: "block_expired", by: "tidegate".to_owned(), more, ..entry(change) }
}

/// As RFC 3339 writes it, to the second.
pub(super) fn in_words(time: TimestampMs) -> String {
    let seconds = time.0.div_euclid(1000);
    Timestamp::from_second(seconds).map_or_else(|_| format!("{} ms", time.0), |t| t.to_string())
}

#[cfg(test)]
pub(super) mod tests;
