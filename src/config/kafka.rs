//! `[kafka.NAME]`: a cluster, and where its clients begin.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Table;

use super::reader::{Findings, Section};

/// `[kafka.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// NAME; in logs and metrics `kafka.NAME`.
    pub name: String,
    /// `host:port`; at least one, where there is no file of them.
    pub bootstrap: Vec<String>,
    /// A file of them, looked at while it runs.
    pub brokers_file: Option<PathBuf>,
    /// Handed to librdkafka as they are.
    pub properties: BTreeMap<String, String>,
}

/// Several clusters with copies of the same topics: `[failover]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverConfig {
    /// All but the preferred one, in the order of preference.
    pub others: Vec<KafkaConfig>,
    /// How long the one in use may be out of reach before another is taken.
    pub after: Duration,
    /// How long a preferred one has to have answered before it is taken again.
    pub back_after: Duration,
}

impl FailoverConfig {
    /// There is one cluster, or none.
    pub(super) fn none() -> Self {
        let (after, back_after) = (Duration::from_secs(AFTER_S), Duration::from_secs(BACK_AFTER_S));
        Self { others: Vec::new(), after, back_after }
    }
}

const AFTER_S: u64 = 30;
const BACK_AFTER_S: u64 = 300;

/// Reads `[kafka]` and `[failover]`: the preferred cluster, and the rest.
pub(super) fn read(
    clusters: Option<&Table>,
    failover: Option<&Table>,
    found: &mut Findings,
) -> (Option<KafkaConfig>, FailoverConfig) {
    let mut section = Section::new("failover", failover);
    let after = Duration::from_secs(section.number("after_s", AFTER_S, 1..=86_400, found));
    let back_after =
        Duration::from_secs(section.number("back_after_s", BACK_AFTER_S, 1..=86_400, found));
    let order = section.list("clusters", found);
    let mut all = clusters.map(|clusters| each(clusters, found)).unwrap_or_default();
    let place = |cluster: &KafkaConfig| order.iter().position(|name| *name == cluster.name);
    let is_whole = order.len() == all.len() && all.iter().all(|cluster| place(cluster).is_some());
    if !(is_whole || order.is_empty() && all.len() < 2) {
        let names: Vec<_> = all.iter().map(|cluster| format!("\"{}\"", cluster.name)).collect();
        let says = format!(
            "found {order:?}; the names of all [kafka.NAME] in the order of preference are \
             accepted: {}",
            names.join(", ")
        );
        found.add(section.key("clusters"), says);
    }
    section.finish(found);
    all.sort_by_key(|cluster| place(cluster).unwrap_or(usize::MAX));
    let mut all = all.into_iter();
    let preferred = all.next();
    (preferred, FailoverConfig { others: all.collect(), after, back_after })
}

fn each(clusters: &Table, found: &mut Findings) -> Vec<KafkaConfig> {
    let mut all = Vec::new();
    for (name, value) in clusters {
        let path = format!("kafka.{name}");
        let Some(table) = value.as_table() else {
            found.add(path, "a table is accepted: [kafka.NAME]");
            continue;
        };
        let mut section = Section::new(&path, Some(table));
        let bootstrap: Vec<String> =
            section.list("bootstrap", found).into_iter().map(str::to_owned).collect();
        let file = section.text("brokers_file", found).filter(|file| !file.is_empty());
        let brokers_file = file.map(PathBuf::from);
        match (bootstrap.is_empty(), &brokers_file) {
            (true, None) => {
                let says = "names no broker; [\"host:port\", …] is accepted, or brokers_file";
                found.add(section.key("bootstrap"), says);
            }
            (false, Some(_)) => {
                let says = "is given beside bootstrap; one of the two is accepted";
                found.add(section.key("brokers_file"), says);
            }
            _ => {}
        }
        for broker in bootstrap.iter().filter(|b| !is_broker(b)) {
            let says = format!("found \"{broker}\"; host:port is accepted");
            found.add(section.key("bootstrap"), says);
        }
        let mut properties = BTreeMap::new();
        for (key, value) in section.table("properties", found).into_iter().flatten() {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                _ => {
                    let key = section.key(&format!("properties.\"{key}\""));
                    found.add(key, "a text, a whole number, true or false is accepted");
                    continue;
                }
            };
            properties.insert(key.clone(), text);
        }
        section.finish(found);
        all.push(KafkaConfig { name: name.clone(), bootstrap, brokers_file, properties });
    }
    if clusters.is_empty() {
        found.add("kafka.NAME", "is missing; [kafka.NAME] is accepted");
    }
    all
}

/// Whether this is `host:port`.
#[must_use]
pub fn is_broker(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == ',');
        is_host && port.parse::<u16>().is_ok_and(|p| p > 0)
    })
}
