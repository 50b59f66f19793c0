//! `POST /v1/events`: events come in, and are durable before they are acknowledged.
//!
//! ```text
//!  body ─▶ split ─▶ envelope (stream, key, time) ─▶ topic ─▶ fill ─▶ schema ─▶ Sink::append ─▶
//!          body.rs  event.rs                                 fill.rs  (schemas)  append.rs
//!                                                      ─▶ 201, 202, 207, 400, 503   (answer.rs)
//! ```
//! An event is written as it was sent, byte for byte, but for what is put into its `meta` where it
//! is missing, and only if it fits the schema that its stream has. Its stream is `meta.stream`;
//! with `?stream=NAME` an event of another stream is refused. Its key is `meta.key`, the field in
//! which readers get it; an event without one has no key. The events of one body are appended
//! together, and those of one partition in their order; when some fail, the others are written
//! nevertheless, and each result says its own. With `?hasty=true` nobody waits for that: what is
//! good is answered with 202, and written or counted as lost.
//!
//! Whether there is an intake is the app's business. It has no CORS and must be mounted outside
//! of a layer that adds it: no web page may write.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::{Method, header};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::catalog::{self, Catalog, Stream};
use crate::event::{TimestampMs, TopicName};
use crate::limits;
use crate::metrics::Metrics;
use crate::schemas;
use crate::source::{NewRecord, Sink, SinkError};

mod answer;
pub mod append;
mod body;
pub mod event;
mod fill;
#[cfg(test)]
pub(crate) mod memory;
mod openapi;

use answer::{Asked, Outcome, Rejection};
use event::{BadEvent, Envelope};
use fill::Fill;
pub use openapi::paths;

/// Bodies are accounted in units of this many bytes.
const UNIT_BYTES: usize = 1024;

/// What an operator says of the intake.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What the events of streams must fit.
    pub schemas: schemas::Current,
    /// `meta.id`, `meta.dt` and `meta.request_id` are put in where they are missing.
    pub fill_meta: bool,
}

/// What the intake works with.
pub struct IntakeState {
    catalog: catalog::Current,
    sink: Arc<dyn Sink>,
    settings: Settings,
    metrics: Arc<Metrics>,
    bodies: Arc<Semaphore>,
    /// Events that nobody waits for.
    hasty: TaskTracker,
    body_timeout: Duration,
    wait_max: Duration,
}

impl IntakeState {
    /// An intake that writes the catalogue's streams into `sink`.
    #[must_use]
    pub fn new(
        catalog: impl Into<catalog::Current>,
        sink: Arc<dyn Sink>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let catalog = catalog.into();
        let bodies = Arc::new(Semaphore::new(limits::INTAKE_BODIES_BYTES_MAX / UNIT_BYTES));
        let (body_timeout, wait_max) = (limits::INTAKE_BODY_TIMEOUT, limits::INTAKE_WAIT);
        let hasty = TaskTracker::new();
        Arc::new(Self { catalog, sink, settings, metrics, bodies, hasty, body_timeout, wait_max })
    }

