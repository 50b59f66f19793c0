//! A session as a body for hyper: one event, one frame; it ends after a whole event.
//!
//! ```text
//!  Opening ─▶ CatchUp ◀──▶ Live ─▶ Ended
//! ```
//! The seam for another way of delivery: what is sent and when is decided by `state`, `catchup`
//! and the feed's ring; here it is only carried.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
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
use super::catchup::{CatchUp, Shared, Step};
use super::state::{Due, EndReason, State};
use super::{Framing, Presence, frames};
use crate::feed::FeedHandle;
use crate::feed::ring::{Entry, Found};
use crate::feed::vector::Cursor;
use crate::limits;
use crate::metrics::ByReason;

type Catching = Pin<Box<dyn Future<Output = (Box<CatchUp>, Step)> + Send>>;

/// Where the session's next events come from.
pub(super) enum Phase {
    /// From range reads.
    CatchUp(Catching),
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
    /// Whole frames that have not been handed on.
    pub(super) out: VecDeque<Bytes>,
    pub(super) head: WatchStream<u64>,
    pub(super) drain: WatchStream<bool>,
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) presence: Presence,
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
            carry(self, socket, transfer, head.into(), pump).await;
        }
    }

    /// Its client takes nothing; nobody will ask it for more.
    pub fn stalls(&mut self) {
        self.end(EndReason::Stalled);
    }

    /// A live session that has fallen off its feed's ring.
    pub(super) fn fallen_behind(session: Session) -> Self {
        let Session { feed, cursor, state, presence, gap_events, shared, .. } = session;
        let drain = WatchStream::new(shared.drain.subscribe());
        let mut body = Self {
            phase: Phase::Live(cursor),
            state,
            head: WatchStream::new(feed.watch()),
            feed,
            shared,
            gap_events,
            out: VecDeque::new(),
            drain,
            timer: Box::pin(tokio::time::sleep_until(Instant::now())),
            presence,
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
        let Self { phase: Phase::Live(cursor), state, feed, shared, gap_events, presence, .. } =
            self
        else {
            return None;
        };
        Some(Session { feed, cursor, state, presence, transfer, gap_events, shared })
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        self.phase = Phase::Ended;
        self.presence.ends(reason);
    }

    /// Ends if it is time to, or queues what is due. Registers for the next moment.
    fn poll_duties(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(draining)) = Pin::new(&mut self.drain).poll_next(cx) {
            if draining {
                return self.end(EndReason::Draining);
            }
        }
        loop {
            match self.state.due(Instant::now()) {
                Due::Send(bytes) => return self.out.push_back(bytes),
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
            Phase::CatchUp(catching) => {
                let (catchup, step) = std::task::ready!(catching.as_mut().poll(cx));
                match step {
                    Step::Joined(cursor) => self.phase = Phase::Live(cursor),
                    Step::Bytes { bytes, events, first } => {
                        self.phase = Phase::CatchUp(Box::pin(catchup.step()));
                        self.send_replayed(bytes, events, first);
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

    fn send_replayed(&mut self, mut bytes: Bytes, events: u64, first: usize) {
        self.presence.of.delivered(events, bytes.len() as u64);
        if events > 0
            && let Some(retry) = self.state.on_events(Instant::now())
        {
            self.out.push_back(bytes.split_to(first));
            self.out.push_back(retry);
        }
        if !bytes.is_empty() {
            self.out.push_back(bytes);
        }
    }

    /// Takes entries from the ring. False: there are none.
    fn take_live(&mut self) -> bool {
        let Phase::Live(cursor) = &mut self.phase else { return false };
        let framing = self.state.terms().framing;
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
        let (mut index, mut bytes, mut events) = (cursor.index, 0, 0);
        for entry in entries {
            index += 1;
            match entry {
                Entry::Passed => {}
                Entry::Gap(gap) => {
                    let reason = gap.reason.as_str();
                    self.shared.metrics.gaps.get_or_create(&ByReason { reason }).inc();
                    if self.gap_events {
                        self.out.push_back(frames::gap(framing, std::slice::from_ref(gap)));
                    }
                }
                Entry::Event { sse, line } => {
                    let frame = if framing == Framing::Sse { sse.plain() } else { line.clone() };
                    bytes += frame.len();
                    events += 1;
                    self.out.push_back(frame);
                    if let Some(retry) = self.state.on_events(Instant::now()) {
                        self.out.push_back(retry);
                    }
                }
            }
            if bytes >= limits::BATCH_BYTES_MAX {
                break;
            }
        }
        *cursor = ring.cursor(index);
        self.presence.of.delivered(events, bytes as u64);
        true
    }

    /// The ring has gone on without this reader: it reads what it missed and comes back.
    fn fall_behind(&mut self) {
        let Phase::Live(cursor) = &self.phase else { return };
        self.shared.metrics.fell_behind.inc();
        let places = super::places(&cursor.vector());
        let framing = (self.state.terms().framing, self.gap_events);
        let (shared, feed) = (Arc::clone(&self.shared), Arc::clone(&self.feed));
        let catchup = Box::new(CatchUp::new(shared, feed, places, framing));
        self.phase = Phase::CatchUp(Box::pin(catchup.step()));
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
            this.poll_duties(cx);
            if matches!(this.phase, Phase::Ended) {
                return Poll::Ready(None);
            }
            if this.poll_events(cx).is_pending() && this.out.is_empty() {
                return Poll::Pending;
            }
        }
    }
}
