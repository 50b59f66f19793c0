//! What the commands need to speak with a running gateway's admin port: where it is, the token, and
//! every failure as one clear line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::admin::Access;
use crate::visit::causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the request to the whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: all sessions of a large host are some ten million.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Where a gateway's admin port is, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdminArgs {
    /// The gateway's admin port
    #[arg(long = "admin", value_name = "URL", default_value = "http://127.0.0.1:8093")]
    url: String,
    /// The file of the token, where the gateway has an admin_token_file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Why a gateway did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// Nobody is there.
    #[error("cannot connect to the admin port at {url}: {cause}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the system says.
        cause: String,
    },
    /// The answer did not come, or not whole.
    #[error("no whole answer from the admin port at {url}: {cause}")]
    NoAnswer {
        /// Who was asked.
        url: String,
        /// What happened.
        cause: String,
    },
    /// It answered, and not with success.
    #[error("the gateway says {status}: {detail}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
        detail: String,
    },
}

/// A gateway's admin port.
#[derive(Debug, Clone)]
pub(super) struct AdminClient {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: Option<HeaderValue>,
}

impl AdminArgs {
    /// The port that the arguments name.
    ///
    /// # Errors
    /// A URL or a token's file that is of no use.
    pub(super) fn client(&self) -> anyhow::Result<AdminClient> {
        let url = &self.url;
        let parsed: Uri = url.parse().with_context(|| format!("read the URL `{url}`"))?;
        let usable = parsed.scheme_str() == Some("http") && parsed.query().is_none();
        anyhow::ensure!(usable, "`{url}` is no URL of an admin port; http://HOST:PORT is accepted");
        let token = match &self.token_file {
            None => None,
            Some(file) => {
                let token = Access::token_in(file);
                let token = token.with_context(|| format!("--token-file {}", file.display()))?;
                let value = [b"Bearer ", &*token].concat();
                let mut value = HeaderValue::from_bytes(&value).context("write the token")?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(AdminClient { client, base: url.trim_end_matches('/').to_owned(), token })
    }
}

impl AdminArgs {
    /// Asks once and waits for the answer.
    ///
    /// # Errors
    /// As `client`, and `AdminError`.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let client = self.client()?;
        Ok(super::one_thread()?.block_on(client.send(method, path, body))?)
    }
}

impl AdminClient {
    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.base
    }

    /// Looks at something.
    ///
    /// # Errors
    /// See `AdminError`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, AdminError> {
        self.send(Method::GET, path, None).await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// See `AdminError`.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AdminError> {
        let bytes = self.exchange(method, path, body).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|e| self.no_answer(format!("it is no JSON: {e}")))
    }

    /// Its metrics, as Prometheus gets them.
    ///
    /// # Errors
    /// See `AdminError`.
    pub(super) async fn metrics(&self) -> Result<Exposition, AdminError> {
        let bytes = self.exchange(Method::GET, "/metrics", None).await?;
        let text = String::from_utf8(bytes.into());
        text.map(Exposition).map_err(|e| self.no_answer(format!("it is no text: {e}")))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, AdminError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(text));
        let request = request.map_err(|e| self.no_answer(format!("it cannot be asked: {e}")))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let cause = causes(&error);
                if error.is_connect() {
                    AdminError::Unreachable { url: self.base.clone(), cause }
                } else {
                    self.no_answer(cause)
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.no_answer(error.to_string()))?;
            Ok((head.status, body.to_bytes()))
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        let late = |_| self.no_answer(format!("it took more than {} s", ANSWER_TIMEOUT.as_secs()));
        let (status, bytes) = answer.map_err(late)??;
        if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes)) }
    }

    fn no_answer(&self, cause: impl Into<String>) -> AdminError {
        AdminError::NoAnswer { url: self.base.clone(), cause: cause.into() }
    }
}

/// The detail of a problem, or whatever else was said.
fn refused(status: StatusCode, body: &[u8]) -> AdminError {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = match problem["detail"].as_str() {
        Some(detail) => detail.to_owned(),
        None => String::from_utf8_lossy(body).chars().take(200).collect(),
    };
    AdminError::Refused { status, detail }
}

/// The text of `/metrics`.
#[derive(Debug, Clone)]
pub(super) struct Exposition(String);

impl Exposition {
    /// The sum of a metric's series.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// A metric's series: the labels as they are written, and the value.
    pub(super) fn series(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> AdminArgs {
        AdminArgs { url: url.to_owned(), token_file: None }
    }

    #[test]
    fn a_url_that_is_of_no_use_is_named_with_what_is_accepted() {
        for url in ["https://127.0.0.1:8093", "127.0.0.1:8093", "http://a/?b", "/x"] {
            let error = args(url).client().expect_err(url).to_string();
            assert!(error.contains(url), "{error}");
        }
        assert_eq!(args("http://127.0.0.1:8093/").client().expect("fine").url().len(), 21);
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let client = args(&url).client().expect("fine");
        let error = client.get("/admin/limits").await.expect_err("nobody is there");
        assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&url), "{error}");
    }

    #[test]
    fn a_problem_is_told_in_its_own_words_and_anything_else_in_part() {
        let problem = br#"{"status":404,"detail":"There is no session 7."}"#;
        let said = refused(StatusCode::NOT_FOUND, problem).to_string();
        assert_eq!(said, "the gateway says 404 Not Found: There is no session 7.");
        let page = "<html>".repeat(1000);
        assert!(refused(StatusCode::BAD_GATEWAY, page.as_bytes()).to_string().len() < 300);
    }

    #[test]
    fn metrics_are_read_by_name_and_not_by_its_beginning() {
        let text =
            "a_total{reason=\"x\"} 3\na_total{reason=\"y\"} 4\na_total_more 9\nb 2.5\n# EOF\n";
        let exposition = Exposition(text.to_owned());
        assert_eq!((exposition.sum("a_total"), exposition.sum("b")), (7.0, 2.5));
        let series: Vec<_> = exposition.series("a_total").collect();
        assert_eq!(series, [("reason=\"x\"", 3.0), ("reason=\"y\"", 4.0)]);
    }
}
