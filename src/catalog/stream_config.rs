//! Streams as the reference describes them: its stream configs, from a document to `Stream`s.
//!
//! ```text
//!  document ─▶ what is at the path ─▶ defaults fill in ─▶ overrides replace
//!                  └─▶ which are shown? ─▶ Stream ─▶ are the names distinct?
//! ```
//! What EventStreams does with the same document is done here: names that are patterns and streams
//! without topics are no streams, defaults and overrides are told stream by stream and may add one.
//! Where it goes on with what cannot be meant, this is an error: nothing of the document counts.
//! Pure: no I/O.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Stream;
use crate::event::TopicName;
use crate::limits;

/// What an operator says of such a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// Where in the document the streams are: keys, dot by dot; empty: it is all streams.
    pub object_path: String,
    /// By stream: what is put in where the document says nothing.
    pub defaults: Map<String, Value>,
    /// By stream: what counts whatever the document says.
    pub overrides: Map<String, Value>,
    /// Streams that are shown, by their names; empty: all.
    pub allowed: Vec<String>,
    /// The beginning of the topic that the intake writes to, if a stream has one.
    pub produce_prefix: String,
}

/// What the document is good for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Described {
    /// The streams, by name.
    pub streams: Vec<Stream>,
    /// What else it has.
    pub passed_over: PassedOver,
}

/// What of a document is no stream here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PassedOver {
    /// Names that are patterns.
    pub patterns: usize,
    /// Streams that name no topics.
    pub without_topics: usize,
    /// Streams that are not among those allowed.
    pub not_allowed: usize,
    /// Of those allowed, what the document does not have.
    pub allowed_and_missing: Vec<String>,
}

/// Why a document cannot be used. Says where, what was found and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStreamConfig {
    /// There are no streams where they should be.
    #[error("at `{at}` is {found}; an object of streams by name is accepted")]
    NoObject {
        /// The path in the document.
        at: String,
        /// What is there.
        found: &'static str,
    },
    /// A key of a stream.
    #[error("the stream {stream}: `{key}` is {found}; {accepted} is accepted")]
    Key {
        /// Which stream.
        stream: String,
        /// Which of its keys.
        key: String,
        /// What is there.
        found: String,
        /// What could be.
        accepted: &'static str,
    },
    /// Two streams would answer to one name.
    #[error("the name {name} is of two streams, {one} and {other}")]
    Twice {
        /// The name, or alias.
        name: String,
        /// The stream that has it.
        one: String,
        /// The stream that wants it.
        other: String,
    },
    /// Nothing is left to be shown.
    #[error(
        "it has no stream that can be shown ({patterns} pattern(s), {without_topics} without \
         topics, {not_allowed} not allowed)",
        patterns = .0.patterns, without_topics = .0.without_topics, not_allowed = .0.not_allowed
    )]
    Empty(PassedOver),
    /// It has too many.
    #[error("it has {0} streams; {most} are accepted", most = limits::CATALOGUE_STREAMS_MAX)]
    TooMany(usize),
}

/// Reads a document.
///
/// # Errors
/// What is wrong with it: then nothing of it counts.
pub fn described(document: &Value, terms: &Terms) -> Result<Described, BadStreamConfig> {
    let mut all = at(document, &terms.object_path)?.clone();
    fill_in(&mut all, &terms.defaults);
    replace(&mut all, &terms.overrides);
    let mut found = Described::default();
    let over = &mut found.passed_over;
    for (name, config) in &all {
        if name.starts_with('/') {
            over.patterns += 1;
        } else if !terms.allowed.is_empty() && !terms.allowed.contains(name) {
            over.not_allowed += 1;
        } else {
            match stream(name, config, &terms.produce_prefix)? {
                Some(stream) => found.streams.push(stream),
                None => over.without_topics += 1,
            }
        }
    }
    let has = |name: &String| found.streams.iter().any(|stream| *stream.name == **name);
    over.allowed_and_missing = terms.allowed.iter().filter(|n| !has(n)).cloned().collect();
    if found.streams.is_empty() {
        return Err(BadStreamConfig::Empty(found.passed_over));
    }
    if found.streams.len() > limits::CATALOGUE_STREAMS_MAX {
        return Err(BadStreamConfig::TooMany(found.streams.len()));
    }
    names_are_distinct(&found.streams)?;
    Ok(found)
}

fn at<'a>(document: &'a Value, path: &str) -> Result<&'a Map<String, Value>, BadStreamConfig> {
    let keys = path.split('.').filter(|key| !key.is_empty());
    let found = keys.into_iter().try_fold(document, |value, key| value.get(key));
    found.and_then(Value::as_object).ok_or_else(|| BadStreamConfig::NoObject {
        at: if path.is_empty() { "the document".to_owned() } else { path.to_owned() },
        found: found.map_or("nothing", kind),
    })
}

