//! Every error answer, in one shape (RFC 9457): `{status, type, title, detail, method, uri}`.
//!
//! A handler returns an `AppError`; what it looks like on the wire is decided here and nowhere
//! else. An `AppError` on its way out carries no body yet: method and URI are added around the
//! router, by `write_problems`, where they are still as the client sent them.

use std::future::Future;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::Rng;
use serde::Serialize;

use super::middleware::CORS;
use crate::gate::Refusal;
use crate::gate::client::NoClient;
use crate::limits::{ECHO_BYTES_MAX, REQUEST_HEAD_BYTES_MAX, REQUEST_URI_BYTES_MAX};
use crate::session::OpenError;

/// Bytes of the longest method that is repeated.
const METHOD_BYTES_MAX: usize = 32;

/// Fields that hyper takes in one head.
const HEADERS_MAX: usize = 100;

/// Everything that a public request can be answered with but success.
#[derive(Debug, Clone)]
pub enum AppError {
    /// 404: no such path, or not with this method.
    NoSuchRoute,
    /// 400: the path has a `%` without two hexadecimal digits, or is no UTF-8.
    BadPath,
    /// 400: what came is no HTTP request.
    Malformed,
    /// 408: the head was not there in time.
    HeadTimeout,
    /// 414.
    UriTooLong,
    /// 431.
    HeadTooLarge,
    /// 400 `not_found`: the text names the streams that are none.
    UnknownStreams(String),
    /// 400 `invalid_timestamp`: the text says what `since` accepts.
    BadSince(String),
    /// 400 `invalid_assignment`: the text says what is wrong with the `Last-Event-ID`.
    BadPosition(String),
    /// What the session found: 404, 400 or 503.
    Open(OpenError),
    /// 400, 403, 429, 503: the gate's refusal.
    Refused(Refusal),
    /// 500: our mistake, which has been logged.
    Internal,
}

impl From<Refusal> for AppError {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

/// The part of an answer that does not depend on the request.
struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    retry_after_s: Option<u32>,
}

impl AppError {
    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchRoute | Self::Open(OpenError::TopicNotAvailable(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BadPath
            | Self::Malformed
            | Self::UnknownStreams(_)
            | Self::BadSince(_)
            | Self::BadPosition(_)
            | Self::Open(OpenError::TooManyPartitions { .. }) => StatusCode::BAD_REQUEST,
            Self::Refused(why) | Self::Open(OpenError::Refused(why)) => match why {
                Refusal::NoClient(NoClient::UnknownToken) => StatusCode::UNAUTHORIZED,
                Refusal::NoClient(_) => StatusCode::BAD_REQUEST,
                Refusal::Blocked(_) => StatusCode::FORBIDDEN,
                Refusal::ClientLimit { .. }
                | Refusal::Rate { .. }
                | Refusal::ClientFeeds { .. }
                | Refusal::FeedRate { .. } => StatusCode::TOO_MANY_REQUESTS,
                Refusal::Draining | Refusal::Full | Refusal::SourceUnavailable | Refusal::Feeds => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            },
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The one word for why, in answers, logs and metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(why) | Self::Open(OpenError::Refused(why)) => why.as_str(),
            _ => self.problem().kind,
        }
    }

    /// What the answer to a `GET` of `uri` says, for the documents.
    pub(super) fn example(&self, uri: &str) -> serde_json::Value {
        let text = json(&self.problem(), "GET", uri);
        serde_json::from_str(&text).expect("it was written as JSON")
    }

