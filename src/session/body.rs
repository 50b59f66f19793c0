//! A session as a body for hyper: one event, one frame; it ends after a whole event.
//!
//! ```text
//!  Opening ─▶ CatchUp ◀──▶ Live ─▶ Ended
//! ```
//! The seam for another way of delivery: what is sent and when is decided by `state`, `catchup`
//! and the feed's ring; here it is only carried.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_stream::wrappers::WatchStream;

use super::carry::{Session, Transfer, carry};
use super::catchup::{Batch, CatchUp, Shared};
use super::drain::Drain;
use super::replay::{Given, Replay};
use super::roll::Enrolled;
use super::state::{Due, EndReason, State};
use super::{Framing, Presence, frames};
use crate::feed::FeedHandle;
use crate::feed::encode::{self, Piece};
use crate::feed::ring::{Entry, Found};
use crate::feed::vector::Cursor;
use crate::gate::catchup::Errand;
use crate::limits;

/// Where the session's next events come from.
pub(super) enum Phase {
    /// From range reads.
    CatchUp(Box<Replay>),
    /// From the feed's ring.
    Live(Cursor),
    /// From nowhere.
    Ended,
}

/// One open stream.
pub struct SessionBody {
    pub(super) phase: Phase,
    pub(super) state: State,
    pub(super) feed: Arc<FeedHandle>,
    pub(super) shared: Arc<Shared>,
    pub(super) gap_events: bool,
    /// Where it is in the text of its encoding, if it has one.
    pub(super) packed: Option<Box<encode::Reader>>,
    /// It is outside its encoding's shared run.
    pub(super) wants_join: bool,
    /// Whole frames that have not been handed on, as they go out.
    pub(super) out: VecDeque<Bytes>,
    pub(super) head: WatchStream<u64>,
    pub(super) drain: WatchStream<Option<Drain>>,
    /// Moves when somebody has to go.
    pub(super) told: WatchStream<u64>,
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) presence: Presence,
    /// What an operator sees of it.
    pub(super) enrolled: Enrolled,
}

impl SessionBody {
    /// Whether it can be given a socket.
    #[must_use]
    pub fn can_be_carried(&self) -> bool {
        self.shared.pump.is_some()
    }

    /// Delivers itself over a socket of its own, `head` first, until the pump has it or it ends.
    pub async fn carry(self, socket: TcpStream, transfer: Transfer, head: &[u8]) {
        if let Some(pump) = self.shared.pump.clone() {
            carry(self, socket, transfer, (head.into(), 0), pump).await;
        }
    }

    /// Its client takes nothing; nobody will ask it for more.
    pub fn stalls(&mut self) {
        self.end(EndReason::Stalled);
    }

    /// A live session that has fallen off its feed's ring.
    pub(super) fn fallen_behind(session: Session) -> Self {
        let Session { feed, cursor, state, presence, gap_events, shared, packed, .. } = session;
        let drain = WatchStream::new(shared.drain.subscribe());
        let enrolled = presence.enrolled(&shared.roll, state.framing(), &feed);
        let mut body = Self {
            phase: Phase::Live(cursor),
            state,
            head: WatchStream::new(feed.watch()),
            feed,
            shared,
            gap_events,
            packed,
            wants_join: true,
            out: VecDeque::new(),
            drain,
            told: WatchStream::new(presence.permit.telling()),
            timer: Box::pin(tokio::time::sleep_until(Instant::now())),
            presence,
            enrolled,
        };
        body.fall_behind();
        body
    }

