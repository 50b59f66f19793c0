//! `[schemas]`, and each stream's `schema_file`: what the streams' events look like.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::reader::{Findings, Section};
use crate::document::Place;

/// Where the JSON Schemas of events are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemasConfig {
    /// A folder, in which the path of a schema is its `$schema` URI.
    pub folder: Option<PathBuf>,
    /// URLs before which a `$schema` URI is looked for that the folder does not have, in this
    /// order; none ends with a slash.
    pub base_uris: Vec<String>,
    /// What stands for a version where a stream names only a title.
    pub latest_version: String,
    /// Files of streams that have a schema of their own, by the stream's name.
    pub of_streams: BTreeMap<String, PathBuf>,
}

const LATEST: &str = "latest";

impl Default for SchemasConfig {
    fn default() -> Self {
        let latest_version = LATEST.to_owned();
        Self { folder: None, base_uris: Vec::new(), latest_version, of_streams: BTreeMap::new() }
    }
}

impl SchemasConfig {
    pub(super) fn read(root: &mut Section<'_>, found: &mut Findings) -> Self {
        let mut section = Section::new("schemas", root.table("schemas", found));
        let folder = section.text("folder", found).filter(|folder| !folder.is_empty());
        let folder = folder.map(PathBuf::from);
        let mut base_uris = Vec::new();
        for text in section.list("base_uris", found) {
            match Place::parse(text) {
                Ok(Place::Url(url)) => base_uris.push(url.trim_end_matches('/').to_owned()),
                _ => {
                    let says = format!(
                        "found \"{text}\"; http:// and https:// URLs are accepted (a folder is \
                         schemas.folder)"
                    );
                    found.add(section.key("base_uris"), says);
                }
            }
        }
        let latest_version =
            section.parsed("latest_version", LATEST.to_owned(), found, |text| match text {
                "latest" | "current" => Ok(text.to_owned()),
                _ => Err("latest or current is accepted"),
            });
        section.finish(found);
        Self { folder, base_uris, latest_version, of_streams: BTreeMap::new() }
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
