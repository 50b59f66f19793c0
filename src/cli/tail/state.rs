//! The state file: where a pipeline has come to. Replaced whole, and only when what it speaks of
//! was written out.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::whole_file;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The path of the stream; positions of one are nothing to another.
    stream: String,
    /// The id of the last event that was written out, or of the position before the first.
    id: String,
}

/// A state file.
#[derive(Debug)]
pub(super) struct State {
    file: PathBuf,
    kept: Option<Kept>,
    stream: String,
}

impl State {
    /// Reads it, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or is another stream's, or could not be written.
    pub(super) fn open(file: &Path, stream: &str) -> anyhow::Result<Self> {
        let kept = match std::fs::read(file) {
            Ok(text) => Some(read(&text).with_context(|| {
                format!("{} is no state file of tidegate tail", file.display())
            })?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("{}", file.display())),
        };
        if let Some(Kept { stream: other, .. }) = &kept
            && other != stream
        {
            let file = file.display();
            bail!("{file} is of {other}, not of {stream}; give another file, or remove it");
        }
        let state = Self { file: file.to_owned(), kept, stream: stream.to_owned() };
        state.could_be_replaced().with_context(|| format!("{}", file.display()))?;
        Ok(state)
    }

    /// Tries it now, and not when events have been given out already.
    fn could_be_replaced(&self) -> anyhow::Result<()> {
        let new = self.new_file()?;
        File::create(&new)?;
        std::fs::remove_file(&new)?;
        Ok(())
    }

    /// What takes the file's place.
    fn new_file(&self) -> anyhow::Result<PathBuf> {
        let mut name = self.file.file_name().context("it names no file")?.to_owned();
        name.push(".tmp");
        Ok(self.file.with_file_name(name))
    }

    /// The id to go on from.
    pub(super) fn id(&self) -> Option<&str> {
        self.kept.as_ref().map(|kept| &*kept.id)
    }

    /// Keeps an id in place of the last.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub(super) fn keep(&mut self, id: String) -> anyhow::Result<()> {
        if self.id() == Some(&id) {
            return Ok(());
        }
        let kept = Kept { stream: self.stream.clone(), id };
        self.replace(&kept).with_context(|| format!("{}", self.file.display()))?;
        self.kept = Some(kept);
        Ok(())
    }

    fn replace(&self, kept: &Kept) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(kept)?;
        text.push(b'\n');
        Ok(whole_file::replace(&self.file, &text)?)
    }
}

fn read(text: &[u8]) -> anyhow::Result<Kept> {
    Ok(serde_json::from_slice(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_back_what_was_kept_to_the_same_stream_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("state");
        let mut state = State::open(&file, "/v2/stream/a").expect("none yet");
        assert_eq!(state.id(), None);
        state.keep("[1]".into()).expect("a disk");
        state.keep("[2]".into()).expect("a disk");
        assert_eq!(State::open(&file, "/v2/stream/a").expect("kept").id(), Some("[2]"));
        let other = State::open(&file, "/v2/stream/b").expect_err("another stream's");
        assert!(other.to_string().contains("is of /v2/stream/a"), "{other}");
        std::fs::write(&file, "{\"stream\":").expect("a disk");
        let torn = State::open(&file, "/v2/stream/a").expect_err("torn");
        assert!(torn.to_string().contains("no state file"), "{torn}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }
}
