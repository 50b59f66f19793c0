//! What of a configuration can be changed while it runs, and what takes a restart.

use super::reader::Mistake;
use super::{Config, EmbeddedConfig, KafkaConfig, SourceConfig};

/// Adds the keys of which the fields differ.
macro_rules! differ {
    ($found:ident, $old:expr, $new:expr, $($key:literal: $($field:ident).+),+ $(,)?) => {
        $(if $old.$($field).+ != $new.$($field).+ { $found.push($key.to_owned()); })+
    };
}

impl Config {
    /// What `new` would change of this one that takes a restart, by key.
    #[must_use]
    pub fn takes_a_restart(&self, new: &Self) -> Vec<Mistake> {
        let mut keys: Vec<String> = Vec::new();
        differ!(keys, self, new,
            "listen": listen,
            "admin_listen": admin_listen,
            "admin_token_file": admin_token_file,
            "tls": tls,
            "state_dir": state.dir,
            "blocks.topic": state.blocks_topic,
            "intake.enabled": intake,
            "intake.fill_meta": intake_fills_meta,
            "schemas": schemas,
            "redact": redact,
            "health": health,
            "canary": canary,
            "access_log": access_log,
            "session.soft_refusals": session.soft_refusals,
            "session.stall_s": session.stall,
            "session.shards": session.shards,
            "session.compress": session.compress,
            "limits.head_s": limits.head_timeout,
            "limits.connections": limits.connections,
            "limits.connections_per_client": limits.connections_per_client,
            "limits.trusted_proxies": limits.trusted_proxies,
            "limits.client_from": limits.client_from,
            "limits.client_ip_header": limits.client_ip_header,
            "limits.ipv4_prefix": limits.ipv4_prefix,
            "limits.ipv6_prefix": limits.ipv6_prefix,
            "limits.feeds": limits.feeds,
            "limits.feeds_per_client": limits.feeds_per_client,
            "limits.feed_starts_per_client_s, limits.feed_starts_burst": limits.feed_starts,
            "limits.catchups": limits.catchups,
            "limits.catchups_per_client": limits.catchups_per_client,
            "limits.event_mb": limits.event_bytes,
            "limits.unsent_kb": limits.unsent_bytes,
            "limits.ring_mb": limits.ring_bytes,
            "limits.tail_mb": limits.tail_bytes,
            "limits.tail_least_kb_s": limits.tail_least_bytes_s,
            "limits.history_cache_mb": limits.history_cache_bytes,
        );
        differ!(keys, self, new,
            "failover.after_s": failover.after,
            "failover.back_after_s": failover.back_after,
        );
        keys.extend(others(&self.failover.others, &new.failover.others));
        match (&self.source, &new.source) {
            (SourceConfig::Kafka(old), SourceConfig::Kafka(new)) => keys.extend(kafka(old, new)),
            (SourceConfig::Embedded(old), SourceConfig::Embedded(new)) => {
                keys.extend(embedded(old, new));
            }
            _ => keys.push("kafka, embedded".to_owned()),
        }
        let says = "cannot be changed while it runs; it takes a restart";
        keys.into_iter().map(|key| Mistake { key, says: says.to_owned() }).collect()
    }

    /// What differs in `new` and can be changed while it runs, by key or table.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        differ!(keys, self, new,
            "log_level": log_level,
            "streams": streams,
            "catalogue": catalogue,
            "session.keepalive_s": session.keepalive,
            "session.lifetime_s": session.lifetime,
            "session.retry_ms": session.retry_ms,
            "drain": drain,
            "limits.streams_per_client": limits.streams_per_client,
            "limits.opens_per_client_s, limits.opens_burst": limits.opens,
            "limits.streams": limits.streams,
            "budgets": limits.budgets,
        );
        if let (SourceConfig::Kafka(old), SourceConfig::Kafka(new)) = (&self.source, &new.source)
            && old.bootstrap != new.bootstrap
        {
            keys.push(format!("kafka.{}.bootstrap", new.name));
        }
        keys
    }
}

