//! How a stream is tried out: which canaries are under way, what passed, and what that means.
//! Pure: no I/O, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::health::{Finding, Word};

/// Canaries that are kept as under way.
const UNDER_WAY_MAX: usize = 1024;

/// By what it goes.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How often a canary is made.
    pub interval: Duration,
    /// How long one may take.
    pub deadline: Duration,
}

/// A canary that came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    /// How long it took, if that can be told.
    pub(super) latency: Option<Duration>,
    /// Older ones that were under way and have not come: they will not.
    pub(super) overtaken: u64,
}

#[derive(Debug)]
struct UnderWay {
    written: Instant,
    acknowledged: bool,
}

/// A fault that goes on.
#[derive(Debug)]
struct Failing {
    since: Instant,
    says: String,
}

/// The trial of one stream.
#[derive(Debug)]
pub(super) struct Trial {
    terms: Terms,
    /// Canaries are made here.
    makes: bool,
    began: Instant,
    under_way: BTreeMap<String, UnderWay>,
    passed: Option<Instant>,
    /// When any event was seen.
    event: Option<Instant>,
    unwritten: Option<Failing>,
    unread: Option<Failing>,
    is_read: bool,
}

impl Trial {
    pub(super) fn new(terms: Terms, makes: bool, now: Instant) -> Self {
        Self {
            terms,
            makes,
            began: now,
            under_way: BTreeMap::new(),
            passed: None,
            event: None,
            unwritten: None,
            unread: None,
            is_read: false,
        }
    }

    /// The stream is open.
    pub(super) fn reads(&mut self, _now: Instant) {
        (self.is_read, self.unread) = (true, None);
    }

    /// The stream cannot be read, or not any more.
    pub(super) fn unread(&mut self, now: Instant, says: String) {
        let since = self.unread.as_ref().map_or(now, |failing| failing.since);
        self.unread = Some(Failing { since, says });
    }

    /// Whether it has been read once.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// A canary is handed over.
    pub(super) fn written(&mut self, now: Instant, id: &str) {
        if self.under_way.len() < UNDER_WAY_MAX {
            let under_way = UnderWay { written: now, acknowledged: false };
            self.under_way.insert(id.to_owned(), under_way);
        }
    }

    /// It is said to be durable.
    pub(super) fn acknowledged(&mut self, id: &str) {
        self.unwritten = None;
        if let Some(canary) = self.under_way.get_mut(id) {
            canary.acknowledged = true;
        }
    }

    /// It was not taken (or may have been: then it may still come, and is not missed).
    pub(super) fn unwritten(&mut self, now: Instant, id: &str, says: String) {
        self.under_way.remove(id);
        let since = self.unwritten.as_ref().map_or(now, |failing| failing.since);
        self.unwritten = Some(Failing { since, says });
    }

    /// Any event came.
    pub(super) fn event(&mut self, now: Instant) {
        self.event = Some(now);
    }

    /// A canary came; `age` is by its own clock. `None`: it is another gateway's.
    pub(super) fn canary(
        &mut self,
        now: Instant,
        id: &str,
        age: Option<Duration>,
    ) -> Option<Passed> {
        if !self.makes {
            self.passed = Some(now);
            return Some(Passed { latency: age, overtaken: 0 });
        }
        let written = self.under_way.remove(id)?.written;
        self.passed = Some(now);
        let before = self.under_way.len();
        let deadline = self.terms.deadline;
        self.under_way.retain(|_, other| {
            other.written >= written || now.saturating_duration_since(other.written) <= deadline
        });
        let overtaken = (before - self.under_way.len()) as u64;
        let latency = Some(now.saturating_duration_since(written));
        Some(Passed { latency, overtaken })
    }

