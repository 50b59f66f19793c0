//! From a record to its data line: the one place where records are rendered, redacted and, if
//! they are no event, counted.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::render::{Skipped, render};
use crate::catalog::Catalog;
use crate::event::{Record, TopicName, TopicPartition};
use crate::metrics::{ByStreamReason, Metrics};

/// A record's data line with its `\n`, or why it has none.
pub type Line = Result<Bytes, Skipped>;

/// Changes a record before it is rendered, cached or shown: the seam for redaction.
pub trait Redact: Send + Sync + std::fmt::Debug {
    /// The record as readers may see it. Offset and time must stay.
    fn redact(&self, tp: &TopicPartition, record: &Record) -> Option<Record>;
}

/// Makes data lines.
#[derive(Debug)]
pub struct Lines {
    /// Only to count by.
    streams_of: RwLock<HashMap<TopicName, Vec<String>>>,
    redact: Option<Arc<dyn Redact>>,
    event_bytes_max: usize,
    metrics: Arc<Metrics>,
}

impl Lines {
    /// For the topics of this catalogue.
    #[must_use]
    pub fn new(
        catalog: &Catalog,
        redact: Option<Arc<dyn Redact>>,
        event_bytes_max: usize,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let streams_of = RwLock::new(streams_of(catalog));
        Arc::new(Self { streams_of, redact, event_bytes_max, metrics })
    }

    /// From now on for those of this one.
    pub fn are_of(&self, catalog: &Catalog) {
        *self.streams_of.write().expect("no holder panics") = streams_of(catalog);
    }

    /// The record's data line.
    pub fn line(&self, tp: &TopicPartition, record: &Record) -> Line {
        let redacted = self.redact.as_ref().and_then(|r| r.redact(tp, record));
        let record = redacted.as_ref().unwrap_or(record);
        let too_large = record.value.as_ref().is_some_and(|v| v.len() > self.event_bytes_max);
        let line = if too_large { Err(Skipped::TooLarge) } else { render(tp, record) };
        if let Err(skipped) = &line {
            let streams_of = self.streams_of.read().expect("no holder panics");
            for stream in streams_of.get(&tp.topic).into_iter().flatten() {
                let label = ByStreamReason { stream: stream.clone(), reason: skipped.as_str() };
                self.metrics.events_skipped.get_or_create(&label).inc();
            }
        }
        line
    }
}

fn streams_of(catalog: &Catalog) -> HashMap<TopicName, Vec<String>> {
    let mut streams_of: HashMap<_, Vec<_>> = HashMap::new();
    for stream in catalog.streams() {
        for topic in &stream.topics {
            streams_of.entry(topic.clone()).or_default().push(stream.name.to_string());
        }
    }
    streams_of
}
