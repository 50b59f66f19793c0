//! The whole surface, on one screen. What a route does is in its own file, what is done to every
//! request is in `middleware`.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::problem::AppError;
use super::{Front, info, middleware, stream, ui};

/// Builds the public service. `extra` holds routes of other parts that are not for web pages: they
/// get no CORS, but their `AppError`s are written like all others. It must have no fallback.
pub fn router(front: Front, extra: Router) -> Router {
    let mut public = Router::new()
        .route("/v2/stream/{streams}", get(stream::open).head(stream::describe))
        .route("/", get(info::root))
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
    let public = public
        .fallback(nothing_here)
        // A method that a path does not have is a 404 too, as in the reference.
        .method_not_allowed_fallback(nothing_here)
        .with_state(Arc::new(front));
    middleware::around_all(middleware::around_public(public).merge(extra))
}

async fn nothing_here() -> AppError {
    AppError::NoSuchRoute
}
