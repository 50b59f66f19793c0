//! One thing that is checked: from what is found of it, now and then, to the level it is at.
//!
//! ```text
//!  found ─▶ patience (critical at once?) ─▶ hold (is better believed yet?) ─▶ state
//!  nothing found in time ─▶ critical, "not heard of"
//! ```
//! There is no level that says "unknown": before the first finding a check is degraded, and
//! critical when its time is over. Pure: no I/O, no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How a thing is. The worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth a look; readers do not feel it.
    Degraded,
    /// Readers feel it.
    Critical,
}

impl Level {
    /// The word for logs and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

/// What is the matter, as one word of a closed set: the same in log, metric, answer and runbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Nothing.
    None,
    /// It has begun, and nothing was found yet.
    Starting,
    /// Nothing was found for too long.
    NotHeardOf,
    /// The source does not answer.
    Unreachable,
    /// Of several clusters another one than the preferred is read.
    FailedOver,
    /// Of several clusters one that is not read does not answer: it could not be taken.
    NoStandby,
    /// A topic, or all of a stream's, does not exist.
    NoTopic,
    /// A stream that was lively has fallen silent.
    Silent,
    /// A canary was written and did not come out of the public port.
    CanaryLost,
    /// Canaries cannot be written.
    CanaryUnwritten,
    /// The stream cannot be read through the public port.
    CanaryUnread,
    /// Who else makes canaries has stopped.
    CanaryAbsent,
    /// Clients that hold less than their share are refused.
    RefusedUnderShare,
    /// What operators decide cannot be written to the disk.
    StateUnsaved,
    /// The catalogue cannot be read, and the last good one is in force.
    CatalogueStale,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::None,
        Self::Starting,
        Self::NotHeardOf,
        Self::Unreachable,
        Self::FailedOver,
        Self::NoStandby,
        Self::NoTopic,
        Self::Silent,
        Self::CanaryLost,
        Self::CanaryUnwritten,
        Self::CanaryUnread,
        Self::CanaryAbsent,
        Self::RefusedUnderShare,
        Self::StateUnsaved,
        Self::CatalogueStale,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::NotHeardOf => "not_heard_of",
            Self::Unreachable => "unreachable",
            Self::FailedOver => "failed_over",
            Self::NoStandby => "no_standby",
            Self::NoTopic => "no_topic",
            Self::Silent => "silent",
            Self::CanaryLost => "canary_lost",
            Self::CanaryUnwritten => "canary_unwritten",
            Self::CanaryUnread => "canary_unread",
            Self::CanaryAbsent => "canary_absent",
            Self::RefusedUnderShare => "refused_under_share",
            Self::StateUnsaved => "state_unsaved",
            Self::CatalogueStale => "catalogue_stale",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub level: Level,
    /// Why, in a word.
    pub word: Word,
    /// Why, for people; empty where all is well.
    pub says: String,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn ok() -> Self {
        Self { level: Level::Ok, word: Word::None, says: String::new() }
    }

    /// Worth a look.
    #[must_use]
    pub fn degraded(word: Word, says: impl Into<String>) -> Self {
        Self { level: Level::Degraded, word, says: says.into() }
    }

    /// Readers feel it.
    #[must_use]
    pub fn critical(word: Word, says: impl Into<String>) -> Self {
        Self { level: Level::Critical, word, says: says.into() }
    }
}

/// How a thing is, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What counts.
    pub finding: Finding,
    /// Since when it is at this level.
    pub since: Instant,
}

/// By what a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A check of which nothing was found for longer than this is critical.
    pub heard_within: Duration,
    /// What is found critical counts as degraded for so long: a blip that nobody feels.
    pub patience: Duration,
    /// What is better is believed when it has been so for this long: what flaps stays bad.
    pub hold: Duration,
}

/// A check.
#[derive(Debug)]
pub struct Check {
    terms: Terms,
    began: Instant,
    /// The last finding, and when it was made.
    last: Option<(Instant, Finding)>,
    /// Since when critical is all that was found.
    critical_from: Option<Instant>,
    /// Since when it has been better than what counts.
    better_from: Option<Instant>,
    state: State,
}

impl Check {
    /// One that begins now.
    #[must_use]
    pub fn new(terms: Terms, now: Instant) -> Self {
        let finding = Finding::degraded(Word::Starting, "nothing has been heard of it yet");
        let state = State { finding, since: now };
        Self { terms, began: now, last: None, critical_from: None, better_from: None, state }
    }

    /// Takes what was found.
    pub fn found(&mut self, now: Instant, finding: Finding) {
        // What counted until now is settled first: nobody may have looked meanwhile.
        self.settle(now);
        if finding.level == Level::Critical {
            self.critical_from.get_or_insert(now);
        } else {
            self.critical_from = None;
        }
        self.last = Some((now, finding));
        self.settle(now);
    }

    /// How it is.
    pub fn at(&mut self, now: Instant) -> &State {
        self.settle(now);
        &self.state
    }

