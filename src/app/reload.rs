//! The configuration, read again while it runs: all of it is taken, or nothing.
//!
//! ```text
//!  SIGHUP ─┐
//!  file ───┼─▶ read ─▶ what takes a restart? ─▶ elsewhere ─▶ new topics are followed ─▶ in force
//!  admin ──┘     └────────────┴── no: the old one stays, and why is said ───────┘
//!  catalogue's TTL ───────────────────────────────┘
//! ```
//! Topics that no stream has any more are followed until the next start: that costs something and
//! shows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::elsewhere::{Elsewhere, World};
use super::manager;
use crate::admin::blocks::Desk;
use crate::admin::{AskReload, Controls, Reloaded};
use crate::catalog::Stream;
use crate::config::{Config, DrainConfig, SourceConfig};
use crate::document::Place;
use crate::event::{TimestampMs, TopicName};
use crate::feed::Hub;
use crate::gate::{Gate, Limits};
use crate::limits;
use crate::metrics::Metrics;
use crate::session::Sessions;
use crate::source::Source;
use crate::{catalog, schemas, telemetry};

/// Where a configuration comes from.
pub struct ConfigFile {
    /// The file, to be looked at.
    pub path: PathBuf,
    /// Reads it, with what the command line says instead.
    pub load: Box<dyn Fn() -> anyhow::Result<Config> + Send + Sync>,
}

/// What goes by the configuration and can be told of another one.
pub(super) struct Parts {
    pub(super) catalog: catalog::Current,
    pub(super) schemas: schemas::Current,
    pub(super) hub: Arc<Hub>,
    pub(super) source: Arc<dyn Source>,
    pub(super) gate: Arc<Gate>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) drain: Arc<RwLock<DrainConfig>>,
    pub(super) metrics: Arc<Metrics>,
    /// Streams that the descriptors allow.
    pub(super) streams_room: u64,
}

impl Parts {
    /// What an operator may look into and change.
    pub(super) fn controls(
        &self,
        blocks: Arc<Desk>,
        stop: CancellationToken,
        reload: mpsc::Sender<AskReload>,
    ) -> Controls {
        Controls {
            gate: Arc::clone(&self.gate),
            sessions: Arc::clone(&self.sessions),
            blocks,
            streams_room: self.streams_room,
            stop,
            drain: Arc::clone(&self.drain),
            reload,
        }
    }
}

pub(super) struct Reloader {
    file: Option<ConfigFile>,
    /// As the file says it.
    own: Config,
    elsewhere: Elsewhere,
    /// With all streams.
    current: Config,
    parts: Parts,
    followed: BTreeSet<TopicName>,
    tails: Vec<AbortOnDropHandle<()>>,
    hangup: Signal,
}

/// Topics on their way into a catalogue.
struct Following {
    topics: Vec<TopicName>,
    tail: AbortOnDropHandle<()>,
}

impl Reloader {
    pub(super) fn new(
        file: Option<ConfigFile>,
        (own, mut elsewhere, world): (Config, Elsewhere, &World),
        parts: Parts,
    ) -> std::io::Result<Self> {
        elsewhere.took(world, &own);
        let current = world.config.clone();
        tell_of_nobody(&current);
        let followed = current.catalog().topics().into_iter().collect();
        let hangup = signal(SignalKind::hangup())?;
        let metrics = &parts.metrics.control;
        metrics.config_ok.set(1);
        metrics.config_seconds.set(TimestampMs::now().0 / 1000);
        Ok(Self { file, own, elsewhere, current, parts, followed, tails: Vec::new(), hangup })
    }