/// Of the clusters that are not preferred.
fn others(old: &[KafkaConfig], new: &[KafkaConfig]) -> Vec<String> {
    if !old.iter().map(|one| &one.name).eq(new.iter().map(|one| &one.name)) {
        return vec!["failover.clusters".to_owned()];
    }
    let mut keys = Vec::new();
    for (old, new) in old.iter().zip(new) {
        keys.extend(kafka(old, new));
        if old.bootstrap != new.bootstrap {
            keys.push(format!("kafka.{}.bootstrap", new.name));
        }
    }
    keys
}

fn kafka(old: &KafkaConfig, new: &KafkaConfig) -> Vec<String> {
    let mut keys = Vec::new();
    if old.name != new.name {
        keys.push(format!("kafka.{}", new.name));
    }
    if old.brokers_file != new.brokers_file {
        keys.push(format!("kafka.{}.brokers_file", new.name));
    }
    if old.properties != new.properties {
        keys.push(format!("kafka.{}.properties", new.name));
    }
    keys
}

fn embedded(old: &EmbeddedConfig, new: &EmbeddedConfig) -> Vec<String> {
    let mut keys = Vec::new();
    differ!(keys, old, new,
        "embedded.data_dir": data_dir,
        "embedded.commit_interval_ms": commit_interval,
        "embedded.segment_mb": segment_bytes,
        "embedded.retention_h": retention_age,
        "embedded.retention_mb": retention_bytes,
        "embedded.reserve_mb": reserve_bytes,
        "embedded.partitions": partitions,
    );
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_either_changes_at_once_or_takes_a_restart() {
        let text = include_str!("../../config/example.toml");
        let old = Config::parse(text).expect("the example");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut tried = 0;
        for line in lines {
            let Some((key, rest)) = line.split_once(" = ") else { continue };
            let (value, comment) = rest.split_once("  #").unwrap_or((rest, ""));
            let value = value.trim();
            let other = match (key, value) {
                ("cert" | "key" | "schema_title" | "brokers_file" | "clusters", _) => continue,
                // They count only where there is a catalogue.
                ("object_path" | "allowed_streams" | "produce_prefix", _) => continue,
                (_, "true") => "false".to_owned(),
                (_, "false") => "true".to_owned(),
                // The second counts only where there is a log.
                ("client_from" | "addresses", _) => continue,
                ("streams", "[]") => "[\"recentchange\"]".to_owned(),
                ("base_uris", "[]") => "[\"http://a.example\"]".to_owned(),
                ("latest_version", _) => "\"current\"".to_owned(),
                ("compress", _) => "\"nobody\"".to_owned(),
                ("log_level", _) => "\"debug\"".to_owned(),
                ("listen" | "admin_listen", _) => "\"127.0.0.1:9\"".to_owned(),
                ("bootstrap", _) => value.replace(']', ", \"b:1\"]"),
                ("topics" | "aliases", _) => value.replace(']', ", \"b\"]"),
                ("properties", _) => "{ \"security.protocol\" = \"ssl\" }".to_owned(),
                ("trusted_proxies", _) => "[\"10.0.0.1\"]".to_owned(),
                ("produce_to", _) => "\"codfw.mediawiki.recentchange\"".to_owned(),
                ("ipv4_prefix", _) => "24".to_owned(),
                (_, number) if number.parse::<u64>().is_ok() => {
                    (number.parse::<u64>().expect("a number") + 1).to_string()
                }
                _ => "\"other\"".to_owned(),
            };
            let new = text.replacen(line, &format!("{key} = {other}  #{comment}"), 1);
            let new = Config::parse(&new).unwrap_or_else(|e| panic!("{line}: {e:?}"));
            let (restart, changes) = (old.takes_a_restart(&new), old.changes(&new));
            assert_eq!(restart.len() + changes.len(), 1, "{line}: {restart:?} {changes:?}");
            tried += 1;
        }
        assert!(tried > 40, "{tried}");
    }
}
