//! Documents from elsewhere: JSON or YAML, from a file or by HTTP, within bounds.
//!
//! ```text
//!  Place (a file, a URL) ─▶ Fetcher ─▶ text ─▶ parsed ─▶ Value
//! ```
//! Knows nothing of what they say. Who asks a server here is somebody whom an operator has named in
//! the configuration: no request of a client makes anything be fetched from a place of its choice.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::limits;
use crate::visit::{Target, VisitError, Way, causes, exchange};

const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
const ACCEPTED: &str = "application/json, application/yaml;q=0.9, */*;q=0.5";

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file on this host.
    File(PathBuf),
    /// A URL, `http://` or `https://`.
    Url(String),
}

impl Place {
    /// Reads a path, a `file://` URL or an `http(s)://` URL.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const ACCEPTED: &str = "a file, or an http:// or https:// URL, is accepted";
        if let Some(path) = text.strip_prefix("file://") {
            return if path.starts_with('/') { Ok(Self::File(path.into())) } else { Err(ACCEPTED) };
        }
        match Target::parse(text) {
            Some(_) => Ok(Self::Url(text.to_owned())),
            None if text.is_empty() || text.contains("://") => Err(ACCEPTED),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not there: a server or the system says so.
    #[error("{place}: there is none ({says})")]
    Missing {
        /// Where it should be.
        place: String,
        /// What the server or the system says.
        says: String,
    },
    /// Nobody answers, or not to the end.
    #[error("{place}: {says}")]
    Silent {
        /// Where it should be.
        place: String,
        /// Why, in words.
        says: String,
    },
    /// It may be there, but is not given.
    #[error("{place}: {says}")]
    Unreachable {
        /// Where it should be.
        place: String,
        /// Why, in words.
        says: String,
    },
    /// It is there, and cannot be read.
    #[error("{place}: {says}")]
    Unreadable {
        /// Where it is.
        place: String,
        /// What was found, and what is accepted.
        says: String,
    },
}

/// Fetches documents.
#[derive(Debug, Clone)]
pub struct Fetcher {
    way: Way,
    timeout: Duration,
}

impl Fetcher {
    /// One that gives each document so long, sends these headers, and believes in `tls`.
    #[must_use]
    pub fn new(
        timeout: Duration,
        headers: Vec<(HeaderName, HeaderValue)>,
        tls: Arc<ClientConfig>,
    ) -> Self {
        let agent = AGENT.to_owned();
        let way = Way { address: None, proxy: None, proxy_protocol: None, tls, agent, headers };
        Self { way, timeout }
    }

    /// The document at a place, of at most so many bytes.
    ///
    /// # Errors
    /// See `DocumentError`; each names the place.
    pub async fn fetch(&self, place: &Place, bytes_max: u64) -> Result<Value, DocumentError> {
        let late = |_| DocumentError::Silent {
            place: place.to_string(),
            says: format!("no whole answer within {} s", self.timeout.as_secs()),
        };
        let text = async {
            match place {
                Place::File(path) => file(path, bytes_max).await,
                Place::Url(url) => self.get(url, bytes_max).await,
            }
        };
        let text = tokio::time::timeout(self.timeout, text).await.map_err(late)??;
        let unreadable = |says| DocumentError::Unreadable { place: place.to_string(), says };
        let text = std::str::from_utf8(&text).map_err(|e| unreadable(format!("no UTF-8: {e}")))?;
        parsed(text).map_err(unreadable)
    }

