//! Reads schemas from a folder, within bounds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{SchemasError, version, without_ending};
use crate::{document, limits};

fn wrong(path: &Path, says: impl Into<String>) -> SchemasError {
    SchemasError::File { path: path.to_owned(), says: says.into() }
}

/// All schemas below a folder, by their path in it without its ending. A file that ends in `.json`
/// must be JSON, and one that is called as a version, `1.0.0.yaml`, must be YAML; others are taken
/// if they can be read. What has another ending, and what begins with a dot, is passed over.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, Value>, SchemasError> {
    let mut all = BTreeMap::new();
    let mut bytes = 0;
    let mut files = files(folder)?;
    // `1.0.0.json` counts, else `1.0.0`, else `1.0.0.yaml`.
    files.sort_by_cached_key(|path| (rank(path), path.clone()));
    for path in files {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        if [".md", ".js"].iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let uri = format!("/{}", without_ending(&name));
        if all.contains_key(&uri) {
            continue;
        }
        let is_version = version(&uri).starts_with(|c: char| c.is_ascii_digit());
        let must = name.ends_with(".json") || (is_version && rank(&path) == YAML);
        let document = match read_file(&path) {
            Err(error) if must => return Err(error),
            Err(_) => continue,
            Ok(document) => document,
        };
        let is_schema = ["$id", "$ref", "type", "properties", "allOf"];
        if !is_schema.iter().any(|key| document.get(key).is_some()) {
            continue;
        }
        bytes += std::fs::metadata(&path).map_or(0, |file| file.len());
        if all.len() >= limits::SCHEMAS_MAX || bytes > limits::SCHEMAS_BYTES_MAX {
            let (most, bytes) = (limits::SCHEMAS_MAX, limits::SCHEMAS_BYTES_MAX);
            return Err(wrong(folder, format!("{most} schemas in {bytes} bytes are accepted")));
        }
        all.insert(uri, document);
    }
    if all.is_empty() {
        return Err(wrong(folder, "holds no schema; files such as NAME/1.0.0.json are accepted"));
    }
    Ok(all)
}

const YAML: u8 = 2;

/// Which of several files of one URI counts: the lowest.
fn rank(path: &Path) -> u8 {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => 0,
        Some("yaml" | "yml") => YAML,
        _ => 1,
    }
}

/// One schema.
pub(super) fn read_file(path: &Path) -> Result<Value, SchemasError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| wrong(path, format!("cannot be read: {e}")))?;
    let mut file = file.take(limits::SCHEMA_BYTES_MAX + 1);
    file.read_to_string(&mut text).map_err(|e| wrong(path, format!("cannot be read: {e}")))?;
    if text.len() as u64 > limits::SCHEMA_BYTES_MAX {
        let most = limits::SCHEMA_BYTES_MAX;
        return Err(wrong(path, format!("is larger than {most} bytes, which are accepted")));
    }
    let document = document::parsed(&text).map_err(|says| wrong(path, says))?;
    match document.is_object() {
        true => Ok(document),
        false => Err(wrong(path, "is no schema; an object is accepted")),
    }
}

/// All files below a folder. (What a link leads to is a file too, but no folder: there are rounds.)
fn files(folder: &Path) -> Result<Vec<PathBuf>, SchemasError> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let says = |error: std::io::Error| format!("the folder cannot be read: {error}");
        let entries = std::fs::read_dir(&folder).map_err(|e| wrong(&folder, says(e)))?;
        for entry in entries {
            let entry = entry.map_err(|e| wrong(&folder, says(e)))?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') || name == "node_modules" {
                continue;
            }
            seen += 1;
            if seen > limits::SCHEMA_FILES_MAX {
                let most = limits::SCHEMA_FILES_MAX;
                return Err(wrong(&folder, format!("more than {most} files, which are accepted")));
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ if path.is_file() => all.push(path),
                _ => {}
            }
        }
    }
    Ok(all)
}
