//! From a record to its data line: the one place where records are rendered, redacted and, if
//! they are no event, counted.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::redact::Redactor;
use super::render::{Skipped, render};
use crate::catalog::Catalog;
use crate::config::RedactRule;
use crate::event::{Record, TopicName, TopicPartition};
use crate::metrics::{ByStreamReason, Metrics};

/// A record's data line with its `\n`, or why it has none.
pub type Line = Result<Bytes, Skipped>;

/// Makes data lines.
#[derive(Debug)]
pub struct Lines {
    rules: Vec<Arc<RedactRule>>,
    topics: RwLock<Topics>,
    event_bytes_max: usize,
    metrics: Arc<Metrics>,
}

/// What is known of the topics of the catalogue in force.
#[derive(Debug)]
struct Topics {
    /// Only to count by.
    streams_of: HashMap<TopicName, Vec<String>>,
    redact: Option<Redactor>,
}

impl Lines {
    /// For the topics of this catalogue.
    #[must_use]
    pub fn new(
        catalog: &Catalog,
        rules: &[Arc<RedactRule>],
        event_bytes_max: usize,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let redact = Redactor::new(rules, catalog, None, Arc::clone(&metrics));
        let topics = RwLock::new(Topics { streams_of: streams_of(catalog), redact });
        Arc::new(Self { rules: rules.to_vec(), topics, event_bytes_max, metrics })
    }

    /// From now on for those of this one. (What was hidden in the topics of the one before stays
    /// hidden: some may be read for a moment yet.)
    pub fn are_of(&self, catalog: &Catalog) {
        let mut topics = self.topics.write().expect("no holder panics");
        let (before, metrics) = (topics.redact.as_ref(), Arc::clone(&self.metrics));
        let redact = Redactor::new(&self.rules, catalog, before, metrics);
        *topics = Topics { streams_of: streams_of(catalog), redact };
    }

    /// The record's data line.
    pub fn line(&self, tp: &TopicPartition, record: &Record) -> Line {
        let topics = self.topics.read().expect("no holder panics");
        let too_large = record.value.as_ref().is_some_and(|v| v.len() > self.event_bytes_max);
        let line = if too_large { Err(Skipped::TooLarge) } else { topics.shown(tp, record) };
        if let Err(skipped) = &line {
            for stream in topics.streams_of.get(&tp.topic).into_iter().flatten() {
                let label = ByStreamReason { stream: stream.clone(), reason: skipped.as_str() };
                self.metrics.events_skipped.get_or_create(&label).inc();
            }
        }
        line
    }
}

impl Topics {
    fn shown(&self, tp: &TopicPartition, record: &Record) -> Line {
        let redacted = self.redact.as_ref().and_then(|redact| redact.redact(&tp.topic, record));
        render(tp, redacted.as_ref().unwrap_or(record))
    }
}

fn streams_of(catalog: &Catalog) -> HashMap<TopicName, Vec<String>> {
    let mut streams_of: HashMap<_, Vec<_>> = HashMap::new();
    for stream in catalog.streams() {
        for topic in stream.all_topics() {
            streams_of.entry(topic.clone()).or_default().push(stream.name.to_string());
        }
    }
    streams_of
}
