//! `[schemas]`, and each stream's `schema_file`: what the streams' events look like.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::reader::{Findings, Section};

/// Where the JSON Schemas of events are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemasConfig {
    /// A folder, in which the path of a schema is its `$schema` URI.
    pub folder: Option<PathBuf>,
    /// Files of streams that have a schema of their own, by the stream's name.
    pub of_streams: BTreeMap<String, PathBuf>,
}

impl SchemasConfig {
    pub(super) fn read(root: &mut Section<'_>, found: &mut Findings) -> Self {
        let mut section = Section::new("schemas", root.table("schemas", found));
        let folder = section.text("folder", found).filter(|folder| !folder.is_empty());
        let folder = folder.map(PathBuf::from);
        section.finish(found);
        Self { folder, of_streams: BTreeMap::new() }
    }

    pub(super) fn read_file_of(
        &mut self,
        stream: &str,
        section: &mut Section<'_>,
        found: &mut Findings,
    ) {
        if let Some(file) = section.text("schema_file", found).filter(|file| !file.is_empty()) {
            self.of_streams.insert(stream.to_owned(), file.into());
        }
    }
}
