//! What is done to every request, in order, outermost first.
//!
//! ```text
//!  all     write_problems   an `AppError` becomes problem JSON
//!          catch_panics     a panic becomes a 500
//!          fold_path        case of the fixed part, trailing slash, absolute form
//!  public  cors             any origin may read; answers every OPTIONS
//!          check_head       414, 431, and a path that cannot be decoded
//!  others  refuse_blocked   403 (streams ask the gate themselves)
//! ```
//! Knows no route but the two shapes that `fold_path` names.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use percent_encoding::percent_decode_str;

use super::problem::{AppError, write_problems};
use crate::gate::Gate;
use crate::limits::{REQUEST_HEAD_BYTES_MAX, REQUEST_URI_BYTES_MAX};
use crate::metrics::{ByReason, Metrics};

/// Where the names of streams begin; before it the path is matched without regard to case.
pub(super) const STREAMS_AT: &str = "/v2/stream/";
/// The one path whose slash at the end matters.
const UI_AT: &str = "/v2/ui/";

/// For every request. `route` gets the path folded, as the routes are written.
pub(super) async fn around_all<F: Future<Output = Response>>(
    request: Request,
    route: impl FnOnce(Request) -> F,
) -> Response {
    write_problems(request, |request| catch_panics(route(fold_path(request)))).await
}

/// For the routes that any web page may read.
pub(super) async fn around_public<F: Future<Output = Response>>(
    request: Request,
    metrics: &Metrics,
    route: impl FnOnce(Request) -> F,
) -> Response {
    cors(request, |request| check_head(request, metrics, route)).await
}

/// For the routes of other parts, which do not ask the gate.
pub(super) fn around_others(routes: Router, gate: Arc<Gate>) -> Router {
    routes.layer(from_fn_with_state(gate, refuse_blocked))
}

async fn refuse_blocked(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, AppError> {
    gate.let_pass(peer.ip(), request.headers())?;
    Ok(next.run(request).await)
}

async fn catch_panics(answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a request handler panicked");
            AppError::Internal.into_response()
        }
    }
}

/// Brings the path into the form that the routes are written in.
fn fold_path(mut request: Request) -> Request {
    if let Some(folded) = folded(request.uri()) {
        *request.uri_mut() = folded;
    }
    request
}

/// The folded form, if it differs.
fn folded(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let fixed = match path.get(..STREAMS_AT.len()) {
        Some(head) if head.eq_ignore_ascii_case(STREAMS_AT) => STREAMS_AT.len(),
        _ => path.len(),
    };
    let is_lower = !path.get(..fixed)?.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_lower && !path.ends_with('/') && uri.authority().is_none() {
        return None; // nearly always
    }
    let mut folded = path.to_owned();
    folded.get_mut(..fixed)?.make_ascii_lowercase();
    let kept = folded == UI_AT || folded.len() == 1 || folded.ends_with("//");
    if folded.ends_with('/') && !kept {
        folded.pop();
    }
    if folded == path && uri.authority().is_none() {
        return None;
    }
    if let Some(query) = uri.query() {
        folded.push('?');
        folded.push_str(query);
    }
    // Fails for `*` and the authority form only, which have no route anyway.
    PathAndQuery::try_from(folded).ok().map(Uri::from)
}

/// Any origin may read, and sees what a stream's client needs.
pub(super) const CORS: [(HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "accept, authorization, cache-control, content-type, last-event-id, x-requested-with",
    ),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "etag, retry-after, x-stream-gap"),
];

async fn cors<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let mut response =
        if request.method() == Method::OPTIONS { preflight() } else { next(request).await };
    let headers = response.headers_mut();
    for (name, value) in CORS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn preflight() -> Response {
    let allow = (header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    let keep = (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    (StatusCode::NO_CONTENT, [allow, keep]).into_response()
}

async fn check_head<F: Future<Output = Response>>(
    request: Request,
    metrics: &Metrics,
    next: impl FnOnce(Request) -> F,
) -> Response {
    match head_error(&request) {
        None => next(request).await,
        Some(error) => {
            metrics.refusals.get_or_create(&ByReason { reason: error.reason() }).inc();
            error.into_response()
        }
    }
}

fn head_error(request: &Request) -> Option<AppError> {
    let uri = request.uri();
    if uri.path_and_query().map_or(0, |p| p.as_str().len()) > REQUEST_URI_BYTES_MAX {
        return Some(AppError::UriTooLong);
    }
    if head_bytes(uri, request.headers()) > REQUEST_HEAD_BYTES_MAX {
        return Some(AppError::HeadTooLarge);
    }
    (!is_decodable(uri.path())).then_some(AppError::BadPath)
}

/// What the head took on the wire, but for the method and the host of an absolute form.
fn head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let line = uri.path_and_query().map_or(1, |p| p.as_str().len());
    headers.iter().fold(line, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4)
}

/// Every `%` is followed by two hexadecimal digits, and what comes out is UTF-8.
fn is_decodable(path: &str) -> bool {
    let is_whole = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    };
    path.split('%').skip(1).all(is_whole) && percent_decode_str(path).decode_utf8().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(uri: &str) -> String {
        let uri: Uri = uri.parse().expect("legal");
        folded(&uri).unwrap_or(uri).to_string()
    }

    #[test]
    fn the_fixed_part_of_a_path_loses_its_case_and_names_keep_theirs() {
        assert_eq!(fold("/V2/Stream/Page-Create"), "/v2/stream/Page-Create");
        assert_eq!(fold("/V2/UI"), "/v2/ui");
        assert_eq!(fold("/_INFO/Name"), "/_info/name");
    }

    #[test]
    fn one_trailing_slash_goes_except_where_it_matters() {
        assert_eq!(fold("/v2/stream/a,b/?since=1"), "/v2/stream/a,b?since=1");
        assert_eq!(fold("/v2/ui/"), "/v2/ui/");
        assert_eq!(fold("/v2/ui"), "/v2/ui");
        assert_eq!(fold("/"), "/");
        assert_eq!(fold("//"), "//");
        assert_eq!(fold("/v2/stream/"), "/v2/stream");
    }

    #[test]
    fn the_absolute_form_loses_its_host() {
        assert_eq!(fold("http://any.host/v2/stream/x?a=b"), "/v2/stream/x?a=b");
        assert_eq!(fold("http://any.host"), "/");
    }

    #[test]
    fn a_percent_sequence_that_is_cut_or_no_utf8_is_found() {
        assert!(is_decodable("/a%2Cb%C3%A4"));
        for broken in ["/%", "/a%2", "/%zz", "/%+1", "/%C3", "/%%20"] {
            assert!(!is_decodable(broken), "{broken}");
        }
    }
}
