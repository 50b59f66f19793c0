//! The last good catalogue on the local disk, with its schemas: one file, always whole.
//!
//! It is only for a start while the catalogue cannot be read. It counts for the place that it was
//! read from and for no other.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Raw;
use crate::event::TimestampMs;
use crate::schemas::Fetched;
use crate::whole_file;

const FILE: &str = "catalogue.json";
const VERSION: u32 = 1;

/// Where it is kept.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
}

/// What was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) raw: Raw,
    /// When it was put in force.
    pub(super) at: TimestampMs,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    place: String,
    at_ms: i64,
    document: Value,
    schemas: Fetched,
}

impl Store {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// What was read from this place; `None`: nothing.
    pub(super) fn load(&self, place: &str) -> Result<Option<Kept>, String> {
        let path = self.dir.join(FILE);
        let says = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(says(&error)),
        };
        let written: Written = serde_json::from_slice(&text).map_err(|error| says(&error))?;
        let Written { version, place: of, at_ms, document, schemas } = written;
        if version != VERSION {
            return Err(says(&format!("it has the version {version}; {VERSION} is accepted")));
        }
        if of != place {
            return Err(says(&format!("it was read from {of}")));
        }
        Ok(Some(Kept { raw: Raw { document, schemas }, at: TimestampMs(at_ms) }))
    }

    /// Puts this, read from `place`, instead of what was. It is on the disk when this returns.
    pub(super) fn save(&self, raw: &Raw, place: &str, at: TimestampMs) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let Raw { document, schemas } = raw.clone();
        let place = place.to_owned();
        let written = Written { version: VERSION, place, at_ms: at.0, document, schemas };
        whole_file::replace(&self.dir.join(FILE), &serde_json::to_vec(&written)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_counts_for_its_place_and_only_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("not/there/yet");
        let store = Store::new(dir.clone());
        let (place, other) = ("http://a.example/", "http://b.example/");
        assert!(store.load(place).expect("nothing").is_none());
        let schemas = Fetched::from([("/a/1.0.0".to_owned(), json!({ "type": "object" }))]);
        let raw = Raw { document: json!({ "s": { "topics": ["t"] } }), schemas };
        store.save(&raw, place, TimestampMs(7)).expect("kept");
        let kept = store.load(place).expect("whole").expect("there");
        assert_eq!((kept.raw, kept.at), (raw, TimestampMs(7)));
        let says = store.load(other).expect_err("another's");
        assert!(says.ends_with("catalogue.json: it was read from http://a.example/"), "{says}");
        std::fs::write(dir.join(FILE), "{\"version\":1").expect("written");
        assert!(store.load(place).expect_err("torn").contains("catalogue.json: EOF"));
    }
}