    /// How it goes; `None`: that cannot be told yet.
    pub(super) fn verdict(&self, now: Instant) -> Option<Finding> {
        let age = |then: Instant| now.saturating_duration_since(then);
        let Terms { interval, deadline } = self.terms;
        let allowed = interval + deadline;
        let too_long = |failing: &&Failing| age(failing.since) > deadline;
        if let Some(Failing { says, .. }) = self.unread.as_ref().filter(too_long) {
            let says = format!("it cannot be read at the public port: {says}");
            return Some(Finding::critical(Word::CanaryUnread, says));
        }
        let lost = self.under_way.values().filter(|canary| canary.acknowledged);
        let lost = lost.map(|canary| age(canary.written)).max().filter(|age| *age > deadline);
        if let Some(lost) = lost {
            let says =
                format!("a canary of {} s ago has not come out of the public port", lost.as_secs());
            return Some(Finding::critical(Word::CanaryLost, says));
        }
        // Where events come all the same, nobody but the canaries misses anything.
        let flows = self.event.is_some_and(|event| age(event) <= allowed);
        let stuck = if flows { Finding::degraded } else { Finding::critical };
        if let Some(Failing { says, .. }) = self.unwritten.as_ref().filter(too_long) {
            return Some(stuck(Word::CanaryUnwritten, format!("no canary can be written: {says}")));
        }
        let quiet = age(self.passed.unwrap_or(self.began));
        if quiet > allowed + deadline {
            let says = format!("no canary for {} s", quiet.as_secs());
            return Some(stuck(Word::CanaryAbsent, says));
        }
        self.passed.map(|_| Finding::ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::Level;

    const SECOND: Duration = Duration::from_secs(1);
    const TERMS: Terms =
        Terms { interval: Duration::from_secs(60), deadline: Duration::from_secs(10) };

    fn told(trial: &Trial, now: Instant) -> Option<(Level, Word)> {
        trial.verdict(now).map(|finding| (finding.level, finding.word))
    }

    #[test]
    fn an_hour_of_a_quiet_stream_whose_canaries_pass_raises_nothing() {
        let start = Instant::now();
        let mut trial = Trial::new(TERMS, true, start);
        trial.reads(start);
        for second in 0..3600 {
            let now = start + SECOND * second;
            let id = format!("{}", second / 60);
            match second % 60 {
                0 => trial.written(now, &id),
                1 => trial.acknowledged(&id),
                2 => assert!(trial.canary(now, &id, None).is_some()),
                _ => {}
            }
            let expected = (second >= 2).then_some((Level::Ok, Word::None));
            assert_eq!(told(&trial, now), expected, "{second}");
        }
    }

    #[test]
    fn what_was_written_and_does_not_come_is_lost_after_its_deadline_and_found_by_the_next() {
        let start = Instant::now();
        let mut trial = Trial::new(TERMS, true, start);
        trial.written(start, "a");
        trial.acknowledged("a");
        assert_eq!(told(&trial, start + 10 * SECOND), None);
        let lost = Some((Level::Critical, Word::CanaryLost));
        assert_eq!(told(&trial, start + 11 * SECOND), lost);
        trial.written(start + 60 * SECOND, "b");
        assert_eq!(trial.canary(start + 60 * SECOND, "of another gateway", None), None);
        let passed = trial.canary(start + 61 * SECOND, "b", None);
        assert_eq!(passed, Some(Passed { latency: Some(SECOND), overtaken: 1 }));
        assert_eq!(told(&trial, start + 61 * SECOND), Some((Level::Ok, Word::None)));
    }

    #[test]
    fn a_stuck_maker_of_canaries_is_told_from_a_broken_stream() {
        let start = Instant::now();
        let mut trial = Trial::new(TERMS, false, start);
        trial.reads(start);
        assert!(trial.canary(start, "x", Some(SECOND)).is_some());
        assert_eq!(told(&trial, start + 70 * SECOND), Some((Level::Ok, Word::None)));
        trial.event(start + 81 * SECOND);
        let late = start + 100 * SECOND;
        assert_eq!(told(&trial, late), Some((Level::Degraded, Word::CanaryAbsent)));
        let later = start + 200 * SECOND;
        assert_eq!(told(&trial, later), Some((Level::Critical, Word::CanaryAbsent)));
    }

    #[test]
    fn a_cut_that_is_shorter_than_the_deadline_is_nothing() {
        let start = Instant::now();
        let mut trial = Trial::new(TERMS, true, start);
        trial.written(start, "a");
        assert!(trial.canary(start, "a", None).is_some());
        trial.unread(start, "refused".into());
        trial.unread(start + 9 * SECOND, "refused".into());
        assert_eq!(told(&trial, start + 10 * SECOND), Some((Level::Ok, Word::None)));
        let unread = Some((Level::Critical, Word::CanaryUnread));
        assert_eq!(told(&trial, start + 11 * SECOND), unread);
        trial.reads(start + 12 * SECOND);
        assert_eq!(told(&trial, start + 12 * SECOND), Some((Level::Ok, Word::None)));
    }

    proptest! {
        #[test]
        fn no_sequence_leaves_a_trial_undetermined_beyond_its_deadline(
            steps in prop::collection::vec((0_u8..7, 0_u64..30), 0..80),
            makes: bool,
        ) {
            let start = Instant::now();
            let (mut trial, mut now) = (Trial::new(TERMS, makes, start), start);
            for (what, seconds) in steps {
                now += Duration::from_secs(seconds);
                let id = (seconds % 4).to_string();
                match what {
                    0 => trial.reads(now),
                    1 => trial.unread(now, "x".into()),
                    2 => trial.written(now, &id),
                    3 => trial.acknowledged(&id),
                    4 => trial.unwritten(now, &id, "x".into()),
                    5 => trial.event(now),
                    _ => drop(trial.canary(now, &id, None)),
                }
                let verdict = trial.verdict(now);
                let due = TERMS.interval + TERMS.deadline * 2;
                prop_assert!(verdict.is_some() || now - start <= due);
                if let Some(passed) = trial.passed.filter(|passed| now - *passed > due) {
                    prop_assert!(verdict.is_some_and(|v| v.level != Level::Ok), "{:?}", passed);
                }
            }
        }
    }
}
