//! Opening: is it a log of ours, and where does it end?

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Folder, read_exact, read_whole, replace};
use super::index::Index;
use super::segment::{self, PartitionId, Segment, number_of};
use super::topics::{self, Topics};

/// Says that a folder is a log, and of which format.
pub(super) const MARK: &str = "tidegate-log";
const MARK_TEXT: &[u8] = b"{\"format\":1}\n";
const MARK_TEMPORARY: &str = "tidegate-log.tmp";
const LOCK: &str = "lock";

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or read.
    #[error("the disk does not give it: {0}")]
    Io(#[from] io::Error),
    /// Another process has it open.
    #[error("{0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// Something else is in the folder.
    #[error(
        "{0} is no log of tidegate's (there is no `{MARK}` in it); nothing was changed. To begin a \
         log give an empty folder, or one that is not there yet"
    )]
    Foreign(PathBuf),
    /// It is a log, but of another format.
    #[error(
        "the log has the format {0}; this version reads format 1. Use the version that made it"
    )]
    Format(String),
    /// It cannot be read.
    #[error(
        "the log is damaged: {0}. `tidegate log check DIR` names all damage, `tidegate log repair \
         DIR` sets it aside so that the rest can be read; nothing was changed"
    )]
    Damaged(String),
    /// What `repair` cannot make anew is lost.
    #[error("{0}; the log cannot be opened or repaired without it, and nothing was changed")]
    Lost(String),
}

/// Takes the folder, and its lock. One that is no log of ours is left as it is.
pub(super) fn folder(dir: &Path) -> Result<(Arc<dyn Disk>, File), OpenError> {
    make(dir)?;
    let disk = Arc::new(Folder::new(dir));
    if dir.join(MARK).exists() {
        format(&*disk)?;
    } else {
        let names = disk.list()?;
        if names.iter().any(|n| number_of(n).is_some()) {
            let says =
                format!("there are segments, but no `{MARK}`: write {{\"format\":1}} into it");
            return Err(OpenError::Lost(says));
        }
        if names.iter().any(|n| n != LOCK && n != MARK_TEMPORARY) {
            return Err(OpenError::Foreign(dir.to_owned()));
        }
    }
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok((disk, lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Makes the folder and those that it is in, durable: what is in it must not be gone with it.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

/// Reads what there is; an empty folder becomes a log.
pub(super) fn index(disk: &dyn Disk) -> Result<Index, OpenError> {
    // Which files there are is believed from now on, also where a process ended before its sync.
    disk.sync()?;
    let names = disk.list()?;
    if !names.iter().any(|n| n == MARK) {
        replace(disk, MARK, MARK_TEXT)?;
    }
    let (mut segments, numbers) = (BTreeMap::new(), numbers(&names));
    if let Some(missing) = missing(&names, &numbers).next() {
        return Err(OpenError::Damaged(format!("{missing} is not there, and its index is")));
    }
    for left in indexes_without_segment(&names) {
        // Retention had deleted the segment when it was interrupted.
        let _ = disk.remove(&left);
    }
    if numbers.is_empty() && !names.iter().any(|n| n == topics::FILE) {
        Topics::default().save(disk)?;
    }
    let topics = topics(disk)?;
    for number in &numbers {
        let sealed = names.contains(&segment::index_name(*number));
        let segment = if sealed {
            let opened = segment::open_sealed(disk, *number);
            Some(opened.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    OpenError::Damaged(format!("segment {number}: {error}"))
                }
                _ => OpenError::Io(error),
            })?)
        } else {
            recovered(disk, *number, &segments, numbers.last() == Some(number))?
        };
        segments.extend(segment.map(|segment| (*number, segment)));
    }
    let last = numbers.last().copied();
    for segment in segments.values_mut().filter(|s| Some(s.number) < last) {
        let Some((name, bytes)) = segment::index(segment) else { continue };
        match replace(disk, &name, &bytes) {
            Ok(()) => segment.entries = None,
            // Readers need no room on the disk. It is made at the next open.
            Err(error) => tracing::warn!(name, %error, "an index cannot be made anew"),
        }
    }
    // The number of an empty last one is free; others are never used again.
    let next_number = last.map_or(1, |n| n + u64::from(segments.contains_key(&n)));
    Ok(Index::new(topics, segments, next_number))
}

