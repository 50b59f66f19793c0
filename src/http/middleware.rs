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

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use percent_encoding::percent_decode_str;
use tower::ServiceBuilder;

use super::problem::{AppError, write_problems};
use crate::gate::Gate;
use crate::limits::{REQUEST_HEAD_BYTES_MAX, REQUEST_URI_BYTES_MAX};
use crate::metrics::{ByReason, Metrics};

/// Where the names of streams begin; before it the path is matched without regard to case.
const STREAMS_AT: &str = "/v2/stream/";
/// The one path whose slash at the end matters.
const UI_AT: &str = "/v2/ui/";

/// For the routes that any web page may read.
pub(super) fn around_public(routes: Router, metrics: &Arc<Metrics>) -> Router {
    let check_head = from_fn_with_state(Arc::clone(metrics), check_head);
    routes.layer(check_head).layer(from_fn(cors))
}

/// For every request. It stands around the router and not inside, since `fold_path` has to change
/// the path before a route is looked for.
pub(super) fn around_all(routes: Router) -> Router {
    let all = ServiceBuilder::new()
        .layer(from_fn(write_problems))
        .layer(from_fn(catch_panics))
        .map_request(fold_path)
        .service(routes);
    Router::new().fallback_service(all)
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

async fn catch_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
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

async fn cors(request: Request, next: Next) -> Response {
    let mut response =
        if request.method() == Method::OPTIONS { preflight() } else { next.run(request).await };
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

async fn check_head(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Result<Response, AppError> {
    let uri = request.uri();
    let path_and_query = uri.path_and_query().map_or(0, |p| p.as_str().len());
    let error = if path_and_query > REQUEST_URI_BYTES_MAX {
        AppError::UriTooLong
    } else if head_bytes(uri, request.headers()) > REQUEST_HEAD_BYTES_MAX {
        AppError::HeadTooLarge
    } else if !is_decodable(uri.path()) {
        AppError::BadPath
    } else {
        return Ok(next.run(request).await);
    };
    Err(counted(error, &metrics))
}

fn counted(error: AppError, metrics: &Metrics) -> AppError {
    metrics.refusals.get_or_create(&ByReason { reason: error.reason() }).inc();
    error
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