    /// Follows redirections as browsers do.
    async fn get(&self, url: &str, bytes_max: u64) -> Result<Bytes, DocumentError> {
        let unreachable =
            |at: &str, says: String| DocumentError::Unreachable { place: at.to_owned(), says };
        // What an operator has sent besides is for the server that they have named.
        let bare = Way { headers: Vec::new(), ..self.way.clone() };
        let mut at = url.to_owned();
        for _ in 0..=limits::REDIRECTIONS_MAX {
            let target = Target::parse(&at)
                .ok_or_else(|| unreachable(&at, "an http:// or https:// URL is accepted".into()))?;
            let way = if is_same_server(url, &target) { &self.way } else { &bare };
            let asked = exchange(&target, way, ACCEPTED, None).await;
            let silent = |error: VisitError| DocumentError::Silent {
                place: at.clone(),
                says: error.to_string(),
            };
            let (response, _connection) = asked.map_err(silent)?;
            let status = response.status();
            if let Some(next) = response.headers().get(LOCATION).filter(|_| status.is_redirection())
            {
                let next = String::from_utf8_lossy(next.as_bytes()).into_owned();
                at = if next.starts_with('/') && !next.starts_with("//") {
                    let scheme = if target.https { "https" } else { "http" };
                    format!("{scheme}://{}{next}", target.authority())
                } else {
                    next
                };
                continue;
            }
            return match status {
                StatusCode::OK => body(&at, response.into_body(), bytes_max).await,
                StatusCode::NOT_FOUND | StatusCode::GONE => {
                    Err(DocumentError::Missing { place: at, says: status.to_string() })
                }
                _ => Err(unreachable(&at, format!("answered {status}"))),
            };
        }
        Err(unreachable(url, format!("more than {} redirections", limits::REDIRECTIONS_MAX)))
    }
}

fn is_same_server(url: &str, target: &Target) -> bool {
    let server = |target: &Target| (target.https, target.host.clone(), target.port);
    Target::parse(url).is_some_and(|named| server(&named) == server(target))
}

async fn body(at: &str, body: Incoming, bytes_max: u64) -> Result<Bytes, DocumentError> {
    let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let place = at.to_owned();
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(DocumentError::Unreadable { place, says: too_large(bytes_max) })
        }
        Err(error) => {
            let says = format!("the answer broke off: {}", causes(&*error));
            Err(DocumentError::Silent { place, says })
        }
    }
}

async fn file(path: &Path, bytes_max: u64) -> Result<Bytes, DocumentError> {
    let place = path.display().to_string();
    let says = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            DocumentError::Missing { place: place.clone(), says: error.to_string() }
        }
        _ => DocumentError::Unreachable {
            place: place.clone(),
            says: format!("cannot be read: {error}"),
        },
    };
    let file = tokio::fs::File::open(path).await.map_err(says)?;
    let mut text = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut text).await.map_err(says)?;
    if text.len() as u64 > bytes_max {
        return Err(DocumentError::Unreadable { place, says: too_large(bytes_max) });
    }
    Ok(text.into())
}

fn too_large(bytes_max: u64) -> String {
    format!("is larger than {bytes_max} bytes, which are accepted")
}

/// Reads a text as JSON, or else as YAML.
///
/// # Errors
/// Why it is neither, in one line.
pub fn parsed(text: &str) -> Result<Value, String> {
    let as_json = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // Flow YAML begins so too, but who writes a brace means JSON, and its words are clearer.
    if text.trim_start().starts_with(['{', '[']) {
        return Err(format!("is no JSON: {as_json}"));
    }
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let says = error.to_string();
        format!("is neither JSON nor YAML: {}", says.lines().next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_is_a_file_or_a_url() {
        let url = |text: &str| Ok(Place::Url(text.to_owned()));
        let file = |text: &str| Ok(Place::File(text.into()));
        assert_eq!(
            Place::parse("https://a.example/w/api.php?x=1"),
            url("https://a.example/w/api.php?x=1")
        );
        assert_eq!(Place::parse("file:///etc/streams.yaml"), file("/etc/streams.yaml"));
        assert_eq!(Place::parse("./streams.yaml"), file("./streams.yaml"));
        for wrong in ["", "ftp://a/b", "http://", "file://streams.yaml"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_and_yaml_are_read_and_what_is_neither_is_said_in_a_line() {
        let value = json!({ "a": { "topics": ["x"], "on": "no", "n": 7, "t": true, "z": null } });
        assert_eq!(parsed(&value.to_string()), Ok(value.clone()));
        let yaml = "a:\n  topics: [x]\n  on: no\n  n: 7\n  t: true\n  z: null\n";
        assert_eq!(parsed(yaml), Ok(value));
        let anchors = "x: &x {a: 1}\ny:\n  <<: *x\n  b: 2\n";
        assert_eq!(parsed(anchors).map(|v| v["y"].clone()), Ok(json!({ "a": 1, "b": 2 })));
        assert!(parsed(r#"{"a": [1, 2"#).is_err_and(|says| says.starts_with("is no JSON: EOF")));
        let says = parsed("a: [1\nb: 2").expect_err("broken");
        assert!(says.starts_with("is neither JSON nor YAML: ") && !says.contains('\n'), "{says}");
    }

    #[test]
    fn a_hostile_yaml_is_refused_and_not_expanded() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let all = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb += &format!("a{n}: &a{n} [{all}]\n");
        }
        assert!(parsed(&bomb).is_err());
        assert!(parsed(&"- ".repeat(100_000)).is_err());
    }
}
