//! `log check` and `log repair`: all damage by name, and a log that opens again. Nothing is
//! deleted: what cannot be read is set aside under the name that it had and `.damaged`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::batch::{self, BadBatch};
use super::disk::{Disk, read_exact, read_whole, replace};
use super::open::{self, OpenError};
use super::segment::{self, PartitionId};
use super::topics::{self, Topics};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub file: String,
    /// From which byte on.
    pub at: u64,
    /// What is wrong.
    pub what: String,
    /// Only the torn end of the last write, which was acknowledged to nobody.
    pub torn: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.at, self.what)
    }
}

/// What was found, or done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Segments read.
    pub segments: usize,
    /// Records that can be read.
    pub records: u64,
    /// All that is wrong.
    pub damages: Vec<Damage>,
    /// Records that are missing: `topic/partition`, first and after the last.
    pub missing: Vec<(String, i64, i64)>,
    /// What was done about it.
    pub done: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} segment(s), {} record(s) can be read", self.segments, self.records)?;
        for damage in &self.damages {
            let kind = if damage.torn { "torn write" } else { "damage" };
            write!(f, "\n{kind}: {damage}")?;
        }
        for (partition, from, to) in &self.missing {
            write!(f, "\nmissing: {partition}, offsets {from} to {}", to - 1)?;
        }
        self.done.iter().try_for_each(|done| write!(f, "\ndone: {done}"))
    }
}

/// What a walk through one segment found.
#[derive(Debug, Default)]
struct Walk {
    /// Where the whole batches are, and how long.
    whole: Vec<(u64, u64)>,
    damages: Vec<Damage>,
}

/// Reads a whole log and names every damage; changes nothing.
///
/// # Errors
/// When it is no log, or is in use.
pub fn check(dir: &Path) -> Result<Report, OpenError> {
    let (disk, _lock) = existing(dir)?;
    check_on(&*disk)
}

/// Reads a log on any file system.
pub(super) fn check_on(disk: &dyn Disk) -> Result<Report, OpenError> {
    Ok(examine(disk)?.0)
}

/// Makes a log open again.
///
/// # Errors
/// When it is no log, is in use, or cannot be mended (its `topics.json` is lost).
pub fn repair(dir: &Path) -> Result<Report, OpenError> {
    let (disk, _lock) = existing(dir)?;
    repair_on(&*disk)
}

/// The folder of a log that is there.
pub(super) fn existing(dir: &Path) -> Result<(std::sync::Arc<dyn Disk>, std::fs::File), OpenError> {
    if std::fs::read_dir(dir)?.next().is_none() {
        return Err(OpenError::Foreign(dir.to_owned()));
    }
    open::folder(dir)
}

fn examine(disk: &dyn Disk) -> Result<(Report, BTreeMap<u64, Walk>), OpenError> {
    let names = disk.list()?;
    let numbers = open::numbers(&names);
    let is_new = numbers.is_empty() && !names.iter().any(|n| n == topics::FILE);
    let topics = if is_new { Topics::default() } else { open::topics(disk)? };
    let mut report = Report::default();
    let mut runs: BTreeMap<PartitionId, Vec<(i64, i64)>> = BTreeMap::new();
    let mut walks = BTreeMap::new();
    for number in &numbers {
        let sealed = names.contains(&segment::index_name(*number));
        let last = numbers.last() == Some(number);
        let walk = walk(disk, *number, (sealed, last), &mut runs, &mut report)?;
        report.damages.extend(walk.damages.iter().cloned());
        walks.insert(*number, walk);
    }
    for file in open::missing(&names, &numbers) {
        let what = "it is not there, and its index is".to_owned();
        report.damages.push(Damage { file, at: 0, what, torn: false });
    }
    report.segments = numbers.len();
    for (id, runs) in &runs {
        let Some((name, _)) = topics.topics.iter().find(|(_, t)| t.id == id.0) else { continue };
        for pair in runs.windows(2).filter(|pair| pair[0].1 < pair[1].0) {
            report.missing.push((format!("{name}/{}", id.1), pair[0].1, pair[1].0));
        }
    }
    Ok((report, walks))
}

