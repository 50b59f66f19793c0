//! The only place that wires the parts together and spawns them; and the clean stop.
//!
//! ```text
//!  bind ─▶ build ─▶ "listening on …" ─▶ serve ─▶ SIGTERM ─▶ drain ─▶ streams end ─▶ log closed
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::OptionFuture;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::descriptors::Room;
use self::elsewhere::Elsewhere;
pub use self::elsewhere::{World, read as read_elsewhere};
use self::ground::Ground;
pub use self::ground::kafka_source;
pub use self::reload::ConfigFile;
use self::reload::{Parts, Reloader};
use self::sockets::Sockets;
use self::stop::{Serving, Stop};
use crate::admin::blocks::{Desk, Share};
use crate::admin::{Access, Admin, Readiness};
use crate::config::{
    ClientFrom, Config, DrainConfig, LimitsConfig, SessionConfig, SourceConfig, TlsConfig,
};
use crate::feed::Hub;
use crate::feed::history::History;
use crate::feed::lines::Lines;
use crate::gate::Gate;
use crate::gate::client::{Budget, ClientHeader, Identity};
use crate::gate::crowd::{self, Crowd};
use crate::gate::tokens::TokenHash;
use crate::health::Board;
use crate::http::listen::Bound;
use crate::http::listen::tls::Tls;
use crate::metrics::Metrics;
use crate::session::{Pump, Sessions};
use crate::source::sites::Sites;
use crate::{admin, catalog, config, demo, feed, gate, http, limits, schemas, session, telemetry};

