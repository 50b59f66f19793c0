//! What a session has to say besides its events, and when it ends. One state machine for every
//! way of delivery.
//!
//! Pure: it is told the time and what was sent, and answers what is due. No I/O, no clock.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Framing, frames};
use crate::gate::Told;
use crate::limits;

/// Why a stream ended. One word each, the same in log and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client went away.
    ClientClosed,
    /// Its lifetime was over.
    Lifetime,
    /// This host is going down.
    Draining,
    /// It took no byte for too long while some waited.
    Stalled,
    /// Its seat went to a client that holds far less.
    Displaced,
    /// Its client has been blocked.
    Blocked,
    /// An operator ended it.
    Ended,
    /// Its streams are no more, or other topics.
    Reconfigured,
    /// It sent more than a reader has to say.
    ClientTalks,
    /// Its system did not even acknowledge what was sent.
    Vanished,
}

impl EndReason {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::Lifetime => "lifetime",
            Self::Draining => "draining",
            Self::Stalled => "stalled",
            Self::Displaced => "displaced",
            Self::Blocked => "blocked",
            Self::Ended => "ended",
            Self::Reconfigured => "reconfigured",
            Self::ClientTalks => "client_talks",
            Self::Vanished => "vanished",
        }
    }
}

impl From<&Told> for EndReason {
    fn from(told: &Told) -> Self {
        match told {
            Told::Displaced => Self::Displaced,
            Told::Blocked(_) => Self::Blocked,
            Told::Ended => Self::Ended,
        }
    }
}

impl EndReason {
    /// What a connection broke for, by what its socket said.
    #[must_use]
    pub fn broken(by: ErrorKind) -> Self {
        if by == ErrorKind::TimedOut { Self::Vanished } else { Self::ClientClosed }
    }
}

/// What is a session's own from the start.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How events are written.
    pub framing: Framing,
    /// Silence after which a keepalive is sent.
    pub keepalive: Duration,
    /// How long this session may last.
    pub lifetime: Option<Duration>,
    /// What `retry:` says, in ms.
    pub retry_ms: u64,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this moment.
    At(Instant),
    /// Send this.
    Send(Bytes),
    /// End, after a whole event.
    End(EndReason),
}

/// The state. Small: there is one for every reader.
#[derive(Debug)]
pub struct State {
    opened: Instant,
    /// When something was last sent, in ms after it opened.
    last_sent_ms: u64,
    /// 0: no limit.
    lifetime_ms: u64,
    keepalive_ms: u32,
    retry_ms: u32,
    framing: Framing,
    /// `retry:` still has to be said.
    owes_retry: bool,
    /// Its time ends because this host goes down.
    is_draining: bool,
    seen_event: bool,
}

impl State {
    /// A session that opens now. `id_first`: its `retry:` stands before all events.
    #[must_use]
    pub fn new(terms: Terms, opened: Instant, id_first: bool) -> Self {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Self {
            opened,
            last_sent_ms: 0,
            lifetime_ms: terms.lifetime.map_or(0, |lifetime| ms(lifetime).max(1)),
            keepalive_ms: u32::try_from(ms(terms.keepalive)).unwrap_or(u32::MAX),
            retry_ms: u32::try_from(terms.retry_ms).unwrap_or(u32::MAX),
            framing: terms.framing,
            owes_retry: terms.framing == Framing::Sse && !id_first,
            is_draining: false,
            seen_event: false,
        }
    }

    /// How events are written.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether `retry:` has to follow the next event.
    #[must_use]
    pub fn owes_retry(&self) -> bool {
        self.owes_retry
    }

