//! A file of this host's state that is always whole, whenever the process or the host stops.
//!
//! ```text
//!  FILE.tmp ─ write, fsync ─▶ rename ─▶ FILE ─▶ fsync of the folder
//! ```
//! Knows nothing of what is in it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Puts `text` in the place of what `path` held. It is on the disk when this returns. `path` names
/// a file in a folder that is there.
///
/// # Errors
/// What the system says; the file is then the old one or the new one.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temporary = OsString::from(path);
    temporary.push(".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state.json");
        replace(&path, b"a longer text").expect("a disk");
        replace(&path, b"a text").expect("a disk");
        assert_eq!(std::fs::read(&path).expect("there"), b"a text");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
        assert!(replace(&dir.path().join("not/there"), b"").is_err());
    }
}
