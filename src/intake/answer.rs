//! What a writer is told: one place from outcome to status and body.
//!
//! | status | when |
//! |---|---|
//! | 201 | every event is durable |
//! | 202 | every event is good, and nobody waits until it is durable (`hasty`) |
//! | 207 | some are (or are good); each result says its own |
//! | 400 | none is, and none would be if it were sent again |
//! | 503 with `Retry-After` | none is; later they may be |
//! | 503 `unknown`, without it | none is known to be, some may be: sent again they may come twice |
//!
//! Everything else (403, 405, 408, 413, 415) is said before any event is looked at.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;

use super::append::Appended;
use super::event::BadEvent;
use crate::event::TopicName;
use crate::limits;
use crate::source::SinkError;

/// Seconds after which a writer that met a 503 may come again.
const RETRY_AFTER_S: u64 = 5;
pub(super) const ACCEPTED: &str = "application/json or application/x-ndjson";

/// Why no event was looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("web pages may not write: a request with an Origin header is refused")]
    Origin,
    #[error("only POST is accepted here")]
    Method,
    #[error("the body is `{0}`; {ACCEPTED} is accepted")]
    MediaType(String),
    #[error("the body is encoded with `{0}`; only a body as it is is accepted")]
    Encoded(String),
    #[error("the body is too large; {} bytes are accepted", limits::INTAKE_BODY_BYTES_MAX)]
    TooLarge,
    #[error("there are too many events; {} in one body are accepted", limits::INTAKE_EVENTS_MAX)]
    TooMany,
    #[error("the body did not come within {} s", limits::INTAKE_BODY_TIMEOUT.as_secs())]
    Slow,
    #[error("the body broke off: {0}")]
    Broken(String),
    #[error("the body is no JSON: {0}; one event or an array of events is accepted")]
    NotJson(String),
    #[error("the body holds no event; one event or an array of events is accepted")]
    Empty,
    #[error("Invalid streams: {0}")]
    UnknownStream(String),
    #[error("the query cannot be read; `stream=NAME` and `hasty=true` are accepted")]
    Query,
    #[error("too many bodies are being written at the same time")]
    Busy,
}

impl Rejection {
    fn class(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Origin => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::MediaType(_) | Self::Encoded(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::TooLarge | Self::TooMany => (StatusCode::PAYLOAD_TOO_LARGE, "content_too_large"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::UnknownStream(_) => (StatusCode::BAD_REQUEST, "not_found"),
            Self::Broken(_) | Self::NotJson(_) | Self::Empty | Self::Query => {
                (StatusCode::BAD_REQUEST, "bad_request")
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

/// What the request line said, for the answer.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
}

/// What became of one event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was handed to the sink.
    Appended(TopicName, Appended),
    /// It will be, and nobody waits for it.
    Hasty,
    /// It was not.
    Bad(BadEvent),
}

/// One event's result as it is told.
#[derive(Debug, Serialize)]
struct Told {
    status: u16,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    word: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What does not fit the schema, each by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
}

#[derive(Debug, Serialize)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
}

#[derive(Serialize)]
struct Problem<'a> {
    status: u16,
    #[serde(rename = "type")]
    word: &'static str,
    title: &'a str,
    detail: &'a str,
    method: &'a str,
    uri: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    results: Option<Results>,
}

#[derive(Serialize)]
struct Results {
    taken: usize,
    results: Vec<Told>,
}

/// How many events came to which end.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    taken: usize,
    hasty: usize,
    refused: usize,
    unavailable: usize,
    unknown: usize,
    /// Of all details.
    details_bytes: usize,
}

