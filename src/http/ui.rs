//! The stream browser: one page, its script and its style, built into the program. Nothing on it
//! comes from another host, and the policy it is sent with forbids that.

use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::info::moved;
use super::problem::AppError;

const PAGE: &str = include_str!("../../ui/index.html");
const SCRIPT: &str = include_str!("../../ui/app.js");
pub(super) const STYLE: &str = include_str!("../../ui/style.css");

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The documentation page has its style inside, so that it needs no second request.
pub(super) const DOCUMENTATION_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/v2/ui`; what was asked for there is kept.
pub(super) async fn redirect(uri: Uri) -> Response {
    match uri.query() {
        None => moved("/v2/ui/"),
        Some(query) => moved(&format!("/v2/ui/?{query}")),
    }
}

/// `/v2/ui/`.
pub(super) async fn page() -> Response {
    html(PAGE, PAGE_POLICY)
}

/// What the page loads.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, AppError> {
    match name.as_str() {
        "app.js" => Ok(built_in(SCRIPT, "text/javascript; charset=utf-8")),
        "style.css" => Ok(built_in(STYLE, "text/css; charset=utf-8")),
        _ => Err(AppError::NoSuchRoute),
    }
}

/// A page with its policy.
pub(super) fn html(text: impl IntoResponse, policy: &'static str) -> Response {
    let mut response = built_in(text, "text/html; charset=utf-8");
    let policy = HeaderValue::from_static(policy);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn built_in(text: impl IntoResponse, content_type: &'static str) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, content_type),
        // Asked for anew after each release.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
