//! What clients have tried lately: streams opened, and refused with the last reason.
//!
//! ```text
//!  │── before ──│── now … │      counts are of both: of the last one to two spans
//! ```
//! Bounded: of more clients than fit nothing is kept until the next span. Pure: it is told the
//! time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::client::ClientKey;
use crate::limits::LATELY_CLIENTS_MAX;

/// After this the oldest counts are forgotten.
const SPAN: Duration = Duration::from_secs(30);

/// What one client has tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// Streams opened.
    pub opened: u32,
    /// Requests refused.
    pub refused: u32,
    /// Why the last one was.
    pub reason: Option<&'static str>,
}

impl Tried {
    fn and(self, later: Self) -> Self {
        Self {
            opened: self.opened.saturating_add(later.opened),
            refused: self.refused.saturating_add(later.refused),
            reason: later.reason.or(self.reason),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lately {
    /// When `now` began.
    since: Instant,
    now: HashMap<ClientKey, Tried>,
    before: HashMap<ClientKey, Tried>,
    /// How long `before` was.
    span_before: Duration,
}

impl Lately {
    pub(super) fn new(at: Instant) -> Self {
        let (now, before) = (HashMap::new(), HashMap::new());
        Self { since: at, now, before, span_before: Duration::ZERO }
    }

    /// A stream has been opened.
    pub(super) fn opened(&mut self, key: ClientKey, at: Instant) {
        self.count(key, at, Tried { opened: 1, ..Tried::default() });
    }

    /// A request has been refused.
    pub(super) fn refused(&mut self, key: ClientKey, at: Instant, reason: &'static str) {
        self.count(key, at, Tried { refused: 1, reason: Some(reason), opened: 0 });
    }

    fn count(&mut self, key: ClientKey, at: Instant, what: Tried) {
        self.turn(at);
        if self.now.len() < LATELY_CLIENTS_MAX || self.now.contains_key(&key) {
            let tried = self.now.entry(key).or_default();
            *tried = tried.and(what);
        }
    }

    fn turn(&mut self, at: Instant) {
        let passed = at.saturating_duration_since(self.since);
        if passed < SPAN {
            return;
        }
        self.before = std::mem::take(&mut self.now);
        self.span_before = SPAN;
        if passed >= 2 * SPAN {
            self.before.clear();
        }
        self.since = at;
    }

    /// What all have tried, and in how much time.
    pub(super) fn all(&mut self, at: Instant) -> (HashMap<ClientKey, Tried>, Duration) {
        self.turn(at);
        let mut all = self.before.clone();
        for (key, tried) in &self.now {
            let sum = all.entry(*key).or_default();
            *sum = sum.and(*tried);
        }
        (all, self.span_before + at.saturating_duration_since(self.since))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

    use super::*;
    use crate::gate::Settings;

    fn key(n: u32) -> ClientKey {
        let address = IpAddr::V4(n.into());
        let identity = Settings::room_for(1).identity;
        identity.of(address, &HeaderMap::new()).expect("a client").key
    }

    #[test]
    fn what_was_tried_is_counted_for_a_while_and_then_forgotten() {
        let start = Instant::now();
        let mut lately = Lately::new(start);
        lately.opened(key(1), start);
        lately.refused(key(1), start, "rate");
        let (all, _) = lately.all(start + SPAN * 3 / 2);
        assert_eq!(all[&key(1)], Tried { opened: 1, refused: 1, reason: Some("rate") });
        lately.refused(key(1), start + SPAN * 3 / 2, "client_limit");
        let (all, _) = lately.all(start + SPAN * 2);
        assert_eq!(all[&key(1)], Tried { opened: 1, refused: 2, reason: Some("client_limit") });
        let (all, span) = lately.all(start + SPAN * 20);
        assert!(all.is_empty() && span <= 2 * SPAN, "{all:?} {span:?}");
    }

    #[test]
    fn a_crowd_of_clients_is_bounded_and_those_known_go_on_counting() {
        let start = Instant::now();
        let mut lately = Lately::new(start);
        let crowd = u32::try_from(LATELY_CLIENTS_MAX).expect("some") + 50;
        (0..crowd).for_each(|n| lately.refused(key(n), start, "full"));
        lately.refused(key(0), start, "full");
        let (all, _) = lately.all(start);
        assert_eq!((all.len(), all[&key(0)].refused), (LATELY_CLIENTS_MAX, 2));
    }
}
