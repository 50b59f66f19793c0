//! The live page at `/v2/ui/`: its files, built into the program. Nothing on it comes from another
//! host, and the policy it is sent with forbids that.
//!
//! A debug build reads the files from `ui/` at each request, so the page is worked on without
//! building anything.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{LazyLock, Mutex};

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::encoding;
use super::info::moved;
use super::problem::AppError;

pub(super) mod streams;

/// What the pages are made of.
#[derive(rust_embed::RustEmbed)]
#[folder = "ui/"]
struct Files;

/// Of the documentation's page, which `documentation` fills in; no file for browsers.
const DOCUMENTATION: &str = "doc.";

const PAGE: &str = "index.html";
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// `/v2/ui`; what was asked for there is kept.
pub(super) async fn redirect(uri: Uri) -> Response {
    match uri.query() {
        None => moved("/v2/ui/"),
        Some(query) => moved(&format!("/v2/ui/?{query}")),
    }
}

/// `/v2/ui/`.
pub(super) async fn page(headers: HeaderMap) -> Result<Response, AppError> {
    let mut response = sent(PAGE, &headers)?;
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// What the page loads.
pub(super) async fn file(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    if name == PAGE { Err(AppError::NoSuchRoute) } else { sent(&name, &headers) }
}

/// A file as it is, packed, or not at all where the browser has it.
fn sent(name: &str, headers: &HeaderMap) -> Result<Response, AppError> {
    let content_type = match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => return Err(AppError::NoSuchRoute),
    };
    let file = Files::get(name).filter(|_| !name.starts_with(DOCUMENTATION));
    let file = file.ok_or(AppError::NoSuchRoute)?;
    let hash = file.metadata.sha256_hash();
    // Weak, since it is the same for the packed form.
    let tag = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&hash[..12]));
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let is_known = known.flat_map(|v| v.split(',')).any(|v| v.trim() == tag);
    let mut response = if is_known {
        built_in(StatusCode::NOT_MODIFIED, content_type)
    } else if encoding::takes_gzip(headers) {
        let mut response = built_in(packed(name, hash, &file.data), content_type);
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        response
    } else {
        built_in(file.data.into_owned(), content_type)
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("base64 is legal"));
    Ok(response)
}

/// The file in gzip; packed once, as long as it does not change.
fn packed(name: &str, hash: [u8; 32], data: &[u8]) -> Bytes {
    type Packed = HashMap<String, ([u8; 32], Bytes)>;
    static PACKED: LazyLock<Mutex<Packed>> = LazyLock::new(Mutex::default);
    let mut all = PACKED.lock().expect("no holder panics");
    if let Some((_, bytes)) = all.get(name).filter(|(of, _)| *of == hash) {
        return bytes.clone();
    }
    let bytes = gzipped(data);
    all.insert(name.to_owned(), (hash, bytes.clone()));
    bytes
}

/// In gzip, as small as it gets.
pub(super) fn gzipped(data: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(data).expect("memory takes everything");
    Bytes::from(gzip.finish().expect("memory takes everything"))
}

pub(super) fn built_in(text: impl IntoResponse, content_type: &'static str) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, content_type),
        // Asked for anew each time; what has not changed is not sent again.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a first visit costs.
    const PACKED_BYTES_MAX: usize = 48 * 1024;

    fn names() -> Vec<String> {
        let all = Files::iter().map(std::borrow::Cow::into_owned);
        all.filter(|name| !name.starts_with(DOCUMENTATION)).collect()
    }

    #[test]
    fn the_whole_page_is_small() {
        let file = |name: &String| Files::get(name).expect("listed").data;
        let sizes = names().into_iter().map(|name| {
            let bytes = packed(&name, [0; 32], &file(&name)).len();
            (bytes, name)
        });
        let sizes = sizes.collect::<Vec<_>>();
        let whole: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
        assert!(sizes.len() > 10, "the files are there: {sizes:?}");
        assert!(whole <= PACKED_BYTES_MAX, "{whole} bytes in all: {sizes:?}");
    }

    #[test]
    fn the_pages_modules_are_short_and_say_first_what_they_own() {
        for name in names() {
            let text = Files::get(&name).expect("listed").data;
            let text = String::from_utf8_lossy(&text);
            let comment = if name.ends_with(".css") { "/* " } else { "// " };
            if name.ends_with(".html") || name.ends_with(".svg") {
                continue;
            }
            assert!(text.starts_with(comment), "{name} does not say what it owns");
            assert!(text.lines().count() <= 500, "{name} is long");
            let wide = text.lines().find(|line| line.chars().count() > 100);
            assert_eq!(wide, None, "{name} has a wide line");
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = sent(PAGE, &HeaderMap::new()).expect("it is there");
        let tag = first.headers()[header::ETAG].clone();
        let mut headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        let again = sent(PAGE, &headers).expect("it is there");
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("W/\"another\""));
        assert_eq!(sent(PAGE, &headers).expect("it is there").status(), StatusCode::OK);
    }

    #[test]
    fn only_what_the_page_is_made_of_is_given() {
        for name in ["doc.html", "doc.css", "../Cargo.toml", "..", "nothing.js", ""] {
            assert!(sent(name, &HeaderMap::new()).is_err(), "{name}");
        }
    }
}
