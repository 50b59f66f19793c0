//! Streams that leave by themselves, and that come again when they are over.
//!
//! ```text
//!  open ── stay is over ──▶ leaves ─┐
//!  ended, cut, refused, failed ─────┴─▶ queue ─▶ begun anew, in the next turn
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Who has to leave or to come again. Empty, and of no cost, where nobody has.
pub(super) struct Returns {
    stay: Option<Duration>,
    again: bool,
    /// When each is to leave, and when it was begun (another one has taken its place since).
    leaving: VecDeque<(Instant, u32, Instant)>,
    queue: VecDeque<u32>,
}

impl Returns {
    pub(super) fn new(stay: Option<Duration>, again: bool) -> Self {
        Self { stay, again, leaving: VecDeque::new(), queue: VecDeque::new() }
    }

    /// Whether streams that are over come again.
    pub(super) fn come(&self) -> bool {
        self.again
    }

    /// A stream that was begun then is open now.
    pub(super) fn opened(&mut self, number: u32, begun: Instant) {
        if let Some(stay) = self.stay {
            self.leaving.push_back((Instant::now() + stay, number, begun));
        }
    }

    /// A stream is over.
    pub(super) fn over(&mut self, number: u32) {
        if self.again {
            self.queue.push_back(number);
        }
    }

    /// Who leaves now, with the time at which it was begun.
    pub(super) fn leaver(&mut self, now: Instant) -> Option<(u32, Instant)> {
        let (due, number, begun) = *self.leaving.front()?;
        (due <= now).then(|| self.leaving.pop_front()).map(|_| (number, begun))
    }

    /// Who comes again now.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.queue.pop_front()
    }

    /// How long nobody has to leave or to come.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        if !self.queue.is_empty() {
            // What could not even be begun is not tried without a pause.
            return Duration::from_millis(1);
        }
        let next = self.leaving.front();
        next.map_or(Duration::MAX, |(due, ..)| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_stayed_long_enough_leaves_and_who_is_over_comes_again() {
        let (stay, now) = (Duration::from_secs(60), Instant::now());
        let mut returns = Returns::new(Some(stay), true);
        returns.opened(7, now);
        assert_eq!(returns.leaver(now), None);
        assert!(returns.idle(now) > stay / 2);
        assert_eq!(returns.leaver(now + 2 * stay), Some((7, now)));
        assert_eq!((returns.leaver(now + 2 * stay), returns.idle(now)), (None, Duration::MAX));
        returns.over(7);
        assert!(returns.idle(now) < stay);
        assert_eq!((returns.next(), returns.next()), (Some(7), None));
    }

    #[test]
    fn without_being_asked_nobody_leaves_or_comes_again() {
        let mut returns = Returns::new(None, false);
        returns.opened(7, Instant::now());
        returns.over(7);
        assert_eq!((returns.next(), returns.idle(Instant::now())), (None, Duration::MAX));
    }
}
