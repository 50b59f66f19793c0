//! Where events go: the intake of a running gateway, or a sink at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::input::Line;
use crate::catalog::{Catalog, Stream};
use crate::event::TimestampMs;
use crate::intake;
use crate::intake::append::append_all;
use crate::source::{Sink, SinkError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the request to the whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer; one with a result for each of a thousand events has some hundred thousand.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is durable.
    Taken,
    /// It was not written, and never will be as it is.
    Refused(String),
    /// It was not written; later it may be.
    Later(String),
    /// It may or may not have been written.
    Unknown(String),
}

/// Where events go.
pub(super) enum Target {
    /// The intake of a running gateway.
    Gateway(Box<Gateway>),
    /// A sink.
    Direct(Direct),
}

impl Target {
    /// Sends the lines, in their order; one fate a line.
    ///
    /// # Errors
    /// When it makes no sense to send anything more; nothing of these lines was written then.
    pub(super) async fn send(&self, lines: &[Line]) -> anyhow::Result<Vec<Fate>> {
        match self {
            Self::Gateway(gateway) => gateway.send(lines).await,
            Self::Direct(direct) => Ok(direct.send(lines).await),
        }
    }
}

/// A sink and what decides the topic.
pub(super) struct Direct {
    catalog: Arc<Catalog>,
    stream: Arc<Stream>,
    sink: Arc<dyn Sink>,
}

impl Direct {
    /// Writes the events of one stream of the catalogue.
    ///
    /// # Errors
    /// When there is no such stream.
    pub(super) fn new(
        catalog: Arc<Catalog>,
        stream: &str,
        sink: Arc<dyn Sink>,
    ) -> anyhow::Result<Self> {
        let Some(found) = catalog.get(stream) else {
            let names: Vec<_> = catalog.streams().map(|s| &*s.name).collect();
            bail!("`{stream}` is no stream of the config; there are: {}", names.join(", "));
        };
        Ok(Self { stream: Arc::clone(found), catalog, sink })
    }

    async fn send(&self, lines: &[Line]) -> Vec<Fate> {
        let now = TimestampMs::now();
        let mut records = Vec::with_capacity(lines.len());
        let mut refused = Vec::with_capacity(lines.len());
        for line in lines {
            match intake::record(&line.event, &self.catalog, Some(&self.stream), now) {
                Ok(record) => {
                    records.push(record);
                    refused.push(None);
                }
                Err(bad) => refused.push(Some(Fate::Refused(bad.to_string()))),
            }
        }
        let mut appended = append_all(&*self.sink, records).await.into_iter();
        let fates = refused.into_iter().map(|refused| {
            refused.unwrap_or_else(|| match appended.next().expect("one answer a record") {
                Ok(_) => Fate::Taken,
                Err(error @ SinkError::Unavailable(..)) => Fate::Later(error.to_string()),
                Err(error @ SinkError::Unknown(..)) => Fate::Unknown(error.to_string()),
                Err(error @ SinkError::Refused(_)) => Fate::Refused(error.to_string()),
            })
        });
        fates.collect()
    }
}

/// A running gateway.
pub(super) struct Gateway {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    /// One that was never there is rather a mistake than a fault that passes.
    has_answered: AtomicBool,
}

/// The part of an answer that is looked at.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    detail: String,
    results: Option<Vec<Told>>,
}

#[derive(Deserialize)]
struct Told {
    status: u16,
    #[serde(rename = "type", default)]
    word: String,
    #[serde(default)]
    detail: String,
}

impl Gateway {
    /// The intake at `url` (`http://HOST:PORT`), for the events of one stream.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub(super) fn new(url: &str, stream: &str) -> anyhow::Result<Self> {
        let parsed: Uri = url.parse().with_context(|| format!("read the URL `{url}`"))?;
        match parsed.scheme_str() {
            Some("http") => {}
            Some("https") => bail!("`{url}`: https is not supported yet; http:// is accepted"),
            _ => bail!("`{url}` is no URL of a gateway; http://HOST:PORT is accepted"),
        }
        if parsed.query().is_some() {
            bail!("`{url}` has a query; http://HOST:PORT is accepted");
        }
        let base = url.split('#').next().unwrap_or_default().trim_end_matches('/');
        let stream = utf8_percent_encode(stream, NON_ALPHANUMERIC);
        let uri = format!("{base}/v1/events?stream={stream}");
        let uri = uri.parse().with_context(|| format!("read the URL `{uri}`"))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, uri, has_answered: AtomicBool::new(false) })
    }

    async fn send(&self, lines: &[Line]) -> anyhow::Result<Vec<Fate>> {
        let all = |fate: Fate| Ok(vec![fate; lines.len()]);
        let body: Vec<_> = lines.iter().map(|line| line.event.as_str()).collect();
        let request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(Full::from(body.join("\n")))
            .context("write the request")?;
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, async {
            let response = self.client.request(request).await.map_err(|error| {
                let why = chain(&error);
                // Without a connection nothing was sent; else the request may have been read.
                if error.is_connect() { Fate::Later(why) } else { Fate::Unknown(why) }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body =
                body.map_err(|error| Fate::Unknown(format!("the answer broke off: {error}")))?;
            Ok((head.status, body.to_bytes()))
        });
        match exchange.await {
            Err(_) => {
                let waited = ANSWER_TIMEOUT.as_secs();
                all(Fate::Unknown(format!("{} did not answer in {waited} s", self.uri)))
            }
            Ok(Err(Fate::Later(why))) if !self.has_answered.load(Ordering::Relaxed) => {
                bail!("cannot connect to {}: {why}", self.uri)
            }
            Ok(Err(fate)) => all(fate),
            Ok(Ok((status, body))) => {
                self.has_answered.store(true, Ordering::Relaxed);
                self.read(status, &body, lines.len())
            }
        }
    }

    fn read(&self, status: StatusCode, body: &[u8], count: usize) -> anyhow::Result<Vec<Fate>> {
        let answer = serde_json::from_slice::<Answer>(body).ok();
        let detail = answer.as_ref().map_or("", |a| &a.detail);
        match answer.as_ref().and_then(|a| a.results.as_deref()) {
            Some(results) if results.len() == count => return Ok(fates(results)),
            Some(results) => {
                bail!("{} answered for {} of {count} events", self.uri, results.len());
            }
            None => {}
        }
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                Ok(vec![Fate::Later(format!("{status}: {detail}")); count])
            }
            StatusCode::NOT_FOUND => bail!(
                "{} answered 404: there is no intake; it is off unless the config turns it on",
                self.uri
            ),
            _ => bail!("{} answered {status}: {detail}", self.uri),
        }
    }
}

fn fates(results: &[Told]) -> Vec<Fate> {
    let fate = |told: &Told| match (told.status, told.word.as_str()) {
        (200..=299, _) => Fate::Taken,
        (503, "unavailable") => Fate::Later(told.detail.clone()),
        (400..=499, _) => Fate::Refused(told.detail.clone()),
        (status, _) => Fate::Unknown(format!("{status}: {}", told.detail)),
    };
    results.iter().map(fate).collect()
}

/// An error with its causes; the outermost alone says nothing ("client error").
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