    /// Why its time is over, if it is.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> Option<EndReason> {
        let why = if self.is_draining { EndReason::Draining } else { EndReason::Lifetime };
        self.end().is_some_and(|end| now >= end).then_some(why)
    }

    /// This host goes down: it ends at this moment, unless its lifetime is over sooner.
    pub fn drains_at(&mut self, then: Instant) {
        if self.end().is_none_or(|end| then < end) {
            let age = then.saturating_duration_since(self.opened);
            self.lifetime_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
            self.is_draining = true;
        }
    }

    /// What it is still told when it ends for this reason: when to come back, if it does not know.
    pub fn last_words(&mut self, reason: EndReason) -> Option<Bytes> {
        let owes = reason == EndReason::Draining && std::mem::take(&mut self.owes_retry);
        owes.then(|| frames::retry(self.retry_ms.into()))
    }

    fn end(&self) -> Option<Instant> {
        let lifetime = Duration::from_millis(self.lifetime_ms);
        (!lifetime.is_zero()).then(|| self.opened + lifetime)
    }

    fn sent(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.opened);
        self.last_sent_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    }

    /// Events are being sent. After the first one of all the returned bytes follow, if any.
    pub fn on_events(&mut self, now: Instant) -> Option<Bytes> {
        self.sent(now);
        self.seen_event = true;
        std::mem::take(&mut self.owes_retry).then(|| frames::retry(self.retry_ms.into()))
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant) -> Due {
        if let Some(reason) = self.is_over(now) {
            return Due::End(reason);
        }
        let silent_ms = self.last_sent_ms.saturating_add(self.keepalive_ms.into());
        let mut keepalive = self.opened + Duration::from_millis(silent_ms);
        if !self.seen_event {
            // Checks of the kind `head -n 5 | grep ^data:` end here.
            keepalive = keepalive.max(self.opened + limits::QUIET_START);
        }
        if now >= keepalive {
            self.sent(now);
            return Due::Send(frames::keepalive(self.framing));
        }
        Due::At(self.end().map_or(keepalive, |end| end.min(keepalive)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state(keepalive_s: u32, lifetime_s: Option<u32>) -> (State, Instant) {
        let now = Instant::now();
        let terms = Terms {
            framing: Framing::Sse,
            keepalive: SECOND * keepalive_s,
            lifetime: lifetime_s.map(|s| SECOND * s),
            retry_ms: 2713,
        };
        (State::new(terms, now, false), now)
    }

    #[test]
    fn no_keepalive_before_ten_seconds_unless_an_event_came() {
        let (mut state, start) = state(2, None);
        assert_eq!(state.due(start + 3 * SECOND), Due::At(start + 10 * SECOND));
        assert_eq!(state.due(start + 10 * SECOND), Due::Send(Bytes::from_static(b":\n")));
        assert_eq!(state.due(start + 11 * SECOND), Due::At(start + 12 * SECOND));
        let (mut state, start) = self::state(2, None);
        state.on_events(start + SECOND);
        assert_eq!(state.due(start + 2 * SECOND), Due::At(start + 3 * SECOND));
        assert_eq!(state.due(start + 3 * SECOND), Due::Send(Bytes::from_static(b":\n")));
    }

    #[test]
    fn retry_is_said_once_after_the_first_event() {
        let (mut state, start) = state(15, None);
        assert_eq!(state.on_events(start), Some(Bytes::from_static(b"retry: 2713\n")));
        assert_eq!(state.on_events(start), None);
    }

    #[test]
    fn a_host_that_goes_down_ends_it_sooner_and_tells_who_does_not_know_when_to_come_back() {
        let (mut state, start) = state(15, Some(20));
        state.drains_at(start + 30 * SECOND);
        assert_eq!(state.due(start + 20 * SECOND), Due::End(EndReason::Lifetime));
        state.drains_at(start + 12 * SECOND);
        assert_eq!(state.due(start + 11 * SECOND), Due::At(start + 12 * SECOND));
        assert_eq!(state.due(start + 12 * SECOND), Due::End(EndReason::Draining));
        assert_eq!(state.last_words(EndReason::Lifetime), None);
        let retry = Some(Bytes::from_static(b"retry: 2713\n"));
        assert_eq!(state.last_words(EndReason::Draining), retry);
        assert_eq!(state.last_words(EndReason::Draining), None);
        let (mut state, start) = self::state(15, None);
        state.on_events(start);
        state.drains_at(start);
        assert_eq!(state.due(start + SECOND), Due::End(EndReason::Draining));
        assert_eq!(state.last_words(EndReason::Draining), None, "it was said with the first event");
    }

    #[test]
    fn a_lifetime_ends_the_stream_whatever_else_is_due() {
        let (mut state, start) = state(15, Some(20));
        assert_eq!(state.due(start + 15 * SECOND), Due::Send(Bytes::from_static(b":\n")));
        assert_eq!(state.due(start + 16 * SECOND), Due::At(start + 20 * SECOND));
        assert_eq!(state.due(start + 31 * SECOND), Due::End(EndReason::Lifetime));
    }
}
