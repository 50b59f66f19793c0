//! `[catalogue]`: streams that are described elsewhere, in the reference's form.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use toml::Table;

use super::reader::{Findings, Mistake, Section};
use super::{Config, RedactRule};
use crate::catalog::Stream;
use crate::catalog::stream_config::Terms;
use crate::document::Place;

/// Where the catalogue is, and what of it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueConfig {
    /// Where it is; `None`: the streams of the config are all.
    pub place: Option<Place>,
    /// How often it is read again, and schemas that were fetched with it; `None`: when the
    /// configuration is.
    pub ttl: Option<Duration>,
    /// How long one document may take.
    pub timeout: Duration,
    /// Reads that may fail in a row before that counts as worth a look.
    pub missed_max: u64,
    /// Sent with the request for the catalogue.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A PEM file of whom TLS believes besides.
    pub ca_file: Option<PathBuf>,
    /// What of the document counts.
    pub terms: Terms,
}

impl CatalogueConfig {
    pub(super) fn read(root: &mut Section<'_>, found: &mut Findings) -> Self {
        let table = root.table("catalogue", found);
        let mut section = Section::new("catalogue", table);
        let place = section.parsed("uri", None, found, |text| match text {
            "" => Ok(None),
            text => Place::parse(text).map(Some),
        });
        let seconds = Duration::from_secs;
        let ttl = section.number("ttl_s", 60, 0..=86_400, found);
        let timeout = seconds(section.number("timeout_s", 10, 1..=300, found));
        let missed_max = section.number("missed_max", 3, 1..=1000, found);
        let headers = headers(&mut section, found);
        let ca_file = section.text("ca_file", found).filter(|file| !file.is_empty());
        let ca_file = ca_file.map(PathBuf::from);
        let texts = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let terms = Terms {
            object_path: section.text("object_path", found).unwrap_or_default().to_owned(),
            allowed: texts(section.list("allowed_streams", found)),
            produce_prefix: section.text("produce_prefix", found).unwrap_or_default().to_owned(),
            defaults: by_stream("defaults", &mut section, found),
            overrides: by_stream("overrides", &mut section, found),
        };
        let says_something = terms != Terms::default();
        if place.is_none() && says_something && found.mistakes.is_empty() {
            let says = "is missing; a file or a URL is accepted, or none of the table's other keys";
            found.add(section.key("uri"), says);
        }
        section.finish(found);
        let ttl = (ttl > 0).then(|| seconds(ttl));
        Self { place, ttl, timeout, missed_max, headers, ca_file, terms }
    }
}

fn headers(section: &mut Section<'_>, found: &mut Findings) -> Vec<(HeaderName, HeaderValue)> {
    let mut all = Vec::new();
    for (name, value) in section.table("headers", found).into_iter().flatten() {
        let pair = value.as_str().and_then(|value| {
            let mut value = HeaderValue::from_str(value).ok()?;
            // It may be a secret.
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        match pair {
            Some(pair) => all.push(pair),
            None => found.add(
                section.key(&format!("headers.{name}")),
                "is no header; a name and a text of one line are accepted",
            ),
        }
    }
    all
}

/// Tables by stream, as the document has them.
fn by_stream(
    key: &'static str,
    section: &mut Section<'_>,
    found: &mut Findings,
) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, value) in section.table(key, found).into_iter().flatten() {
        match value.as_table().map(serde_json::to_value::<&Table>) {
            Some(Ok(value)) => drop(all.insert(name.clone(), value)),
            _ => {
                let says = format!("a table is accepted: [catalogue.{key}.NAME]");
                found.add(section.key(&format!("{key}.{name}")), says);
            }
        }
    }
    all
}

/// The streams that other keys may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) streams: &'a [Stream],
    /// There are others, which are not known before the catalogue is read.
    pub(super) and_others: bool,
}

impl Known<'_> {
    /// Whether it may be a stream's name (no alias).
    pub(super) fn has(self, name: &str) -> bool {
        self.and_others || self.streams.iter().any(|stream| &*stream.name == name)
    }

    /// The name of the stream that is called so, or by this alias.
    pub(super) fn named(self, any: &str) -> Option<String> {
        let is_called =
            |s: &&Stream| &*s.name == any || s.aliases.iter().any(|alias| &**alias == any);
        let known = self.streams.iter().find(is_called).map(|stream| stream.name.to_string());
        known.or_else(|| self.and_others.then(|| any.to_owned()))
    }
}

impl Config {
    /// This one with the streams of a catalogue besides its own, which win where both have a name.
    ///
    /// # Errors
    /// A topic of theirs that nobody must be shown.
    pub fn with_streams(&self, others: &[Stream]) -> Result<Self, String> {
        let own: BTreeSet<&Arc<str>> =
            self.streams.iter().flat_map(|s| s.aliases.iter().chain([&s.name])).collect();
        let mut streams = self.streams.clone();
        for other in others.iter().filter(|other| !own.contains(&other.name)) {
            let control = self.state.blocks_topic.as_ref();
            if other.all_topics().any(|topic| Some(topic) == control) {
                let name = &other.name;
                return Err(format!("the stream {name} has the topic that blocks.topic names"));
            }
            let mut other = other.clone();
            other.aliases.retain(|alias| !own.contains(alias));
            streams.push(other);
        }
        Ok(Self { streams, ..self.clone() })
    }

    /// Keys that name a stream which is not there: known only when the catalogue is.
    #[must_use]
    pub fn names_of_nobody(&self) -> Vec<Mistake> {
        let known = Known { streams: &self.streams, and_others: false };
        let mut all = Vec::new();
        let mut look = |key: String, name: &str, is_there: bool| {
            if !is_there {
                let says = format!("found \"{name}\"; there is no such stream");
                all.push(Mistake { key, says });
            }
        };
        for rule in &self.redact {
            let RedactRule { name: rule, streams, .. } = &**rule;
            for name in streams {
                look(format!("redact.{rule}.streams"), name, known.named(name).is_some());
            }
        }
        for name in self.health.silence_max.keys() {
            look("health.silence_max_s".to_owned(), name, known.has(name));
        }
        for name in &self.canary.streams {
            look("canary.streams".to_owned(), name, known.has(name));
        }
        all
    }
}
