//! `POST /v1/events`: events come in, and are durable before they are acknowledged.
//!
//! ```text
//!  body ─▶ split ─▶ envelope (stream, key, time) ─▶ topic ─▶ Sink::append ─▶ 201, 207, 400, 503
//!          body.rs  event.rs                                 append.rs        answer.rs
//! ```
//! An event is written as it was sent, byte for byte. Its stream is `meta.stream`; with
//! `?stream=NAME` an event of another stream is refused. Its key is `meta.key`, the field in which
//! readers get it; an event without one has no key. The events of one body are appended together,
//! and those of one partition in their order; when some fail, the others are written nevertheless,
//! and each result says its own.
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
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::catalog::{self, Catalog, Stream};
use crate::event::{TimestampMs, TopicName};
use crate::limits;
use crate::metrics::Metrics;
use crate::source::{NewRecord, Sink, SinkError};

mod answer;
pub mod append;
mod body;
pub mod event;
#[cfg(test)]
pub(crate) mod memory;

use answer::{Asked, Outcome, Rejection};
use event::{BadEvent, Envelope};

/// Bodies are accounted in units of this many bytes.
const UNIT_BYTES: usize = 1024;

/// What the intake works with.
pub struct IntakeState {
    catalog: catalog::Current,
    sink: Arc<dyn Sink>,
    metrics: Arc<Metrics>,
    bodies: Semaphore,
    body_timeout: Duration,
    wait_max: Duration,
}

impl IntakeState {
    /// An intake that writes the catalogue's streams into `sink`.
    #[must_use]
    pub fn new(
        catalog: impl Into<catalog::Current>,
        sink: Arc<dyn Sink>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let catalog = catalog.into();
        let bodies = Semaphore::new(limits::INTAKE_BODIES_BYTES_MAX / UNIT_BYTES);
        let (body_timeout, wait_max) = (limits::INTAKE_BODY_TIMEOUT, limits::INTAKE_WAIT);
        Arc::new(Self { catalog, sink, metrics, bodies, body_timeout, wait_max })
    }

    async fn room_for(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Rejection> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| Rejection::TooLarge)?;
        let room = tokio::time::timeout(self.wait_max, self.bodies.acquire_many(units)).await;
        Ok(room.map_err(|_| Rejection::Busy)?.expect("the semaphore is never closed"))
    }

    fn expected(uri: &http::Uri, catalog: &Catalog) -> Result<Option<Arc<Stream>>, Rejection> {
        let query = Query::<Parameters>::try_from_uri(uri).map_err(|_| Rejection::Query)?;
        let Some(name) = query.0.stream else { return Ok(None) };
        match catalog.get(&name) {
            Some(stream) => Ok(Some(Arc::clone(stream))),
            None => Err(Rejection::UnknownStream(name.chars().take(100).collect())),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    stream: Option<String>,
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

async fn take(state: &IntakeState, request: Request) -> Result<Vec<Outcome>, Rejection> {
    let (head, body) = request.into_parts();
    if head.headers.contains_key(header::ORIGIN) {
        return Err(Rejection::Origin);
    }
    if head.method != Method::POST {
        return Err(Rejection::Method);
    }
    let layout = body::Layout::of(&head.headers)?;
    let catalog = state.catalog.now();
    let expected = IntakeState::expected(&head.uri, &catalog)?;
    let _room = state.room_for(body::announced_bytes(&head.headers)?).await?;
    let text = body::read(body, state.body_timeout).await?;
    let now = TimestampMs::now();
    let events = body::split(&text, layout)?.into_iter();
    let records = events.map(|event| record(event, &catalog, expected.as_deref(), now));
    let outcomes = write(&*state.sink, records.collect()).await;
    let taken = outcomes.iter().filter(|o| matches!(o, Outcome::Appended(_, Ok(_)))).count();
    state.metrics.intake_events.inc_by(u64::try_from(taken).unwrap_or(u64::MAX));
    tell_if_it_fails(state, &outcomes);
    Ok(outcomes)
}

/// Says it once when events cannot be written, and once when they can again.
fn tell_if_it_fails(state: &IntakeState, outcomes: &[Outcome]) {
    let last = outcomes.iter().rev().find_map(|outcome| match outcome {
        Outcome::Appended(_, Ok(_)) => Some(None),
        Outcome::Appended(_, Err(SinkError::Refused(_))) | Outcome::Bad(_) => None,
        Outcome::Appended(_, Err(error)) => Some(Some(error)),
    });
    let Some(failure) = last else { return };
    let failing = &state.metrics.intake_failing;
    let before = failing.set(i64::from(failure.is_some()));
    match failure {
        Some(error) if before == 0 => tracing::error!(%error, "events cannot be written"),
        None if before != 0 => tracing::info!("events are written again"),
        _ => {}
    }
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
    let topic = envelope.topic(catalog, expected)?;
    // Copied: a slice would keep the whole body in memory for as long as the record is kept.
    let value = Bytes::copy_from_slice(event.as_bytes());
    Ok(NewRecord { topic, key: envelope.key, value, time: envelope.time })
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
