//! One reader: a position, a permit, a framing, an end reason.
//!
//! ```text
//!  open ─▶ resolve (where does it start?) ─▶ body: CatchUp ─▶ Live ─▶ Ended
//!                                                     ▲        │
//!                                                     └────────┘ fell off the ring
//! ```
//! Nothing is queued per reader but the frames of one batch. Knows no HTTP beyond the body trait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;

use crate::catalog::{self, Held, Selection, Stream};
use crate::event::{TimestampMs, TopicPartition};
use crate::feed::encode::{self, Encoding};
pub use crate::feed::frame::Framing;
use crate::feed::history::History;
use crate::feed::recent::Recent;
use crate::feed::vector::Vector;
use crate::feed::{Charge, FeedHandle, Hub, NoFeed};
use crate::gate::catchup::Errand;
use crate::gate::{Gate, Permit, Refusal};
use crate::limits;
use crate::metrics::{ByReason, Metrics};
use crate::position::LastEventId;
use crate::position::gap::Gap;
use crate::source::SourceError;

mod body;
mod carry;
mod catchup;
pub mod closing;
mod drain;
mod frames;
mod presence;
#[cfg_attr(not(target_os = "linux"), path = "session/no_pump.rs")]
mod pump;
mod replay;
mod report;
mod resolve;
mod roll;
mod state;

use body::Phase;
pub use body::SessionBody;
pub use carry::Transfer;
use catchup::{CatchUp, Place, Shared};
use drain::Drain;
use presence::{Audience, Got, Presence};
pub use pump::Pump;
use replay::Replay;
pub use report::{Delivery, Glimpse};
use resolve::{NoStart, Resolver};
use roll::Roll;
pub use state::EndReason;
use state::{State, Terms};

/// What an operator may change.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Silence after which a keepalive is sent.
    pub keepalive: Duration,
    /// How long a stream may last at most; each draws its own from 80–100 % of it.
    pub lifetime: Option<Duration>,
    /// What `retry:` says, in ms, before it is jittered.
    pub retry_ms: u64,
}

/// What a reader asked for, read and checked as far as text alone can be checked.
#[derive(Debug)]
pub struct OpenRequest {
    /// Which streams.
    pub selection: Selection,
    /// `Last-Event-ID`, if it was given and not empty.
    pub last_event_id: Option<LastEventId>,
    /// `?since=`.
    pub since: Option<TimestampMs>,
    /// How to write.
    pub framing: Framing,
    /// How the response is compressed.
    pub encoding: Option<Encoding>,
    /// Say the id before the first event (recognised browsers, `?id=first`). SSE only.
    pub id_first: bool,
    /// Tell gaps as events too (`?gap=event`).
    pub gap_events: bool,
}

/// Why no stream was opened.
#[derive(Debug, Clone)]
pub enum OpenError {
    /// 404 `topic_not_available`: the id names a topic outside the requested streams.
    TopicNotAvailable(String),
    /// 400 `too_many_partitions`: the request would read more partitions than one may.
    TooManyPartitions {
        /// How many it would be.
        found: usize,
    },
    /// 429 or 503, with the one reason.
    Refused(Refusal),
}

/// An open stream.
pub struct Opened {
    /// The body: whole events only; ends after a whole event.
    pub body: SessionBody,
    /// What could not be given, for the header `x-stream-gap`.
    pub gaps: Vec<Gap>,
}

/// Opens sessions.
#[derive(Debug)]
pub struct Sessions {
    catalog: catalog::Current,
    gate: Arc<Gate>,
    settings: RwLock<Settings>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
}

impl Sessions {
    /// Sessions over a hub and its history. With a pump, those that get a socket of their own are
    /// delivered by it.
    #[must_use]
    pub fn new(
        (hub, history): (Arc<Hub>, Arc<History>),
        catalog: impl Into<catalog::Current>,
        gate: Arc<Gate>,
        settings: Settings,
        metrics: Arc<Metrics>,
        pump: Option<Arc<Pump>>,
    ) -> Arc<Self> {
        let drain = watch::Sender::new(None);
        let roll = Arc::new(Roll::default());
        let (catalog, settings) = (catalog.into(), RwLock::new(settings));
        let shared = Arc::new(Shared {
            hub,
            history,
            catalog: catalog.clone(),
            metrics: Arc::clone(&metrics),
            drain,
            pump,
            roll,
        });
        Arc::new(Self { catalog, gate, settings, shared, metrics })
    }

