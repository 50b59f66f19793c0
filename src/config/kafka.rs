//! `[kafka.NAME]`: a cluster, and where its clients begin.

use std::collections::BTreeMap;
use std::path::PathBuf;

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

/// Reads `[kafka]`.
pub(super) fn read(clusters: &Table, found: &mut Findings) -> Option<KafkaConfig> {
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
    if all.len() > 1 {
        found.add("kafka", "several clusters are given; one is accepted (for now)");
    }
    if clusters.is_empty() {
        found.add("kafka.NAME", "is missing; [kafka.NAME] is accepted");
    }
    all.into_iter().next()
}

/// Whether this is `host:port`.
#[must_use]
pub fn is_broker(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == ',');
        is_host && port.parse::<u16>().is_ok_and(|p| p > 0)
    })
}
