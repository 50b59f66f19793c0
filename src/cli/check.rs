//! `tidegate config check`.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::app::World;
use crate::catalog::Stream;
use crate::config::{Config, SourceConfig};
use crate::event::TopicName;
use crate::metrics::{KafkaMetrics, Metrics};

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    crate::app::tls(&config, &Metrics::new())?;
    crate::app::identity(&config.limits)?;
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    let world = runtime.block_on(crate::app::read_elsewhere(&config))?;
    let nobodys = world.config.names_of_nobody();
    let nobodys: Vec<_> = nobodys.iter().map(ToString::to_string).collect();
    anyhow::ensure!(nobodys.is_empty(), "{}: {}", file.display(), nobodys.join("; "));
    let mut out = std::io::stdout().lock();
    let source = match &config.source {
        SourceConfig::Kafka(kafka) => {
            let all = std::iter::once(kafka).chain(&config.failover.others);
            let each = all.map(|kafka| {
                crate::app::kafka_source(kafka, KafkaMetrics::default())?;
                Ok(match &kafka.brokers_file {
                    Some(file) => format!("the brokers of {}", file.display()),
                    None => kafka.bootstrap.join(", "),
                })
            });
            let each = each.collect::<anyhow::Result<Vec<_>>>()?;
            format!("Kafka at {}", each.join("; if that is away, at "))
        }
        SourceConfig::Embedded(log) => format!("the embedded log in {}", log.data_dir.display()),
    };
    let streams = world.config.streams.len();
    writeln!(out, "{} is fine: {streams} stream(s) from {source}", file.display())?;
    tell_of_elsewhere(&mut out, &config, &world)?;
    writeln!(out, "memory at worst:")?;
    for (part, bytes) in config.worst_case_memory() {
        writeln!(out, "{:>14} bytes  {part}", bytes)?;
    }
    Ok(())
}

/// What was fetched, and what of it counts.
fn tell_of_elsewhere(out: &mut impl Write, own: &Config, world: &World) -> std::io::Result<()> {
    let (Some(place), Some(over)) = (&own.catalogue.place, &world.passed_over) else {
        return tell_of_missing(out, world);
    };
    let theirs = &world.config.streams[own.streams.len()..];
    writeln!(out, "the catalogue {place}: {} stream(s)", theirs.len())?;
    for Stream { name, topics, topics_allowed, aliases, schema, .. } in theirs {
        let list =
            |all: &[TopicName]| all.iter().map(TopicName::as_str).collect::<Vec<_>>().join(", ");
        write!(out, "  {name}: {}", list(topics))?;
        if !topics_allowed.is_empty() {
            write!(out, " (allowed besides: {})", list(topics_allowed))?;
        }
        if !aliases.is_empty() {
            write!(out, "; also {}", aliases.join(", "))?;
        }
        writeln!(out, "{}", schema.as_ref().map(|s| format!("; schema {s}")).unwrap_or_default())?;
    }
    writeln!(
        out,
        "  passed over: {} pattern(s), {} without topics, {} not allowed",
        over.patterns, over.without_topics, over.not_allowed
    )?;
    if !over.allowed_and_missing.is_empty() {
        writeln!(out, "  allowed, and not there: {}", over.allowed_and_missing.join(", "))?;
    }
    tell_of_missing(out, world)
}

fn tell_of_missing(out: &mut impl Write, world: &World) -> std::io::Result<()> {
    let mut all = world.missing.iter();
    all.try_for_each(|missing| writeln!(out, "no schema {}: {}", missing.uri, missing.says))
}
