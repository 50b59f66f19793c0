//! What must not be shown is taken out of a record before it is rendered: the one place through
//! which live and replayed records go alike.
//!
//! ```text
//!  record ─▶ find: which rules does it match? ─┬─ none ─▶ as it is, not a byte copied
//!                                              └─ some ─▶ edit: fields out, or others in ─▶ record
//! ```
//! A record is hostile: its text may hold a field twice, spell it with escapes, put it into an
//! array or nest it a million deep. A rule matches if *any* value at its path does, and takes out
//! *every* field at its paths, in whatever order and spelling. All that is not at the path of a
//! rule that matches stays byte for byte.
//!
//! Pure but for its counters. `walk` goes through the text; `paths` is where it has to look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::render;
use crate::catalog::{Catalog, Stream};
use crate::config::{RedactRule, Redaction};
use crate::event::{Record, TopicName};
use crate::metrics::{ByRule, Metrics};

mod edit;
mod paths;
mod walk;

use edit::Edits;
use paths::Paths;

/// All rules, by the topics that they are for.
#[derive(Debug)]
pub struct Redactor {
    plans: HashMap<TopicName, Arc<Plan>>,
    metrics: Arc<Metrics>,
}

/// The rules of a topic.
#[derive(Debug, Default)]
struct Plan {
    rules: Vec<Arc<RedactRule>>,
    /// Where conditions have to be looked at: the rule, and which of its conditions.
    conditions: Paths<(usize, usize)>,
    /// Where something is taken out: the rule, and what stands there instead.
    edits: Paths<(usize, Option<Arc<str>>)>,
}

impl Redactor {
    /// Takes the rules; `None`: there is none. Topics of the one `before` that the catalogue does
    /// not have any more keep theirs.
    #[must_use]
    pub fn new(
        rules: &[Arc<RedactRule>],
        catalog: &Catalog,
        before: Option<&Self>,
        metrics: Arc<Metrics>,
    ) -> Option<Self> {
        let mut plans: HashMap<TopicName, Plan> = HashMap::new();
        for rule in rules {
            let named = rule.streams.iter().map(|name| catalog.get(name));
            let named: Option<HashSet<_>> = named.map(|s| s.map(|s| &s.name)).collect();
            // A stream that is not there may be called otherwise now: rather too much is hidden
            // than too little.
            let named = named.filter(|named| !named.is_empty());
            let is_meant =
                |stream: &Stream| named.as_ref().is_none_or(|n| n.contains(&stream.name));
            let streams = catalog.streams().filter(|stream| is_meant(stream));
            let topics: HashSet<&TopicName> = streams.flat_map(|s| s.all_topics()).collect();
            for topic in topics {
                plans.entry(topic.clone()).or_default().add(rule);
            }
        }
        let mut all = before.map(|before| before.plans.clone()).unwrap_or_default();
        all.extend(plans.into_iter().map(|(topic, plan)| (topic, Arc::new(plan))));
        (!all.is_empty()).then_some(Self { plans: all, metrics })
    }

    /// The record as readers may see it; `None`: as it is.
    #[must_use]
    pub fn redact(&self, topic: &TopicName, record: &Record) -> Option<Record> {
        let plan = self.plans.get(topic)?;
        let value = render::utf8(record.value.as_deref()?);
        let text = render::trimmed(value.as_bytes());
        let matched = plan.matched(text);
        // What is no event is not shown anyway, and must not become one by what is taken out.
        if !matched.contains(&true) || !render::is_json(text) {
            return None;
        }
        for rule in counted(&plan.rules, &matched) {
            let label = ByRule { rule: rule.to_owned() };
            self.metrics.events_redacted.get_or_create(&label).inc();
        }
        let value = Bytes::from(Edits::of(text, &plan.edits, &matched).applied(text));
        let mut rules = plan.rules.iter().zip(&matched).filter(|(_, matched)| **matched);
        let hides = rules.any(|(rule, _)| rule.paths().any(hides_key));
        let key = record.key.clone().filter(|_| !hides);
        Some(Record { offset: record.offset, time: record.time, key, value: Some(value) })
    }
}

/// The names of the rules that match, each once.
fn counted<'a>(rules: &'a [Arc<RedactRule>], matched: &[bool]) -> HashSet<&'a str> {
    rules.iter().zip(matched).filter(|(_, m)| **m).map(|(rule, _)| &*rule.name).collect()
}

/// A reader gets the record's key as `meta.key`.
fn hides_key(path: &[String]) -> bool {
    path.first().is_some_and(|first| first == "meta")
        && path.get(1).is_none_or(|second| second == "key")
        && path.len() <= 2
}

impl Plan {
    fn add(&mut self, rule: &Arc<RedactRule>) {
        let number = self.rules.len();
        self.rules.push(Arc::clone(rule));
        for (n, condition) in rule.conditions.iter().enumerate() {
            for path in &condition.fields {
                self.conditions.add(path, (number, n));
            }
        }
        for Redaction { path, instead } in &rule.redactions {
            self.edits.add(path, (number, instead.clone()));
        }
    }

    /// Which rules the event matches.
    fn matched(&self, text: &[u8]) -> Vec<bool> {
        let mut met: Vec<Vec<bool>> =
            self.rules.iter().map(|rule| vec![false; rule.conditions.len()]).collect();
        let mut look = |of: &[(usize, usize)], scalar: &[u8]| {
            let value = walk::scalar(scalar);
            for &(rule, n) in of {
                met[rule][n] = met[rule][n] || self.rules[rule].conditions[n].holds(&value);
            }
        };
        walk::scalars(text, &self.conditions, &mut look);
        met.iter().map(|conditions| conditions.iter().all(|met| *met)).collect()
    }
}

#[cfg(test)]
#[path = "redact/tests.rs"]
mod tests;
