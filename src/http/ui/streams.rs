//! `/v2/ui/streams.json`: the catalogue as the page shows it, each stream with what came to it in
//! the last two minutes and how it is. For the page alone; programs read `/?spec`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::catalog::Stream;
use crate::event::TimestampMs;
use crate::health::Subject;
use crate::http::Front;
use crate::http::fresh::Fresh;

/// The same answer is given for so long, however many ask.
const FRESH: Duration = Duration::from_secs(1);

/// The route, with the last answer.
pub(in crate::http) fn list() -> MethodRouter<Arc<Front>> {
    let last = Arc::new(Fresh::new(FRESH));
    get(async move |State(front): State<Arc<Front>>| {
        answer(last.get(|| Bytes::from(described(&front).to_string())))
    })
}

fn described(front: &Front) -> Value {
    let now = TimestampMs::now();
    let health = front.health.look(tokio::time::Instant::now());
    // The level and the word: what else is known of a cause is for operators.
    let health = |stream: &Stream| {
        let state = health.of(&Subject::Stream(Arc::clone(&stream.name)))?;
        Some((state.finding.level.as_str(), state.finding.word.as_str()))
    };
    let catalog = front.catalog.now();
    let streams = catalog.streams().map(|stream| {
        let recent = front.sessions.recent(stream, now);
        let (level, cause) = health(stream).unzip();
        json!({
            "name": *stream.name,
            "aliases": stream.aliases,
            "description": stream.description,
            "topics": stream.topics.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "schema": stream.schema,
            "recent": &recent.by_second[..],
            "health": level,
            "cause": cause,
            "last": recent.last.map(|time| time.0),
        })
    });
    json!({ "now": now.0, "streams": streams.collect::<Vec<_>>() })
}

fn answer(bytes: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, bytes).into_response()
}
