//! A visit to a stream from outside, as any reader makes it: a socket, perhaps a proxy, perhaps
//! TLS, a request, and the events one by one. For probes and canaries, which see what readers see.
//!
//! ```text
//!  Target (which URL) ┐
//!  Way (how there)    ┴▶ ask ─▶ Answer ─▶ Visit ─▶ next ─▶ Event
//!                     └▶ fetch ─▶ a document, whole
//! ```
//! Knows nothing of this program's own streams: it reads any server of the contract.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

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

/// What was answered.
#[derive(Debug)]
pub enum Answer {
    /// The stream.
    Stream(Visit),
    /// Something else.
    Refusal(Refusal),
}

/// An answer that is no stream.
#[derive(Debug)]
pub struct Refusal {
    /// Its status; 200 where it would be well if it were a stream.
    pub status: StatusCode,
    /// The detail of its problem, if it told one.
    pub says: Option<String>,
    /// For how long it wants to be left alone, if it says so in seconds.
    pub retry_after: Option<Duration>,
    /// Where it sends us.
    pub location: Option<String>,
}

/// An open stream. The connection ends when this is dropped.
#[derive(Debug)]
pub struct Visit {
    body: Incoming,
    parser: Parser,
    _connection: Connection,
    /// When the first byte of the body was read.
    pub first_byte: Instant,
    /// What the head says of events that could not be given.
    pub gap: Option<String>,
}

impl Visit {
    /// Goes there, asks, and waits for the first byte of the stream. `after`: the id of the last
    /// event of an earlier visit.
    ///
    /// # Errors
    /// See `VisitError`. It may wait for ever: the caller sets a deadline.
    pub async fn open(target: &Target, way: &Way, after: Option<&str>) -> Result<Self, VisitError> {
        match Self::ask(target, way, after).await? {
            Answer::Stream(visit) => Ok(visit),
            Answer::Refusal(Refusal { status, says, .. }) => {
                Err(VisitError::Refused { status, says })
            }
        }
    }

    /// As `open`, with all that an answer says that is no stream.
    ///
    /// # Errors
    /// As `open`, but for `Refused`.
    pub async fn ask(
        target: &Target,
        way: &Way,
        after: Option<&str>,
    ) -> Result<Answer, VisitError> {
        let (response, connection) = exchange(target, way, "text/event-stream", after).await?;
        let kind = text(response.headers(), &CONTENT_TYPE).unwrap_or_default();
        if response.status() != StatusCode::OK || !kind.starts_with("text/event-stream") {
            return Ok(Answer::Refusal(refusal(response).await));
        }
        let gap = text(response.headers(), &HeaderName::from_static("x-stream-gap"));
        let (mut body, mut parser) = (response.into_body(), Parser::default());
        if !read(&mut body, &mut parser).await? {
            return Err(VisitError::Broken("the stream ended before its first byte".into()));
        }
        let first_byte = Instant::now();
        Ok(Answer::Stream(Self { body, parser, _connection: connection, first_byte, gap }))
    }

    /// The id of the last whole event, or of the position that was said before the first.
    #[must_use]
    pub fn last_id(&self) -> &str {
        self.parser.last_id()
    }

    /// For how long the server wants to be left alone after the end, if it has said so.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }

    /// An event that has been read already.
    pub fn ready(&mut self) -> Option<Event> {
        self.parser.next()
    }

    /// Reads what comes next, keepalives too. False: the server has ended the stream whole.
    ///
    /// # Errors
    /// See `VisitError`.
    pub async fn more(&mut self) -> Result<bool, VisitError> {
        read(&mut self.body, &mut self.parser).await
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
            if !self.more().await? {
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

/// What drives a connection, which ends when this is dropped.
pub(crate) type Connection = AbortOnDropHandle<Result<(), hyper::Error>>;

/// A whole answer of at most so many bytes, such as a document.
///
/// # Errors
/// See `VisitError`. It may wait for ever: the caller sets a deadline.
pub async fn fetch(target: &Target, way: &Way, bytes_max: usize) -> Result<Bytes, VisitError> {
    let (response, _connection) = exchange(target, way, "application/json", None).await?;
    if response.status() != StatusCode::OK {
        let Refusal { status, says, .. } = refusal(response).await;
        return Err(VisitError::Refused { status, says });
    }
    let body = Limited::new(response.into_body(), bytes_max).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| VisitError::Broken(error.to_string()))
}

/// One request, and the head of its answer. `accept`: the kinds that are wanted.
///
/// # Errors
/// See `VisitError`. It may wait for ever: the caller sets a deadline.
pub(crate) async fn exchange(
    target: &Target,
    way: &Way,
    accept: &'static str,
    after: Option<&str>,
) -> Result<(Response<Incoming>, Connection), VisitError> {
    let io = TokioIo::new(way.connect(target).await?);
    let broken = |error: hyper::Error| VisitError::Broken(causes(&error));
    let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
    // Ended also when what follows fails, or is given up.
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = request(target, way, accept, after)?;
    Ok((sender.send_request(request).await.map_err(broken)?, connection))
}

fn request(
    target: &Target,
    way: &Way,
    accept: &'static str,
    after: Option<&str>,
) -> Result<Request<Empty<Bytes>>, VisitError> {
    // A proxy for plain HTTP is told the whole URL.
    let uri = match way.proxy {
        Some(_) if !target.https => format!("http://{}{}", target.authority(), target.path),
        _ => target.path.clone(),
    };
    let mut request = Request::get(uri).header(ACCEPT, accept).header(USER_AGENT, &way.agent);
    if !way.headers.iter().any(|(name, _)| name == HOST) {
        request = request.header(HOST, target.authority());
    }
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

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// With the detail of its problem, if it is told soon.
async fn refusal(response: Response<Incoming>) -> Refusal {
    let (head, body) = response.into_parts();
    let seconds = text(&head.headers, &RETRY_AFTER).and_then(|after| after.parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    let location = text(&head.headers, &LOCATION);
    let body = Limited::new(body, PROBLEM_BYTES_MAX).collect();
    let body = tokio::time::timeout(PROBLEM_TIME_MAX, body).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    let problem = body.and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
    let says = problem.and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    Refusal { status: head.status, says, retry_after, location }
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
