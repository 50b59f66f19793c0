//! Who a request comes from, as far as limits are concerned.
//!
//! ```text
//!  peer's address ─┬─ not a trusted proxy ──────────────▶ the peer
//!                  └─ a trusted proxy ─▶ the header ────▶ what it names, else a 400
//!  whom the PROXY protocol named has taken the peer's place before
//!  a known token ─▶ the token ────────────┐
//!  address ─▶ prefix (IPv4 /32, IPv6 /64) ┴─▶ Client {key, budget}
//! ```
//! A header counts only from who is trusted: from anyone else it is passed over, as if it were not
//! there. Pure: no I/O, no clock.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::tokens::{self, TokenHash};

/// Where trusted proxies name the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientHeader {
    /// A header that holds one address, such as `X-Client-IP`.
    Plain(HeaderName),
    /// `X-Forwarded-For`: a list that each proxy appends to, read from the right.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): the same with `for=`.
    Forwarded,
    /// None of HTTP's: the PROXY protocol says it before them, and the listener takes whom it names
    /// for the peer.
    ProxyProtocol,
}

impl ClientHeader {
    /// The header of this name.
    #[must_use]
    pub fn new(name: HeaderName) -> Self {
        match name.as_str() {
            "x-forwarded-for" => Self::XForwardedFor,
            "forwarded" => Self::Forwarded,
            _ => Self::Plain(name),
        }
    }

    /// As it is written in an answer.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Plain(name) => name.as_str(),
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::ProxyProtocol => "PROXY",
        }
    }
}

/// A budget of some clients' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// What it is called.
    pub name: String,
    /// Whose: each client of these,
    pub prefixes: Vec<IpNet>,
    /// and each token of these, wherever it is used.
    pub tokens: HashSet<TokenHash>,
    /// Streams that each may hold.
    pub streams: u32,
}

/// How clients are told apart.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Proxies whose header counts.
    pub trusted: Vec<IpNet>,
    /// Which header.
    pub header: ClientHeader,
    /// Bits of an IPv4 address that make a client.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make a client. Whoever has one address has a /64 of them.
    pub ipv6_prefix: u8,
    /// Streams that a client may hold; 0: as many as it likes.
    pub streams: u32,
    /// Other budgets; the first that fits counts.
    pub budgets: Vec<Budget>,
}

/// What limits are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(Key);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    /// The first address of a client's prefix; IPv4 in IPv6's mapped form.
    Prefix([u8; 16]),
    /// The beginning of a token's hash.
    Token([u8; 16]),
}

impl ClientKey {
    /// The first address of its prefix; `None`: it is a token.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        match self.0 {
            Key::Prefix(octets) => Some(Ipv6Addr::from(octets).to_canonical()),
            Key::Token(_) => None,
        }
    }
}

/// An address or the beginning of a token's hash, as it is shown.
impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::Prefix(octets) => Ipv6Addr::from(octets).to_canonical().fmt(f),
            Key::Token(short) => tokens::show(short, f),
        }
    }
}

/// A client, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// What it is counted by.
    pub key: ClientKey,
    /// Its own address (its key may be that of its neighbours too).
    pub address: IpAddr,
    /// Streams that it may hold.
    pub budget: u32,
}

/// Why it cannot be said who the client is: a trusted proxy did not say, or the client says what is
/// not so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoClient {
    /// The header is not there.
    #[error("The header {0}, in which this proxy names the client, is missing.")]
    Missing(String),
    /// It holds something else.
    #[error("The header {0} holds `{1}`; an IP address is accepted.")]
    NoAddress(String, String),
    /// A connection does not begin with a header of the PROXY protocol, but with this.
    #[error("This proxy is to begin with a header of the PROXY protocol (1 or 2); {0} came.")]
    NoProxyHeader(&'static str),
    /// The request carries a token that is none. (Were it passed over, who mistyped one would find
    /// out by refusals that say something else.)
    #[error("The bearer token is not known here; without one your address counts.")]
    UnknownToken,
}

impl Identity {
    /// Who the client behind a connection is.
    ///
    /// # Errors
    /// When the peer is a trusted proxy and does not say; when there are tokens, and the request's
    /// is none of them.
    pub fn of(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Client, NoClient> {
        let peer = peer.to_canonical();
        let is_in_a_header = self.header != ClientHeader::ProxyProtocol && self.trusts(peer);
        let address = if is_in_a_header { self.behind_proxy(headers)? } else { peer };
        let address = address.to_canonical();
        if let Some((token, streams)) = self.token(headers)? {
            let key = ClientKey(Key::Token(token.short()));
            return Ok(Client { key, address, budget: unlimited_if_0(streams) });
        }
        Ok(Client { key: self.key(address), address, budget: self.budget(address) })
    }

    /// Whether this peer's header counts.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|prefix| prefix.contains(&peer))
    }

