//! The catalogue in force: replaced whole while it is used, and who holds a selection of an older
//! one can see whether it still stands.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::{Catalog, Selection};

/// A handle on the catalogue in force. Clones are of the same.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    catalog: RwLock<Arc<Catalog>>,
    /// How often it has been replaced.
    generation: AtomicU64,
}

impl From<Arc<Catalog>> for Current {
    fn from(catalog: Arc<Catalog>) -> Self {
        Self(Arc::new(Inner { catalog: RwLock::new(catalog), generation: AtomicU64::new(0) }))
    }
}

impl Current {
    /// What is in force now.
    #[must_use]
    pub fn now(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.catalog.read().expect("no holder panics"))
    }

    /// From now on this one is.
    pub fn replace(&self, catalog: Arc<Catalog>) {
        *self.0.catalog.write().expect("no holder panics") = catalog;
        self.0.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// A selection that somebody goes on reading.
#[derive(Debug)]
pub struct Held {
    selection: Selection,
    current: Current,
    /// The catalogue for which it was found to stand.
    stood: AtomicU64,
}

impl Held {
    /// Made from the catalogue in force, or from one before.
    #[must_use]
    pub fn new(current: &Current, selection: Selection) -> Self {
        // Of none: it is looked at the first time that anybody asks, unless none was replaced.
        Self { selection, current: current.clone(), stood: AtomicU64::new(0) }
    }

    /// The names of its streams, and their topics.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether the same streams still are the same topics.
    #[must_use]
    pub fn stands(&self) -> bool {
        // Before the look: what is replaced after it is another one.
        let generation = self.current.0.generation.load(Ordering::Acquire);
        if self.stood.load(Ordering::Acquire) == generation {
            return true;
        }
        let names = self.selection.streams.iter().map(|name| &**name);
        let (now, topics) = (self.current.now(), self.selection.topics.iter().map(|t| t.as_str()));
        let selected = now.select(names).map(|selection| now.widened(selection, topics));
        let stands = selected.is_ok_and(|selection| selection == self.selection);
        if stands {
            self.stood.store(generation, Ordering::Release);
        }
        stands
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stream;
    use super::super::tests::stream;
    use super::*;
    use crate::event::TopicName;

    #[test]
    fn a_selection_stands_as_long_as_its_streams_have_the_same_topics() {
        let of = |streams: Vec<_>| Arc::new(Catalog::new(streams));
        let current = Current::from(of(vec![stream("a", &["x"], &[]), stream("b", &["y"], &[])]));
        let held = |names: &[&str]| {
            let selection = current.now().select(names.iter().copied()).expect("known");
            Held::new(&current, selection)
        };
        let (a, b, both) = (held(&["a"]), held(&["b"]), held(&["a", "b"]));
        current.replace(of(vec![stream("a", &["x"], &["new"]), stream("b", &["y", "z"], &[])]));
        assert!(a.stands() && a.stands(), "an alias more changes nothing for it");
        assert!(!b.stands() && !both.stands(), "it would show less than others see");
        current.replace(of(vec![stream("b", &["y"], &[])]));
        assert!(!a.stands() && b.stands() && !both.stands());
        // What is allowed besides belongs to who has named it.
        let allows = || Stream {
            topics_allowed: vec![TopicName::new("w").expect("legal")],
            ..stream("a", &["x"], &[])
        };
        current.replace(of(vec![allows()]));
        let now = current.now();
        let wide = now.widened(now.select(["a"]).expect("known"), ["w"]);
        assert_eq!(wide.topics.len(), 2);
        let wide = Held::new(&current, wide);
        current.replace(of(vec![allows(), stream("b", &["y"], &[])]));
        assert!(wide.stands());
        current.replace(of(vec![stream("a", &["x"], &[])]));
        assert!(!wide.stands(), "it is allowed no more");
    }
}
