//! `[limits]` and `[budgets.NAME]`: how much there may be of anything, and who may hold how much.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use toml::Table;

use super::MIB;
use super::reader::{Findings, Mistake, Section};
use crate::limits;

/// How fast a client may open streams, or start feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opens {
    /// In a second, for as long as it likes.
    pub per_s: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Opens {
    /// `None`: with none of them in a second there is no limit.
    #[must_use]
    pub fn new(per_s: u32, burst: u32) -> Option<Self> {
        let both = NonZeroU32::new(per_s).zip(NonZeroU32::new(burst));
        both.map(|(per_s, burst)| Self { per_s, burst })
    }
}

/// How trusted proxies say who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFrom {
    /// In a header of each request.
    Header,
    /// By the PROXY protocol, before all else on a connection.
    ProxyProtocol,
}

/// `[budgets.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// NAME.
    pub name: String,
    /// Whose: each client of these,
    pub prefixes: Vec<IpNet>,
    /// and each token in this file.
    pub tokens_file: Option<PathBuf>,
    /// Streams that each of them may hold; 0: as many as it likes.
    pub streams: u32,
}

/// `[limits]` and `[budgets]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Streams that one client may hold; 0: as many as it likes.
    pub streams_per_client: u32,
    /// How fast a client may open streams; `None`: as fast as it likes.
    pub opens: Option<Opens>,
    /// Streams that this host may hold; 0: what the descriptors allow.
    pub streams: u64,
    /// How long a request's head may take, and a connection be idle.
    pub head_timeout: Duration,
    /// Connections of this host that carry no stream; 0: a twelfth of the descriptors, of few a
    /// quarter.
    pub connections: u64,
    /// The same of one client; 0: a quarter of these.
    pub connections_per_client: u64,
    /// Proxies that say who their clients are.
    pub trusted_proxies: Vec<IpNet>,
    /// How they do.
    pub client_from: ClientFrom,
    /// The header in which they name the client.
    pub client_ip_header: HeaderName,
    /// Bits of an IPv4 address that make a client.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make a client.
    pub ipv6_prefix: u8,
    /// What clients of some prefixes may hold instead.
    pub budgets: Vec<Budget>,
    /// Sets of streams that are read at the same time.
    pub feeds: u64,
    /// Feeds that one client may have started and that still exist; 0: as many as it likes.
    pub feeds_per_client: u32,
    /// How fast a client may start feeds; `None`: as fast as it likes.
    pub feed_starts: Option<Opens>,
    /// Readers that read history at the same time.
    pub catchups: u64,
    /// Of one client; 0: as many as there may be.
    pub catchups_per_client: u64,
    /// Bytes of the largest event; larger ones are skipped.
    pub event_bytes: u64,
    /// Bytes of a connection that the kernel holds unsent.
    pub unsent_bytes: u64,
    /// Bytes of frames in each feed's ring.
    pub ring_bytes: u64,
    /// Bytes of raw records that all tails keep.
    pub tail_bytes: u64,
    /// Bytes of records a second at which the tail never waits for readers.
    pub tail_least_bytes_s: u64,
    /// Bytes of data lines that the history keeps.
    pub history_cache_bytes: u64,
}

/// Streams that a client may hold.
const PER_CLIENT: RangeInclusive<u64> = 0..=1_000_000;
/// Streams that it may open in a second.
const OPENS: RangeInclusive<u64> = 0..=1_000_000;
/// Of them at once.
const BURST: RangeInclusive<u64> = 1..=1_000_000;
const X_CLIENT_IP: HeaderName = HeaderName::from_static("x-client-ip");

impl ClientFrom {
    fn read(section: &mut Section<'_>, trusted: &[IpNet], found: &mut Findings) -> Self {
        let from = section.parsed("client_from", Self::Header, found, |text| match text {
            "header" => Ok(Self::Header),
            "proxy_protocol" => Ok(Self::ProxyProtocol),
            _ => Err("header or proxy_protocol is accepted"),
        });
        if from == Self::ProxyProtocol && trusted.is_empty() {
            let says = "nobody is trusted; name the proxies in limits.trusted_proxies";
            found.add(section.key("client_from"), says);
        }
        from
    }
}