    /// The token that a request carries, and its budget. Where nobody has one they are not ours,
    /// and nobody looks at them.
    fn token(&self, headers: &HeaderMap) -> Result<Option<(TokenHash, u32)>, NoClient> {
        if self.budgets.iter().all(|budget| budget.tokens.is_empty()) {
            return Ok(None);
        }
        let Some(token) = TokenHash::carried(headers) else { return Ok(None) };
        let own = self.budgets.iter().find(|budget| budget.tokens.contains(&token));
        own.map(|budget| Some((token, budget.streams))).ok_or(NoClient::UnknownToken)
    }

    /// Without a limit a header that is missing harms nobody, and the proxy is the client.
    fn behind_proxy(&self, headers: &HeaderMap) -> Result<IpAddr, NoClient> {
        let name = self.header.name().to_owned();
        let lines = headers.get_all(&name);
        let texts: Vec<&str> = lines.iter().filter_map(|v| v.to_str().ok()).collect();
        if texts.iter().all(|text| text.trim().is_empty()) {
            return Err(NoClient::Missing(name));
        }
        let no_address = |text: &str| {
            let shown: String = text.chars().take(100).collect();
            NoClient::NoAddress(name.clone(), shown)
        };
        if let ClientHeader::Plain(_) = self.header {
            let text = texts[0].trim();
            return address(text).ok_or_else(|| no_address(text));
        }
        // Each proxy appends whom it heard from: from the right on, the first that is none of ours
        // is the client. What stands further left was written by who knows whom.
        let mut hops = texts.iter().rev().flat_map(|text| text.rsplit(','));
        let mut last = None;
        for hop in &mut hops {
            let named = match self.header {
                ClientHeader::Forwarded => forwarded_for(hop),
                ClientHeader::XForwardedFor
                | ClientHeader::Plain(_)
                | ClientHeader::ProxyProtocol => address(hop.trim()),
            };
            let hop_address = named.ok_or_else(|| no_address(hop.trim()))?;
            last = Some(hop_address);
            if !self.trusts(hop_address.to_canonical()) {
                break;
            }
        }
        last.ok_or_else(|| NoClient::Missing(name.clone()))
    }

    pub(super) fn key(&self, address: IpAddr) -> ClientKey {
        match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - self.ipv4_prefix.min(32)));
                let masked = Ipv4Addr::from(u32::from(v4) & mask.unwrap_or(0));
                ClientKey(Key::Prefix(masked.to_ipv6_mapped().octets()))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - self.ipv6_prefix.min(128)));
                ClientKey(Key::Prefix((u128::from(v6) & mask.unwrap_or(0)).to_be_bytes()))
            }
        }
    }

    pub(super) fn budget(&self, address: IpAddr) -> u32 {
        let own = self.budgets.iter().find(|b| b.prefixes.iter().any(|p| p.contains(&address)));
        unlimited_if_0(own.map_or(self.streams, |budget| budget.streams))
    }
}

fn unlimited_if_0(streams: u32) -> u32 {
    if streams == 0 { u32::MAX } else { streams }
}

