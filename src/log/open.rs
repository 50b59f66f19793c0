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
        "{0} is no log of tidegate's (it holds files, but no `{MARK}`); nothing was changed. Give \
         an empty folder or one that is not there yet"
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
}

/// Takes the folder, and its lock.
pub(super) fn folder(dir: &Path) -> Result<(Arc<dyn Disk>, File), OpenError> {
    fs::create_dir_all(dir)?;
    let foreign = !dir.join(MARK).exists()
        && fs::read_dir(dir)?.flatten().any(|e| {
            let name = e.file_name();
            name != LOCK && name != format!("{MARK}.tmp").as_str()
        });
    if foreign {
        return Err(OpenError::Foreign(dir.to_owned()));
    }
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok((Arc::new(Folder::new(dir)), lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Reads what there is; an empty folder becomes a log.
pub(super) fn index(disk: &dyn Disk) -> Result<Index, OpenError> {
    // Which files there are is believed from now on, also where a process ended before its sync.
    disk.sync()?;
    let names = disk.list()?;
    if names.iter().any(|n| n == MARK) {
        format(disk)?;
    } else if names.iter().any(|n| n.ends_with(".seg")) {
        return Err(OpenError::Damaged(format!("there are segments, but no `{MARK}`")));
    } else {
        replace(disk, MARK, MARK_TEXT)?;
    }
    let (mut segments, numbers) = (BTreeMap::new(), numbers(&names));
    if let Some(missing) = missing(&names, &numbers).next() {
        return Err(OpenError::Damaged(format!("{missing} is not there, and its index is")));
    }
    if numbers.is_empty() && !names.iter().any(|n| n == topics::FILE) {
        Topics::default().save(disk)?;
    }
    let topics = Topics::load(disk)
        .map_err(|e| OpenError::Damaged(format!("{}: {e}", topics::FILE)))?;
    for number in &numbers {
        let sealed = names.contains(&segment::index_name(*number));
        let segment = if sealed {
            let opened = segment::open_sealed(disk, *number);
            Some(opened.map_err(|e| OpenError::Damaged(format!("segment {number}: {e}")))?)
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
    Ok(Index::new(topics, segments))
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
    let segments = names.iter().filter_map(|n| n.strip_suffix(".idx").map(|n| format!("{n}.seg")));
    segments.filter(move |n| number_of(n).is_some_and(|n| n > first) && !names.contains(n))
}

/// Whether the folder is of a format that this code reads.
pub(super) fn format(disk: &dyn Disk) -> Result<(), OpenError> {
    let text = read_whole(disk, MARK)?;
    let mark: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| OpenError::Damaged(format!("{MARK}: {e}")))?;
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
        file.set_len(scan.len)?;
    }
    if is_last && scan.entries.is_empty() {
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
