//! `/healthz`: whether this process still works. `/admin/health`: how everything is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Admins;
use super::look::answer;
use crate::event::TimestampMs;
use crate::health::{Board, Report, State as Health, Subject};

/// Fails slowly, and only for what a restart mends: a source that is gone is none of it.
pub(super) async fn process(State(admin): Admins) -> Response {
    let now = Instant::now();
    match admin.health.stuck_for(now) {
        None => {
            let report = admin.health.look(now);
            let service = report.service().map(|state| state.finding.level.as_str());
            axum::Json(json!({ "status": "ok", "service": service })).into_response()
        }
        Some(stuck) => {
            let body = json!({ "status": "stuck", "stuck_s": stuck.as_secs() });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
        }
    }
}

/// All of it.
pub(super) async fn show(State(admin): Admins) -> Response {
    answer(shown(&admin.health, Instant::now()))
}

fn shown(board: &Board, now: Instant) -> Value {
    let report = board.look(now);
    let of_kind = |kind| {
        let all = report.states.iter().filter(|(subject, _)| subject.kind() == kind);
        all.map(|(subject, state)| one(&report, subject, state)).collect::<Vec<_>>()
    };
    let service = report.service().map(|state| one(&report, &Subject::Service, state));
    json!({
        "service": service,
        "sources": of_kind("source"),
        "topics": of_kind("topic"),
        "streams": of_kind("stream"),
    })
}

fn one(report: &Report, subject: &Subject, state: &Health) -> Value {
    let age = report.at.saturating_duration_since(state.since);
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let since = jiff::Timestamp::from_millisecond(TimestampMs::now().less(age_ms).0);
    json!({
        "name": subject.name(),
        "level": state.finding.level.as_str(),
        "cause": state.finding.word.as_str(),
        "says": state.finding.says,
        "since": since.map(|since| format!("{since:.1}")).unwrap_or_default(),
        "since_s": age.as_secs(),
    })
}