impl LimitsConfig {
    pub(super) fn read(root: &mut Section<'_>, found: &mut Findings) -> Self {
        let budgets = budgets(root, found);
        let mut section = Section::new("limits", root.table("limits", found));
        let mb = |bytes: usize| bytes as u64 / MIB;
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let bits = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
        let per_client = section.number("streams_per_client", 64, PER_CLIENT, found);
        let per_s = section.number("opens_per_client_s", 20, OPENS, found);
        let burst = section.number("opens_burst", limits::OPENS_BURST.into(), BURST, found);
        let streams = section.number("streams", 0, 0..=10_000_000, found);
        let head_s = limits::REQUEST_HEAD_TIMEOUT.as_secs();
        let head_s = section.number("head_s", head_s, 1..=3600, found);
        let connections = section.number("connections", 0, 0..=10_000_000, found);
        let connections_per_client =
            section.number("connections_per_client", 0, 0..=10_000_000, found);
        let trusted_proxies = section.prefixes("trusted_proxies", found);
        let client_from = ClientFrom::read(&mut section, &trusted_proxies, found);
        let client_ip_header = section.parsed("client_ip_header", X_CLIENT_IP, found, |text| {
            HeaderName::try_from(text).map_err(|_| "the name of a header is accepted")
        });
        let ipv4_prefix = bits(section.number("ipv4_prefix", 32, 8..=32, found));
        let ipv6_prefix = bits(section.number("ipv6_prefix", 64, 16..=128, found));
        let feeds = section.number("feeds", limits::FEEDS_MAX as u64, 1..=65_536, found);
        let of_client = limits::FEEDS_OF_CLIENT_MAX as u64;
        let feeds_per_client = section.number("feeds_per_client", of_client, 0..=65_536, found);
        let starts_s = section.number("feed_starts_per_client_s", 2, 0..=1_000_000, found);
        let starts_burst = section.number("feed_starts_burst", 64, 1..=1_000_000, found);
        let catchups = section.number("catchups", limits::CATCHUPS_MAX as u64, 1..=65_536, found);
        let of_client = limits::CATCHUPS_OF_CLIENT_MAX as u64;
        let catchups_per_client =
            section.number("catchups_per_client", of_client, 0..=65_536, found);
        let event = section.number("event_mb", mb(limits::EVENT_BYTES_MAX), 1..=64, found);
        let unsent = u64::from(limits::UNSENT_BYTES_MAX) / 1024;
        let unsent = section.number("unsent_kb", unsent, 4..=4096, found);
        let ring = section.number("ring_mb", mb(limits::RING_BYTES_MAX), 1..=1024, found);
        let tail = section.number("tail_mb", mb(limits::TAIL_BYTES_MAX), 1..=65_536, found);
        let least = limits::TAIL_LEAST_BYTES_S / 1024;
        let least = section.number("tail_least_kb_s", least, 16..=1_048_576, found);
        let cache = mb(limits::HISTORY_CACHE_BYTES_MAX);
        let cache = section.number("history_cache_mb", cache, 1..=65_536, found);
        section.finish(found);
        Self {
            streams_per_client: small(per_client),
            opens: Opens::new(small(per_s), small(burst)),
            streams,
            head_timeout: Duration::from_secs(head_s),
            connections,
            connections_per_client,
            trusted_proxies,
            client_from,
            client_ip_header,
            ipv4_prefix,
            ipv6_prefix,
            budgets,
            feeds,
            feeds_per_client: small(feeds_per_client),
            feed_starts: Opens::new(small(starts_s), small(starts_burst)),
            catchups,
            catchups_per_client,
            event_bytes: event * MIB,
            unsent_bytes: unsent * 1024,
            ring_bytes: ring * MIB,
            tail_bytes: tail * MIB,
            tail_least_bytes_s: least * 1024,
            history_cache_bytes: cache * MIB,
        }
    }
}

/// What of this can be changed while it runs. The keys are those of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningLimits {
    /// Streams that one client may hold; 0: as many as it likes.
    pub streams_per_client: u32,
    /// New streams of one client a second; 0: as many as it likes.
    pub opens_per_client_s: u32,
    /// Of them at once.
    pub opens_burst: u32,
    /// Streams that this host may hold; 0: what the descriptors allow.
    pub streams: u64,
    /// By name, what each client of a budget may hold; 0: as many as it likes.
    pub budgets: Vec<(String, u32)>,
}

impl RunningLimits {
    /// These limits with what `patch` says instead. The descriptors allow `room` streams.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn patched(&self, patch: &Table, room: u64) -> Result<Self, Vec<Mistake>> {
        let mut found = Findings::default();
        let mut section = Section::new("", Some(patch));
        let mut number = |key, now: u32, range| {
            let number = section.number(key, now.into(), range, &mut found);
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        let streams_per_client = number("streams_per_client", self.streams_per_client, PER_CLIENT);
        let opens_per_client_s = number("opens_per_client_s", self.opens_per_client_s, OPENS);
        let opens_burst = number("opens_burst", self.opens_burst, BURST);
        let streams = section.number("streams", self.streams, 0..=room, &mut found);
        let mut budgets = self.budgets.clone();
        let table = section.table("budgets", &mut found);
        let mut named = Section::new("budgets", table);
        for (name, now) in &mut budgets {
            let number = named.number(name, (*now).into(), PER_CLIENT, &mut found);
            *now = u32::try_from(number).unwrap_or(u32::MAX);
        }
        named.finish(&mut found);
        section.finish(&mut found);
        let all = Self { streams_per_client, opens_per_client_s, opens_burst, streams, budgets };
        if found.mistakes.is_empty() { Ok(all) } else { Err(found.mistakes) }
    }
}

fn budgets(root: &mut Section<'_>, found: &mut Findings) -> Vec<Budget> {
    let mut all = Vec::new();
    for (name, value) in root.table("budgets", found).into_iter().flatten() {
        let path = format!("budgets.{name}");
        let Some(table) = value.as_table() else {
            found.add(path, "a table is accepted: [budgets.NAME]");
            continue;
        };
        let mut section = Section::new(&path, Some(table));
        let prefixes = section.prefixes("prefixes", found);
        let streams = section.number("streams", 64, PER_CLIENT, found);
        let tokens_file = section.text("tokens_file", found).filter(|file| !file.is_empty());
        if prefixes.is_empty() && tokens_file.is_none() {
            let says = "names no prefix; a list of prefixes is accepted, or a `tokens_file`";
            found.add(section.key("prefixes"), says);
        }
        section.finish(found);
        let (name, tokens_file) = (name.clone(), tokens_file.map(PathBuf::from));
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        all.push(Budget { name, prefixes, tokens_file, streams });
    }
    all
}
