//! Looks every second at what the other parts know of themselves, and puts it on the board.
//!
//! What cannot be seen from inside (whether an event gets from a writer to a reader) is for the
//! canaries to find out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::board::Board;
use super::check::{Finding, Word};
use super::flow::{self, Flow};
use super::model::{Aspect, Subject, streams_of};
use super::room::Room;
use crate::catalog::{self, Catalog};
use crate::event::{TimestampMs, TopicName};
use crate::feed::Hub;
use crate::limits::HEALTH_LOOK_EVERY;
use crate::metrics::{ByStream, Metrics};
use crate::session::Sessions;
use crate::source::sites::{SiteState, Sites};

/// By what it goes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// No shorter silence of a stream counts.
    pub silence_min: Duration,
    /// What an operator says of a stream's silence.
    pub silence_max: BTreeMap<String, Duration>,
    /// Topics come into being with their first record: one that does not exist is only empty.
    pub topics_come_by_themselves: bool,
}

/// What is looked at.
pub struct Watch {
    board: Arc<Board>,
    hub: Arc<Hub>,
    catalog: catalog::Current,
    /// The one that the board goes by.
    followed: Arc<Catalog>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    settings: Settings,
    source: Arc<str>,
    /// The source, where it is several clusters.
    sites: Option<Arc<Sites>>,
    flows: BTreeMap<Arc<str>, Flow>,
    room: Room,
}

impl Watch {
    /// A watch that has not looked yet.
    #[must_use]
    pub fn new(
        (board, source): (Arc<Board>, Arc<str>),
        (hub, catalog, sessions): (Arc<Hub>, catalog::Current, Arc<Sessions>),
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let (flows, room, followed) = (BTreeMap::new(), Room::default(), catalog.now());
        let sites = None;
        Self {
            board,
            hub,
            catalog,
            followed,
            sessions,
            metrics,
            settings,
            source,
            sites,
            flows,
            room,
        }
    }

    /// Over these clusters, where they are several.
    #[must_use]
    pub fn over(self, sites: Option<Arc<Sites>>) -> Self {
        Self { sites, ..self }
    }

    /// Looks until the task is dropped.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(HEALTH_LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.look(ticks.tick().await);
        }
    }

    fn look(&mut self, now: Instant) {
        self.board.beats(now);
        let surveyed = self.look_at_source(now);
        let catalog = self.follow(now);
        for topic in catalog.topics().iter().filter(|_| surveyed) {
            let exists = self.settings.topics_come_by_themselves
                || self.hub.standing(std::slice::from_ref(topic)).partitions > 0;
            let finding = match exists {
                true => Finding::ok(),
                false => Finding::degraded(Word::NoTopic, format!("there is no topic {topic}")),
            };
            let subject = Subject::Topic(topic.as_str().into());
            self.board.found(subject, Aspect::Presence, now, finding);
        }
        for stream in catalog.streams().filter(|_| surveyed) {
            self.look_at_stream(&stream.name, &stream.topics, now);
        }
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.health.ring_bytes.set(number(self.hub.ring_bytes() as u64));
        self.metrics.health.catchup_lag.set(number(self.sessions.furthest_behind()));
        let refused = self.metrics.gate.refused_under_share.get();
        let room = self.room.refused(now, refused);
        self.board.found(Subject::Service, Aspect::Room, now, room);
        let keeping = match self.metrics.control.blocks_unsaved.get() {
            0 => Finding::ok(),
            _ => Finding::degraded(
                Word::StateUnsaved,
                "what operators decide cannot be written to the disk",
            ),
        };
        self.board.found(Subject::Service, Aspect::Keeping, now, keeping);
        let knowing = match self.metrics.catalogue.stale.get() {
            0 => Finding::ok(),
            _ => Finding::degraded(
                Word::CatalogueStale,
                "the catalogue cannot be read; the last good one is in force",
            ),
        };
        self.board.found(Subject::Service, Aspect::Knowing, now, knowing);
        let _ = self.board.look(now);
    }

    /// The catalogue in force, which the board goes by then.
    fn follow(&mut self, now: Instant) -> Arc<Catalog> {
        let catalog = self.catalog.now();
        if !Arc::ptr_eq(&catalog, &self.followed) {
            self.board.follow(streams_of(&catalog), now);
            let ages = &self.metrics.health.last_event_age;
            self.flows.retain(|name, _| {
                let stays = catalog.get(name).is_some_and(|stream| stream.name == *name);
                if !stays {
                    ages.remove(&ByStream { stream: name.to_string() });
                }
                stays
            });
            self.followed = Arc::clone(&catalog);
        }
        catalog
    }

    /// Whether it has said which topics there are.
    fn look_at_source(&self, now: Instant) -> bool {
        let state = self.hub.source_state().borrow().clone();
        let finding = match state.down {
            Some(cause) => {
                let says = format!("{} does not answer: {cause}", self.source);
                Finding::critical(Word::Unreachable, says)
            }
            None if state.surveyed => self.sites.as_ref().map_or_else(Finding::ok, |s| of_sites(s)),
            // Not yet known: its deadline runs.
            None => return false,
        };
        let subject = Subject::Source(Arc::clone(&self.source));
        self.board.found(subject, Aspect::Reach, now, finding);
        state.surveyed
    }

    fn look_at_stream(&mut self, name: &Arc<str>, topics: &[TopicName], now: Instant) {
        let standing = self.hub.standing(topics);
        if let Some(last) = standing.last {
            let ms = TimestampMs::now().0.saturating_sub(last.0).max(0);
            let age = Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64();
            let stream = ByStream { stream: name.to_string() };
            self.metrics.health.last_event_age.get_or_create(&stream).set(age);
        }
        let terms = flow::Terms {
            silence_min: self.settings.silence_min,
            silence_max: self.settings.silence_max.get(&**name).copied(),
        };
        let flow = self.flows.entry(Arc::clone(name)).or_insert_with(|| Flow::new(terms, now));
        let finding = flow.passed(now, standing.passed);
        self.board.found(Subject::Stream(Arc::clone(name)), Aspect::Flow, now, finding);
    }
}

/// The one that is read answers: is it the preferred one, and is there another one for it?
fn of_sites(sites: &Sites) -> Finding {
    let states = sites.states();
    let away = |state: &SiteState| match &state.unreachable {
        Some((since, cause)) => {
            format!("{} has not answered for {} s: {cause}", state.name, since.elapsed().as_secs())
        }
        None => format!("{} answers again", state.name),
    };
    let in_use = states.iter().position(|state| state.in_use).unwrap_or(0);
    if in_use > 0 {
        let says = format!("{} is read, since {}", states[in_use].name, away(&states[0]));
        return Finding::degraded(Word::FailedOver, says);
    }
    let is_long = |state: &&SiteState| {
        state.unreachable.as_ref().is_some_and(|(since, _)| since.elapsed() >= sites.patience())
    };
    let standby = states.iter().find(is_long);
    standby.map_or_else(Finding::ok, |state| {
        Finding::degraded(Word::NoStandby, format!("it could not be taken: {}", away(state)))
    })
}
