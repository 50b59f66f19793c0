//! The small routes: where `/` leads, `/_info`, `robots.txt`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use serde_json::json;

use super::Front;
use super::documentation::Documents;

const NAME: &str = env!("CARGO_PKG_NAME");
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `/`, `/?spec`, `/?doc`.
pub(super) fn root() -> MethodRouter<Arc<Front>> {
    let documents = Arc::new(Documents::default());
    get(async move |State(front): State<Arc<Front>>, uri: Uri, headers: HeaderMap| {
        let query = uri.query().unwrap_or("");
        let asks = |key| query.split('&').any(|pair| pair.split('=').next() == Some(key));
        if asks("spec") {
            documents.for_programs(&front, &headers)
        } else if asks("doc") {
            documents.for_people(&front, &headers)
        } else {
            Redirect::to(if front.settings.ui { "/v2/ui/" } else { "/?doc" }).into_response()
        }
    })
}

/// `/rc`, an old short way to the documentation.
pub(super) async fn recent_changes() -> Response {
    moved("/?doc")
}

/// A 301.
pub(super) fn moved(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(to) => (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response(),
        Err(_) => super::problem::AppError::NoSuchRoute.into_response(),
    }
}

pub(super) async fn robots() -> &'static str {
    "User-agent: *\nDisallow: /\n"
}

pub(super) async fn all(State(front): State<Arc<Front>>) -> Response {
    let (description, home) = (&front.settings.description, &front.settings.home);
    Json(json!({
        "name": NAME, "version": VERSION, "description": description, "home": home,
    }))
    .into_response()
}

pub(super) async fn name() -> Response {
    Json(json!({ "name": NAME })).into_response()
}

pub(super) async fn version() -> Response {
    Json(json!({ "version": VERSION })).into_response()
}

pub(super) async fn home(State(front): State<Arc<Front>>) -> Response {
    moved(&front.settings.home)
}