/// The answer to a request of which no event was looked at.
pub(super) fn rejected(asked: &Asked, why: &Rejection) -> Response {
    let (status, word) = why.class();
    let mut response = problem(asked, status, word, &why.to_string(), None);
    match why {
        Rejection::Method => {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        Rejection::Busy => retry_later(&mut response),
        _ => {}
    }
    response
}

/// The answer to a request whose events were handed to the sink, or found wrong.
pub(super) fn outcomes(asked: &Asked, outcomes: Vec<Outcome>) -> Response {
    let all = outcomes.len();
    let mut counts = Counts::default();
    let results = outcomes.into_iter().map(|outcome| tell(outcome, &mut counts)).collect();
    let taken = counts.taken + counts.hasty;
    let results = Results { taken, results };
    if taken == all {
        let status = if counts.hasty > 0 { StatusCode::ACCEPTED } else { StatusCode::CREATED };
        return json(status, "application/json", &results);
    }
    if taken > 0 {
        return json(StatusCode::MULTI_STATUS, "application/json", &results);
    }
    let Counts { refused, unavailable, unknown, .. } = counts;
    if unknown > 0 {
        let detail = format!(
            "it is not known whether {unknown} of {all} events were written; sent again they may \
             come twice"
        );
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return problem(asked, status, "unknown", &detail, Some(results));
    }
    if unavailable > 0 {
        let detail = format!("none of {all} events was written; later they may be taken");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut response = problem(asked, status, "unavailable", &detail, Some(results));
        retry_later(&mut response);
        return response;
    }
    let first = results.results.first().and_then(|told| told.detail.clone());
    let first = first.unwrap_or_default();
    let detail = format!("{refused} of {all} events are refused; the first: {first}");
    problem(asked, StatusCode::BAD_REQUEST, "bad_request", &detail, Some(results))
}

fn tell(outcome: Outcome, counts: &mut Counts) -> Told {
    match outcome {
        Outcome::Appended(topic, Ok((partition, offset))) => {
            counts.taken += 1;
            let (topic, partition, offset) = (topic.to_string(), partition.0, offset.0);
            let place = Some(Place { topic, partition, offset });
            told(StatusCode::CREATED, place)
        }
        Outcome::Hasty => {
            counts.hasty += 1;
            told(StatusCode::ACCEPTED, None)
        }
        Outcome::Appended(_, Err(error)) => {
            let unavailable = StatusCode::SERVICE_UNAVAILABLE;
            let (count, status, word) = match &error {
                SinkError::Unavailable(..) => (&mut counts.unavailable, unavailable, "unavailable"),
                SinkError::Unknown(..) => (&mut counts.unknown, unavailable, "unknown"),
                SinkError::Refused(_) => (&mut counts.refused, StatusCode::BAD_REQUEST, "refused"),
            };
            *count += 1;
            failed(status, word, error.to_string(), Vec::new(), counts)
        }
        Outcome::Bad(bad) => {
            counts.refused += 1;
            let word = match &bad {
                BadEvent::UnknownStream(_) => "not_found",
                BadEvent::NoSchema(_) | BadEvent::Misfit(_) => "invalid",
                _ => "bad_request",
            };
            let errors = match &bad {
                BadEvent::Misfit(misfit) if misfit.findings.len() > 1 => misfit.findings.clone(),
                _ => Vec::new(),
            };
            failed(StatusCode::BAD_REQUEST, word, bad.to_string(), errors, counts)
        }
    }
}

fn told(status: StatusCode, place: Option<Place>) -> Told {
    Told { status: status.as_u16(), word: None, detail: None, errors: Vec::new(), place }
}

/// What is said of an event that failed; of very many only the first are told why.
fn failed(
    status: StatusCode,
    word: &'static str,
    detail: String,
    errors: Vec<String>,
    counts: &mut Counts,
) -> Told {
    let bytes = detail.len() + errors.iter().map(String::len).sum::<usize>();
    let is_told = counts.details_bytes + bytes <= limits::INTAKE_DETAILS_BYTES_MAX;
    counts.details_bytes += if is_told { bytes } else { 0 };
    let (detail, errors) = if is_told { (Some(detail), errors) } else { (None, Vec::new()) };
    Told { status: status.as_u16(), word: Some(word), detail, errors, place: None }
}

fn problem(
    asked: &Asked,
    status: StatusCode,
    word: &'static str,
    detail: &str,
    results: Option<Results>,
) -> Response {
    let problem = Problem {
        status: status.as_u16(),
        word,
        title: status.canonical_reason().unwrap_or_default(),
        detail,
        method: asked.method.as_str(),
        uri: asked.uri.to_string(),
        results,
    };
    json(status, "application/problem+json", &problem)
}

fn json(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("no map with odd keys, no failing Serialize");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn retry_later(response: &mut Response) {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
}