/// An address, with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let port_is_fine =
            after.is_empty() || after.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
        return inside.parse::<Ipv6Addr>().ok().filter(|_| port_is_fine).map(IpAddr::V6);
    }
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// The `for=` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    address(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TOKEN: &str = "a-token-of-somebody-in-the-tests";

    fn identity(header: &str) -> Identity {
        Identity {
            trusted: vec!["10.0.0.0/8".parse().expect("a prefix"), "::1/128".parse().expect("one")],
            header: ClientHeader::new(header.parse().expect("a name")),
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            streams: 64,
            budgets: vec![Budget {
                name: "partners".to_owned(),
                prefixes: vec!["192.0.2.0/24".parse().expect("a prefix")],
                tokens: HashSet::from([TokenHash::of(TOKEN.as_bytes())]),
                streams: 500,
            }],
        }
    }

    fn who(header: &str, peer: &str, lines: &[(&str, &str)]) -> Result<Client, NoClient> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        identity(header).of(peer.parse().expect("an address"), &headers)
    }

    fn address_of(header: &str, peer: &str, value: &str) -> Option<String> {
        let client = who(header, peer, &[(header, value)]);
        client.ok().map(|c| c.address.to_string())
    }

    #[test]
    fn a_header_counts_from_trusted_proxies_only() {
        let named = |peer| address_of("X-Client-IP", peer, "198.51.100.7");
        assert_eq!(named("10.1.2.3").as_deref(), Some("198.51.100.7"));
        assert_eq!(named("::ffff:10.1.2.3").as_deref(), Some("198.51.100.7"));
        assert_eq!(named("203.0.113.5").as_deref(), Some("203.0.113.5"));
        let missing = who("X-Client-IP", "10.1.2.3", &[]);
        assert_eq!(missing, Err(NoClient::Missing("x-client-ip".into())));
        for bad in ["unknown", "", "198.51.100.7, 1.2.3.4", "300.1.1.1"] {
            assert_eq!(address_of("X-Client-IP", "10.1.2.3", bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_of_proxies_is_read_from_the_right() {
        let xff = |value| address_of("X-Forwarded-For", "10.0.0.1", value);
        assert_eq!(xff("6.6.6.6, 198.51.100.7").as_deref(), Some("198.51.100.7"));
        assert_eq!(xff("6.6.6.6, 198.51.100.7, 10.9.9.9").as_deref(), Some("198.51.100.7"));
        assert_eq!(xff("198.51.100.7:4711").as_deref(), Some("198.51.100.7"));
        assert_eq!(xff("[2001:db8::7]:80").as_deref(), Some("2001:db8::7"));
        assert_eq!(xff("10.7.7.7").as_deref(), Some("10.7.7.7"), "all are ours");
        assert_eq!(xff("6.6.6.6, garbage"), None);
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")];
        let two = who("X-Forwarded-For", "10.0.0.1", &lines).expect("an address");
        assert_eq!(two.address.to_string(), "2.2.2.2");
    }

    #[test]
    fn forwarded_is_read_as_its_standard_says() {
        let of = |value| address_of("Forwarded", "10.0.0.1", value);
        assert_eq!(of("for=192.0.2.43").as_deref(), Some("192.0.2.43"));
        let several = r#"for=6.6.6.6, By=10.0.0.2;For="[2001:db8:cafe::17]:4711";proto=https"#;
        assert_eq!(of(several).as_deref(), Some("2001:db8:cafe::17"));
        assert_eq!(of("for=unknown"), None);
        assert_eq!(of("by=10.0.0.1"), None);
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_budgets_differ() {
        let key = |address: &str| who("X-Client-IP", address, &[]).expect("a client").key;
        assert_eq!(key("2001:db8:1:2::3"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::3"), key("2001:db8:1:3::3"));
        assert_ne!(key("203.0.113.5"), key("203.0.113.6"));
        assert_eq!(key("203.0.113.5").to_string(), "203.0.113.5");
        let budget = |address: &str| who("X-Client-IP", address, &[]).expect("a client").budget;
        assert_eq!((budget("192.0.2.9"), budget("192.0.3.9")), (500, 64));
        let mut all = identity("X-Client-IP");
        (all.ipv4_prefix, all.streams) = (0, 0);
        let of = |a: &str| all.of(a.parse().expect("an address"), &HeaderMap::new());
        let (a, b) = (of("203.0.113.5").expect("one"), of("198.51.100.1").expect("one"));
        assert_eq!((a.key, a.budget), (b.key, u32::MAX));
    }

    #[test]
    fn a_known_token_is_its_own_client_wherever_it_comes_from_and_another_is_none() {
        let bearer = format!("Bearer {TOKEN}");
        let with =
            |address: &str, value: &str| who("X-Client-IP", address, &[("authorization", value)]);
        let here = with("203.0.113.5", &bearer).expect("known");
        let there = with("2001:db8::1", &bearer).expect("known");
        assert_eq!((here.key, here.budget), (there.key, 500));
        assert_eq!(here.address.to_string(), "203.0.113.5", "its own address is known too");
        assert!(here.key.to_string().starts_with("token-") && here.key.to_string().len() == 14);
        let without = who("X-Client-IP", "203.0.113.5", &[]).expect("a client");
        assert_ne!(here.key, without.key);
        assert_eq!(with("203.0.113.5", "Bearer other"), Err(NoClient::UnknownToken));
        assert_eq!(with("203.0.113.5", "Basic eDp5"), Ok(without));
        // A trusted proxy has to say who comes all the same.
        assert!(matches!(with("10.0.0.1", &bearer), Err(NoClient::Missing(_))));
        // Where there are no tokens they are somebody else's.
        let mut none = identity("X-Client-IP");
        none.budgets.iter_mut().for_each(|budget| budget.tokens.clear());
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer other".parse().expect("legal"));
        assert_eq!(none.of("203.0.113.5".parse().expect("an address"), &headers), Ok(without));
    }
}
