//! Where everything that is found comes together and is looked at: the model, its metrics, and the
//! log line for each change.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::check::{Finding, Level, State, Word};
use super::model::{self, Aspect, Change, Model, Plan, Streams, Subject};
use crate::limits::STUCK_AFTER;
use crate::metrics::{ByHealth, Metrics};

/// How everything is, at one moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// When.
    pub at: Instant,
    /// Every subject, sorted: the service first.
    pub states: Vec<(Subject, State)>,
}

impl Report {
    /// How the service is.
    #[must_use]
    pub fn service(&self) -> Option<&State> {
        self.of(&Subject::Service)
    }

    /// How one subject is.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Option<&State> {
        self.states.iter().find(|(of, _)| of == subject).map(|(_, state)| state)
    }
}

/// The board.
#[derive(Debug)]
pub struct Board {
    model: Mutex<Model>,
    /// When the watch was last seen to work.
    beat: Mutex<Instant>,
    metrics: Arc<Metrics>,
}

impl Board {
    /// A board on which nothing was found yet.
    #[must_use]
    pub fn new(plan: Plan, metrics: Arc<Metrics>) -> Arc<Self> {
        let now = Instant::now();
        let (model, beat) = (Mutex::new(Model::new(plan, now)), Mutex::new(now));
        let board = Self { model, beat, metrics };
        for (subject, state) in &board.look(now).states {
            board.publish(subject, None, &state.finding);
        }
        Arc::new(board)
    }

    /// Takes what was found.
    pub fn found(&self, subject: Subject, aspect: Aspect, now: Instant, finding: Finding) {
        self.lock().found(subject, aspect, now, finding);
    }

    /// Brings everything up to now, says what has changed, and tells how it is.
    #[must_use]
    pub fn look(&self, now: Instant) -> Report {
        let mut model = self.lock();
        for Change { subject, before, now } in model.look(now) {
            self.publish(&subject, Some(&before), &now);
            tell(&subject, &before, &now);
        }
        let states = model.states().iter();
        let states = states.map(|(subject, state)| (subject.clone(), state.clone())).collect();
        Report { at: now, states }
    }

    /// From now on these streams are what is looked at.
    pub(super) fn follow(&self, streams: Streams, now: Instant) {
        let mut model = self.lock();
        let known: BTreeSet<Subject> = model.states().keys().cloned().collect();
        for (subject, state) in model.follow(streams, now) {
            self.metrics.health.level.remove(&label(&subject, &state.finding));
        }
        for (subject, state) in model.states().iter().filter(|(of, _)| !known.contains(of)) {
            self.publish(subject, None, &state.finding);
        }
    }

    /// The watch works.
    pub(super) fn beats(&self, now: Instant) {
        *self.beat.lock().expect("no holder panics") = now;
    }

    /// For how long the process has not got to anything, where that is longer than any load
    /// explains: only a restart helps.
    #[must_use]
    pub fn stuck_for(&self, now: Instant) -> Option<Duration> {
        let beat = *self.beat.lock().expect("no holder panics");
        Some(now.saturating_duration_since(beat)).filter(|silent| *silent > STUCK_AFTER)
    }

    fn publish(&self, subject: &Subject, before: Option<&Finding>, now: &Finding) {
        let levels = &self.metrics.health.level;
        if let Some(before) = before.filter(|before| before.word != now.word) {
            levels.remove(&label(subject, before));
        }
        levels.get_or_create(&label(subject, now)).set(model::number(now.level));
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("no holder panics")
    }
}

fn label(subject: &Subject, finding: &Finding) -> ByHealth {
    let name = subject.name().to_owned();
    ByHealth { subject: subject.kind(), name, cause: finding.word.as_str() }
}

/// The line of a change.
fn tell(subject: &Subject, before: &Finding, now: &Finding) {
    let (kind, name) = (subject.kind(), subject.name());
    let (health, cause, says) = (now.level.as_str(), now.word.as_str(), &*now.says);
    let begins = before.word == Word::Starting && *subject != Subject::Service;
    let before = before.level.as_str();
    match now.level {
        Level::Ok if begins => tracing::debug!(kind, name, health, before, "health"),
        Level::Ok => tracing::info!(kind, name, health, before, "health"),
        Level::Degraded => tracing::warn!(kind, name, health, before, cause, says, "health"),
        Level::Critical => tracing::error!(kind, name, health, before, cause, says, "health"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Terms;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn board() -> (Arc<Board>, Arc<Metrics>) {
        let terms = Terms { heard_within: 30 * SECOND, patience: Duration::ZERO, hold: SECOND };
        let plan = Plan {
            source: "embedded".into(),
            streams: vec![("a".into(), vec!["t".into()])],
            canaries: None,
            reach: terms,
            terms,
        };
        let metrics = Arc::new(Metrics::new());
        (Board::new(plan, Arc::clone(&metrics)), metrics)
    }

    #[test]
    fn a_subject_has_one_series_whatever_its_cause() {
        let (board, metrics) = board();
        let of_source = || {
            let text = metrics.render();
            let lines = text.lines().filter(|line| line.contains("name=\"embedded\""));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of_source().len(), 1, "{:?}", of_source());
        assert!(of_source()[0].ends_with("cause=\"starting\"} 1"), "{:?}", of_source());
        let now = Instant::now();
        let source = || Subject::Source("embedded".into());
        board.found(source(), Aspect::Reach, now, Finding::critical(Word::Unreachable, "x"));
        let report = board.look(now);
        assert_eq!(report.service().map(|state| state.finding.level), Some(Level::Critical));
        let line =
            "tidegate_health_level{subject=\"source\",name=\"embedded\",cause=\"unreachable\"} 2";
        assert_eq!(of_source(), [line]);
        board.found(source(), Aspect::Reach, now, Finding::ok());
        let _ = board.look(now + 2 * SECOND);
        assert!(of_source()[0].ends_with("cause=\"none\"} 0"), "{:?}", of_source());
    }

    #[test]
    fn a_process_is_stuck_only_after_a_long_time_without_a_beat() {
        let (board, _) = board();
        let now = Instant::now();
        board.beats(now);
        assert_eq!(board.stuck_for(now + STUCK_AFTER), None);
        assert_eq!(board.stuck_for(now + STUCK_AFTER + SECOND), Some(STUCK_AFTER + SECOND));
    }
}
