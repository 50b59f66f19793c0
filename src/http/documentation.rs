//! `/?spec` and `/?doc`: the OpenAPI document, and a page made of it for people.
//!
//! ```text
//!  catalogue, schemas ─▶ openapi ─▶ document ─┬─▶ /?spec
//!                                             └─▶ page (ui/doc.html) ─▶ /?doc
//! ```
//! All that the page says stands in its HTML, so it can be read without scripts; its script
//! (search, copies, colours) and its style are inside, let in by their hashes. Nothing comes from
//! another host. Both are made once in a while, however many ask.

use std::sync::LazyLock;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fresh::Fresh;
use super::{Front, encoding, openapi, ui};

mod html;

/// How long a document counts.
const LASTS: Duration = Duration::from_secs(2);

const STYLE: &str = concat!(include_str!("../../ui/tokens.css"), include_str!("../../ui/doc.css"));
const SCRIPT: &str = concat!(include_str!("../../ui/theme.js"), include_str!("../../ui/doc.js"));

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    HeaderValue::try_from(policy).expect("base64 is legal")
});

/// A text as it is, and packed.
type Both = (Bytes, Bytes);

/// Both documents, as they were last made.
#[derive(Debug)]
pub(super) struct Documents {
    spec: Fresh<Both>,
    page: Fresh<Both>,
}

impl Default for Documents {
    fn default() -> Self {
        Self { spec: Fresh::new(LASTS), page: Fresh::new(LASTS) }
    }
}

impl Documents {
    /// `/?spec`.
    pub(super) fn for_programs(&self, front: &Front, headers: &HeaderMap) -> Response {
        let both = self.spec.get(|| both(openapi::document(front).to_string()));
        sent(both, "application/json", headers)
    }

    /// `/?doc`.
    pub(super) fn for_people(&self, front: &Front, headers: &HeaderMap) -> Response {
        let both = self.page.get(|| both(page(&openapi::document(front), front)));
        let mut response = sent(both, "text/html; charset=utf-8", headers);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
        response
    }
}

fn both(text: String) -> Both {
    let packed = ui::gzipped(text.as_bytes());
    (text.into(), packed)
}

fn sent((plain, packed): Both, content_type: &'static str, headers: &HeaderMap) -> Response {
    let gzip = encoding::takes_gzip(headers);
    let mut response = ui::built_in(if gzip { packed } else { plain }, content_type);
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// What a person needs to begin, on one page.
fn page(document: &Value, front: &Front) -> String {
    let live = front.settings.ui;
    let (one, both) = html::examples(document);
    let parts = [
        ("one", one),
        ("both", both),
        ("style", STYLE.to_owned()),
        ("script", SCRIPT.to_owned()),
        ("description", html::escaped(&front.settings.description)),
        ("version", super::info::VERSION.to_owned()),
        ("live", if live { html::LIVE.to_owned() } else { String::new() }),
        ("names", html::names(document)),
        ("streams", html::streams(document, live)),
        ("parameters", html::parameters(document)),
        ("answers", html::answers(document)),
        ("schemas", html::schemas(document)),
        ("intake", html::intake(document)),
        ("sending", html::link_to_intake(document)),
    ];
    // One pass: what operators write is not searched for places.
    let mut page = String::new();
    let mut rest = include_str!("../../ui/doc.html");
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("a place ends");
        let part = parts.iter().find(|(of, _)| *of == name).expect("a place of ours");
        page.push_str(before);
        page.push_str(&part.1);
        rest = after;
    }
    page + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_inside_the_page_ends_where_it_should() {
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
        assert!(SCRIPT.is_ascii() && STYLE.is_ascii(), "the hash is of what is sent");
    }
}
