//! How a command that reads a server from outside gets there: proxy, certificates, headers.

use std::path::PathBuf;

use anyhow::anyhow;
use http::{HeaderName, HeaderValue};

use crate::visit::{self, Target, Way};

/// What can be said of the way.
#[derive(Debug, clap::Args)]
pub(super) struct WayArgs {
    /// A proxy for HTTP
    #[arg(long, value_name = "HOST:PORT", value_parser = proxy)]
    proxy: Option<String>,
    /// A PEM file of authorities that are believed besides the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Believe any certificate
    #[arg(long)]
    insecure: bool,
    /// Sent with each request
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl WayArgs {
    /// The way there, for who calls itself so.
    ///
    /// # Errors
    /// A file of authorities that cannot be read.
    pub(super) fn way(&self, agent: &str) -> anyhow::Result<Way> {
        let tls = if self.insecure {
            visit::no_questions_asked()
        } else {
            visit::verified(self.ca.as_deref()).map_err(|says| anyhow!("--ca {says}"))?
        };
        Ok(Way {
            address: None,
            proxy: self.proxy.clone(),
            proxy_protocol: None,
            tls,
            agent: agent.to_owned(),
            headers: self.headers.clone(),
        })
    }
}

/// Reads the URL of a server or of what it has.
pub(super) fn target(url: &str) -> Result<Target, String> {
    Target::parse(url)
        .ok_or_else(|| "http://HOST[:PORT][/PATH] or https://… is accepted".to_owned())
}

fn proxy(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(_) => Ok(text.to_owned()),
        None => Err("HOST:PORT or http://HOST:PORT is accepted".to_owned()),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let read = || {
        let (name, value) = text.split_once(':')?;
        Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    read().ok_or_else(|| "`name: value` is accepted".to_owned())
}
