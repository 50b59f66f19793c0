//! One stream, probed: how long it takes to the first byte and to the first event, how old that is,
//! and whether a reader that comes again has missed anything.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::outcome::{Outcome, Status};
use crate::visit::{Event, Target, Visit, Way};

/// From when on each is a warning, and critical.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) first_byte: (Duration, Duration),
    /// After the first byte.
    pub(super) first_event: (Duration, Duration),
    pub(super) age: (Duration, Duration),
}

/// Events that are read before the connection is dropped, if so many come.
const EVENTS_BEFORE_DROP: usize = 20;
/// For how long more are waited for.
const READ_BEFORE_DROP: Duration = Duration::from_secs(3);

/// What is to be probed.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) way: Way,
    pub(super) deadlines: Deadlines,
    pub(super) quiet: bool,
    pub(super) resume: bool,
}

/// Why a stream is not fine.
type Fault = (Status, String);

fn critical(says: impl Into<String>) -> Fault {
    (Status::Critical, says.into())
}

impl Probe {
    /// Never waits longer than its deadlines.
    pub(super) async fn run(&self) -> Outcome {
        let mut outcome = Outcome {
            name: self.name.clone(),
            status: Status::Ok,
            says: String::new(),
            first_byte: None,
            first_event: None,
            age: None,
            deadlines: self.deadlines,
        };
        match self.probe(&mut outcome).await {
            Ok(says) => outcome.says = says,
            Err((status, says)) => (outcome.status, outcome.says) = (status, says),
        }
        outcome
    }

    async fn probe(&self, outcome: &mut Outcome) -> Result<String, Fault> {
        let began = Instant::now();
        let mut visit = self.open(None).await?;
        let first_byte = visit.first_byte - began;
        outcome.first_byte = Some(first_byte);
        let from = Instant::now();
        let within = self.deadlines.first_event.1;
        let first = match timeout(within, next(&mut visit)).await {
            Ok(first) => first?,
            Err(_) if self.quiet => return Ok(format!("quiet for {} s", within.as_secs())),
            Err(_) => return Err(critical(format!("no event within {} s", within.as_secs_f64()))),
        };
        let (first_event, age) = (from.elapsed(), age(&first));
        (outcome.first_event, outcome.age) = (Some(first_event), age);
        let mut says = format!(
            "first byte after {:.3} s, first event after {:.3} s",
            first_byte.as_secs_f64(),
            first_event.as_secs_f64()
        );
        if self.resume {
            says += &format!(", {}", self.comes_again(visit, first).await?);
        }
        let slow = [
            ("the first byte took", Some(first_byte), self.deadlines.first_byte),
            ("the first event took", Some(first_event), self.deadlines.first_event),
            ("the first event has an age of", age, self.deadlines.age),
        ];
        let slow = slow.into_iter().filter_map(|(what, found, (warn, critical))| {
            let found = found?;
            let status = match found {
                _ if found > critical => Status::Critical,
                _ if found > warn => Status::Warning,
                _ => return None,
            };
            Some((status, format!("{what} {:.3} s", found.as_secs_f64())))
        });
        match slow.max_by_key(|(status, _)| *status) {
            Some(fault) => Err(fault),
            None => Ok(says),
        }
    }

    async fn open(&self, after: Option<&str>) -> Result<Visit, Fault> {
        let opening = Visit::open(&self.target, &self.way, after);
        let within = self.deadlines.first_byte.1;
        match timeout(within, opening).await {
            Ok(opened) => opened.map_err(|error| critical(error.to_string())),
            Err(_) => Err(critical(format!("no first byte within {} s", within.as_secs_f64()))),
        }
    }

    /// Reads some more after the first event, drops the connection, comes again after that first
    /// event, and has to be given everything that it saw.
    async fn comes_again(&self, mut visit: Visit, first: Event) -> Result<String, Fault> {
        if first.id.is_empty() {
            return Err(critical("the first event has no id to come again with"));
        }
        let (mut seen, until) = (Vec::new(), Instant::now() + READ_BEFORE_DROP);
        while seen.len() < EVENTS_BEFORE_DROP {
            match timeout_at(until, next(&mut visit)).await {
                Ok(event) => seen.push(event?),
                Err(_) => break,
            }
        }
        drop(visit);
        let mut visit = self.open(Some(&first.id)).await.map_err(|(status, says)| {
            (status, format!("it cannot be gone on with after a cut: {says}"))
        })?;
        let mut missing: BTreeSet<String> = seen.iter().map(key).collect();
        let (all, until) = (missing.len(), Instant::now() + self.deadlines.first_event.1);
        while !missing.is_empty() {
            match timeout_at(until, next(&mut visit)).await {
                Ok(event) => drop(missing.remove(&key(&event?))),
                Err(_) => break,
            }
        }
        match missing.first() {
            None => Ok(format!("{all} event(s) came again after a cut, none missed")),
            Some(one) => {
                let count = missing.len();
                Err(critical(format!(
                    "{count} of {all} event(s) missed after a cut, such as {one}"
                )))
            }
        }
    }
}

/// The next event that is one: errors and refusals are told as such.
async fn next(visit: &mut Visit) -> Result<Event, Fault> {
    loop {
        let event = visit.next().await.map_err(|error| critical(error.to_string()))?;
        let event = event.ok_or_else(|| critical("the stream ended"))?;
        match &*event.kind {
            "" | "message" => return Ok(event),
            kind @ ("error" | "refused") => {
                let problem: Value = serde_json::from_str(&event.data).unwrap_or_default();
                let says = problem["detail"].as_str().unwrap_or(&event.data);
                return Err(critical(format!("{kind}: {says}")));
            }
            _ => {}
        }
    }
}

/// What an event is told by: where it is in Kafka, else all of it.
fn key(event: &Event) -> String {
    let value: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let meta = &value["meta"];
    match (meta["topic"].as_str(), meta["partition"].as_i64(), meta["offset"].as_i64()) {
        (Some(topic), Some(partition), Some(offset)) => format!("{topic}/{partition}/{offset}"),
        _ => event.data.clone(),
    }
}

/// How old an event is by its `meta.dt`; without one, by the newest time in its id.
fn age(event: &Event) -> Option<Duration> {
    let value: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let dt = value["meta"]["dt"].as_str().and_then(|dt| dt.parse::<jiff::Timestamp>().ok());
    let ms = dt.map(jiff::Timestamp::as_millisecond).or_else(|| {
        let id: Value = serde_json::from_str(&event.id).ok()?;
        id.as_array()?.iter().filter_map(|entry| entry["timestamp"].as_i64()).max()
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.saturating_sub(Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_by_its_place_and_its_age_by_its_time_or_its_ids() {
        let event =
            |id: &str, data: &str| Event { kind: String::new(), id: id.into(), data: data.into() };
        let one = event("", r#"{"meta":{"topic":"t","partition":1,"offset":7}}"#);
        assert_eq!((key(&one), age(&one)), ("t/1/7".to_owned(), None));
        assert_eq!(key(&event("", "no JSON")), "no JSON");
        let reference = r#"[{"topic":"a","partition":0,"timestamp":1000},{"topic":"b","partition":0,"offset":-1}]"#;
        assert!(age(&event(reference, "{}")).is_some_and(|age| age.as_secs() > 1_000_000_000));
        let future = event("", r#"{"meta":{"dt":"2999-01-01T00:00:00Z"}}"#);
        assert_eq!(age(&future), Some(Duration::ZERO));
    }
}
