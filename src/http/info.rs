//! The small routes: where `/` leads, `/_info`, `robots.txt`, and the documentation page.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;

use super::{Front, openapi, ui};
use crate::catalog::Stream;

const NAME: &str = env!("CARGO_PKG_NAME");
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `/`, `/?spec`, `/?doc`.
pub(super) async fn root(State(front): State<Arc<Front>>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or("");
    let asks = |key| query.split('&').any(|pair| pair.split('=').next() == Some(key));
    if asks("spec") {
        Json(openapi::document(&front.catalog.now(), &front.settings)).into_response()
    } else if asks("doc") {
        ui::html(documentation(&front), ui::DOCUMENTATION_POLICY)
    } else {
        Redirect::to(if front.settings.ui { "/v2/ui/" } else { "/?doc" }).into_response()
    }
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

/// What a person needs to begin, on one page without any other host.
fn documentation(front: &Front) -> String {
    let mut rows = String::new();
    for stream in front.catalog.now().streams() {
        row(&mut rows, stream);
    }
    let browser = match front.settings.ui {
        true => " To look at one, open the <a href=\"/v2/ui/\">stream browser</a>.",
        false => "",
    };
    include_str!("../../ui/doc.html")
        .replace("{{style}}", ui::DOCUMENTATION_STYLE)
        .replace("{{browser}}", browser)
        .replace("{{description}}", &escaped(&front.settings.description))
        .replace("{{version}}", VERSION)
        // Last: what operators write is not searched for places.
        .replace("{{streams}}", &rows)
}

fn row(rows: &mut String, stream: &Stream) {
    let aliases = stream.aliases.iter().map(|a| format!("<br><code>{}</code>", escaped(a)));
    let (name, aliases) = (escaped(&stream.name), aliases.collect::<String>());
    let description = escaped(&stream.description);
    writeln!(rows, "<tr><td><code>{name}</code>{aliases}</td><td>{description}</td></tr>")
        .expect("a String takes all that is written");
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_cannot_become_markup() {
        assert_eq!(escaped("<a href='x\"&'>"), "&lt;a href=&#39;x&quot;&amp;&#39;&gt;");
    }
}
