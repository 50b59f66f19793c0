//! `log check` and `log repair`: all damage by name, and a log that opens again. Nothing is
//! deleted: what cannot be read is set aside under the name that it had and `.damaged`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::batch::{self, BadBatch};
use super::disk::{Disk, read_exact, replace};
use super::open::{self, MARK, OpenError};
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
    index_is_bad: bool,
}

/// Reads a whole log and names every damage; changes nothing.
///
/// # Errors
/// When it is no log, or is in use.
pub fn check(dir: &Path) -> Result<Report, OpenError> {
    let (disk, _lock) = existing(dir)?;
    Ok(examine(&*disk)?.0)
}

/// Makes a log open again.
///
/// # Errors
/// When it is no log, is in use, or cannot be mended (its `topics.json` is damaged).
pub fn repair(dir: &Path) -> Result<Report, OpenError> {
    let (disk, _lock) = existing(dir)?;
    repair_on(&*disk)
}

fn existing(dir: &Path) -> Result<(std::sync::Arc<dyn Disk>, std::fs::File), OpenError> {
    if !dir.is_dir() {
        return Err(OpenError::Foreign(dir.to_owned()));
    }
    let has_segments = std::fs::read_dir(dir)?
        .flatten()
        .any(|e| e.file_name().to_str().is_some_and(|n| segment::number_of(n).is_some()));
    if !dir.join(MARK).exists() && !has_segments {
        return Err(OpenError::Foreign(dir.to_owned()));
    }
    if !dir.join(MARK).exists() {
        // Its mark is lost; the segments say that it is a log.
        return Err(OpenError::Damaged(format!(
            "there are segments, but no `{MARK}`; write {{\"format\":1}} into that file"
        )));
    }
    open::folder(dir)
}

fn examine(disk: &dyn Disk) -> Result<(Report, BTreeMap<u64, Walk>), OpenError> {
    open::format(disk)?;
    let names = disk.list()?;
    let numbers = open::numbers(&names);
    let is_new = numbers.is_empty() && !names.iter().any(|n| n == topics::FILE);
    let topics = if is_new { Ok(Topics::default()) } else { Topics::load(disk) };
    let topics = topics.map_err(|e| {
        OpenError::Damaged(format!("topics.json: {e}; it has to be brought back from a copy"))
    })?;
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
                walk.index_is_bad = true;
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
                let next = segment::later_batches(&*file, at + 1)?.find(|(p, _)| *p < end);
                let synced = next.is_some_and(|(_, m)| m.synced_to > at);
                let torn = last && !sealed && !synced;
                walk.damages.push(damage(&name, at, error.to_string(), torn));
                match next {
                    Some((position, _)) if !torn => at = position,
                    _ => return Ok(walk),
                }
            }
        }
    }
}

fn repair_on(disk: &dyn Disk) -> Result<Report, OpenError> {
    let (mut report, walks) = examine(disk)?;
    for (number, walk) in walks.iter().filter(|(_, w)| !w.damages.is_empty()) {
        let (name, index) = (segment::file_name(*number), segment::index_name(*number));
        if walk.damages.iter().all(|d| d.torn) {
            let file = disk.open(&name)?;
            let end = walk.damages[0].at;
            file.set_len(end)?;
            file.sync()?;
            report.done.push(format!("{name} cut at byte {end}"));
            continue;
        }
        let has_index = disk.list()?.contains(&index);
        if has_index {
            disk.rename(&index, &format!("{index}.damaged"))?;
            report.done.push(format!("{index} set aside; it is made anew when the log opens"));
        }
        if walk.damages.iter().any(|d| d.file == name) {
            let file = disk.open(&name)?;
            let mut whole = segment::MAGIC.to_vec();
            whole.extend_from_slice(&number.to_le_bytes());
            for (at, len) in &walk.whole {
                let len = usize::try_from(*len).map_err(|_| OpenError::Format(len.to_string()))?;
                whole.extend_from_slice(&read_exact(&*file, *at, len)?);
            }
            disk.rename(&name, &format!("{name}.damaged"))?;
            replace(disk, &name, &whole)?;
            report.done.push(format!(
                "{name} written anew from its whole batches; the old one is {name}.damaged"
            ));
        }
        disk.sync()?;
    }
    Ok(report)
}