    /// Whether it is live and has said all that comes before the next event.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Live(_)) && self.out.is_empty()
    }

    /// A settled session, for another way of delivery.
    pub(super) fn into_live(self, transfer: Transfer) -> Option<Session> {
        let Self { phase, state, feed, shared, gap_events, presence, packed, .. } = self;
        let Phase::Live(cursor) = phase else { return None };
        let live = Session { feed, cursor, state, presence, transfer, gap_events, shared, packed };
        Some(live)
    }

    /// Queues bytes of its own.
    pub(super) fn say(&mut self, bytes: &Bytes) {
        let Some(packed) = &mut self.packed else { return self.out.push_back(bytes.clone()) };
        let mut out = Vec::new();
        packed.own(bytes, &mut out);
        self.wants_join = true;
        if !out.is_empty() {
            self.out.push_back(out.into());
        }
    }

    /// Queues a frame of the feed: as all get it if it can, else as its own.
    fn show(&mut self, frame: &Bytes, piece: Option<&Piece>) {
        let (Some(packed), Some(piece)) = (&mut self.packed, piece) else { return self.say(frame) };
        let mut out = Vec::new();
        if packed.is_inside() && !packed.can_take(piece) {
            packed.leave(&mut out);
        }
        let Some(from) = packed.take(piece) else {
            self.out.extend((!out.is_empty()).then(|| out.into()));
            return self.say(frame);
        };
        self.wants_join = false;
        let bytes = piece.bytes.slice(from..);
        if out.is_empty() {
            self.out.push_back(bytes);
        } else {
            out.extend_from_slice(&bytes);
            self.out.push_back(out.into());
        }
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        self.phase = Phase::Ended;
        self.presence.ends(reason);
        if let Some(farewell) = self.presence.farewell(&mut self.state) {
            self.say(&farewell);
        }
        // With it the response is whole.
        if let Some(packed) = self.packed.take() {
            let mut out = Vec::new();
            packed.close(&mut out);
            self.out.extend((!out.is_empty()).then(|| out.into()));
        }
    }

    /// Ends if it is time to, or queues what is due. Registers for the next moment.
    fn poll_duties(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(drain)) = Pin::new(&mut self.drain).poll_next(cx) {
            if let Some(drain) = drain {
                self.state.drains_at(drain.end_of(self.presence.permit.number()));
            }
        }
        while let Poll::Ready(Some(_)) = Pin::new(&mut self.told).poll_next(cx) {}
        if let Some(reason) = self.presence.told() {
            return self.end(reason);
        }
        loop {
            match self.state.due(Instant::now()) {
                Due::Send(bytes) => return self.say(&bytes),
                Due::End(reason) => return self.end(reason),
                Due::At(then) => {
                    if self.timer.deadline() != then {
                        self.timer.as_mut().reset(then);
                    }
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return;
                    }
                }
            }
        }
    }

    /// Moves events to `out`. `Pending`: there are none now.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::Ended => Poll::Ready(()),
            Phase::CatchUp(replay) => {
                match std::task::ready!(replay.poll(cx)) {
                    Given::Joined(cursor) => {
                        self.enrolled.is_at(cursor.index);
                        self.phase = Phase::Live(cursor);
                    }
                    Given::Bytes(batch) => {
                        self.enrolled.is_behind(replay.behind());
                        self.send_replayed(batch);
                    }
                }
                Poll::Ready(())
            }
            Phase::Live(_) => {
                // Drained before the look: what comes after the look wakes again.
                while let Poll::Ready(Some(_)) = Pin::new(&mut self.head).poll_next(cx) {}
                if self.take_live() { Poll::Ready(()) } else { Poll::Pending }
            }
        }
    }

    fn send_replayed(&mut self, batch: Batch) {
        let Batch { mut bytes, events, first } = batch;
        self.presence.delivered(events, bytes.len() as u64);
        self.enrolled.has_got(self.presence.got);
        if events > 0
            && let Some(retry) = self.state.on_events(Instant::now())
        {
            let first = bytes.split_to(first);
            self.say(&first);
            self.say(&retry);
        }
        if !bytes.is_empty() {
            self.say(&bytes);
        }
    }

    /// Takes entries from the ring. False: there are none.
    fn take_live(&mut self) -> bool {
        let Phase::Live(cursor) = &mut self.phase else { return false };
        let framing = self.state.framing();
        let feed = Arc::clone(&self.feed);
        let ring = feed.ring();
        let entries = match ring.find(cursor.index) {
            Found::AtHead => return false,
            Found::Behind => {
                drop(ring);
                self.fall_behind();
                return true;
            }
            Found::Entries(entries) => entries,
        };
        let from = cursor.index;
        let (mut size, mut taken) = (0, Vec::new());
        for entry in entries {
            let frame = match (entry, framing) {
                (Entry::Passed, _) => None,
                (Entry::Gap(gap), _) => {
                    self.presence.of.passed_gap(gap, 1);
                    let said = || frames::gap(framing, std::slice::from_ref(gap));
                    self.gap_events.then(|| (said(), false))
                }
                (Entry::Event { sse, .. }, Framing::Sse) => Some((sse.plain(), true)),
                (Entry::Event { line, .. }, Framing::Ndjson) => Some((line.clone(), true)),
            };
            size += frame.as_ref().map_or(0, |(bytes, _)| bytes.len());
            taken.push(frame);
            if size >= limits::BATCH_BYTES_MAX {
                break;
            }
        }
        *cursor = ring.cursor(from + taken.len() as u64);
        let until = cursor.index;
        drop(ring);
        self.enrolled.is_at(until);
        let pieces = match self.packed.as_ref().map(|packed| packed.encoding().coding()) {
            Some(coding) => feed.pieces((framing, coding), (from, until), self.wants_join),
            None => Vec::new(),
        };
        self.show_all(&taken, &pieces);
        true
    }

    /// Queues entries: their bytes, and whether they are events.
    fn show_all(&mut self, taken: &[Option<(Bytes, bool)>], pieces: &[Option<Piece>]) {
        let (before, mut events) = (self.out.len(), 0);
        for (n, frame) in taken.iter().enumerate() {
            let Some((bytes, is_event)) = frame else { continue };
            self.show(bytes, pieces.get(n).and_then(Option::as_ref));
            if *is_event {
                events += 1;
                if let Some(retry) = self.state.on_events(Instant::now()) {
                    self.say(&retry);
                }
            }
        }
        let bytes: usize = self.out.iter().skip(before).map(Bytes::len).sum();
        self.presence.delivered(events, bytes as u64);
        self.enrolled.has_got(self.presence.got);
    }

    /// The ring has gone on without this reader: it reads what it missed and comes back.
    fn fall_behind(&mut self) {
        let Phase::Live(cursor) = &self.phase else { return };
        self.shared.metrics.fell_behind.inc();
        let places = super::places(&cursor.vector());
        let framing = (self.state.framing(), self.gap_events);
        let (shared, feed) = (Arc::clone(&self.shared), Arc::clone(&self.feed));
        let catchup = Box::new(CatchUp::new(shared, feed, places, framing));
        self.enrolled.is_behind(0);
        let turn = self.presence.permit.turn(Errand::Return);
        self.phase = Phase::CatchUp(Box::new(Replay::new(catchup, turn)));
    }
}

impl Body for SessionBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if matches!(this.phase, Phase::Ended) {
                return Poll::Ready(None);
            }
            this.poll_duties(cx);
            if !this.out.is_empty() || matches!(this.phase, Phase::Ended) {
                continue;
            }
            if this.poll_events(cx).is_pending() && this.out.is_empty() {
                return Poll::Pending;
            }
        }
    }
}