    /// What counts by itself, without a hold, and from when on.
    fn raw(&self, now: Instant) -> (Finding, Instant) {
        let (heard, finding) = match &self.last {
            Some((at, finding)) => (*at, finding),
            None => (self.began, &self.state.finding),
        };
        let silent = now.saturating_duration_since(heard);
        if silent > self.terms.heard_within {
            let says = format!("not heard of for {} s", silent.as_secs());
            return (Finding::critical(Word::NotHeardOf, says), heard + self.terms.heard_within);
        }
        match self.critical_from {
            Some(from) if now.saturating_duration_since(from) < self.terms.patience => {
                (Finding { level: Level::Degraded, ..finding.clone() }, from)
            }
            Some(from) => (finding.clone(), from + self.terms.patience),
            None => (finding.clone(), heard),
        }
    }

    fn settle(&mut self, now: Instant) {
        let (finding, from) = self.raw(now);
        let counts = &mut self.state;
        let since = from.max(counts.since).min(now.max(counts.since));
        if finding.level >= counts.finding.level {
            if finding.level > counts.finding.level {
                counts.since = since;
            }
            counts.finding = finding;
            self.better_from = None;
            return;
        }
        let from = *self.better_from.get_or_insert(since);
        let believed = now.saturating_duration_since(from) >= self.terms.hold;
        if believed || counts.finding.word == Word::Starting {
            *counts = State { finding, since: now };
            self.better_from = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TERMS: Terms =
        Terms { heard_within: Duration::from_secs(30), patience: Duration::ZERO, hold: SECOND };

    fn down() -> Finding {
        Finding::critical(Word::Unreachable, "gone")
    }

    #[test]
    fn a_check_that_is_never_heard_of_is_critical_when_its_time_is_over() {
        let start = Instant::now();
        let mut check = Check::new(TERMS, start);
        assert_eq!(check.at(start).finding.level, Level::Degraded);
        assert_eq!(check.at(start + 30 * SECOND).finding.word, Word::Starting);
        let late = check.at(start + 100 * SECOND).clone();
        assert_eq!((late.finding.level, late.finding.word), (Level::Critical, Word::NotHeardOf));
        assert_eq!(late.since, start + 30 * SECOND, "since its time was over, not since the look");
    }

    #[test]
    fn what_is_critical_only_for_a_moment_is_degraded() {
        let start = Instant::now();
        let mut check = Check::new(Terms { patience: 10 * SECOND, ..TERMS }, start);
        check.found(start, Finding::ok());
        check.found(start + SECOND, down());
        let early = check.at(start + 10 * SECOND).finding.clone();
        assert_eq!((early.level, early.word), (Level::Degraded, Word::Unreachable));
        assert_eq!(check.at(start + 11 * SECOND).finding.level, Level::Critical);
    }

    #[test]
    fn what_flaps_stays_bad_since_it_went_bad_and_clears_when_it_holds() {
        let start = Instant::now();
        let mut check = Check::new(Terms { hold: 5 * SECOND, ..TERMS }, start);
        for n in 0..20 {
            let at = start + SECOND * (2 * n + 1);
            check.found(at, down());
            check.found(at + SECOND, Finding::ok());
            let state = check.at(at + SECOND);
            assert_eq!((state.finding.level, state.since), (Level::Critical, start + SECOND));
        }
        let quiet = start + 40 * SECOND;
        assert_eq!(check.at(quiet + 4 * SECOND).finding.level, Level::Critical);
        assert_eq!(check.at(quiet + 5 * SECOND).finding.level, Level::Ok);
    }

    fn finding() -> impl Strategy<Value = Finding> {
        prop_oneof![
            Just(Finding::ok()),
            Just(Finding::degraded(Word::NoTopic, "one is missing")),
            Just(down()),
        ]
    }

    proptest! {
        /// Whatever is found, and whenever: a level is bad by the time it has to be and good by the
        /// time it may be, and nothing stays undetermined.
        #[test]
        fn no_sequence_of_findings_leaves_a_check_undetermined(
            steps in prop::collection::vec((0_u64..40, prop::option::of(finding())), 0..60),
            (patience, hold) in (0_u64..20, 0_u64..20),
        ) {
            let start = Instant::now();
            let s = Duration::from_secs;
            let terms = Terms { patience: s(patience), hold: s(hold), ..TERMS };
            let mut check = Check::new(terms, start);
            let (mut now, mut heard) = (start, None::<(Instant, Finding)>);
            for (seconds, found) in steps {
                now += Duration::from_secs(seconds);
                if let Some(found) = found {
                    check.found(now, found.clone());
                    heard = Some((now, found));
                }
                let state = check.at(now).clone();
                let quiet = now - heard.as_ref().map_or(start, |(at, _)| *at);
                prop_assert!(state.since <= now && state.since >= start);
                prop_assert_eq!(state.finding.level == Level::Ok, state.finding.word == Word::None);
                if quiet > terms.heard_within {
                    prop_assert_eq!(state.finding.word, Word::NotHeardOf);
                    prop_assert_eq!(state.finding.level, Level::Critical);
                }
                if heard.is_some() {
                    prop_assert_ne!(state.finding.word, Word::Starting);
                }
            }
            // Heard of regularly from now on it comes to what is found.
            for found in [down(), Finding::degraded(Word::NoTopic, ""), Finding::ok()] {
                for _ in 0..=patience + hold + 1 {
                    now += SECOND;
                    check.found(now, found.clone());
                }
                let state = check.at(now);
                prop_assert_eq!(state.finding.level, found.level);
            }
        }
    }
}
