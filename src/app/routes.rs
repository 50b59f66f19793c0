//! What the public port serves: the front, and the intake where there is one.

use std::sync::Arc;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::reload::Parts;
use crate::config::Config;
use crate::demo;
use crate::health::Board;
use crate::http::{self, Front};
use crate::intake::{self, IntakeState};
use crate::schemas::{self, Schemas};
use crate::source::Sink;

/// What is served besides the parts that a reload changes.
pub(super) struct Served<'a> {
    /// The demo's events have schemas, which are shown; nobody's events must fit them.
    pub(super) with_demo: bool,
    /// How everything is.
    pub(super) health: &'a Arc<Board>,
    /// Where the intake writes.
    pub(super) sink: &'a Arc<dyn Sink>,
}

/// All routes. What the intake has still to write at the stop is among the `tasks`.
pub(super) fn all(
    config: &Config,
    parts: &Parts,
    served: Served<'_>,
    (tasks, stop): (&mut JoinSet<()>, &CancellationToken),
) -> Router {
    let Served { with_demo, health, sink } = served;
    let schemas = parts.schemas.clone();
    let shown = match with_demo {
        true => schemas::Current::from(Arc::new(Schemas::of_documents(demo::schemas()))),
        false => schemas.clone(),
    };
    let front = Front {
        catalog: parts.catalog.clone(),
        schemas: shown,
        gate: Arc::clone(&parts.gate),
        sessions: Arc::clone(&parts.sessions),
        health: Arc::clone(health),
        metrics: Arc::clone(&parts.metrics),
        settings: settings(config),
    };
    if !config.intake {
        return http::router(front, Router::new());
    }
    let settings = intake::Settings { schemas, fill_meta: config.intake_fills_meta };
    let (catalog, metrics) = (parts.catalog.clone(), Arc::clone(&parts.metrics));
    let intake = IntakeState::new(catalog, Arc::clone(sink), settings, metrics);
    let router = http::router(front, intake::router(Arc::clone(&intake)));
    let stop = stop.clone();
    tasks.spawn(async move {
        stop.cancelled().await;
        intake.settled().await;
    });
    router
}

fn settings(config: &Config) -> http::Settings {
    http::Settings {
        compress: config.session.compress,
        soft_refusals: config.session.soft_refusals,
        other_paths: if config.intake { intake::paths() } else { serde_json::Map::new() },
        ..Default::default()
    }
}