    /// Waits until the events that nobody waited for are written; there will be no more.
    pub async fn settled(&self) {
        self.hasty.close();
        self.hasty.wait().await;
    }

    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Rejection> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| Rejection::TooLarge)?;
        let room = Arc::clone(&self.bodies).acquire_many_owned(units);
        let room = tokio::time::timeout(self.wait_max, room).await;
        Ok(room.map_err(|_| Rejection::Busy)?.expect("the semaphore is never closed"))
    }

    /// The stream that all events are to be of, and whether nobody waits for them.
    fn asked(uri: &http::Uri, catalog: &Catalog) -> Result<(Option<Arc<Stream>>, bool), Rejection> {
        let query = Query::<Parameters>::try_from_uri(uri).map_err(|_| Rejection::Query)?;
        let hasty = match query.0.hasty.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Rejection::Query),
        };
        let Some(name) = query.0.stream else { return Ok((None, hasty)) };
        match catalog.get(&name) {
            Some(stream) => Ok((Some(Arc::clone(stream)), hasty)),
            None => Err(Rejection::UnknownStream(name.chars().take(100).collect())),
        }
    }

    /// What is to be written for an event of a request.
    fn record(
        &self,
        event: &str,
        (catalog, expected): (&Catalog, Option<&Stream>),
        fill: Fill<'_>,
    ) -> Result<NewRecord, BadEvent> {
        let envelope = Envelope::read(event, fill.now)?;
        let (stream, topic) = envelope.target(catalog, expected)?;
        let event = match self.settings.fill_meta {
            true => fill.fill(event)?,
            false => event.into(),
        };
        self.check(stream, &event)?;
        Ok(written(&event, topic, envelope))
    }

    /// Whether an event fits what its stream's events must fit.
    fn check(&self, stream: &Stream, event: &str) -> Result<(), BadEvent> {
        let schemas = self.settings.schemas.now();
        if !schemas.are_for(stream) {
            return Ok(());
        }
        let named = event::schema_of(event)?;
        if let Some(schema) = schemas.for_event(stream, named.as_deref())? {
            schemas.check(schema, event)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    stream: Option<String>,
    hasty: Option<String>,
}

/// The intake's one route.
pub fn router(state: Arc<IntakeState>) -> Router {
    Router::new().route("/v1/events", any(events)).with_state(state)
}

async fn events(State(state): State<Arc<IntakeState>>, request: Request) -> Response {
    let asked = Asked { method: request.method().clone(), uri: request.uri().clone() };
    match take(&state, request).await {
        Ok(outcomes) => answer::outcomes(&asked, outcomes),
        Err(why) => answer::rejected(&asked, &why),
    }
}

async fn take(state: &Arc<IntakeState>, request: Request) -> Result<Vec<Outcome>, Rejection> {
    let (head, body) = request.into_parts();
    if head.headers.contains_key(header::ORIGIN) {
        return Err(Rejection::Origin);
    }
    if head.method != Method::POST {
        return Err(Rejection::Method);
    }
    let layout = body::Layout::of(&head.headers)?;
    let catalog = state.catalog.now();
    let (expected, hasty) = IntakeState::asked(&head.uri, &catalog)?;
    let room = state.room_for(body::announced_bytes(&head.headers)?).await?;
    let text = body::read(body, state.body_timeout).await?;
    let fill = Fill::of(&head.headers, TimestampMs::now());
    let events = body::split(&text, layout)?.into_iter();
    let of = (&*catalog, expected.as_deref());
    let records: Vec<_> = events.map(|event| state.record(event, of, fill)).collect();
    if hasty {
        return Ok(write_hastily(state, records, room));
    }
    let outcomes = write(&*state.sink, records).await;
    count(&state.metrics, &outcomes);
    Ok(outcomes)
}

/// Counts the events that were written; how many were not.
fn count(metrics: &Metrics, outcomes: &[Outcome]) -> usize {
    let taken = outcomes.iter().filter(|o| matches!(o, Outcome::Appended(_, Ok(_)))).count();
    metrics.intake.events.inc_by(u64::try_from(taken).unwrap_or(u64::MAX));
    tell_if_it_fails(metrics, outcomes);
    outcomes.len() - taken
}

/// Says it once when events cannot be written, and once when they can again.
fn tell_if_it_fails(metrics: &Metrics, outcomes: &[Outcome]) {
    let last = outcomes.iter().rev().find_map(|outcome| match outcome {
        Outcome::Appended(_, Ok(_)) => Some(None),
        Outcome::Appended(_, Err(SinkError::Refused(_))) => None,
        Outcome::Hasty | Outcome::Bad(_) => None,
        Outcome::Appended(_, Err(error)) => Some(Some(error)),
    });
    let Some(failure) = last else { return };
    let failing = &metrics.intake.failing;
    let before = failing.set(i64::from(failure.is_some()));
    match failure {
        Some(error) if before == 0 => tracing::error!(%error, "events cannot be written"),
        None if before != 0 => tracing::info!("events are written again"),
        _ => {}
    }
}

/// Has the good ones written, and does not wait for it. The body keeps its room until then.
fn write_hastily(
    state: &Arc<IntakeState>,
    events: Vec<Result<NewRecord, BadEvent>>,
    room: OwnedSemaphorePermit,
) -> Vec<Outcome> {
    let mut good = Vec::new();
    let outcomes = events.into_iter().map(|event| match event {
        Ok(record) => {
            good.push(Ok(record));
            Outcome::Hasty
        }
        Err(bad) => Outcome::Bad(bad),
    });
    let outcomes = outcomes.collect();
    let writing = Arc::clone(state);
    state.hasty.spawn(async move {
        let lost = count(&writing.metrics, &write(&*writing.sink, good).await);
        if lost > 0 {
            writing.metrics.intake.lost.inc_by(u64::try_from(lost).unwrap_or(u64::MAX));
            tracing::warn!(events = lost, "events that nobody waited for were not written");
        }
        drop(room);
    });
    outcomes
}

/// What is to be written for an event: the event as it is, where its stream is written to.
///
/// # Errors
/// What is wrong with the event.
pub fn record(
    event: &str,
    catalog: &Catalog,
    expected: Option<&Stream>,
    now: TimestampMs,
) -> Result<NewRecord, BadEvent> {
    let envelope = Envelope::read(event, now)?;
    let (_, topic) = envelope.target(catalog, expected)?;
    Ok(written(event, topic, envelope))
}

fn written(event: &str, topic: TopicName, envelope: Envelope) -> NewRecord {
    // Copied: a slice would keep the whole body in memory for as long as the record is kept.
    let value = Bytes::copy_from_slice(event.as_bytes());
    NewRecord { topic, key: envelope.key, value, time: envelope.time }
}

/// Appends the good ones; the outcomes stand in the order of the events.
async fn write(sink: &dyn Sink, events: Vec<Result<NewRecord, BadEvent>>) -> Vec<Outcome> {
    let (mut records, mut places) = (Vec::new(), Vec::<Result<TopicName, BadEvent>>::new());
    for event in events {
        places.push(event.map(|record| {
            let topic = record.topic.clone();
            records.push(record);
            topic
        }));
    }
    let mut appended = append::append_all(sink, records).await.into_iter();
    let outcomes = places.into_iter().map(|place| match place {
        Ok(topic) => Outcome::Appended(topic, appended.next().expect("one answer a record")),
        Err(bad) => Outcome::Bad(bad),
    });
    outcomes.collect()
}

#[cfg(test)]
mod tests;