fn walk(
    disk: &dyn Disk,
    number: u64,
    (sealed, last): (bool, bool),
    runs: &mut BTreeMap<PartitionId, Vec<(i64, i64)>>,
    report: &mut Report,
) -> Result<Walk, OpenError> {
    let mut walk = Walk::default();
    let name = segment::file_name(number);
    let file = disk.open(&name)?;
    let mut end = file.size()?;
    let damage =
        |file: &str, at, what: String, torn| Damage { file: file.to_owned(), at, what, torn };
    if sealed {
        match segment::open_sealed(disk, number)
            .and_then(|s| segment::read_entries(disk, number).map(|_| s.len))
        {
            Ok(len) => end = len,
            Err(error) => {
                let index = segment::index_name(number);
                walk.damages.push(damage(&index, 0, error.to_string(), false));
            }
        }
    }
    if !segment::has_head(&*file, number)? && end > segment::HEAD_BYTES {
        walk.damages.push(damage(&name, 0, "it does not begin as a segment".to_owned(), false));
    }
    let mut at = segment::HEAD_BYTES.min(end);
    loop {
        match batch::read(&*file, at, end) {
            Ok((meta, body, len)) => {
                report.records += batch::records(&meta, body).map_or(0, |r| r.len() as u64);
                let run = (meta.base, meta.base + i64::from(meta.count));
                runs.entry((meta.topic, meta.partition)).or_default().push(run);
                walk.whole.push((at, len));
                at += len;
            }
            Err(BadBatch::End) => return Ok(walk),
            Err(error) => {
                let later = segment::later_batches(&*file, at + 1)?.filter(|(p, _)| *p < end);
                let later: Vec<_> = later.collect();
                // Any of them: those of the same group do not know of it.
                let synced = later.iter().any(|(_, meta)| meta.synced_to > at);
                let torn = last && !sealed && !synced;
                walk.damages.push(damage(&name, at, error.to_string(), torn));
                match later.first() {
                    Some((position, _)) if !torn => at = *position,
                    _ => return Ok(walk),
                }
            }
        }
    }
}

/// Mends a log on any file system.
pub(super) fn repair_on(disk: &dyn Disk) -> Result<Report, OpenError> {
    let (mut report, walks) = examine(disk)?;
    let names = disk.list()?;
    let mut done = Vec::new();
    let mut set_index_aside = |number: u64| -> Result<(), OpenError> {
        let index = segment::index_name(number);
        if names.contains(&index) {
            let aside = free_name(&names, &index);
            disk.rename(&index, &aside)?;
            done.push(format!("{index} set aside as {aside}"));
        }
        Ok(())
    };
    for missing in open::missing(&names, &open::numbers(&names)) {
        set_index_aside(segment::number_of(&missing).unwrap_or(0))?;
    }
    for (number, _) in walks.iter().filter(|(_, w)| w.damages.iter().any(|d| !d.torn)) {
        set_index_aside(*number)?;
    }
    disk.sync()?;
    report.done = done;
    for (number, walk) in walks.iter().filter(|(_, w)| !w.damages.is_empty()) {
        let name = segment::file_name(*number);
        if walk.damages.iter().all(|d| d.torn) {
            let file = disk.open(&name)?;
            let end = walk.damages[0].at;
            file.set_len(end)?;
            file.sync()?;
            report.done.push(format!("{name} cut at byte {end}"));
        } else if walk.damages.iter().any(|d| d.file == name) {
            // The old one stays in place until both the copy and the new one are durable.
            let aside = free_name(&names, &name);
            replace(disk, &aside, &read_whole(disk, &name)?)?;
            replace(disk, &name, &whole_batches(disk, *number, walk)?)?;
            report.done.push(format!(
                "{name} written anew from its whole batches; as it was it is {aside}"
            ));
        }
    }
    Ok(report)
}

/// A segment's head and what can be read of it.
fn whole_batches(disk: &dyn Disk, number: u64, walk: &Walk) -> Result<Vec<u8>, OpenError> {
    let file = disk.open(&segment::file_name(number))?;
    let mut whole = segment::MAGIC.to_vec();
    whole.extend_from_slice(&number.to_le_bytes());
    for (at, len) in &walk.whole {
        let len = usize::try_from(*len).map_err(|_| OpenError::Format(len.to_string()))?;
        whole.extend_from_slice(&read_exact(&*file, *at, len)?);
    }
    Ok(whole)
}

/// Where a file can be set aside without taking the place of another.
fn free_name(names: &[String], name: &str) -> String {
    let numbered = (2..).map(|n| format!("{name}.damaged-{n}"));
    let mut all = std::iter::once(format!("{name}.damaged")).chain(numbered);
    all.find(|aside| !names.contains(aside)).expect("the numbers are endless")
}
