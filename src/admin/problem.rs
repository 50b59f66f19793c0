//! What the admin port answers when it cannot do what it was asked (RFC 9457).

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    /// A header that goes with it.
    header: Option<(header::HeaderName, &'static str)>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), header: None }
    }

    /// 404: no such path.
    pub(super) fn nothing_here(uri: &Uri) -> Self {
        let detail = format!(
            "There is no {}. Here are /metrics, /healthz, /readyz, and /admin/ for operators: see \
             docs/admin.md.",
            uri.path()
        );
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 400: what was asked for cannot be read, or is not accepted.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 404: there is nothing of that name.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 405: the path takes another method.
    pub(super) fn method(allowed: &'static str) -> Self {
        let detail = format!("This path takes {allowed}.");
        let header = Some((header::ALLOW, allowed));
        Self { header, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail) }
    }

    /// 503: the parts behind it have not started.
    pub(super) fn starting() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", "This gateway is still starting.")
    }

    /// 401: no token, or a wrong one.
    pub(super) fn no_token() -> Self {
        let detail = "Send `Authorization: Bearer TOKEN` with the token of admin_token_file.";
        let header = Some((header::WWW_AUTHENTICATE, "Bearer"));
        Self { header, ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail) }
    }

    /// 409: it can be read, and would do harm or does not fit.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 500: our mistake, which has been logged.
    pub(super) fn internal() -> Self {
        let detail = "The gateway made a mistake.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    /// 403: nobody may do this in this way.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, detail, header } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let body =
            json!({ "status": status.as_u16(), "type": kind, "title": title, "detail": detail });
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let header = header.map(|header| [header]);
        match header {
            Some(header) => (status, content_type, header, body.to_string()).into_response(),
            None => (status, content_type, body.to_string()).into_response(),
        }
    }
}
