//! Whether a stream without canaries has fallen silent, by what it was like before.
//!
//! Quiet is no fault: a stream is only missed when it was lively for a while, when by its own rate
//! a hundred events should have come meanwhile, and when it has been silent for much longer than
//! ever before. Pure: no I/O, no clock.

use std::time::Duration;

use tokio::time::Instant;

use super::check::{Finding, Word};

/// Events that should have come, by the stream's own rate.
const MISSED: f64 = 100.0;
/// A silence counts when it is so many times the longest before.
const LONGER: u32 = 5;
/// A rate is known when the stream was looked at for so many times the least silence.
const LEARNED: u32 = 10;
/// What is learned is forgotten by half in about this time.
const MEMORY_S: f64 = 3600.0;

/// By what a stream is missed.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// No shorter silence counts.
    pub silence_min: Duration,
    /// An operator's own word for this stream: every longer silence counts.
    pub silence_max: Option<Duration>,
}

/// What is known of a stream's flow.
#[derive(Debug)]
pub struct Flow {
    terms: Terms,
    /// The first look, and when something was last seen to have come.
    first: Instant,
    moved: Instant,
    /// Records passed, as they were last counted.
    passed: Option<u64>,
    /// Weighted, with the weights: events, and seconds.
    events: f64,
    seconds: f64,
    longest: Duration,
}

impl Flow {
    /// Nothing is known.
    #[must_use]
    pub fn new(terms: Terms, now: Instant) -> Self {
        let (events, seconds, longest) = (0.0, 0.0, Duration::ZERO);
        Self { terms, first: now, moved: now, passed: None, events, seconds, longest }
    }

    /// Takes how many records have passed in all, and says what that means.
    pub fn passed(&mut self, now: Instant, passed: u64) -> Finding {
        let before = self.passed.replace(passed);
        let came = before.map_or(0, |before| passed.checked_sub(before).unwrap_or(1));
        let silence = now.saturating_duration_since(self.moved);
        if came > 0 {
            self.learn(came, silence);
            self.moved = now;
            return Finding::ok();
        }
        let seconds = silence.as_secs();
        if let Some(max) = self.terms.silence_max {
            let says = || format!("no event for {seconds} s; {} s are accepted", max.as_secs());
            return if silence > max {
                Finding::critical(Word::Silent, says())
            } else {
                Finding::ok()
            };
        }
        let missed = self.events / self.seconds.max(1.0) * silence.as_secs_f64();
        let known = self.moved.saturating_duration_since(self.first);
        let is_missed = missed >= MISSED
            && silence >= self.terms.silence_min.max(self.longest * LONGER)
            && known >= self.terms.silence_min * LEARNED;
        if !is_missed {
            return Finding::ok();
        }
        let says = format!("no event for {seconds} s, in which {missed:.0} were to be expected");
        Finding::critical(Word::Silent, says)
    }

    fn learn(&mut self, came: u64, silence: Duration) {
        let seconds = silence.as_secs_f64();
        let kept = (-seconds / MEMORY_S).exp();
        // A count of events in a second or two: exact as a float.
        #[allow(clippy::cast_precision_loss)]
        let came = came as f64;
        self.events = self.events * kept + came;
        self.seconds = self.seconds * kept + seconds;
        self.longest = self.longest.mul_f64(kept).max(silence);
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Level;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks each second, with so many records a second as `rate` says of it.
    fn levels(terms: Terms, seconds: u32, rate: impl Fn(u32) -> u64) -> Vec<Level> {
        let start = Instant::now();
        let (mut flow, mut passed) = (Flow::new(terms, start), 0);
        let look = |second| {
            passed += rate(second);
            flow.passed(start + SECOND * second, passed).level
        };
        (0..seconds).map(look).collect()
    }

    fn learned() -> Terms {
        Terms { silence_min: 60 * SECOND, silence_max: None }
    }

    #[test]
    fn a_lively_stream_that_falls_silent_is_missed_within_a_minute_and_found_again() {
        let rate = |second| if (1000..1100).contains(&second) { 0 } else { 30 };
        let levels = levels(learned(), 1200, rate);
        let from = levels.iter().position(|level| *level == Level::Critical);
        assert_eq!(from, Some(1059));
        assert_eq!(levels[1099], Level::Critical);
        assert!(levels[1100..].iter().all(|level| *level == Level::Ok));
    }

    #[test]
    fn what_is_quiet_or_comes_in_bursts_is_never_missed() {
        let day = 86_400;
        let quiet = |second: u32| u64::from(second.is_multiple_of(1800));
        let bursts = |second: u32| if second % 3600 < 5 { 200 } else { 0 };
        let once = |second: u32| if second < 50 { 100 } else { 0 };
        assert!(levels(learned(), day, quiet).iter().all(|level| *level == Level::Ok));
        assert!(levels(learned(), day, bursts).iter().all(|level| *level == Level::Ok));
        assert!(levels(learned(), day, once).iter().all(|level| *level == Level::Ok));
        assert!(levels(learned(), 3600, |_| 0).iter().all(|level| *level == Level::Ok));
    }

    #[test]
    fn an_operators_word_counts_from_the_start() {
        let terms = Terms { silence_max: Some(20 * SECOND), ..learned() };
        let levels = levels(terms, 30, |_| 0);
        assert_eq!(levels.iter().position(|level| *level == Level::Critical), Some(21));
    }
}
