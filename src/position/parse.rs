//! Reads `Last-Event-ID`. Every number is checked, nothing is guessed; an unknown field is passed
//! over, since ids of other servers and of later versions come here too.

use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use super::{LastEventId, PositionTime, ResumeAt, ResumeEntry, shortened};
use crate::event::{BadTopicName, LogTag, Offset, TimestampMs, TopicName, TopicPartition};

/// Entries (or names) of one `Last-Event-ID`: far more than a request head holds.
pub const ENTRIES_MAX: usize = 4096;

/// Why a `Last-Event-ID` cannot be read. The text is meant for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPosition {
    /// Not UTF-8.
    #[error("Last-Event-ID is not UTF-8; {ACCEPTED}")]
    NotUtf8,
    /// Not JSON, or nested too deeply to be an id.
    #[error("Last-Event-ID is not JSON: {why}, in `{found}`; {ACCEPTED}")]
    NotJson {
        /// The head of what was found.
        found: String,
        /// What the parser says.
        why: String,
    },
    /// JSON, but no array and no string.
    #[error("Last-Event-ID is `{0}`; {ACCEPTED}")]
    WrongShape(String),
    /// `[]`, `""` or an empty name: it says nothing.
    #[error("Last-Event-ID names nothing in `{0}`; {ACCEPTED}")]
    Empty(String),
    /// More than `ENTRIES_MAX`.
    #[error("Last-Event-ID has {0} entries; at most {ENTRIES_MAX} are accepted")]
    TooMany(usize),
    /// An entry is no object, or (among names) no string.
    #[error("entry {index} of Last-Event-ID is `{found}`; {ACCEPTED}")]
    WrongEntry {
        /// Counted from 0.
        index: usize,
        /// The head of what was found.
        found: String,
    },
    /// A field is missing or has a value that it cannot have.
    #[error("entry {index} of Last-Event-ID has {field} `{found}`; accepted is {accepted}")]
    WrongField {
        /// Counted from 0.
        index: usize,
        /// Which field.
        field: &'static str,
        /// The head of what was found.
        found: String,
        /// What may stand there.
        accepted: &'static str,
    },
    /// An entry has no `topic`, no `partition`, or neither `offset` nor `timestamp`.
    #[error("entry {index} of Last-Event-ID has no {missing}; {ACCEPTED}")]
    Missing {
        /// Counted from 0.
        index: usize,
        /// What is missing.
        missing: &'static str,
    },
    /// The topic is no topic name.
    #[error("entry {index} of Last-Event-ID: {why}")]
    WrongTopic {
        /// Counted from 0.
        index: usize,
        /// Why.
        #[source]
        why: BadTopicName,
    },
    /// The same partition stands there twice.
    #[error("Last-Event-ID has {0} twice; each partition is accepted once")]
    Twice(TopicPartition),
}

const ACCEPTED: &str = "accepted is a JSON array of \
    {\"topic\":…,\"partition\":…} with \"offset\" or \"timestamp\" or both, \
    a JSON array of names, or a JSON string of names with commas";
const OFFSET_ACCEPTED: &str = "an integer from -2 (-1: latest, -2: earliest) to 2^63-1";
const TIMESTAMP_ACCEPTED: &str = "milliseconds since 1970, an integer from 0 to 2^63-1";
const PARTITION_ACCEPTED: &str = "an integer from 0 to 2^31-1";

/// Reads what a client sent as `Last-Event-ID`. Empty, or nothing but white space: `None`, as if
/// it had not been sent. An `offset` of -1 or -2 wins over a `timestamp`; of an offset from 0 on
/// both are kept. A field that is `null` counts as absent; numbers such as `5.0` or `1e3`, which
/// some JSON writers make of integers, count as the integers that they are.
///
/// # Errors
/// Everything else, see `BadPosition`.
pub fn parse_last_event_id(text: &[u8]) -> Result<Option<LastEventId>, BadPosition> {
    let text = std::str::from_utf8(text).map_err(|_| BadPosition::NotUtf8)?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // serde_json refuses what is nested deeper than 128 levels, so the stack is safe.
    let value = serde_json::from_str(text)
        .map_err(|e| BadPosition::NotJson { found: shortened(text), why: e.to_string() })?;
    match value {
        Value::String(names) => names_of(names.split(',')).map(Some),
        Value::Array(entries) if entries.len() > ENTRIES_MAX => {
            Err(BadPosition::TooMany(entries.len()))
        }
        Value::Array(entries) => match entries.first() {
            None => Err(BadPosition::Empty(shortened(text))),
            Some(Value::String(_)) => names_of_array(&entries).map(Some),
            Some(_) => positions_of(&entries).map(Some),
        },
        _ => Err(BadPosition::WrongShape(shortened(text))),
    }
}

