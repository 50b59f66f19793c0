//! Which streams there are: names, aliases, topics, descriptions, schemas.
//!
//! Pure data, looked up by name. Knows nothing of sources or readers. It comes from the config, and
//! from elsewhere in the reference's form (`stream_config`); `current` is the one in force.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::event::TopicName;

mod current;
pub mod stream_config;

pub use current::{Current, Held};

/// What a stream's name cannot have: it is a part of a URL's path, and commas divide names there.
pub const NOT_IN_NAMES: [char; 5] = [',', '/', '%', '?', '#'];

/// One stream: a name for a set of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The exact name in the URL.
    pub name: Arc<str>,
    /// The topics it shows, in the order of the config or of the document.
    pub topics: Vec<TopicName>,
    /// Topics that who comes back may name besides, and is shown then.
    pub topics_allowed: Vec<TopicName>,
    /// Other names for the same stream.
    pub aliases: Vec<Arc<str>>,
    /// For people; empty where the operator gave none.
    pub description: String,
    /// The `$schema` URI or title of its events, if given.
    pub schema: Option<String>,
    /// Where `POST /v1/events` writes; the first topic where the operator gave none.
    pub produce_to: Option<TopicName>,
}

impl Stream {
    /// All topics that it may show.
    pub fn all_topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.iter().chain(&self.topics_allowed)
    }
}

/// What somebody asked for, made canonical: the same streams in any order, by any alias, with any
/// repetition give the same selection. It is a feed's identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selection {
    /// Stream names (never aliases), sorted, each once.
    pub streams: Vec<Arc<str>>,
    /// Their topics, sorted, each once.
    pub topics: Vec<TopicName>,
}

/// Names that are no stream, in the order asked, each once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid streams: {}", .0.join(","))]
pub struct UnknownStreams(pub Vec<String>);

/// All streams by name and alias.
#[derive(Debug, Default)]
pub struct Catalog {
    streams: BTreeMap<Arc<str>, Arc<Stream>>,
    by_any_name: HashMap<Arc<str>, Arc<Stream>>,
}

impl Catalog {
    /// Takes the streams; names and aliases must be distinct (the config checks it).
    pub fn new(streams: impl IntoIterator<Item = Stream>) -> Self {
        let mut all = Self::default();
        for stream in streams {
            let stream = Arc::new(stream);
            for name in stream.aliases.iter().chain([&stream.name]) {
                all.by_any_name.insert(Arc::clone(name), Arc::clone(&stream));
            }
            all.streams.insert(Arc::clone(&stream.name), stream);
        }
        all
    }

    /// Looks a stream up by its exact name or alias.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Stream>> {
        self.by_any_name.get(name)
    }

    /// All streams, by name.
    pub fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.streams.values()
    }

    /// All topics that any stream may show, sorted, each once.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicName> {
        let all = self.streams.values().flat_map(|s| s.all_topics().cloned());
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Turns names and aliases into a selection.
    ///
    /// # Errors
    /// All names that are no stream.
    pub fn select<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Selection, UnknownStreams> {
        let (mut streams, mut topics) = (BTreeSet::new(), BTreeSet::new());
        let mut unknown = Vec::new();
        for name in names {
            if let Some(stream) = self.get(name) {
                streams.insert(Arc::clone(&stream.name));
                topics.extend(stream.topics.iter().cloned());
            } else if !unknown.iter().any(|u| u == name) {
                unknown.push(name.to_owned());
            }
        }
        if unknown.is_empty() {
            let (streams, topics) = (streams.into_iter().collect(), topics.into_iter().collect());
            Ok(Selection { streams, topics })
        } else {
            Err(UnknownStreams(unknown))
        }
    }

    /// The selection with those of these topics that its streams allow besides their own.
    #[must_use]
    pub fn widened<'a>(
        &self,
        mut selection: Selection,
        topics: impl IntoIterator<Item = &'a str>,
    ) -> Selection {
        let streams = selection.streams.iter().filter_map(|name| self.streams.get(name));
        let allowed: Vec<_> = streams.flat_map(|stream| &stream.topics_allowed).collect();
        if !allowed.is_empty() {
            let named: BTreeSet<_> = topics.into_iter().collect();
            let more = allowed.into_iter().filter(|topic| named.contains(topic.as_str()));
            let all: BTreeSet<_> = selection.topics.drain(..).chain(more.cloned()).collect();
            selection.topics = all.into_iter().collect();
        }
        selection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn stream(name: &str, topics: &[&str], aliases: &[&str]) -> Stream {
        Stream {
            name: name.into(),
            topics: topics.iter().map(|t| TopicName::new(t).expect("legal")).collect(),
            aliases: aliases.iter().map(|&a| a.into()).collect(),
            description: String::new(),
            schema: None,
            produce_to: None,
            topics_allowed: Vec::new(),
        }
    }

    #[test]
    fn a_stream_asked_for_twice_or_by_its_alias_is_one_selection() {
        let all = Catalog::new([
            stream("b", &["eqiad.b", "codfw.b"], &["mediawiki.b"]),
            stream("a", &["eqiad.a"], &[]),
        ]);
        let once = all.select(["a", "b"]).expect("known");
        assert_eq!(all.select(["mediawiki.b", "b", "a", "a"]).expect("known"), once);
        assert_eq!(once.topics.len(), 3);
        assert_eq!(once.topics[0].as_str(), "codfw.b");
    }

    #[test]
    fn topics_that_are_allowed_besides_are_shown_to_who_names_them() {
        let topic = |name| TopicName::new(name).expect("legal");
        let a = Stream { topics_allowed: vec![topic("codfw.a")], ..stream("a", &["eqiad.a"], &[]) };
        let all = Catalog::new([a, stream("b", &["eqiad.b"], &[])]);
        let of = |names: &[&str], topics: &[&str]| {
            let selection = all.select(names.iter().copied()).expect("known");
            let selection = all.widened(selection, topics.iter().copied());
            selection.topics.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&["a"], &[]), ["eqiad.a"]);
        assert_eq!(of(&["a"], &["eqiad.a", "codfw.a", "eqiad.b"]), ["codfw.a", "eqiad.a"]);
        assert_eq!(of(&["b"], &["codfw.a"]), ["eqiad.b"], "it is another stream's");
        assert_eq!(all.topics(), [topic("codfw.a"), topic("eqiad.a"), topic("eqiad.b")]);
    }

    #[test]
    fn unknown_names_are_all_told_once_in_the_order_asked() {
        let all = Catalog::new([stream("a", &["eqiad.a"], &[])]);
        let error = all.select(["x", "a", "y", "x", "A"]).expect_err("unknown");
        assert_eq!(error.to_string(), "Invalid streams: x,y,A");
    }
}
