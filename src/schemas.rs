//! JSON Schemas of the streams' events: shown in the documents, and held against what the intake
//! takes.
//!
//! ```text
//!  folder ─────────────────────────┬─▶ documents, by URI ─┐
//!  base URIs ─▶ remote ─▶ Fetched ─┘                      │
//!  a stream's own file ───────────────────────────────────┴─▶ Schema (compiled when it is first
//!                                                                held against an event)
//! ```
//! A document's URI is its path in the folder without its ending: `/mediawiki/recentchange/1.0.1`.
//! What is known is known before anybody asks: no request makes anything be read or fetched,
//! whatever its `$schema` says; `current` is what is known now. Knows no HTTP. `check` says in
//! words what does not fit; `folder` and `remote` read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jsonschema::{Draft, Retrieve, Uri, Validator};
use serde_json::Value;

use crate::catalog::{Catalog, Stream};
use crate::config::SchemasConfig;

mod check;
mod current;
mod folder;
mod remote;

pub use check::Misfit;
pub use current::Current;
pub use remote::{Fetched, Missing, Remote};

/// Documents by URI.
type Documents = Arc<BTreeMap<String, Arc<Value>>>;

/// Why the schemas cannot be used as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum SchemasError {
    /// A file, or the folder.
    #[error("{}: {says}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong, and what is accepted.
        says: String,
    },
    /// A schema that a stream's events must fit.
    #[error("the schema {uri}: {says}")]
    Unusable {
        /// Its URI.
        uri: String,
        /// What is wrong with it.
        says: String,
    },
}

/// Why no schema is found for an event. Says what was found and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSchema {
    /// It names none.
    #[error("`$schema` is missing; a version of `/{0}` is accepted")]
    Missing(String),
    /// It names one of another title than its stream's.
    #[error("`$schema` is `{found}`; a version of `/{title}` is accepted")]
    Other {
        /// What the event says.
        found: String,
        /// The title of what its stream carries.
        title: String,
    },
    /// It names one that is not here.
    #[error("`$schema` is `{found}`, which is not known here; accepted are {known}")]
    Unknown {
        /// What the event says.
        found: String,
        /// Some of the versions that are here.
        known: String,
    },
}

/// One schema.
#[derive(Debug)]
pub struct Schema {
    /// Its URI; of a stream's own file, the file's name.
    pub uri: String,
    /// As it is written.
    pub document: Arc<Value>,
    compiled: OnceLock<Result<Validator, String>>,
}

/// All schemas.
#[derive(Debug, Default)]
pub struct Schemas {
    documents: Documents,
    by_uri: BTreeMap<String, Arc<Schema>>,
    /// Events must fit what their stream names, also where none of it could be had.
    count: bool,
    of_streams: HashMap<String, Arc<Schema>>,
}

impl Schemas {
    /// Reads everything that is configured, and takes what was fetched besides.
    ///
    /// # Errors
    /// A file that cannot be read or is no schema; a stream's schema in the folder that is none.
    /// (One that was fetched and is none is said in the log: it is not ours to mend.)
    pub fn load(
        config: &SchemasConfig,
        catalog: &Catalog,
        fetched: &Fetched,
    ) -> Result<Arc<Self>, SchemasError> {
        let mut documents = match &config.folder {
            Some(folder) => folder::read(folder)?,
            None => BTreeMap::new(),
        };
        let is_ours: BTreeSet<String> = documents.keys().cloned().collect();
        for (uri, document) in fetched {
            documents.entry(uri.clone()).or_insert_with(|| document.clone());
        }
        let mut all = Self::of_documents(documents);
        all.count = config.folder.is_some() || !config.base_uris.is_empty();
        for (stream, file) in &config.of_streams {
            let document = Arc::new(folder::read_file(file)?);
            let uri = file.display().to_string();
            all.of_streams.insert(stream.clone(), Arc::new(Schema::new(uri, document)));
        }
        for schema in catalog.streams().filter_map(|stream| all.of(stream)) {
            let Err(says) = schema.compiled(&all.documents) else { continue };
            let error = SchemasError::Unusable { uri: schema.uri.clone(), says: says.clone() };
            if is_ours.contains(&schema.uri) || !fetched.contains_key(&schema.uri) {
                return Err(error);
            }
            tracing::warn!(%error, "a schema that was fetched cannot be used");
        }
        Ok(Arc::new(all))
    }

    /// These, by URI.
    #[must_use]
    pub fn of_documents(documents: BTreeMap<String, Value>) -> Self {
        let arced = documents.into_iter().map(|(uri, document)| (uri, Arc::new(document)));
        let documents: BTreeMap<String, Arc<Value>> = arced.collect();
        let schema = |(uri, document): (&String, &Arc<Value>)| {
            (uri.clone(), Arc::new(Schema::new(uri.clone(), Arc::clone(document))))
        };
        let by_uri = documents.iter().map(schema).collect();
        let count = !documents.is_empty();
        Self { documents: Arc::new(documents), by_uri, count, of_streams: HashMap::new() }
    }

