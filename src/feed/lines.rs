//! From a record to its data line: the one place where records are rendered, redacted and, if
//! they are no event, counted.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::redact::Redactor;
use super::render::{Skipped, render};
use crate::catalog::Catalog;
use crate::event::{Record, TopicName, TopicPartition};
use crate::metrics::{ByStreamReason, Metrics};

/// A record's data line with its `\n`, or why it has none.
pub type Line = Result<Bytes, Skipped>;

/// Makes data lines.
#[derive(Debug)]
pub struct Lines {
    streams_of: HashMap<TopicName, Vec<String>>,
    redact: Option<Arc<Redactor>>,
    event_bytes_max: usize,
    metrics: Arc<Metrics>,
}

impl Lines {
    /// For the topics of this catalogue.
    #[must_use]
    pub fn new(
        catalog: &Catalog,
        redact: Option<Arc<Redactor>>,
        event_bytes_max: usize,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let mut streams_of: HashMap<TopicName, Vec<String>> = HashMap::new();
        for stream in catalog.streams() {
            for topic in &stream.topics {
                streams_of.entry(topic.clone()).or_default().push(stream.name.to_string());
            }
        }
        Arc::new(Self { streams_of, redact, event_bytes_max, metrics })
    }

    /// The record's data line.
    pub fn line(&self, tp: &TopicPartition, record: &Record) -> Line {
        let too_large = record.value.as_ref().is_some_and(|v| v.len() > self.event_bytes_max);
        let line = if too_large { Err(Skipped::TooLarge) } else { self.shown(tp, record) };
        if let Err(skipped) = &line {
            for stream in self.streams_of.get(&tp.topic).into_iter().flatten() {
                let label = ByStreamReason { stream: stream.clone(), reason: skipped.as_str() };
                self.metrics.events_skipped.get_or_create(&label).inc();
            }
        }
        line
    }

    fn shown(&self, tp: &TopicPartition, record: &Record) -> Line {
        let redacted = self.redact.as_ref().and_then(|r| r.redact(&tp.topic, record));
        render(tp, redacted.as_ref().unwrap_or(record))
    }
}
