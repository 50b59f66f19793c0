//! A visit to a stream from outside, as any reader makes it: a socket, perhaps a proxy, perhaps
//! TLS, a request, and the events one by one. For probes and canaries, which see what readers see.
//!
//! ```text
//!  Target (which URL) ┐
//!  Way (how there)    ┴▶ open ─▶ Visit ─▶ next ─▶ Event
//! ```
//! Knows nothing of this program's own streams: it reads any server of the contract.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::Instant;

mod sse;
mod way;

pub use sse::Event;
use sse::Parser;
pub use way::{Way, no_questions_asked, verified};

/// Bytes of an answer that is no stream; its words are looked for in them.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
const PROBLEM_TIME_MAX: Duration = Duration::from_secs(2);

/// Why a visit came to nothing, or ended.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// Nobody is there.
    #[error("cannot connect to {to}: {source}")]
    Connect {
        /// Where it went.
        to: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The proxy does not lead there.
    #[error("the proxy {proxy} says: {says}")]
    Proxy {
        /// Which one.
        proxy: String,
        /// Its first line.
        says: String,
    },
    /// No TLS, or not with whom we wanted.
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    /// It is there and does not speak as it should, or broke off.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// An answer that is no stream.
    #[error("answered {status}{}", says.as_deref().map(|s| format!(": {s}")).unwrap_or_default())]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The detail of its problem, if it told one.
        says: Option<String>,
    },
}

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// TLS is spoken.
    pub https: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Reads an `http://` or `https://` URL. `None`: it is none.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { https, host, port, path })
    }

    /// `host:port`, the port only where it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let own = if self.https { 443 } else { 80 };
        if self.port == own { self.bracketed() } else { self.host_and_port() }
    }

    fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    /// The host as it stands in a URL.
    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// An open stream. The connection ends when this is dropped.
#[derive(Debug)]
pub struct Visit {
    body: Incoming,
    parser: Parser,
    connection: AbortHandle,
    /// When the first byte of the body was read.
    pub first_byte: Instant,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Visit {
    /// Goes there, asks, and waits for the first byte of the stream. `after`: the id of the last
    /// event of an earlier visit.
    ///
    /// # Errors
    /// See `VisitError`. It may wait for ever: the caller sets a deadline.
    pub async fn open(target: &Target, way: &Way, after: Option<&str>) -> Result<Self, VisitError> {
        let io = TokioIo::new(way.connect(target).await?);
        let broken = |error: hyper::Error| VisitError::Broken(causes(&error));
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        let connection = tokio::spawn(connection).abort_handle();
        // Also when what follows fails, or is given up.
        let connection = Aborts(Some(connection));
        let request = request(target, way, after)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(refused(status, response.into_body()).await);
        }
        let (mut body, mut parser) = (response.into_body(), Parser::default());
        if !read(&mut body, &mut parser).await? {
            return Err(VisitError::Broken("the stream ended before its first byte".into()));
        }
        Ok(Self { body, parser, connection: connection.keep(), first_byte: Instant::now() })
    }

    /// The next event; `None`: the server has ended the stream whole.
    ///
    /// # Errors
    /// See `VisitError`.
    pub async fn next(&mut self) -> Result<Option<Event>, VisitError> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            if !read(&mut self.body, &mut self.parser).await? {
                return Ok(None);
            }
        }
    }
}

/// Takes what comes next. False: there will be no more.
async fn read(body: &mut Incoming, parser: &mut Parser) -> Result<bool, VisitError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| VisitError::Broken(causes(&error)))?;
        let Ok(bytes) = frame.into_data() else { continue };
        if !bytes.is_empty() {
            return parser.push(&bytes).map(|()| true).map_err(VisitError::Broken);
        }
    }
    Ok(false)
}

/// Ends the connection unless it is kept.
struct Aborts(Option<AbortHandle>);

impl Aborts {
    fn keep(mut self) -> AbortHandle {
        self.0.take().expect("kept once")
    }
}

impl Drop for Aborts {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.abort();
        }
    }
}

fn request(
    target: &Target,
    way: &Way,
    after: Option<&str>,
) -> Result<Request<Empty<Bytes>>, VisitError> {
    // A proxy for plain HTTP is told the whole URL.
    let uri = match way.proxy {
        Some(_) if !target.https => format!("http://{}{}", target.authority(), target.path),
        _ => target.path.clone(),
    };
    let mut request = Request::get(uri)
        .header(HOST, target.authority())
        .header(ACCEPT, "text/event-stream")
        .header(USER_AGENT, &way.agent);
    for (name, value) in &way.headers {
        request = request.header(name, value);
    }
    if let Some(id) = after {
        let id = HeaderValue::from_bytes(id.as_bytes());
        let id = id.map_err(|error| VisitError::Broken(format!("an id that is none: {error}")))?;
        request = request.header(HeaderName::from_static("last-event-id"), id);
    }
    request.body(Empty::new()).map_err(|error| VisitError::Broken(error.to_string()))
}

/// With the detail of its problem, if it is told soon.
async fn refused(status: StatusCode, body: Incoming) -> VisitError {
    let body = Limited::new(body, PROBLEM_BYTES_MAX).collect();
    let body = tokio::time::timeout(PROBLEM_TIME_MAX, body).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    let problem = body.and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
    let says = problem.and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    VisitError::Refused { status, says }
}

/// An error and what is behind it, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_what_is_none_is_refused() {
        let target = Target::parse("https://[::1]/v2/stream/a?since=1").expect("a URL");
        assert_eq!((target.https, &*target.host, target.port), (true, "::1", 443));
        assert_eq!((&*target.path, &*target.authority()), ("/v2/stream/a?since=1", "[::1]"));
        let target = Target::parse("http://a.example:8092").expect("a URL");
        assert_eq!((&*target.path, &*target.authority()), ("/", "a.example:8092"));
        for url in ["a.example", "ftp://a/", "/x", "http://", ""] {
            assert_eq!(Target::parse(url), None, "{url}");
        }
    }
}
