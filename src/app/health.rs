//! What is watched over, and by what terms: from the configuration to the parts of `health`.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::catalog::Catalog;
use crate::config::{Config, SourceConfig};
use crate::feed::Hub;
use crate::health::watch::{self, Watch};
use crate::health::{Board, Plan, Terms};
use crate::limits::HEARD_WITHIN;
use crate::metrics::Metrics;

/// The source's name, as it is in logs and metrics.
fn source(config: &Config) -> String {
    match &config.source {
        SourceConfig::Kafka(kafka) => format!("kafka.{}", kafka.name),
        SourceConfig::Embedded(_) => "embedded".to_owned(),
    }
}

/// The board, on which nothing was found yet.
pub(super) fn board(config: &Config, catalog: &Catalog, metrics: &Arc<Metrics>) -> Arc<Board> {
    let terms =
        Terms { heard_within: HEARD_WITHIN, patience: Duration::ZERO, hold: config.health.hold };
    let reach = Terms { patience: config.health.patience, ..terms };
    let plan = Plan { reach, terms, ..Plan::of(&source(config), catalog) };
    Board::new(plan, Arc::clone(metrics))
}

/// Somebody looks from now on.
pub(super) fn watch(
    config: &Config,
    board: &Arc<Board>,
    (hub, catalog): (&Arc<Hub>, &Arc<Catalog>),
    metrics: &Arc<Metrics>,
) -> AbortHandle {
    let settings = watch::Settings {
        silence_min: config.health.silence_min,
        silence_max: config.health.silence_max.clone(),
        topics_come_by_themselves: matches!(config.source, SourceConfig::Embedded(_)),
    };
    let board = (Arc::clone(board), source(config).into());
    let parts = (Arc::clone(hub), Arc::clone(catalog));
    let watch = Watch::new(board, parts, Arc::clone(metrics), settings);
    tokio::spawn(watch.run()).abort_handle()
}
