//! That somebody is here: whom a session counts for, what it has been given, and the one reason for
//! which it ends. Dropping it gives everything back, whatever way the session ends.

use std::sync::Arc;

use bytes::Bytes;

use super::frames;
use super::roll::{Enrolled, Roll};
use super::state::{EndReason, State};
use crate::catalog::Held;
use crate::feed::FeedHandle;
use crate::feed::encode::Encoding;
use crate::feed::frame::Framing;
use crate::gate::{Permit, Seated};
use crate::metrics::{ByEncoding, ByReason, ByStream, Counter, Metrics};
use crate::position::gap::Gap;
use crate::telemetry;

/// Whom a session counts for. Readers of one feed share it.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) streams: Vec<ByStream>,
    pub(super) held: Held,
    pub(super) encoding: Option<Encoding>,
    /// Bytes in their encoding.
    pub(super) bytes: Counter,
    pub(super) metrics: Arc<Metrics>,
}

impl Audience {
    pub(super) fn delivered(&self, events: u64, bytes: u64) {
        self.metrics.events_delivered.inc_by(events);
        self.bytes.inc_by(bytes);
    }

    /// The streams' names, comma separated.
    fn names(&self) -> String {
        let names: Vec<_> = self.streams.iter().map(|by| by.stream.as_str()).collect();
        names.join(",")
    }

    /// So many readers have passed a gap.
    pub(super) fn passed_gap(&self, gap: &Gap, readers: u64) {
        let reason = gap.reason.as_str();
        self.metrics.gaps.get_or_create(&ByReason { reason }).inc_by(readers);
    }
}

/// What a session has been given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) events: u64,
    /// As they are encoded.
    pub(super) bytes: u64,
}

impl Got {
    /// Modulo 2^64, so that it can be taken away again.
    pub(super) fn and(self, more: Self) -> Self {
        let events = self.events.wrapping_add(more.events);
        Self { events, bytes: self.bytes.wrapping_add(more.bytes) }
    }

    pub(super) fn without(self, less: Self) -> Self {
        let events = self.events.wrapping_sub(less.events);
        Self { events, bytes: self.bytes.wrapping_sub(less.bytes) }
    }
}

/// That somebody is here: the permit, the gauges, and the one end reason.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) of: Arc<Audience>,
    pub(super) reason: EndReason,
    pub(super) permit: Permit,
    pub(super) got: Got,
}

impl Presence {
    pub(super) fn new(
        (held, encoding): (Held, Option<Encoding>),
        permit: Permit,
        metrics: Arc<Metrics>,
    ) -> Self {
        let selection = held.selection();
        let names = selection.streams.iter().map(ToString::to_string);
        let streams: Vec<_> = names.map(|stream| ByStream { stream }).collect();
        metrics.stream_opened(&selection.streams);
        for stream in &streams {
            metrics.connected_clients.get_or_create(stream).inc();
        }
        let name = encoding.map_or("identity", Encoding::as_str);
        let bytes = metrics.delivered_bytes.get_or_create_owned(&ByEncoding { encoding: name });
        let of = Arc::new(Audience { streams, held, encoding, bytes, metrics });
        Self { of, reason: EndReason::ClientClosed, permit, got: Got::default() }
    }

    /// A line among those who have a task of their own.
    pub(super) fn enrolled(
        &self,
        roll: &Arc<Roll>,
        framing: Framing,
        feed: &Arc<FeedHandle>,
    ) -> Enrolled {
        let enrolled = roll.enrol(self.permit.number(), (&self.of, framing, feed));
        enrolled.has_got(self.got);
        enrolled
    }

    pub(super) fn delivered(&mut self, events: u64, bytes: u64) {
        self.of.delivered(events, bytes);
        self.got = self.got.and(Got { events, bytes });
    }

    pub(super) fn ends(&mut self, reason: EndReason) {
        self.reason = reason;
    }

    /// The line of its end, where connections are logged.
    fn log(&self, seated: &Seated) {
        tracing::info!(
            target: telemetry::CONNECTIONS,
            session = self.permit.number(),
            address = %seated.address,
            agent = seated.agent.as_deref().unwrap_or_default(),
            streams = self.of.names(),
            reason = self.reason.as_str(),
            seconds = seated.age.as_secs(),
            events = self.got.events,
            bytes = self.got.bytes,
            "stream ended"
        );
    }

    /// The line of how it was, where each stream has one.
    fn access_line(&self, seated: &Seated, client: &str) {
        tracing::info!(
            target: telemetry::ACCESS,
            client,
            agent = seated.agent.as_deref().unwrap_or_default(),
            streams = self.of.names(),
            encoding = self.of.encoding.map_or("identity", Encoding::as_str),
            events = self.got.events,
            bytes = self.got.bytes,
            seconds = seated.age.as_secs_f64(),
            reason = self.reason.as_str(),
            "stream"
        );
    }

    /// Why it has to go, if it has.
    pub(super) fn told(&self) -> Option<EndReason> {
        let told = self.permit.told().as_ref().map(EndReason::from);
        told.or_else(|| (!self.of.held.stands()).then_some(EndReason::Reconfigured))
    }

    /// What the client is still told, where it is not the one who ends the stream.
    pub(super) fn farewell(&self, state: &mut State) -> Option<Bytes> {
        let told = self.permit.told().filter(|told| EndReason::from(told) == self.reason);
        let farewell = told.map(|told| frames::farewell(state.framing(), &told));
        farewell.or_else(|| state.last_words(self.reason))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let Audience { streams, metrics, .. } = &*self.of;
        for stream in streams {
            metrics.connected_clients.get_or_create(stream).dec();
        }
        let reason = self.reason.as_str();
        metrics.streams_ended.get_or_create(&ByReason { reason }).inc();
        tracing::debug!(?streams, reason, "stream ended");
        if let Some(seated) = self.permit.to_be_logged() {
            self.log(&seated);
        }
        if let Some((seated, client)) = self.permit.access_line() {
            self.access_line(&seated, &client);
        }
    }
}
