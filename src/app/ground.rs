//! What a configuration stands on: where records come from and go to.

use std::sync::Arc;

use anyhow::Context;

use crate::config::{Config, EmbeddedConfig, KafkaConfig, SourceConfig};
use crate::log::{self, Log};
use crate::metrics::{KafkaMetrics, Metrics};
use crate::source::control::ControlLog;
use crate::source::embedded::EmbeddedSource;
use crate::source::kafka::{self, KafkaControl, KafkaSource};
use crate::source::sites::{self, Sites};
use crate::source::{Sink, Source};

/// What a configuration stands on.
pub(super) struct Ground {
    pub(super) source: Arc<dyn Source>,
    /// Of several clusters the preferred one.
    pub(super) sink: Arc<dyn Sink>,
    /// Where the gateways of this cluster tell each other what operators decide.
    pub(super) control: Option<Arc<dyn ControlLog>>,
    /// The embedded log, to be closed last.
    pub(super) log: Option<Arc<Log>>,
    /// The source, where it is several clusters.
    pub(super) sites: Option<Arc<Sites>>,
}

impl Ground {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// When the source cannot be opened.
    pub(super) fn of(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        match &config.source {
            SourceConfig::Kafka(kafka) => Self::kafka(config, kafka, metrics),
            SourceConfig::Embedded(embedded) => {
                let log = Log::open(log_settings(embedded)).with_context(|| {
                    format!("open the embedded log in {}", embedded.data_dir.display())
                })?;
                let source = EmbeddedSource::new(Arc::clone(&log));
                let sink = Arc::clone(&source) as _;
                Ok(Self { sink, source, control: None, log: Some(log), sites: None })
            }
        }
    }

    fn kafka(
        config: &Config,
        preferred: &KafkaConfig,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let source = kafka_source(preferred, metrics.kafka.clone())?;
        let control = config.state.blocks_topic.clone();
        let control = control.map(|t| KafkaControl::new(Arc::clone(&source), t) as _);
        let sink = Arc::clone(&source) as _;
        let failover = &config.failover;
        if failover.others.is_empty() {
            return Ok(Self { sink, source, control, log: None, sites: None });
        }
        let mut all: Vec<Arc<dyn Source>> = vec![source];
        for other in &failover.others {
            all.push(kafka_source(other, metrics.kafka.clone())?);
        }
        let settings = sites::Settings { after: failover.after, back_after: failover.back_after };
        let sites = Sites::new(all, settings, Arc::clone(metrics));
        let source = Arc::clone(&sites) as _;
        Ok(Self { sink, source, control, log: None, sites: Some(sites) })
    }
}

/// The client of a cluster, counted in `metrics`; nothing is sent yet.
///
/// # Errors
/// A property that is not accepted.
pub fn kafka_source(
    kafka: &KafkaConfig,
    metrics: KafkaMetrics,
) -> anyhow::Result<Arc<KafkaSource>> {
    let settings = kafka::Settings {
        name: kafka.name.clone(),
        bootstrap: kafka.bootstrap.clone(),
        brokers_file: kafka.brokers_file.clone(),
        properties: kafka.properties.clone(),
    };
    KafkaSource::counted(settings, metrics).with_context(|| format!("set up kafka.{}", kafka.name))
}

fn log_settings(config: &EmbeddedConfig) -> log::Settings {
    log::Settings {
        commit_interval: config.commit_interval,
        segment_bytes: config.segment_bytes,
        retention_age: config.retention_age,
        retention_bytes: config.retention_bytes,
        reserve_bytes: config.reserve_bytes,
        partitions_default: config.partitions,
        ..log::Settings::new(&config.data_dir)
    }
}
