//! What is decided of blocks, on the local disk: one file, always whole (`whole_file`).
//!
//! A file that cannot be read stops the start. It cannot have been torn, so the disk or a hand has
//! done it, and a gateway that went on without would let in everyone whom somebody had a reason to
//! keep out, with nothing but a line in a log to tell of it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::written::{VERSION, Written};
use crate::gate::blocks::Change;
use crate::whole_file;

const FILE: &str = "blocks.json";

/// Why the state of this host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder cannot be made or read.
    #[error("{path}: {error}")]
    Io {
        /// What of it.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another gateway has it.
    #[error("{0} is in use by another process; each gateway needs a state_dir of its own")]
    InUse(PathBuf),
    /// The file is none of ours, or is damaged.
    #[error(
        "{path} cannot be read: {says}. Nothing was changed. Mend it, or move it away to start \
         without its blocks (those in the control topic come back by themselves)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        says: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Whole {
    version: u32,
    changes: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    change: Written,
    /// That its time was over has been written into the audit trail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    end_recorded: bool,
}

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) changes: Vec<Change>,
    /// Prefixes of blocks whose end has been recorded.
    pub(super) end_recorded: HashSet<IpNet>,
}

/// The folder of this host's state, taken.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Held for as long as this is.
    _lock: File,
}

impl Store {
    /// Takes the folder; it is made if it is not there.
    pub(super) fn open(dir: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::Io { path: dir.to_owned(), error };
        std::fs::create_dir_all(dir).map_err(failed)?;
        // What is in it must not be gone with it. (Not every folder above may be looked into.)
        for parent in dir.ancestors().skip(1) {
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let lock = options.open(dir.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    pub(super) fn load(&self) -> Result<Loaded, StateError> {
        let path = self.path();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::default()),
            Err(error) => return Err(StateError::Io { path, error }),
        };
        read(&text).map_err(|says| StateError::Damaged { path, says })
    }

    /// Puts what is known in the place of what was. It is on the disk when this returns.
    pub(super) fn save(&self, changes: &[Change], end_recorded: &HashSet<IpNet>) -> io::Result<()> {
        let changes = changes.iter().map(|change| Kept {
            change: Written::from(change),
            end_recorded: end_recorded.contains(&change.prefix),
        });
        let whole = Whole { version: VERSION, changes: changes.collect() };
        let mut text = serde_json::to_vec_pretty(&whole)?;
        text.push(b'\n');
        whole_file::replace(&self.path(), &text)
    }
}

fn read(text: &[u8]) -> Result<Loaded, String> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let head: Head = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if head.version != VERSION {
        return Err(format!(
            "it has the version {}, this program reads {VERSION}; use the one that wrote it",
            head.version
        ));
    }
    let whole: Whole = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut loaded = Loaded::default();
    for (n, Kept { change, end_recorded }) in whole.changes.into_iter().enumerate() {
        let change = change.read().map_err(|says| format!("changes[{n}] {says}"))?;
        if end_recorded {
            loaded.end_recorded.insert(change.prefix);
        }
        loaded.changes.push(change);
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TimestampMs;
    use crate::gate::blocks::Verdict;

    fn changes() -> Vec<Change> {
        let change = |prefix: &str, verdict| Change {
            at: TimestampMs(1_790_000_000_000),
            host: "gw1:8092".into(),
            verdict,
            prefix: prefix.parse().expect("a prefix"),
            by: "ann".into(),
            reason: Some("\"scrapes\" \u{e4}".into()),
        };
        vec![
            change("198.51.100.0/24", Verdict::Blocked { until: Some(TimestampMs(5)) }),
            change("2001:db8:1:2::/64", Verdict::Blocked { until: None }),
            change("192.0.2.7/32", Verdict::Removed),
        ]
    }

    #[test]
    fn what_is_saved_is_loaded_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("not/there/yet");
        let ended = HashSet::from(["198.51.100.0/24".parse().expect("a prefix")]);
        {
            let store = Store::open(&dir).expect("taken");
            assert!(store.load().expect("empty").changes.is_empty());
            store.save(&[], &HashSet::new()).expect("saved");
            store.save(&changes(), &ended).expect("saved");
            assert!(matches!(Store::open(&dir), Err(StateError::InUse(_))), "it is taken");
        }
        let loaded = Store::open(&dir).expect("free again").load().expect("whole");
        assert_eq!((loaded.changes, loaded.end_recorded), (changes(), ended));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_that_says_where_and_why() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("taken");
        store.save(&changes(), &HashSet::new()).expect("saved");
        let whole = std::fs::read_to_string(store.path()).expect("a file");
        let says = |text: &str| {
            std::fs::write(store.path(), text).expect("write");
            store.load().expect_err("damaged").to_string()
        };
        for cut in [0, 1, whole.len() / 2, whole.len() - 3] {
            assert!(says(&whole[..cut]).contains("blocks.json cannot be read"), "{cut}");
        }
        let said = says(&whole.replace("198.51.100.0/24", "198.51.100.7/24"));
        assert!(said.contains("changes[0]") && said.contains("198.51.100.0/24"), "{said}");
        assert!(says(&whole.replacen("\"version\": 1", "\"version\": 2", 1)).contains("version 2"));
        assert!(says(&whole.replace("removed", "paused")).contains("paused"));
    }
}