    /// The word to count it by, where the request itself is what is wrong.
    pub(super) fn reason_in_the_request(&self) -> Option<&'static str> {
        let of_the_client = self.status().is_client_error();
        let counted = matches!(self, Self::Refused(_) | Self::Open(OpenError::Refused(_)));
        (of_the_client && !counted).then(|| self.problem().kind)
    }

    fn problem(&self) -> Problem {
        let (kind, title, detail) = match self {
            Self::NoSuchRoute => ("not_found", "Not Found", "See /?doc for what there is.".into()),
            Self::BadPath => (
                "bad_request",
                "Bad Request",
                "The path cannot be decoded: each % needs two hexadecimal digits, and what they \
                 make must be UTF-8."
                    .into(),
            ),
            Self::Malformed => ("bad_request", "Bad Request", "This is no HTTP/1 request.".into()),
            Self::HeadTimeout => (
                "request_timeout",
                "Request Timeout",
                "The request head did not come to its end in time.".into(),
            ),
            Self::UriTooLong => (
                "uri_too_long",
                "URI Too Long",
                format!("Path and query may have {REQUEST_URI_BYTES_MAX} bytes."),
            ),
            Self::HeadTooLarge => (
                "request_header_fields_too_large",
                "Request Header Fields Too Large",
                format!("A head may have {REQUEST_HEAD_BYTES_MAX} bytes and {HEADERS_MAX} fields."),
            ),
            Self::UnknownStreams(detail) => ("not_found", "Stream Not Found", detail.clone()),
            Self::BadSince(detail) => ("invalid_timestamp", "Invalid timestamp", detail.clone()),
            Self::BadPosition(detail) => {
                ("invalid_assignment", "Invalid Last-Event-ID", detail.clone())
            }
            Self::Open(OpenError::TopicNotAvailable(topic)) => (
                "topic_not_available",
                "Topic Not Available",
                format!("The Last-Event-ID names {topic}, which these streams do not have."),
            ),
            Self::Open(OpenError::TooManyPartitions { found }) => (
                "too_many_partitions",
                "Too Many Partitions",
                format!(
                    "These streams have {found} partitions; one request may read {}.",
                    crate::limits::PARTITIONS_PER_REQUEST_MAX
                ),
            ),
            Self::Refused(why) | Self::Open(OpenError::Refused(why)) => refusal_in_words(why),
            Self::Internal => {
                ("internal_error", "Internal Server Error", "The server made a mistake.".into())
            }
        };
        Problem { status: self.status(), kind, title, detail, retry_after_s: self.retry_after_s() }
    }

    /// Seconds after which asking again makes sense; drawn, so that those who were refused together
    /// do not come back together.
    fn retry_after_s(&self) -> Option<u32> {
        let (Self::Refused(why) | Self::Open(OpenError::Refused(why))) = self else {
            return None;
        };
        let range = match why {
            Refusal::NoClient(_) | Refusal::Blocked(_) => return None,
            // Its own streams last as long as they last.
            Refusal::ClientLimit { .. } => 5..=15,
            // A feed outlives its last reader by half a minute.
            Refusal::ClientFeeds { .. } => 10..=40,
            Refusal::Rate { wait_s } | Refusal::FeedRate { wait_s } => {
                *wait_s..=wait_s.saturating_add(2)
            }
            // Another host takes over at once.
            Refusal::Draining => 1..=5,
            Refusal::SourceUnavailable => 2..=10,
            Refusal::Full | Refusal::Feeds => 5..=15,
        };
        Some(rand::rng().random_range(range))
    }

    /// Whether a browser's `EventSource` would give up for ever at this, though it may come again.
    pub(super) fn passes(&self) -> bool {
        matches!(self.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The same in a form that `EventSource` survives: a stream with one event `refused`, and when
    /// to come back.
    pub(super) fn softly(self) -> Response {
        let mut response = self.into_response();
        response.extensions_mut().insert(Softly);
        response
    }
}

/// Marks an error that is answered as a stream.
#[derive(Debug, Clone, Copy)]
struct Softly;

/// Type, title and detail.
fn refusal_in_words(why: &Refusal) -> (&'static str, &'static str, String) {
    let unavailable = |detail: &str| ("unavailable", "Service Unavailable", detail.to_owned());
    match why {
        Refusal::NoClient(error @ NoClient::UnknownToken) => {
            ("unauthorized", "Unauthorized", error.to_string())
        }
        Refusal::NoClient(error) => ("bad_request", "Bad Request", error.to_string()),
        Refusal::Blocked(None) => {
            ("forbidden", "Forbidden", "Your address has been blocked.".into())
        }
        Refusal::Blocked(Some(reason)) => {
            ("forbidden", "Forbidden", format!("Your address has been blocked: {reason}"))
        }
        Refusal::ClientLimit { held, limit } => (
            "too_many_requests",
            "Too Many Concurrent Connections From Your Client IP",
            format!(
                "Your address or token holds {held} streams; {limit} are accepted at the same time."
            ),
        ),
        Refusal::Rate { wait_s } => (
            "too_many_requests",
            "Too Many New Connections From Your Client IP",
            format!(
                "Your address or token opens streams too fast; the next is accepted in {wait_s} s."
            ),
        ),
        Refusal::ClientFeeds { held, limit } => (
            "too_many_requests",
            "Too Many Combinations Of Streams From Your Client IP",
            format!(
                "Your address was the first to read {held} combinations of streams; {limit} are \
                 accepted. Those that others read already can be read all the same."
            ),
        ),
        Refusal::FeedRate { wait_s } => (
            "too_many_requests",
            "Too Many New Combinations Of Streams From Your Client IP",
            format!(
                "Your address asks for new combinations of streams too fast; the next is accepted \
                 in {wait_s} s."
            ),
        ),
        Refusal::Draining => unavailable("This host is going down; another one will answer."),
        Refusal::Full => unavailable("This host holds as many streams as it may."),
        Refusal::SourceUnavailable => {
            unavailable("The source of these streams cannot be reached now.")
        }
        Refusal::Feeds => unavailable("This host shows as many combinations of streams as it may."),
    }
}

impl IntoResponse for AppError {
    /// Without a body: `write_problems` adds it.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The body of every error.
#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    r#type: &'a str,
    title: &'a str,
    detail: &'a str,
    method: &'a str,
    uri: &'a str,
}

/// Turns every `AppError` that comes out of the routes into its answer.
pub(super) async fn write_problems<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = next(request).await;
    let Some(error) = response.extensions_mut().remove::<AppError>() else {
        return response;
    };
    let uri = uri.path_and_query().map_or("", |p| p.as_str());
    match response.extensions_mut().remove::<Softly>() {
        None => fill(&mut response, &error.problem(), method.as_str(), uri),
        Some(Softly) => fill_softly(&mut response, &error.problem(), method.as_str(), uri),
    }
    response
}

