//! `tidegate config check`.

use std::io::Write;
use std::path::Path;

use crate::config::{Config, SourceConfig};
use crate::metrics::{KafkaMetrics, Metrics};

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    crate::app::tls(&config, &Metrics::new())?;
    crate::app::identity(&config.limits)?;
    crate::app::schemas(&config, &config.catalog())?;
    let mut out = std::io::stdout().lock();
    let source = match &config.source {
        SourceConfig::Kafka(kafka) => {
            crate::app::kafka_source(kafka, KafkaMetrics::default())?;
            match &kafka.brokers_file {
                Some(file) => format!("Kafka at the brokers of {}", file.display()),
                None => format!("Kafka at {}", kafka.bootstrap.join(", ")),
            }
        }
        SourceConfig::Embedded(log) => format!("the embedded log in {}", log.data_dir.display()),
    };
    writeln!(out, "{} is fine: {} stream(s) from {source}", file.display(), config.streams.len())?;
    writeln!(out, "memory at worst:")?;
    for (part, bytes) in config.worst_case_memory() {
        writeln!(out, "{:>14} bytes  {part}", bytes)?;
    }
    Ok(())
}
