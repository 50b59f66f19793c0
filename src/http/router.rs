//! The whole surface, on one screen. What a route does is in its own file, what is done to every
//! request is in `middleware`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::{ServiceExt, service_fn};

use super::middleware::{STREAMS_AT, around_all, around_others, around_public};
use super::problem::AppError;
use super::{Front, info, stream, ui};
use crate::metrics::Metrics;

/// Builds the public service. `extra` holds routes of other parts that are not for web pages: they
/// get no CORS, but their `AppError`s are written like all others, and who is blocked does not get
/// there. It must have no fallback.
pub fn router(front: Front, extra: Router) -> Router {
    let front = Arc::new(front);
    let extra = around_others(extra, Arc::clone(&front.gate));
    let others = others(&front).merge(extra);
    let all = service_fn(move |request| {
        let (front, others) = (Arc::clone(&front), others.clone());
        async { Ok(around_all(request, |request| route(front, others, request)).await) }
    });
    Router::new().fallback_service(all)
}

/// A stream's request goes the short way: layers and look-ups that box a future each would cost
/// more than all that it asks of us.
async fn route(front: Arc<Front>, others: Router, request: Request) -> Response {
    let names = request.uri().path().strip_prefix(STREAMS_AT);
    if names.is_none_or(|names| names.is_empty() || names.contains('/')) {
        let answer: Result<_, Infallible> = others.oneshot(request).await;
        return answer.unwrap_or_else(|never| match never {});
    }
    let front = &*front;
    around_public(request, &front.metrics, |request| async move {
        match *request.method() {
            Method::GET => stream::open(front, request).await,
            Method::HEAD => stream::describe(front, request).into_response(),
            _ => nothing_here().await.into_response(),
        }
    })
    .await
}

/// All but the streams.
fn others(front: &Arc<Front>) -> Router {
    let mut public = Router::new()
        .route("/", info::root())
        .route("/rc", get(info::recent_changes))
        .route("/robots.txt", get(info::robots))
        .route("/_info", get(info::all))
        .route("/_info/name", get(info::name))
        .route("/_info/version", get(info::version))
        .route("/_info/home", get(info::home));
    if front.settings.ui {
        public = public
            .route("/v2/ui", get(ui::redirect))
            .route("/v2/ui/", get(ui::page))
            .route("/v2/ui/streams.json", ui::streams::list())
            .route("/v2/ui/{file}", get(ui::file));
    }
    public
        .fallback(nothing_here)
        // A method that a path does not have is a 404 too, as in the reference.
        .method_not_allowed_fallback(nothing_here)
        .with_state(Arc::clone(front))
        .layer(from_fn_with_state(Arc::clone(&front.metrics), public_others))
}

async fn public_others(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    around_public(request, &metrics, |request| next.run(request)).await
}

async fn nothing_here() -> AppError {
    AppError::NoSuchRoute
}