/// Puts in what is not there. A list that is there stays as it is. (The reference's own function
/// would lengthen it, element by element.)
fn fill_in(into: &mut Map<String, Value>, defaults: &Map<String, Value>) {
    for (key, default) in defaults {
        match (into.get_mut(key), default) {
            (Some(Value::Object(into)), Value::Object(defaults)) => fill_in(into, defaults),
            (Some(_), _) => {}
            (None, default) => drop(into.insert(key.clone(), default.clone())),
        }
    }
}

/// Puts in what is told, whatever is there; of objects only the keys that are told.
fn replace(into: &mut Map<String, Value>, overrides: &Map<String, Value>) {
    for (key, value) in overrides {
        match (into.get_mut(key), value) {
            (Some(Value::Object(into)), Value::Object(overrides)) => replace(into, overrides),
            (_, value) => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

/// A stream; `None`: it names no topics.
fn stream(
    name: &str,
    config: &Value,
    produce_prefix: &str,
) -> Result<Option<Stream>, BadStreamConfig> {
    let of = Of { name, config };
    if !config.is_object() {
        return Err(of.wrong("the config", described_as(config), "an object"));
    }
    let topics = of.topics("topics")?;
    if topics.is_empty() {
        return Ok(None);
    }
    let mut topics_allowed = of.topics("topics_allowed")?;
    topics_allowed.retain(|topic| !topics.contains(topic));
    let legal = |any: &str| !any.is_empty() && !any.contains(super::NOT_IN_NAMES);
    let mut aliases = of.texts("stream_aliases")?;
    // Its own name says nothing.
    aliases.retain(|alias| *alias != name);
    for (key, any) in aliases.iter().map(|a| ("stream_aliases", *a)).chain([("the name", name)]) {
        if !legal(any) {
            let accepted = "a name without , / % ? #";
            return Err(of.wrong(key, format!("\"{any}\""), accepted));
        }
    }
    let description = of.text("description")?.map(str::to_owned);
    let schema = match of.text("$schema")? {
        Some(uri) => Some(uri),
        None => of.text("schema_title")?,
    };
    let produced = |topic: &&TopicName| topic.as_str().starts_with(produce_prefix);
    Ok(Some(Stream {
        name: name.into(),
        produce_to: topics.iter().find(produced).cloned(),
        topics,
        topics_allowed,
        aliases: aliases.into_iter().map(Arc::from).collect(),
        description: description.unwrap_or_else(|| format!("{name} events.")),
        schema: schema.map(str::to_owned),
    }))
}

/// One stream's config.
#[derive(Clone, Copy)]
struct Of<'a> {
    name: &'a str,
    config: &'a Value,
}

impl<'a> Of<'a> {
    fn wrong(self, key: &str, found: String, accepted: &'static str) -> BadStreamConfig {
        let (stream, key) = (self.name.to_owned(), key.to_owned());
        BadStreamConfig::Key { stream, key, found, accepted }
    }

    /// A text, if it is there. `null` is as good as nothing.
    fn text(self, key: &str) -> Result<Option<&'a str>, BadStreamConfig> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, described_as(other), "a text")),
        }
    }

    /// A list of texts, each once; none where it is not there.
    fn texts(self, key: &str) -> Result<Vec<&'a str>, BadStreamConfig> {
        let accepted = "a list of texts";
        let all = match self.config.get(key) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(all)) => all,
            Some(other) => return Err(self.wrong(key, described_as(other), accepted)),
        };
        let mut texts = Vec::new();
        for (n, value) in all.iter().enumerate() {
            let text = value
                .as_str()
                .ok_or_else(|| self.wrong(&format!("{key}[{n}]"), described_as(value), accepted))?;
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        Ok(texts)
    }

    fn topics(self, key: &str) -> Result<Vec<TopicName>, BadStreamConfig> {
        let accepted = "a list of names that Kafka accepts";
        let topic = |text: &str| {
            TopicName::new(text).map_err(|_| self.wrong(key, format!("[\"{text}\"]"), accepted))
        };
        self.texts(key)?.into_iter().map(topic).collect()
    }
}

fn names_are_distinct(streams: &[Stream]) -> Result<(), BadStreamConfig> {
    let mut taken: HashMap<&str, &Stream> = HashMap::new();
    for stream in streams {
        for name in stream.aliases.iter().chain([&stream.name]) {
            if let Some(other) = taken.insert(name, stream) {
                let (name, one) = (name.to_string(), other.name.to_string());
                return Err(BadStreamConfig::Twice { name, one, other: stream.name.to_string() });
            }
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn described_as(value: &Value) -> String {
    kind(value).to_owned()
}

#[cfg(test)]
#[path = "stream_config_tests.rs"]
mod tests;
