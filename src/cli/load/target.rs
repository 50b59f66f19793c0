//! Where streams are opened and events are sent: URLs, loopback only.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use anyhow::{Context, bail};
use http::Uri;
use percent_encoding::percent_decode_str;

/// The first address that streams come from, unless it is said.
pub(super) const SOURCE_FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// How many there may be; they stay far from the end of 127.0.0.0/8.
pub(super) const SOURCES_MAX: u32 = 1_000_000;

/// A URL on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) addr: SocketAddrV4,
    /// What the `Host` header says.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is none, is no plain HTTP, or leads away from this host.
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("read the URL `{url}`"))?;
        let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("http")) else {
            bail!("`{url}`: http://127.0.0.1:PORT/… is accepted (plain HTTP, on this host)");
        };
        let host = authority.host();
        let addr = match host.parse() {
            Ok(addr) => addr,
            // Not looked up: wherever the name leads, this must stay here.
            Err(_) if host.eq_ignore_ascii_case("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Err(_) => bail!("{}", not_here(host)),
        };
        let addr = match addr {
            IpAddr::V4(addr) if addr.is_loopback() => addr,
            _ => bail!("{}", not_here(host)),
        };
        Ok(Self {
            addr: SocketAddrV4::new(addr, uri.port_u16().unwrap_or(80)),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// The first stream that a path such as `/v2/stream/a,b` names.
    pub(super) fn stream(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or_default();
        let decoded = percent_decode_str(last).decode_utf8_lossy();
        decoded.split(',').next().unwrap_or_default().to_owned()
    }
}

fn not_here(host: &str) -> String {
    format!(
        "`{host}` is not a loopback address: load is made on this host only, against 127.0.0.0/8 \
         or localhost"
    )
}

/// The address that the stream of this number comes from.
pub(super) fn source(number: u32, (first, sources): (Ipv4Addr, u32)) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number % sources)
}

/// Reads the first address of `sources`; all have to be of this host.
///
/// # Errors
/// When it is none, or they are not.
pub(super) fn sources(first: Ipv4Addr, sources: u32) -> anyhow::Result<(Ipv4Addr, u32)> {
    let last = first.to_bits().checked_add(sources - 1).map(Ipv4Addr::from_bits);
    if !first.is_loopback() || !last.is_some_and(|last| last.is_loopback()) {
        bail!("--from {first}: {sources} addresses from there on have to be in 127.0.0.0/8");
    }
    Ok((first, sources))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_url_is_read_and_anything_else_is_refused_by_name() {
        let target = Target::parse("http://127.0.0.9:8092/v2/stream/a%20b,c?since=0").expect("ok");
        assert_eq!(target.addr.to_string(), "127.0.0.9:8092");
        assert_eq!(target.authority, "127.0.0.9:8092");
        assert_eq!(target.path, "/v2/stream/a%20b,c?since=0");
        assert_eq!(target.stream(), "a b");
        let local = Target::parse("http://localhost").expect("ok");
        assert_eq!((local.addr.to_string(), &*local.path), ("127.0.0.1:80".to_owned(), "/"));
        for url in [
            "http://192.0.2.1/",
            "http://example.org:8092/",
            "http://127.0.0.1.example.org/",
            "http://127.1@192.0.2.1/",
            "http://0.0.0.0:80/",
            "http://[::1]:80/",
            "http://2130706433/",
        ] {
            let error = Target::parse(url).expect_err(url).to_string();
            assert!(error.contains("loopback"), "{url}: {error}");
        }
        for url in ["https://127.0.0.1/", "/v2/stream/a", "127.0.0.1:8092", "ftp://127.0.0.1/"] {
            let error = format!("{:#}", Target::parse(url).expect_err(url));
            assert!(error.contains("http://127.0.0.1"), "{url}: {error}");
        }
    }

    #[test]
    fn sources_are_loopback_addresses_and_each_is_used_as_often() {
        let from = |n| (SOURCE_FIRST, n);
        assert_eq!(source(0, from(1)), source(5, from(1)));
        assert_eq!(source(7, from(4)), source(3, from(4)));
        assert_ne!(source(3, from(4)), source(2, from(4)));
        assert!(source(SOURCES_MAX - 1, from(SOURCES_MAX)).is_loopback());
        assert_ne!(source(SOURCES_MAX - 1, from(SOURCES_MAX)).octets()[1], 255);
        let of = |text: &str, n| sources(text.parse().expect("an address"), n).is_ok();
        assert!(of("127.9.0.1", 5) && of("127.255.255.255", 1));
        assert!(!of("192.0.2.1", 1) && !of("127.255.255.255", 2) && !of("126.255.255.255", 2));
    }
}
