//! `[health]` and `[canary]`: when something counts as broken, and by what it is tried out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalogue::Known;
use super::reader::{Findings, Section};

/// `[health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// A source that does not answer is critical after this; degraded before.
    pub patience: Duration,
    /// What is better is believed when it has been so for this long.
    pub hold: Duration,
    /// No shorter silence of a stream without canaries counts.
    pub silence_min: Duration,
    /// Streams by name, and the silence after which each is broken.
    pub silence_max: BTreeMap<String, Duration>,
}

/// `[canary]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryConfig {
    /// The names of the streams that are tried out.
    pub streams: Vec<String>,
    /// How often.
    pub interval: Duration,
    /// How long a canary may take.
    pub deadline: Duration,
    /// They are made here; else others make them, and they are only watched for.
    pub produce: bool,
}

/// Streams with canaries: each is read by one stream of this host's own client.
const STREAMS_MAX: usize = 24;

impl HealthConfig {
    pub(super) fn read(root: &mut Section<'_>, known: Known<'_>, found: &mut Findings) -> Self {
        let mut section = Section::new("health", root.table("health", found));
        let seconds = Duration::from_secs;
        let patience = seconds(section.number("patience_s", 10, 0..=600, found));
        let hold = seconds(section.number("hold_s", 5, 0..=600, found));
        let silence_min = seconds(section.number("silence_min_s", 60, 1..=86_400, found));
        let table = section.table("silence_max_s", found);
        let mut named = Section::new("health.silence_max_s", table);
        let mut silence_max = BTreeMap::new();
        for key in table.into_iter().flat_map(toml::Table::keys) {
            let max = named.number(key, 0, 1..=31_536_000, found);
            if !known.has(key) {
                found.add(named.key(key), "there is no such stream; a stream's name is accepted");
            }
            silence_max.insert(key.clone(), seconds(max));
        }
        named.finish(found);
        section.finish(found);
        Self { patience, hold, silence_min, silence_max }
    }
}

impl CanaryConfig {
    pub(super) fn read(root: &mut Section<'_>, known: Known<'_>, found: &mut Findings) -> Self {
        let mut section = Section::new("canary", root.table("canary", found));
        let named = section.list("streams", found);
        for name in named.iter().filter(|name| !known.has(name)) {
            let says = format!("found \"{name}\"; a stream's name is accepted (no alias)");
            found.add(section.key("streams"), says);
        }
        if named.len() > STREAMS_MAX {
            let says = format!("names {} streams; {STREAMS_MAX} are accepted", named.len());
            found.add(section.key("streams"), says);
        }
        let seconds = Duration::from_secs;
        let interval = seconds(section.number("interval_s", 60, 1..=86_400, found));
        let deadline = seconds(section.number("deadline_s", 10, 1..=3600, found));
        let produce = section.flag("produce", true, found);
        section.finish(found);
        let streams = named.into_iter().map(str::to_owned).collect();
        Self { streams, interval, deadline, produce }
    }
}
