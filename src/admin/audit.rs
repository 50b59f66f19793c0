//! The audit trail: who did what, when, from where and why, one JSON object a line, for ever as far
//! as there is room.
//!
//! ```text
//!  audit.jsonl ─▶ audit.jsonl.1 ─▶ … ─▶ audit.jsonl.16 ─▶ gone
//! ```
//! It is only ever appended to, and on the disk before the operator has an answer. Nothing that an
//! operator does waits for it to succeed: a line that cannot be written is logged and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::limits::{AUDIT_BYTES_MAX, AUDIT_FILES_MAX};

/// One thing that was done.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When it was written down.
    pub time: Timestamp,
    /// What was done, in one word: `block_added`.
    pub action: &'static str,
    /// To what: a prefix, a session, a setting.
    pub what: String,
    /// Who did it, as they said; `tidegate` for what happens by itself.
    pub by: String,
    /// The gateway that was told to.
    pub host: String,
    /// Where the operator's request came from; `None`: it did not come to this gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Why, as they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What else belongs to this action.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The trail of this host.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Audit {
    /// Opens `audit.jsonl` in a folder, or begins it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Self::open_with(dir, AUDIT_BYTES_MAX)
    }

    fn open_with(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        let path = dir.join("audit.jsonl");
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let bytes = file.metadata()?.len();
        let mut this = Self { path, file, bytes, bytes_max };
        this.end_torn_line()?;
        File::open(dir)?.sync_all()?;
        Ok(this)
    }

    /// A process that was killed may have left half a line; the next one must not go on in it.
    fn end_torn_line(&mut self) -> io::Result<()> {
        if self.bytes > 0 {
            let mut last = [0];
            self.file.seek(SeekFrom::End(-1))?;
            self.file.read_exact(&mut last)?;
            if last != *b"\n" {
                self.file.write_all(b"\n")?;
                self.bytes += 1;
            }
        }
        Ok(())
    }

    /// Writes lines; they are on the disk when this returns.
    ///
    /// # Errors
    /// What the system says; some may have been written.
    pub fn record(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            let mut line = serde_json::to_vec(entry)?;
            line.push(b'\n');
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_max {
                self.put_aside()?;
            }
            // One write: a line is there, or it is the torn last one.
            self.file.write_all(&line)?;
            self.bytes += length;
        }
        self.file.sync_data()
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let aside = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..AUDIT_FILES_MAX).rev() {
            match std::fs::rename(aside(n), aside(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, aside(1))?;
        let options = OpenOptions::new().read(true).append(true).create(true).open(&self.path);
        (self.file, self.bytes) = (options?, 0);
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: &str) -> Entry {
        Entry {
            time: Timestamp::UNIX_EPOCH,
            action: "block_added",
            what: what.into(),
            by: "ann".into(),
            host: "gw1:8092".into(),
            from: Some("127.0.0.1".into()),
            why: None,
            more: Map::from_iter([("until".to_owned(), Value::Null)]),
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).expect("a file");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[test]
    fn lines_are_appended_also_after_a_torn_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("audit.jsonl");
        Audit::open(dir.path()).expect("open").record(&[entry("a"), entry("b")]).expect("write");
        let whole = std::fs::read(&path).expect("a file");
        std::fs::write(&path, &whole[..whole.len() - 5]).expect("torn");
        Audit::open(dir.path()).expect("open").record(&[entry("c")]).expect("write");
        let all = lines(&path);
        assert_eq!((all.len(), &all[0]["what"], &all[1]["what"]), (2, &"a".into(), &"c".into()));
        assert_eq!(all[0]["from"], "127.0.0.1");
        assert!(all[0].get("why").is_none() && all[0]["until"].is_null());
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut audit = Audit::open_with(dir.path(), 400).expect("open");
        for n in 0..100 {
            audit.record(&[entry(&n.to_string())]).expect("write");
        }
        let files = std::fs::read_dir(dir.path()).expect("a folder").count();
        assert_eq!(files, 1 + AUDIT_FILES_MAX as usize);
        let path = dir.path().join("audit.jsonl");
        assert_eq!(lines(&path).last().expect("a line")["what"], "99");
        let mut newest = Vec::new();
        for n in (1..=AUDIT_FILES_MAX).rev() {
            newest.extend(lines(&dir.path().join(format!("audit.jsonl.{n}"))));
        }
        newest.extend(lines(&path));
        let said = newest.iter().map(|line| line["what"].as_str().expect("a text").to_owned());
        let expected = (100 - newest.len()..100).map(|n| n.to_string());
        assert!(said.eq(expected), "no line is missing among the newest");
        assert!(newest.len() < 100);
    }
}