    /// Reads it again whenever it is to, until the task is dropped.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<AskReload>) {
        let mut tried = self.fingerprint();
        let mut seen = tried;
        let mut looks = tokio::time::interval(limits::CONFIG_LOOK_EVERY);
        let mut looked_elsewhere = Instant::now();
        loop {
            let next = self.own.catalogue.ttl.map(|ttl| looked_elsewhere + ttl);
            let is_due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            let answer = tokio::select! {
                () = is_due => {
                    self.look_elsewhere().await;
                    looked_elsewhere = Instant::now();
                    continue;
                }
                _ = self.hangup.recv() => None,
                Some(ask) = asked.recv() => Some(ask),
                _ = looks.tick() => {
                    let found = self.fingerprint();
                    // Whoever writes a file writes a part of it first: it has to come to rest.
                    let rests = found == seen;
                    seen = found;
                    if !rests || found == tried {
                        continue;
                    }
                    None
                }
            };
            tried = self.fingerprint();
            seen = tried;
            let outcome = self.again().await;
            if let Some(answer) = answer {
                let _ = answer.send(outcome);
            }
        }
    }

    /// Once, and says how it went.
    async fn again(&mut self) -> Reloaded {
        manager::is_reloading();
        let outcome = self.reload().await;
        let metrics = &self.parts.metrics.control;
        metrics.config_ok.set(i64::from(outcome.is_ok()));
        match &outcome {
            Ok(changed) => {
                metrics.config_seconds.set(TimestampMs::now().0 / 1000);
                tracing::info!(changed = changed.join(", "), "the configuration was read again");
                manager::is_ready("serving by the configuration as it was read again");
            }
            Err(why) => {
                tracing::error!(%why, "the configuration stays as it was");
                manager::is_ready("serving by the old configuration: the new one was refused");
            }
        }
        outcome
    }

    /// What has changed.
    async fn reload(&mut self) -> Reloaded {
        let file = self.file.as_ref().ok_or("there is no configuration file to be read again")?;
        let says = |error: anyhow::Error| format!("{error:#}");
        let new = tokio::task::block_in_place(&file.load).map_err(says)?;
        let fixed = self.own.takes_a_restart(&new);
        if !fixed.is_empty() {
            let all: Vec<_> = fixed.iter().map(ToString::to_string).collect();
            return Err(all.join("; "));
        }
        let identity =
            tokio::task::block_in_place(|| super::identity(&new.limits)).map_err(says)?;
        let world = self.elsewhere.for_config(&new).await?;
        let following = self.follow(&world.config).await?;
        if let Err(why) = self.rebootstrap(&world.config) {
            if let Some(Following { topics, tail }) = following {
                drop(tail);
                self.parts.hub.forget(&topics);
            }
            return Err(why);
        }
        // From here on nothing is refused.
        let changed = self.current.changes(&world.config);
        self.own = new;
        self.put_in_force(&world.config, identity);
        self.put_streams_in_force(world, following);
        Ok(changed)
    }

    /// The catalogue that is elsewhere, and its schemas: taken if they are others now.
    async fn look_elsewhere(&mut self) {
        let Some(world) = self.elsewhere.look(&self.own).await else { return };
        match self.follow(&world.config).await {
            Ok(following) => self.put_streams_in_force(world, following),
            Err(why) => self.elsewhere.missed(&self.own, &why),
        }
    }

    /// Has topics followed that were not yet, before anybody can ask for them: what comes after a
    /// reader is greeted is not to be missed.
    async fn follow(&self, new: &Config) -> Result<Option<Following>, String> {
        let topics = new.catalog().topics().into_iter();
        let topics: Vec<_> = topics.filter(|topic| !self.followed.contains(topic)).collect();
        if topics.is_empty() {
            return Ok(None);
        }
        if self.tails.len() >= limits::TAILS_MAX {
            let most = limits::TAILS_MAX;
            return Err(format!("streams: topics were added {most} times; it takes a restart"));
        }
        let (tell, surveyed) = oneshot::channel();
        let (hub, source) = (Arc::clone(&self.parts.hub), Arc::clone(&self.parts.source));
        let followed = topics.clone();
        let tail = tokio::spawn(async move { hub.follow_topics(source, followed, tell).await });
        let tail = AbortOnDropHandle::new(tail);
        match tokio::time::timeout(limits::SURVEY_MAX, surveyed).await {
            Ok(Ok(())) => Ok(Some(Following { topics, tail })),
            _ => {
                drop(tail);
                self.parts.hub.forget(&topics);
                let within: Duration = limits::SURVEY_MAX;
                Err(format!("streams: the source did not say within {within:?} where topics stand"))
            }
        }
    }

    fn rebootstrap(&self, new: &Config) -> Result<(), String> {
        let (SourceConfig::Kafka(old), SourceConfig::Kafka(new)) =
            (&self.current.source, &new.source)
        else {
            return Ok(());
        };
        if old.bootstrap == new.bootstrap || self.parts.source.rebootstrap(&new.bootstrap) {
            return Ok(());
        }
        let name = &new.name;
        Err(format!("kafka.{name}.bootstrap: cannot be changed while it runs; it takes a restart"))
    }

    /// The streams and what their events look like.
    fn put_streams_in_force(&mut self, world: World, following: Option<Following>) {
        if let Some(Following { topics, tail }) = following {
            self.followed.extend(topics);
            self.tails.push(tail);
        }
        let Parts { catalog, schemas, hub, gate, .. } = &self.parts;
        schemas.replace(Arc::clone(&world.schemas));
        if self.current.streams != world.config.streams {
            tell_of_streams(&self.current, &world.config);
            tell_of_nobody(&world.config);
            let streams = Arc::new(world.config.catalog());
            hub.lines().are_of(&streams);
            catalog.replace(streams);
        }
        self.elsewhere.took(&world, &self.own);
        self.current = world.config;
        // Whose streams are no more, or others, ends.
        gate.have_all_look();
    }

    fn put_in_force(&self, new: &Config, identity: crate::gate::client::Identity) {
        let Parts { gate, sessions, drain, streams_room, .. } = &self.parts;
        let asked = if new.limits.streams == 0 { *streams_room } else { new.limits.streams };
        let limits = Limits {
            streams_per_client: identity.streams,
            opens: new.limits.opens,
            streams_max: usize::try_from(asked.min(*streams_room)).unwrap_or(usize::MAX),
            budgets: identity.budgets.iter().map(|b| (b.name.clone(), b.streams)).collect(),
        };
        gate.reconfigure(Some(identity), &limits);
        sessions.change(super::session_settings(new));
        *drain.write().unwrap_or_else(PoisonError::into_inner) = new.drain;
        telemetry::configure(&new.log_level);
    }

    /// Of all that is read here: the file, the tokens that it names, and the catalogue's file.
    fn fingerprint(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        let budgets = self.current.limits.budgets.iter();
        let files = budgets.filter_map(|budget| budget.tokens_file.as_ref());
        let own = self.file.iter().map(|file| &file.path);
        let catalogue = match &self.own.catalogue.place {
            Some(Place::File(path)) => Some(path),
            _ => None,
        };
        for file in own.chain(files).chain(catalogue) {
            std::fs::read(file).map_err(|error| error.kind()).hash(&mut hash);
        }
        hash.finish()
    }
}

/// Which streams come, go and change.
fn tell_of_streams(old: &Config, new: &Config) {
    let by_name = |config: &Config| -> BTreeMap<Arc<str>, Stream> {
        config.streams.iter().map(|stream| (Arc::clone(&stream.name), stream.clone())).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let named = |names: Vec<&Arc<str>>| {
        let names: Vec<&str> = names.into_iter().map(|name| &**name).collect();
        names.join(", ")
    };
    let come = named(new.keys().filter(|name| !old.contains_key(*name)).collect());
    let gone = named(old.keys().filter(|name| !new.contains_key(*name)).collect());
    let differs = |(name, stream): &(&Arc<str>, &Stream)| {
        old.get(*name).is_some_and(|before| before != *stream)
    };
    let changed = named(new.iter().filter(differs).map(|(name, _)| name).collect());
    tracing::info!(come, gone, changed, "the streams are others now");
}

/// What names streams that are not there. (With a catalogue that comes from elsewhere this is no
/// mistake in the file.)
fn tell_of_nobody(config: &Config) {
    for mistake in config.names_of_nobody() {
        tracing::warn!(key = mistake.key, says = mistake.says, "a key names no stream");
    }
}