/// Which topics there are; nothing else says it.
pub(super) fn topics(disk: &dyn Disk) -> Result<Topics, OpenError> {
    Topics::load(disk).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::NotFound => {
            OpenError::Lost(format!("{}: {error}; bring it back from a copy", topics::FILE))
        }
        _ => OpenError::Io(error),
    })
}

/// The numbers of all segments, in order.
pub(super) fn numbers(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| number_of(n)).collect();
    numbers.sort_unstable();
    numbers
}

/// Segments that are gone, though retention has not deleted them: it begins with the oldest.
pub(super) fn missing(names: &[String], numbers: &[u64]) -> impl Iterator<Item = String> {
    let first = numbers.first().copied().unwrap_or(0);
    let of = |index: String| index.replace(".idx", ".seg");
    indexes_without_segment(names)
        .map(of)
        .filter(move |segment| number_of(segment).is_some_and(|n| n > first))
}

fn indexes_without_segment(names: &[String]) -> impl Iterator<Item = String> {
    let segment = |name: &String| Some(format!("{}.seg", name.strip_suffix(".idx")?));
    let is_alone = move |name: &&String| segment(name).is_some_and(|s| !names.contains(&s));
    names.iter().filter(is_alone).cloned()
}

/// Whether the folder is of a format that this code reads.
pub(super) fn format(disk: &dyn Disk) -> Result<(), OpenError> {
    let text = read_whole(disk, MARK)?;
    let mark: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| OpenError::Lost(format!("`{MARK}`: {e}")))?;
    match &mark["format"] {
        format if *format == 1 => Ok(()),
        other => Err(OpenError::Format(other.to_string())),
    }
}

/// Where a partition stands after these segments, if it is in one of them.
pub(super) fn end_of(segments: &BTreeMap<u64, Segment>, id: PartitionId) -> Option<i64> {
    segments.values().rev().find_map(|s| s.summaries.get(&id)).map(|s| s.next)
}

/// A segment without an index: read from batch to batch, its torn end cut. `None`: it is the last
/// one and holds nothing; the writer begins it anew. Nothing here needs room on the disk.
fn recovered(
    disk: &dyn Disk,
    number: u64,
    before: &BTreeMap<u64, Segment>,
    is_last: bool,
) -> Result<Option<Segment>, OpenError> {
    let file = disk.open(&segment::file_name(number))?;
    if !segment::has_head(&*file, number)? {
        if is_last && file.size()? <= segment::HEAD_BYTES {
            file.set_len(0)?;
            file.sync()?;
            return Ok(None);
        }
        return Err(OpenError::Damaged(format!("segment {number} does not begin as one")));
    }
    let mut ends: BTreeMap<PartitionId, i64> = BTreeMap::new();
    let scan = segment::scan(&*file, |meta| {
        let id = (meta.topic, meta.partition);
        let end = ends.get(&id).copied().or_else(|| end_of(before, id));
        let continues = end.is_none_or(|end| meta.base >= end);
        ends.insert(id, meta.base + i64::from(meta.count));
        continues
    })?;
    if let Some(fault) = &scan.fault {
        if scan.damaged || !is_last {
            return Err(OpenError::Damaged(format!(
                "segment {number} at byte {}: {fault}, and what was written later is whole",
                scan.len
            )));
        }
        tracing::warn!(segment = number, at = scan.len, fault, "a torn write is cut off");
    }
    // Also where nothing was cut: an earlier cut may have been forgotten by the disk.
    file.set_len(scan.len)?;
    if is_last && scan.entries.is_empty() {
        file.sync()?;
        return Ok(None);
    }
    // What is shown from now on must be durable. The last group may be here only because the
    // system has it in memory: after a sync that failed, another one alone does not write it.
    let group = usize::try_from(scan.len - scan.synced).unwrap_or(usize::MAX);
    file.write_at(&read_exact(&*file, scan.synced, group)?, scan.synced)?;
    file.sync()?;
    let (summaries, entries) = (segment::summarise(&scan.entries), Some(scan.entries));
    let (len, appended) = (scan.len, scan.appended);
    Ok(Some(Segment { number, file, len, appended, summaries, entries }))
}