fn names_of_array(entries: &[Value]) -> Result<LastEventId, BadPosition> {
    let name = |(index, entry): (usize, &'_ Value)| match entry {
        Value::String(_) => Ok(()),
        other => Err(BadPosition::WrongEntry { index, found: shortened(&other.to_string()) }),
    };
    entries.iter().enumerate().try_for_each(name)?;
    names_of(entries.iter().filter_map(Value::as_str))
}

fn names_of<'a>(names: impl Iterator<Item = &'a str>) -> Result<LastEventId, BadPosition> {
    let mut taken = Vec::new();
    for name in names {
        if name.trim().is_empty() {
            return Err(BadPosition::Empty(shortened(&format!("{name:?}"))));
        }
        taken.push(name.trim().to_owned());
    }
    if taken.len() > ENTRIES_MAX {
        return Err(BadPosition::TooMany(taken.len()));
    }
    Ok(LastEventId::Names(taken))
}

fn positions_of(entries: &[Value]) -> Result<LastEventId, BadPosition> {
    let mut seen = HashSet::with_capacity(entries.len());
    let mut positions = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let Value::Object(fields) = entry else {
            let found = shortened(&entry.to_string());
            return Err(BadPosition::WrongEntry { index, found });
        };
        let position = entry_of(index, fields)?;
        if !seen.insert(position.tp.clone()) {
            return Err(BadPosition::Twice(position.tp));
        }
        positions.push(position);
    }
    Ok(LastEventId::Positions(positions))
}

fn entry_of(index: usize, fields: &Map<String, Value>) -> Result<ResumeEntry, BadPosition> {
    let fields = Fields { index, fields };
    let tp = TopicPartition::new(fields.topic()?, fields.partition()?);
    let offset = fields.integer("offset", -2..=i64::MAX, OFFSET_ACCEPTED)?;
    let timestamp = fields.integer("timestamp", 0..=i64::MAX, TIMESTAMP_ACCEPTED)?;
    let at = match (offset, timestamp.map(TimestampMs)) {
        (None, None) => return Err(fields.missing("offset and no timestamp")),
        (Some(-1), _) => ResumeAt::Latest,
        (Some(-2), _) => ResumeAt::Earliest,
        (None, Some(time)) => ResumeAt::Time(time),
        (Some(offset), time) => {
            let made_up = offset == 0 || fields.get("assumed") == Some(&Value::Bool(true));
            let kind = if made_up { PositionTime::MadeUp } else { PositionTime::Record };
            ResumeAt::Offset(Offset(offset), time.map(kind))
        }
    };
    // Another server's `log` may be anything: what is no tag is passed over.
    let log = fields.get("log").and_then(Value::as_str).and_then(LogTag::new);
    Ok(ResumeEntry { tp, at, log })
}

/// The fields of the entry at `index`.
#[derive(Clone, Copy)]
struct Fields<'a> {
    index: usize,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// A field that is there and not `null`: typed clients write `null` for what they do not have.
    fn get(self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|v| !v.is_null())
    }

    fn missing(self, missing: &'static str) -> BadPosition {
        BadPosition::Missing { index: self.index, missing }
    }

    fn wrong(self, field: &'static str, found: &Value, accepted: &'static str) -> BadPosition {
        let found = shortened(&found.to_string());
        BadPosition::WrongField { index: self.index, field, found, accepted }
    }

    fn topic(self) -> Result<TopicName, BadPosition> {
        match self.get("topic") {
            None => Err(self.missing("topic")),
            Some(Value::String(name)) => TopicName::new(name).map_err(|_| {
                let why = BadTopicName(shortened(name));
                BadPosition::WrongTopic { index: self.index, why }
            }),
            Some(other) => Err(self.wrong("topic", other, "a string")),
        }
    }

    fn partition(self) -> Result<i32, BadPosition> {
        let range = 0..=i64::from(i32::MAX);
        let partition = self.integer("partition", range, PARTITION_ACCEPTED)?;
        let partition = partition.ok_or_else(|| self.missing("partition"))?;
        Ok(i32::try_from(partition).expect("the range was checked"))
    }

    fn integer(
        self,
        field: &'static str,
        range: std::ops::RangeInclusive<i64>,
        accepted: &'static str,
    ) -> Result<Option<i64>, BadPosition> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let integer = value.as_number().and_then(exact_integer);
        match integer.filter(|n| range.contains(n)) {
            Some(n) => Ok(Some(n)),
            None => Err(self.wrong(field, value, accepted)),
        }
    }
}

/// The integer that a number is. One with a fraction or exponent counts while a float tells
/// neighbouring integers apart: up to 2^53.
fn exact_integer(number: &Number) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|_| number.is_f64())?;
        let exact = float.fract() == 0.0 && float.abs() <= EXACT_MAX;
        #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53")]
        exact.then_some(float as i64)
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
