//! What is watched over, and by what terms: from the configuration to the parts of `health`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::task::AbortHandle;

use super::ground::Ground;
use crate::canary::{self, Door, Tried};
use crate::catalog::{self, Catalog};
use crate::config::{CanaryConfig, ClientFrom, Config, LimitsConfig, SourceConfig};
use crate::feed::Hub;
use crate::health::watch::{self, Watch};
use crate::health::{Board, Plan, Terms};
use crate::limits::HEARD_WITHIN;
use crate::metrics::Metrics;
use crate::session::Sessions;
use crate::source::Sink;
use crate::visit::{self, Way};

/// Whom the canaries' reader says to be where a proxy on this host names its clients: an address
/// that is nobody's (RFC 5737).
const OWN_NAME: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The source's name, as it is in logs and metrics.
fn source(config: &Config) -> String {
    match &config.source {
        SourceConfig::Kafka(kafka) => format!("kafka.{}", kafka.name),
        SourceConfig::Embedded(_) => "embedded".to_owned(),
    }
}

/// The board, on which nothing was found yet.
pub(super) fn board(config: &Config, catalog: &Catalog, metrics: &Arc<Metrics>) -> Arc<Board> {
    let terms =
        Terms { heard_within: HEARD_WITHIN, patience: Duration::ZERO, hold: config.health.hold };
    let reach = Terms { patience: config.health.patience, ..terms };
    let CanaryConfig { streams, interval, deadline, .. } = &config.canary;
    // Whether one has come cannot be told before it is due.
    let heard_within = *interval + *deadline * 2 + HEARD_WITHIN;
    // One that the catalogue does not have now cannot be tried out before the next start.
    let there = streams.iter().filter(|name| catalog.get(name).is_some());
    let streams = there.map(|name| name.as_str().into()).collect();
    let canaries = Some((streams, Terms { heard_within, ..terms }));
    let plan = Plan { reach, terms, canaries, ..Plan::of(&source(config), catalog) };
    Board::new(plan, Arc::clone(metrics))
}

/// Somebody looks from now on, and tries out the streams that are to be tried out.
pub(super) fn watch(
    config: &Config,
    board: &Arc<Board>,
    (hub, catalog, sessions, ground): (&Arc<Hub>, &catalog::Current, &Arc<Sessions>, &Ground),
    public: SocketAddr,
    metrics: &Arc<Metrics>,
) -> AbortHandle {
    let canaries = canaries(config, public, (&ground.sink, board), metrics);
    let settings = watch::Settings {
        silence_min: config.health.silence_min,
        silence_max: config.health.silence_max.clone(),
        topics_come_by_themselves: matches!(config.source, SourceConfig::Embedded(_)),
    };
    let board = (Arc::clone(board), source(config).into());
    let parts = (Arc::clone(hub), catalog.clone(), Arc::clone(sessions));
    let watch = Watch::new(board, parts, Arc::clone(metrics), settings);
    let watch = watch.over(ground.sites.clone());
    tokio::spawn(async { tokio::join!(watch.run(), canaries) }).abort_handle()
}

/// Tries the streams out that are to be, until it is dropped.
fn canaries(
    config: &Config,
    public: SocketAddr,
    (sink, board): (&Arc<dyn Sink>, &Arc<Board>),
    metrics: &Arc<Metrics>,
) -> impl Future<Output = ()> + use<> {
    let CanaryConfig { streams, interval, deadline, produce } = &config.canary;
    let named = config.streams.iter().filter(|stream| streams.iter().any(|s| **s == *stream.name));
    let tried = named.map(|stream| Tried {
        stream: Arc::clone(&stream.name),
        topic: stream.produce_to.as_ref().or(stream.topics.first()).filter(|_| *produce).cloned(),
        schema: stream.schema.clone(),
    });
    let terms = canary::Terms { interval: *interval, deadline: *deadline };
    let (door, sink) = (door(config, public), Arc::clone(sink));
    canary::run(tried.collect(), terms, door, sink, Arc::clone(board), Arc::clone(metrics))
}

/// How this host's own reader gets in: where it would pass for a trusted proxy, as a client of it.
fn door(config: &Config, public: SocketAddr) -> Door {
    let address = canary::reached_at(public);
    let LimitsConfig { trusted_proxies, client_from, client_ip_header, .. } = &config.limits;
    let is_trusted = trusted_proxies.iter().any(|prefix| prefix.contains(&address.ip()));
    let by_protocol = is_trusted && *client_from == ClientFrom::ProxyProtocol;
    let by_header = is_trusted && *client_from == ClientFrom::Header;
    let value = match client_ip_header.as_str() {
        "forwarded" => format!("for={OWN_NAME}"),
        _ => OWN_NAME.to_string(),
    };
    let value = HeaderValue::try_from(value).ok().filter(|_| by_header);
    let way = Way {
        address: Some(address),
        proxy: None,
        proxy_protocol: by_protocol.then(|| (OWN_NAME, 1).into()),
        tls: visit::no_questions_asked(),
        agent: concat!("tidegate-canary/", env!("CARGO_PKG_VERSION")).to_owned(),
        headers: value.into_iter().map(|value| (client_ip_header.clone(), value)).collect(),
    };
    Door { address, https: config.tls.is_some(), way }
}