mod descriptors;
mod elsewhere;
mod ground;
mod health;
mod manager;
mod reload;
mod routes;
mod sockets;
mod stop;

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// When an address cannot be bound or the source cannot be opened. A source that is merely out of
/// reach is no error.
pub fn run(config: Config, with_demo: bool, file: Option<ConfigFile>) -> anyhow::Result<()> {
    telemetry::configure(&config.log_level);
    let sockets = Sockets::handed_over()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidegate")
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(serve(config, with_demo, file, sockets));
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

async fn serve(
    own: Config,
    with_demo: bool,
    file: Option<ConfigFile>,
    sockets: Sockets,
) -> anyhow::Result<()> {
    let mut stop = Stop::install()?;
    let metrics = Arc::new(Metrics::new());
    let (elsewhere, world) = Elsewhere::start(&own, &metrics).await?;
    let config = &world.config;
    let catalog = catalog::Current::from(Arc::new(config.catalog()));
    let schemas = schemas::Current::from(Arc::clone(&world.schemas));
    let room = descriptors::share_out(&config.limits)?;
    let identity = identity(&config.limits)?;
    let (public, scheme) = public_port(config, sockets.public, (&identity, room), &metrics)?;
    let admin = admin_port(config, sockets.admin)?;
    let addresses = (public.addr(), admin.addr());
    let readiness = Arc::new(Readiness::default());
    let started = readiness.latch("started");
    readiness.needs_descriptors_below(room.descriptors_max);
    let board = health::board(config, &catalog.now(), &metrics);
    let desk = desk(config, &metrics, (&readiness, &board))?;
    let _admin = admin.serve(Arc::clone(&desk)).context("serve the admin port")?;
    let ground = Ground::of(config, &metrics)?;
    let (gate, sessions, hub) = readers(config, (&ground, identity, room), &catalog, &metrics)?;
    // Before anybody is served.
    let (blocks, sharing) = blocks(config, &ground, (&gate, public.addr()), &metrics)?;
    let drain = Arc::new(RwLock::new(config.drain));
    let (ask_reload, reloads) = mpsc::channel(1);
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    let parts = Parts {
        catalog: catalog.clone(),
        schemas,
        hub: Arc::clone(&hub),
        source: Arc::clone(&ground.source),
        gate: Arc::clone(&gate),
        sessions: Arc::clone(&sessions),
        drain: Arc::clone(&drain),
        metrics: Arc::clone(&metrics),
        streams_room: room.streams_most,
    };
    let controls = parts.controls(blocks, stop.asked.clone(), ask_reload);
    desk.controls.set(controls).expect("set once");
    let served = routes::Served { with_demo, health: &board, sink: &ground.sink };
    let router = routes::all(config, &parts, served, (&mut tasks, &shutdown));
    let reloader =
        Reloader::new(file, (own, elsewhere, &world), parts).context("wait for SIGHUP")?;
    let reloading = tokio::spawn(reloader.run(reloads));
    let (topics, source) = (catalog.now().topics(), Arc::clone(&ground.source));
    let carried = (&hub, &catalog, &sessions, &ground);
    let watch = health::watch(config, &board, carried, addresses.0, &metrics);
    let judging = OptionFuture::from(ground.sites.clone().map(Sites::run));
    let tail = tokio::spawn(async move { tokio::join!(hub.run(source, topics), judging) });
    if with_demo {
        tasks.spawn(demo::run(Arc::clone(&ground.sink), rand::random(), shutdown.clone()));
    }
    tasks.spawn(http::listen::serve(public, router, shutdown.clone()));
    announce(scheme, addresses).context("say where it listens")?;
    drop(started);
    let watched = manager::watch(Arc::clone(&sessions));

    let serving = Serving { readiness, gate, sessions, shutdown, tasks };
    until_stopped(&mut stop, serving, &drain).await;
    let others = [reloading.abort_handle(), watch, tail.abort_handle(), sharing];
    others.iter().chain(&watched).for_each(AbortHandle::abort);
    if let Some(log) = ground.log {
        log.close().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// By the configuration that is in force when it is asked to stop.
async fn until_stopped(stop: &mut Stop, serving: Serving, drain: &RwLock<DrainConfig>) {
    stop.requested().await;
    let drain = *drain.read().unwrap_or_else(PoisonError::into_inner);
    serving.drain(stop, drain).await;
}

/// What the admin port shows before the parts behind it have started.
fn desk(
    config: &Config,
    metrics: &Arc<Metrics>,
    (readiness, health): (&Arc<Readiness>, &Arc<Board>),
) -> anyhow::Result<Arc<Admin>> {
    Ok(Arc::new(Admin {
        metrics: Arc::clone(metrics),
        readiness: Arc::clone(readiness),
        health: Arc::clone(health),
        access: access(config)?,
        controls: OnceLock::new(),
    }))
}

/// Who may use `/admin/`.
fn access(config: &Config) -> anyhow::Result<Access> {
    let Some(file) = &config.admin_token_file else { return Ok(Access::default()) };
    Access::with_token_in(file).with_context(|| format!("admin_token_file {}", file.display()))
}

/// Where this host keeps what is not to be gone with the process, if anywhere.
fn state_dir(config: &Config) -> Option<PathBuf> {
    let beside_the_log = match &config.source {
        SourceConfig::Embedded(embedded) => Some(embedded.data_dir.join("state")),
        SourceConfig::Kafka(_) => None,
    };
    config.state.dir.clone().or(beside_the_log)
}

/// Who is blocked, from the disk; and the task that ends blocks and shares them.
fn blocks(
    config: &Config,
    ground: &Ground,
    (gate, public): (&Arc<Gate>, SocketAddr),
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Arc<Desk>, AbortHandle)> {
    let dir = state_dir(config);
    if dir.is_none() {
        tracing::warn!("state_dir is not set: blocks and their audit trail are not kept on disk");
    }
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = format!("{node}:{}", public.port());
    let desk = Desk::open(Arc::clone(gate), dir.as_deref(), &host, Arc::clone(metrics));
    let desk = desk.context("read who is blocked")?;
    let share = ground.control.clone().map(|log| Share::new(Arc::clone(&desk), log));
    let swept = Arc::clone(&desk);
    let task = tokio::spawn(async move {
        let sweep = async move {
            loop {
                tokio::time::sleep(limits::BLOCKS_SWEEP_EVERY).await;
                let desk = Arc::clone(&swept);
                let _ = tokio::task::spawn_blocking(move || desk.sweep()).await;
            }
        };
        let share = async move {
            match share {
                Some(share) => share.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(sweep, share)
    });
    Ok((desk, task.abort_handle()))
}

/// What the public port speaks TLS with, if it does.
///
/// # Errors
/// When the certificate cannot be served.
pub fn tls(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Tls>> {
    let load = |files: &TlsConfig| Tls::load(&files.cert, &files.key, metrics);
    config.tls.as_ref().map(load).transpose().context("set up TLS")
}

/// The admin port, taken and not served yet.
fn admin_port(config: &Config, handed: Option<TcpListener>) -> anyhow::Result<admin::Bound> {
    match handed {
        Some(socket) => admin::adopt(socket).context("take the admin socket (LISTEN_FDS)"),
        None => admin::bind(config.admin_listen)
            .with_context(|| format!("bind the admin address {}", config.admin_listen)),
    }
}

/// The public port, taken and not served yet, and the scheme of its addresses.
fn public_port(
    config: &Config,
    handed: Option<TcpListener>,
    (identity, room): (&Identity, Room),
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Bound, &'static str)> {
    let tls = tls(config, metrics)?;
    let LimitsConfig { unsent_bytes, connections_per_client, .. } = config.limits;
    let crowd = crowd::Settings {
        identity: identity.clone(),
        connections_max: room.connections,
        per_client: match usize::try_from(connections_per_client) {
            Ok(0) => (room.connections / limits::CONNECTIONS_CLIENT_PART).max(1),
            per_client => per_client.unwrap_or(usize::MAX),
        },
    };
    let unsent = u32::try_from(unsent_bytes).unwrap_or(u32::MAX);
    let public = match handed {
        Some(socket) => {
            http::listen::adopt(socket, unsent).context("take the public socket (LISTEN_FDS)")
        }
        None => http::listen::bind(config.listen, unsent)
            .with_context(|| format!("bind the public address {}", config.listen)),
    };
    let public = public?
        .stall_timeout(config.session.stall)
        .head_timeout(config.limits.head_timeout)
        .crowd(Crowd::new(crowd, Arc::clone(metrics)))
        .proxy_protocol(config.limits.client_from == ClientFrom::ProxyProtocol)
        .descriptors_max(room.descriptors_max);
    Ok(match tls {
        Some(tls) => (public.tls(tls), "https"),
        None => (public, "http"),
    })
}

/// Everything that stands between the source and the readers.
fn readers(
    config: &Config,
    (ground, identity, room): (&Ground, Identity, Room),
    catalog: &catalog::Current,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Arc<Gate>, Arc<Sessions>, Arc<Hub>)> {
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let event_bytes = bytes(config.limits.event_bytes);
    let lines = Lines::new(&catalog.now(), &config.redact, event_bytes, Arc::clone(metrics));
    let settings = feed::Settings {
        ring_bytes: bytes(config.limits.ring_bytes),
        tail_bytes: bytes(config.limits.tail_bytes),
        feeds_max: bytes(config.limits.feeds),
        tail_least_bytes_s: config.limits.tail_least_bytes_s,
    };
    let hub = Hub::new(ground.source.name(), lines, settings, Arc::clone(metrics));
    let cache = (bytes(config.limits.history_cache_bytes), limits::HISTORY_READS_MAX);
    let history =
        History::new(Arc::clone(&ground.source), Arc::clone(&hub), cache, Arc::clone(metrics));
    let gate = Gate::new(gate_settings(config, identity, room), Arc::clone(metrics));
    let settings = session_settings(config);
    let pump = (config.session.stall, gate.telling());
    let pump = match Pump::start(shards(config.session.shards), pump) {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => None,
        pump => Some(pump.context("start the pump")?),
    };
    let sessions = Sessions::new(
        (Arc::clone(&hub), history),
        catalog.clone(),
        Arc::clone(&gate),
        settings,
        Arc::clone(metrics),
        pump,
    );
    Ok((gate, sessions, hub))
}

fn session_settings(config: &Config) -> session::Settings {
    let SessionConfig { keepalive, lifetime, retry_ms, .. } = config.session;
    session::Settings { keepalive, lifetime, retry_ms }
}

fn gate_settings(config: &Config, identity: Identity, room: Room) -> gate::Settings {
    let Config { limits, access_log: access_lines, .. } = config;
    let access_lines = *access_lines;
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let or_all = |n: usize| if n == 0 { usize::MAX } else { n };
    let feeds = match limits.feeds_per_client {
        0 => u32::MAX,
        feeds => feeds,
    };
    gate::Settings {
        identity,
        streams_max: room.streams,
        opens: limits.opens,
        catchups: gate::catchup::Budget {
            all: number(limits.catchups),
            of_client: or_all(number(limits.catchups_per_client)),
        },
        feeds: gate::feeds::Limits { held: feeds, starts: limits.feed_starts },
        access_lines,
    }
}

/// Shards of the pump: what is configured, else half the cores (on two cores two were slower than
/// one: the readers' own processes want some too).
fn shards(configured: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match usize::try_from(configured) {
        Ok(0) | Err(_) => (cores / 2).max(1),
        Ok(shards) => shards,
    }
}

/// How clients are told apart, and what each may hold.
///
/// # Errors
/// When a file of tokens cannot be used.
pub fn identity(limits: &LimitsConfig) -> anyhow::Result<Identity> {
    let header = match limits.client_from {
        ClientFrom::Header => ClientHeader::new(limits.client_ip_header.clone()),
        ClientFrom::ProxyProtocol => ClientHeader::ProxyProtocol,
    };
    let mut budgets: Vec<Budget> = Vec::new();
    for config::Budget { name, prefixes, tokens_file, streams } in &limits.budgets {
        let tokens: HashSet<TokenHash> = match tokens_file {
            Some(file) => tokens(file)
                .with_context(|| format!("budgets.{name}.tokens_file: {}", file.display()))?,
            None => HashSet::new(),
        };
        let is_twice = budgets.iter().any(|other| !other.tokens.is_disjoint(&tokens));
        anyhow::ensure!(!is_twice, "budgets.{name}.tokens_file: another budget has a token of it");
        let (name, prefixes, streams) = (name.clone(), prefixes.clone(), *streams);
        budgets.push(Budget { name, prefixes, tokens, streams });
    }
    Ok(Identity {
        trusted: limits.trusted_proxies.clone(),
        header,
        ipv4_prefix: limits.ipv4_prefix,
        ipv6_prefix: limits.ipv6_prefix,
        streams: limits.streams_per_client,
        budgets,
    })
}

fn tokens(file: &Path) -> anyhow::Result<HashSet<TokenHash>> {
    let mut text = String::new();
    let opened = File::open(file).context("cannot be read")?;
    opened
        .take(limits::TOKENS_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .context("cannot be read")?;
    let is_whole = (text.len() as u64) < limits::TOKENS_FILE_BYTES_MAX;
    anyhow::ensure!(is_whole, "is larger than {} bytes", limits::TOKENS_FILE_BYTES_MAX);
    Ok(gate::tokens::parse(&text)?.into_keys().collect())
}

/// Scripts read these lines; the service manager is told.
fn announce(scheme: &str, (public, admin): (SocketAddr, SocketAddr)) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {scheme}://{public}")?;
    writeln!(out, "admin on http://{admin}")?;
    out.flush()?;
    manager::is_ready(&format!("serving at {scheme}://{public}"));
    Ok(())
}
