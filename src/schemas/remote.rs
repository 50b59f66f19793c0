//! Schemas from servers: those that streams name, and those that they refer to.
//!
//! ```text
//!  a stream's `$schema`, or its title and "latest" ─▶ is it here? ─▶ each base in turn ─▶ Fetched
//!             ▲                                                            │
//!             └──────────────── what it refers to (`$ref`) ◀───────────────┘
//! ```
//! A document that is a version is fetched once: a version never changes. What is called `latest`
//! is fetched again each time, and is then known by the version that it says it is, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use futures_util::StreamExt;
use serde_json::Value;

use super::{numbers, title, version, without_ending};
use crate::catalog::{Catalog, Stream};
use crate::config::SchemasConfig;
use crate::document::{DocumentError, Fetcher, Place};
use crate::limits;

/// Documents that were fetched, by URI.
pub type Fetched = BTreeMap<String, Value>;

/// A schema that was not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its URI.
    pub uri: String,
    /// Why, for each base.
    pub says: String,
}

/// The servers.
#[derive(Debug)]
pub struct Remote<'a> {
    config: &'a SchemasConfig,
    fetcher: &'a Fetcher,
    /// Bases that have kept silent: not asked again, or a start would wait once for each schema.
    silent: Mutex<BTreeSet<&'a str>>,
}

impl<'a> Remote<'a> {
    /// The servers of a config.
    #[must_use]
    pub fn new(config: &'a SchemasConfig, fetcher: &'a Fetcher) -> Self {
        Self { config, fetcher, silent: Mutex::default() }
    }

    /// Everything that the streams of a catalogue need and the folder does not have. What was
    /// fetched `before` stands in for what cannot be had now; that is missing nevertheless.
    pub async fn fetch(&self, catalog: &Catalog, before: &Fetched) -> (Fetched, Vec<Missing>) {
        let (mut all, mut missing) = (Fetched::new(), Vec::new());
        if self.config.base_uris.is_empty() {
            return (all, missing);
        }
        let mut wanted: BTreeSet<String> =
            catalog.streams().filter_map(|stream| self.wanted(stream)).collect();
        // Events may go on naming the version before.
        let titles: BTreeSet<&str> = wanted.iter().map(|uri| title(uri)).collect();
        let known = before.keys().filter(|uri| is_fixed(uri) && titles.contains(title(uri)));
        let known: Vec<String> = known.cloned().collect();
        wanted.extend(known);
        let mut seen = BTreeSet::new();
        let mut bytes = 0;
        while !wanted.is_empty() {
            seen.extend(wanted.iter().cloned());
            let batch = std::mem::take(&mut wanted);
            let answers = futures_util::stream::iter(batch)
                .map(|uri| async { self.one(uri, before).await })
                .buffer_unordered(limits::SCHEMA_FETCHES_MAX);
            for (uri, answer) in answers.collect::<Vec<_>>().await {
                let document = match answer {
                    Ok(document) => document,
                    Err(says) => {
                        missing.push(Missing { uri: uri.clone(), says });
                        let Some(document) = before.get(&uri) else { continue };
                        document.clone()
                    }
                };
                bytes += document.to_string().len() as u64;
                if all.len() >= limits::SCHEMAS_MAX || bytes > limits::SCHEMAS_BYTES_MAX {
                    let says = format!(
                        "there are more than {} schemas in {} bytes, which are accepted",
                        limits::SCHEMAS_MAX,
                        limits::SCHEMAS_BYTES_MAX
                    );
                    missing.push(Missing { uri, says });
                    return (all, missing);
                }
                let new = references(&document).into_iter().map(|uri| self.known_as(&uri));
                wanted.extend(new.filter(|uri| uri.starts_with('/') && !seen.contains(uri)));
                if let Some(own) = own_uri(&uri, &document) {
                    all.insert(own, document.clone());
                }
                all.insert(uri, document);
            }
        }
        missing.sort_by(|a, b| a.uri.cmp(&b.uri));
        (all, missing)
    }

    /// The URI of what a stream's events look like, if that may be fetched.
    fn wanted(&self, stream: &Stream) -> Option<String> {
        let named = stream.schema.as_deref()?;
        if self.config.of_streams.contains_key(&*stream.name) {
            return None;
        }
        let uri = self.known_as(named);
        let uri = match title(&uri) {
            title if format!("/{title}") == uri => {
                format!("/{title}/{}", self.config.latest_version)
            }
            _ => uri,
        };
        let file = self.config.folder.as_ref().map(|folder| folder.join(&uri[1..]));
        let is_here = file.is_some_and(|file| {
            ["", ".json", ".yaml", ".yml"].iter().any(|end| {
                let mut name = file.clone().into_os_string();
                name.push(end);
                std::path::Path::new(&name).is_file()
            })
        });
        (!is_here).then_some(uri)
    }

