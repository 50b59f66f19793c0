//! How long to wait before the next connection. Pure.

use std::time::Duration;

/// Where a server has not said how long it wants to be left alone.
const RETRY: Duration = Duration::from_secs(2);
/// No pause of our own is longer; what a server asks for may be, up to `ASKED_MAX`.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// What the next pause depends on.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Attempts since the last connection that brought an event.
    failures: u32,
    /// What the server says in `retry:`.
    retry: Option<Duration>,
}

impl Pause {
    /// The server has said how long it wants to be left alone after an end.
    pub(super) fn server_says(&mut self, retry: Option<Duration>) {
        self.retry = retry.or(self.retry).map(|retry| retry.min(ASKED_MAX));
    }

    /// A connection was worth something.
    pub(super) fn all_is_well(&mut self) {
        self.failures = 0;
    }

    /// The next pause. `asked`: what a refusal asks for; `chance`: from 0 to 1.
    ///
    /// After a good connection it is what the server says, half to one and a half of it, so that
    /// those who were cut together do not come back together; it doubles with each failure. What a
    /// refusal asks for is the least, and up to a half comes on top.
    pub(super) fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let first = self.retry.unwrap_or(RETRY);
        let doubled = first.saturating_mul(1 << self.failures.min(10));
        let own = doubled.min(PAUSE_MAX.max(first)).mul_f64(0.5 + chance);
        self.failures = self.failures.saturating_add(1);
        let asked = asked.map(|asked| asked.min(ASKED_MAX).mul_f64(1.0 + chance / 2.0));
        asked.map_or(own, |asked| asked.max(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn pauses_double_from_what_the_server_says_and_begin_anew_when_all_is_well() {
        let mut pause = Pause::default();
        assert_eq!([0, 1, 2].map(|_| pause.next(None, 0.5)), [s(2), s(4), s(8)]);
        pause.server_says(Some(s(5)));
        pause.server_says(None);
        pause.all_is_well();
        assert_eq!([0, 1].map(|_| pause.next(None, 0.5)), [s(5), s(10)]);
        let long: Vec<_> = (0..20).map(|_| pause.next(None, 0.5)).collect();
        assert_eq!(long[19], s(60));
        pause.all_is_well();
        assert_eq!(pause.next(None, 1.0), s(5).mul_f64(1.5));
    }

    #[test]
    fn what_a_refusal_asks_for_is_the_least() {
        let mut pause = Pause::default();
        assert_eq!(pause.next(Some(s(30)), 0.0), s(30));
        assert_eq!(pause.next(Some(s(30)), 1.0), s(45));
        assert_eq!(pause.next(Some(s(1)), 0.5), s(8));
        assert!(pause.next(Some(s(1 << 40)), 1.0) <= s(5400));
    }
}
