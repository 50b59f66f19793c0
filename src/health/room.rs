//! Whether clients are refused that hold less than their share, from a count of such refusals.
//! Pure: no I/O, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::check::{Finding, Word};

/// What counts is what happened in this time.
const WINDOW: Duration = Duration::from_secs(60);
/// So many are felt; fewer may be one who came at a bad moment.
const FELT: u64 = 5;

/// The count, as it was looked at.
#[derive(Debug, Default)]
pub struct Room {
    looks: VecDeque<(Instant, u64)>,
}

impl Room {
    /// Takes how many were refused in all, and says what that means.
    pub fn refused(&mut self, now: Instant, in_all: u64) -> Finding {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > WINDOW;
        while self.looks.front().is_some_and(|(at, _)| is_old(at)) {
            self.looks.pop_front();
        }
        if self.looks.back().is_none_or(|(_, count)| *count != in_all) || self.looks.len() < 2 {
            self.looks.push_back((now, in_all));
        }
        let before = self.looks.front().map_or(in_all, |(_, count)| *count);
        let lately = in_all.saturating_sub(before);
        let says = || {
            let window = WINDOW.as_secs();
            format!(
                "{lately} stream(s) refused in {window} s to clients that hold less than a share"
            )
        };
        match lately {
            0 => Finding::ok(),
            1..FELT => Finding::degraded(Word::RefusedUnderShare, says()),
            _ => Finding::critical(Word::RefusedUnderShare, says()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Level;
    use super::*;

    #[test]
    fn a_few_are_worth_a_look_many_are_felt_and_a_minute_later_it_is_over() {
        let (start, second, mut room) = (Instant::now(), Duration::from_secs(1), Room::default());
        assert_eq!(room.refused(start, 7).level, Level::Ok, "what was before counts for nothing");
        assert_eq!(room.refused(start + second, 8).level, Level::Degraded);
        assert_eq!(room.refused(start + 2 * second, 12).level, Level::Critical);
        for n in 3..=60 {
            assert_eq!(room.refused(start + n * second, 12).level, Level::Critical, "{n}");
        }
        assert_eq!(room.refused(start + 64 * second, 12).level, Level::Ok);
    }
}
