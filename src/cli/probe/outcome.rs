//! What a probe found, as the monitoring reads it: a status, a line, perfdata. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::stream::Deadlines;

/// What the monitoring goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Ok,
    Warning,
    Critical,
}

impl Status {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// What was found of one stream.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) status: Status,
    /// What is the matter; of a stream that is fine, what it was like.
    pub(super) says: String,
    pub(super) first_byte: Option<Duration>,
    pub(super) first_event: Option<Duration>,
    pub(super) age: Option<Duration>,
    pub(super) deadlines: Deadlines,
}

/// The line for all, the worst first.
pub(super) fn summary(outcomes: &[Outcome]) -> (Status, String) {
    let status = outcomes.iter().map(|outcome| outcome.status).max().unwrap_or(Status::Critical);
    let mut sorted: Vec<_> = outcomes.iter().collect();
    sorted.sort_by_key(|outcome| std::cmp::Reverse(outcome.status));
    let told = sorted.iter().filter(|o| status == Status::Ok || o.status != Status::Ok);
    let told: Vec<_> = told.map(|o| format!("{}: {}", o.name, o.says)).collect();
    let mut line = format!("{}: {}", status.word(), one_line(&told.join("; ")));
    let fine = outcomes.iter().filter(|outcome| outcome.status == Status::Ok).count();
    if status != Status::Ok && outcomes.len() > 1 {
        let _ = write!(line, " ({fine} of {} streams are fine)", outcomes.len());
    }
    let perfdata: Vec<_> = outcomes.iter().flat_map(perfdata).collect();
    if !perfdata.is_empty() {
        let _ = write!(line, " | {}", perfdata.join(" "));
    }
    (status, line)
}

/// A `|` would begin the perfdata.
fn one_line(text: &str) -> String {
    text.replace('|', "/").replace(['\n', '\r'], " ")
}

/// `'label'=value;warn;crit;min`, as the monitoring plugins' guidelines have it.
fn perfdata(outcome: &Outcome) -> Vec<String> {
    let Outcome { name, first_byte, first_event, age, deadlines, .. } = outcome;
    let name = name.replace(['\'', '=', '|'], "_");
    let one = |what: &str, value: &Option<Duration>, (warn, crit): (Duration, Duration)| {
        let value = value.as_ref()?.as_secs_f64();
        let (warn, crit) = (warn.as_secs_f64(), crit.as_secs_f64());
        Some(format!("'{name}_{what}'={value:.3}s;{warn};{crit};0"))
    };
    let all = [
        one("first_byte", first_byte, deadlines.first_byte),
        one("first_event", first_event, deadlines.first_event),
        one("age", age, deadlines.age),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, status: Status, says: &str) -> Outcome {
        let s = Duration::from_secs;
        let deadlines = Deadlines {
            first_byte: (s(1), s(5)),
            first_event: (s(30), s(30)),
            age: (s(60), s(300)),
        };
        Outcome {
            name: name.into(),
            status,
            says: says.into(),
            first_byte: Some(Duration::from_millis(12)),
            first_event: None,
            age: None,
            deadlines,
        }
    }

    #[test]
    fn the_worst_is_said_first_and_what_is_fine_is_only_counted() {
        let all = [
            outcome("a", Status::Ok, "fine"),
            outcome("b", Status::Warning, "slow"),
            outcome("c'", Status::Critical, "gone | really\nso"),
        ];
        let (status, line) = summary(&all);
        assert_eq!(status.code(), 2);
        let words = "CRITICAL: c': gone / really so; b: slow (1 of 3 streams are fine) | ";
        assert!(line.starts_with(words), "{line}");
        assert!(line.ends_with(" 'c__first_byte'=0.012s;1;5;0"), "{line}");
        let (status, line) = summary(&all[..1]);
        assert_eq!((status.code(), &line[..10]), (0, "OK: a: fin"));
        assert_eq!(summary(&[]).0, Status::Critical);
    }
}