    /// How much came to a stream in the last two minutes.
    #[must_use]
    pub fn recent(&self, stream: &Stream, now: TimestampMs) -> Recent {
        self.shared.hub.recent(&stream.topics, now)
    }

    /// Those that open from now on go by these.
    pub fn change(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Records that the reader in catch-up that is furthest behind has still to pass.
    #[must_use]
    pub fn furthest_behind(&self) -> u64 {
        self.shared.roll.furthest_behind()
    }

    /// From now on every stream ends after a whole event; their ends are spread over this time.
    /// Said again, those that are left end by what is said then.
    pub fn drain(&self, over: Duration) {
        let drain = Drain { from: Instant::now(), over };
        self.shared.drain.send_replace(Some(drain));
        if let Some(pump) = &self.shared.pump {
            pump.drain(drain);
        }
    }

    /// Returns when all who deliver have answered that they do.
    pub async fn alive(&self) {
        if let Some(pump) = &self.shared.pump {
            pump.alive().await;
        }
    }

    /// After `drain`, when nobody opens streams any more: returns when all sockets are closed.
    pub async fn closed(&self) {
        self.gate.emptied().await;
        if let Some(pump) = &self.shared.pump {
            pump.closed().await;
        }
    }

    /// Fixes the start (within `limits::START_DEADLINE`) and opens the stream.
    ///
    /// # Errors
    /// See `OpenError`.
    pub async fn open(&self, request: OpenRequest, permit: Permit) -> Result<Opened, OpenError> {
        let start = tokio::time::timeout(limits::START_DEADLINE, self.start(&request, &permit));
        let (feed, phase, id, gaps) = match start.await {
            Ok(started) => started?,
            Err(_) => {
                tracing::warn!(streams = ?request.selection.streams, "no start in time");
                return Err(self.unavailable());
            }
        };
        let settings = *self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let retry_ms = jitter(settings.retry_ms, 50..=150);
        let lifetime = settings.lifetime.map(|lifetime| {
            let ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(jitter(ms, 80..=100))
        });
        let keepalive = settings.keepalive;
        let terms = Terms { framing: request.framing, keepalive, lifetime, retry_ms };
        let id_first = request.id_first && request.framing == Framing::Sse && id != b"[]";
        for gap in &gaps {
            let reason = gap.reason.as_str();
            self.metrics.gaps.get_or_create(&ByReason { reason }).inc();
            tracing::info!(tp = %gap.tp, from = %gap.from, reason, "gap said");
        }
        let now = Instant::now();
        let mut out = VecDeque::new();
        let packed = request.encoding.map(|encoding| {
            let mut head = Vec::new();
            let reader = encode::Reader::open(encoding, &mut head);
            out.extend((!head.is_empty()).then(|| head.into()));
            Box::new(reader)
        });
        let held = Held::new(&self.catalog, request.selection.clone());
        let audience = (held, request.encoding);
        let presence = Presence::new(audience, permit, Arc::clone(&self.metrics));
        let enrolled = presence.enrolled(&self.shared.roll, request.framing, &feed);
        if let Phase::Live(cursor) = &phase {
            enrolled.is_at(cursor.index);
        }
        let mut body = SessionBody {
            phase,
            state: State::new(terms, now, id_first),
            head: WatchStream::new(feed.watch()),
            feed,
            shared: Arc::clone(&self.shared),
            gap_events: request.gap_events,
            out,
            drain: WatchStream::new(self.shared.drain.subscribe()),
            told: WatchStream::new(self.gate.telling()),
            timer: Box::pin(tokio::time::sleep_until(now)),
            packed,
            wants_join: false,
            presence,
            enrolled,
        };
        body.say(&frames::opening(request.framing));
        if id_first {
            body.say(&frames::id_first(retry_ms, &id));
        }
        if request.gap_events && !gaps.is_empty() {
            body.say(&frames::gap(request.framing, &gaps));
        }
        Ok(Opened { body, gaps })
    }

    async fn start(
        &self,
        request: &OpenRequest,
        permit: &Permit,
    ) -> Result<(Arc<FeedHandle>, Phase, Vec<u8>, Vec<Gap>), OpenError> {
        self.surveyed().await?;
        let charge = || permit.starts_feed().map(|started| Box::new(started) as Charge);
        let feed = self.shared.hub.feed(&request.selection, charge).map_err(|no| match no {
            NoFeed::TooMany => OpenError::Refused(self.gate.refused(Refusal::Feeds)),
            NoFeed::Refused(why) => OpenError::Refused(why),
        })?;
        let feed = Arc::new(feed);
        let cursor = feed.now();
        let now = cursor.vector();
        let found = now.slots().len();
        if found > limits::PARTITIONS_PER_REQUEST_MAX {
            return Err(OpenError::TooManyPartitions { found });
        }
        let framing = (request.framing, request.gap_events);
        let catch_up = |places| {
            let shared = Arc::clone(&self.shared);
            Box::new(CatchUp::new(shared, Arc::clone(&feed), places, framing))
        };
        if request.last_event_id.is_none() && request.since.is_none() {
            let id = id_of(&now);
            return Ok((feed, Phase::Live(cursor), id, Vec::new()));
        }
        let catalog = self.catalog.now();
        let resolver = Resolver::new(&self.shared.hub, &self.shared.history, &catalog);
        let (id, since) = (request.last_event_id.as_ref(), request.since);
        let start = resolver.start(&request.selection, &now, id, since).await;
        let (places, gaps) = start.map_err(|error| self.no_start(error))?;
        let catchup = catch_up(places);
        let id = catchup.id();
        let turn = permit.turn(Errand::Replay);
        Ok((feed, Phase::CatchUp(Box::new(Replay::new(catchup, turn))), id, gaps))
    }

    /// Until the source has said which topics there are; not at all if it is known to be gone.
    async fn surveyed(&self) -> Result<(), OpenError> {
        let mut state = self.shared.hub.source_state();
        let known = state.wait_for(|s| s.surveyed || s.down.is_some()).await;
        match known {
            Ok(state) if state.down.is_none() => Ok(()),
            _ => Err(self.unavailable()),
        }
    }

    fn no_start(&self, error: NoStart) -> OpenError {
        match error {
            NoStart::TopicNotAvailable(topic) => OpenError::TopicNotAvailable(topic),
            NoStart::Source(error) => {
                match error {
                    SourceError::Unreachable { .. } => tracing::warn!(%error, "no start"),
                    _ => tracing::error!(%error, "no start"),
                }
                self.unavailable()
            }
        }
    }

    fn unavailable(&self) -> OpenError {
        OpenError::Refused(self.gate.refused(Refusal::SourceUnavailable))
    }
}

/// A value between two percentages of `of`, at least 1.
fn jitter(of: u64, percent: std::ops::RangeInclusive<u64>) -> u64 {
    let (low, high) = (*percent.start(), *percent.end());
    let range = of.saturating_mul(low) / 100..=of.saturating_mul(high) / 100;
    rand::rng().random_range(range).max(1)
}

/// A reader that has passed just this.
fn places(vector: &Vector) -> BTreeMap<TopicPartition, Place> {
    vector.slots().iter().map(|s| (s.tp.clone(), Place::here(s, s.at))).collect()
}

fn id_of(vector: &Vector) -> Vec<u8> {
    let mut out = Vec::new();
    crate::position::write_id(&mut out, vector.slots().iter().map(|s| (&s.tp, &s.at)));
    out
}

#[cfg(test)]
mod body_tests;
#[cfg(test)]
mod joint_tests;
#[cfg(test)]
mod resolve_tests;