fn fill_softly(response: &mut Response, problem: &Problem, method: &str, uri: &str) {
    let seconds = u64::from(problem.retry_after_s.unwrap_or(5));
    let retry_ms = seconds * 1000 + rand::rng().random_range(0..1000);
    let json = json(problem, method, uri);
    let text = format!(":ok\n\nretry: {retry_ms}\nevent: refused\ndata: {json}\n\n");
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let fixed = |value| HeaderValue::from_static(value);
    headers.insert(header::CONTENT_TYPE, fixed("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    *response.body_mut() = Body::from(text);
}

/// Keeps the headers that other layers have set.
fn fill(response: &mut Response, problem: &Problem, method: &str, uri: &str) {
    let text = json(problem, method, uri);
    let headers = response.headers_mut();
    let fixed = |value| HeaderValue::from_static(value);
    headers.insert(header::CONTENT_TYPE, fixed("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    if problem.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, fixed("Bearer error=\"invalid_token\""));
    }
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    *response.body_mut() = Body::from(text);
}

/// A whole answer, for a request that has not come as far as the router: its method and URI are not
/// known, and the connection cannot be used any further.
pub(super) fn answer_to_no_request(error: &AppError) -> Vec<u8> {
    let mut response = Response::default();
    fill(&mut response, &error.problem(), "", "");
    let mut bytes = format!("HTTP/1.1 {}\r\n", error.status()).into_bytes();
    let fixed = CORS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let close = (header::CONNECTION, HeaderValue::from_static("close"));
    let own = response.headers().iter().map(|(name, value)| (name.clone(), value.clone()));
    for (name, value) in own.chain(fixed).chain([close]) {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(json(&error.problem(), "", "").as_bytes());
    bytes
}

fn json(problem: &Problem, method: &str, uri: &str) -> String {
    serde_json::to_string(&Answer {
        status: problem.status.as_u16(),
        r#type: problem.kind,
        title: problem.title,
        detail: &cut(&problem.detail, ECHO_BYTES_MAX),
        method: &cut(method, METHOD_BYTES_MAX),
        uri: &cut(uri, ECHO_BYTES_MAX),
    })
    .expect("a struct of texts and a number can be written as JSON")
}

/// At most `max` bytes of a text, and a sign where something is missing.
fn cut(text: &str, max: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= max {
        return text.into();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("äöü", 5), "äö…");
        assert_eq!(cut("äöü", 1), "…");
    }

    #[test]
    fn only_a_503_says_when_to_come_back() {
        let full = AppError::from(Refusal::Full);
        assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!((5..=15).contains(&full.problem().retry_after_s.expect("said")));
        let inside = AppError::Open(OpenError::Refused(Refusal::SourceUnavailable));
        assert!(inside.problem().retry_after_s.is_some());
        assert!(AppError::NoSuchRoute.problem().retry_after_s.is_none());
    }

    #[test]
    fn what_the_session_finds_has_the_reference_words() {
        let kind = |error| AppError::Open(error).problem();
        let missing = kind(OpenError::TopicNotAvailable("x".into()));
        assert_eq!((missing.status.as_u16(), missing.kind), (404, "topic_not_available"));
        let bad = AppError::BadPosition("x".into()).problem();
        assert_eq!((bad.status.as_u16(), bad.kind), (400, "invalid_assignment"));
        let many = kind(OpenError::TooManyPartitions { found: 200 });
        assert_eq!((many.status.as_u16(), many.kind), (400, "too_many_partitions"));
    }
}