    /// A URI without the base that it begins with and without an ending. One of another server
    /// stays as it is, and is not fetched.
    fn known_as(&self, uri: &str) -> String {
        let bases = self.config.base_uris.iter();
        let rest = bases.filter_map(|base| uri.strip_prefix(base.as_str())).next();
        let uri = without_ending(rest.unwrap_or(uri).trim_end_matches('#'));
        match uri.contains("://") || uri.starts_with('/') {
            true => uri.to_owned(),
            false => format!("/{uri}"),
        }
    }

    fn silent(&self) -> MutexGuard<'_, BTreeSet<&'a str>> {
        self.silent.lock().expect("no holder panics")
    }

    async fn one(&self, uri: String, before: &Fetched) -> (String, Result<Value, String>) {
        if uri.contains("://") {
            let says = "it is not below any of schemas.base_uris".to_owned();
            return (uri, Err(says));
        }
        if let Some(document) = before.get(&uri).filter(|_| is_fixed(&uri)) {
            return (uri.clone(), Ok(document.clone()));
        }
        let mut says = Vec::new();
        for base in &self.config.base_uris {
            if self.silent().contains(base.as_str()) {
                says.push(format!("{base}: it keeps silent"));
                continue;
            }
            for ending in ["", ".json", ".yaml"] {
                let place = Place::Url(format!("{base}{uri}{ending}"));
                match self.fetcher.fetch(&place, limits::SCHEMA_BYTES_MAX).await {
                    Ok(document) if document.is_object() => return (uri, Ok(document)),
                    Ok(_) => says.push(format!("{place}: is no schema; an object is accepted")),
                    Err(error @ DocumentError::Missing { .. }) => {
                        if ending.is_empty() {
                            says.push(error.to_string());
                        }
                        continue;
                    }
                    Err(error) => {
                        if matches!(error, DocumentError::Silent { .. }) {
                            self.silent().insert(base);
                        }
                        says.push(error.to_string());
                    }
                }
                break;
            }
        }
        (uri, Err(says.join("; ")))
    }
}

/// Whether it is the URI of a version, and not of what is the newest at the time.
fn is_fixed(uri: &str) -> bool {
    !numbers(version(uri)).is_empty()
}

/// The URI that a document says it has, if it is a version of what was asked for.
fn own_uri(asked: &str, document: &Value) -> Option<String> {
    let own = without_ending(document.get("$id")?.as_str()?.trim_end_matches('#'));
    (is_fixed(own) && own.starts_with('/') && own != asked && title(own) == title(asked))
        .then(|| own.to_owned())
}

/// The URIs of other documents that a schema refers to.
fn references(schema: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut rest = vec![schema];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(values) => rest.extend(values),
            Value::Object(members) => {
                if let Some(Value::String(uri)) = members.get("$ref") {
                    let document = uri.split('#').next().unwrap_or_default();
                    if !document.is_empty() {
                        all.insert(document.to_owned());
                    }
                }
                let is_data = |key: &str| matches!(key, "examples" | "enum" | "const" | "default");
                rest.extend(members.iter().filter(|(key, _)| !is_data(key)).map(|(_, v)| v));
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_says_which_version_it_is_and_what_it_refers_to() {
        let schema = json!({
            "$id": "/a/b/2.1.0", "allOf": [{ "$ref": "/common/1.0.0#/definitions/meta" }],
            "properties": { "x": { "$ref": "#/definitions/y" }, "z": { "$ref": "/z/1.0.0" } },
            "examples": [{ "$ref": "/never/1.0.0" }],
        });
        let all: Vec<_> = references(&schema).into_iter().collect();
        assert_eq!(all, ["/common/1.0.0", "/z/1.0.0"]);
        assert_eq!(own_uri("/a/b/latest", &schema).as_deref(), Some("/a/b/2.1.0"));
        assert_eq!(own_uri("/a/b/2.1.0", &schema), None);
        assert_eq!(own_uri("/a/c/latest", &schema), None, "it is another's");
    }
}
