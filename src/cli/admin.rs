//! The admin port of a running gateway, as the commands that speak to it see it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which gateway, and how to be let in.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    /// The admin port of a running gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8093")]
    admin: String,
    /// The file of its admin_token_file; without one it has to be asked from its own host
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl AdminArgs {
    /// Asks and waits for the answer, whose body is JSON.
    ///
    /// # Errors
    /// In a line: what cannot be reached, or why it says no.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let base = self.admin.trim_end_matches('/');
        let uri: Uri = format!("{base}{path}")
            .parse()
            .with_context(|| format!("--admin {}: http://HOST:PORT is accepted", self.admin))?;
        if uri.scheme_str() != Some("http") {
            bail!("--admin {}: http://HOST:PORT is accepted", self.admin);
        }
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(file) = &self.token_file {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token(file)?));
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::from(body)).context("write the request")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (status, body) = runtime
            .block_on(async {
                let exchange = tokio::time::timeout(ANSWER_TIMEOUT, exchange(request)).await;
                let waited = ANSWER_TIMEOUT.as_secs();
                exchange.unwrap_or_else(|_| bail!("it did not answer in {waited} s"))
            })
            .with_context(|| {
                format!("no gateway answers at {} (--admin URL names another)", self.admin)
            })?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let says = answer["detail"].as_str().unwrap_or("it gives no reason").to_owned();
        let hint = match status {
            StatusCode::UNAUTHORIZED => " (--token-file FILE)",
            StatusCode::NOT_FOUND if answer.is_null() => " (is that an admin port?)",
            _ => "",
        };
        bail!("{} says no ({status}): {says}{hint}", self.admin)
    }
}

fn token(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read --token-file {}", file.display()))?;
    let token = text.trim();
    let is_one = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    anyhow::ensure!(is_one, "--token-file {} holds no token: one line of ASCII", file.display());
    Ok(token.to_owned())
}

async fn exchange(request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let response = client.request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    Ok((status, body.to_bytes()))
}