    /// What a stream's events look like: its own schema, the one that it names, or the newest of
    /// the title that it names.
    #[must_use]
    pub fn of(&self, stream: &Stream) -> Option<&Arc<Schema>> {
        if let Some(own) = self.of_streams.get(&*stream.name) {
            return Some(own);
        }
        let named = stream.schema.as_deref()?;
        let newest = || self.versions(title(named)).max_by_key(|s| numbers(version(&s.uri)));
        self.by_uri.get(named).or_else(newest)
    }

    /// Whether there is anything that an event of this stream must fit.
    #[must_use]
    pub fn are_for(&self, stream: &Stream) -> bool {
        let named = self.count && stream.schema.is_some();
        named || self.of_streams.contains_key(&*stream.name)
    }

    /// What an event of this stream must fit; `None`: anything is taken. `named` is its `$schema`.
    ///
    /// # Errors
    /// Where it must name a schema that is here, and does not.
    pub fn for_event(
        &self,
        stream: &Stream,
        named: Option<&str>,
    ) -> Result<Option<&Arc<Schema>>, NoSchema> {
        if let Some(own) = self.of_streams.get(&*stream.name) {
            return Ok(Some(own));
        }
        let Some(of_stream) = stream.schema.as_deref().filter(|_| self.are_for(stream)) else {
            return Ok(None);
        };
        let title = title(of_stream);
        let named = named.ok_or_else(|| NoSchema::Missing(title.to_owned()))?;
        let uri = without_ending(named.trim_end_matches('#'));
        let found = || check::shortened(named);
        if self::title(uri) != title {
            return Err(NoSchema::Other { found: found(), title: title.to_owned() });
        }
        let unknown = || {
            let mut known: Vec<_> = self.versions(title).collect();
            known.sort_by_key(|s| std::cmp::Reverse(numbers(version(&s.uri))));
            let known: Vec<_> = known.iter().take(3).map(|s| &*s.uri).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            NoSchema::Unknown { found: found(), known }
        };
        self.by_uri.get(uri).map(Some).ok_or_else(unknown)
    }

    /// Holds an event against a schema of ours.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, schema: &Schema, event: &str) -> Result<(), Misfit> {
        match schema.compiled(&self.documents) {
            Ok(validator) => check::fits(validator, &schema.uri, event),
            Err(says) => Err(Misfit::unusable(&schema.uri, says)),
        }
    }

    fn versions(&self, title: &str) -> impl Iterator<Item = &Arc<Schema>> {
        self.by_uri.values().filter(move |schema| self::title(&schema.uri) == title)
    }
}

impl Schema {
    fn new(uri: String, document: Arc<Value>) -> Self {
        Self { uri, document, compiled: OnceLock::new() }
    }

    fn compiled(&self, documents: &Documents) -> &Result<Validator, String> {
        self.compiled.get_or_init(|| {
            let options = jsonschema::options()
                .with_draft(Draft::Draft7)
                .should_validate_formats(true)
                .with_retriever(Library(Arc::clone(documents)));
            let built = options.build(&without_dialect(&self.document));
            built.map_err(|error| error.masked().to_string().chars().take(300).collect())
        })
    }
}

/// What a schema refers to is looked for among ours, and nowhere else.
struct Library(Documents);

impl Retrieve for Library {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let document = self.0.get(without_ending(uri.path().as_str()));
        let document = document.ok_or_else(|| format!("{uri} is not among the schemas"))?;
        Ok(without_dialect(document))
    }
}

/// The document without the names of its dialect and of itself: the first is written in more ways
/// than the specification has, the second is what we call it anyway.
fn without_dialect(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(members) = document.as_object_mut() {
        members.remove("$schema");
        members.remove("$id");
    }
    document
}

/// What a URI names without its version; a title is one already.
fn title(uri: &str) -> &str {
    let uri = uri.trim_start_matches('/');
    match uri.rsplit_once('/') {
        Some((title, version)) if is_version(version) => title,
        _ => uri,
    }
}

/// A URI as it is known here: of a file, without its ending.
fn without_ending(uri: &str) -> &str {
    [".json", ".yaml", ".yml"].iter().find_map(|end| uri.strip_suffix(end)).unwrap_or(uri)
}

fn version(uri: &str) -> &str {
    uri.rsplit_once('/').map_or("", |(_, version)| version)
}

fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) || matches!(text, "latest" | "current")
}

/// The parts of a version, to be compared; `latest` is below all that are numbers.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
#[path = "schemas/tests.rs"]
mod tests;
