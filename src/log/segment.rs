//! A segment: one file of batches of all partitions, and the index that makes it quick to open.
//!
//! ```text
//!  NNNNNNNNNNNNNNNN.seg   magic 8 │ number 8 │ batch │ batch │ …
//!  NNNNNNNNNNNNNNNN.idx   entry 40 × n │ summary 32 × m │ footer 44
//! ```
//! The index is written when the segment is sealed and says how long it is: what lies behind is
//! not part of the log. A segment without one is scanned at open.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::batch::{self, BadBatch, Meta};
use super::disk::{Disk, DiskFile, read_exact, read_whole};

/// Begins every segment.
pub const MAGIC: [u8; 8] = *b"TGSEG1\0\0";
/// Magic and number.
pub const HEAD_BYTES: u64 = 16;
/// How much is searched for a batch at once: little where one is expected, more the longer none is
/// found.
const SEARCH_BYTES_MIN: usize = 4096;
const SEARCH_BYTES_MAX: usize = 1 << 20;
const INDEX_MAGIC: [u8; 8] = *b"TGIDX1\0\0";
const ENTRY_BYTES: usize = 40;
const SUMMARY_BYTES: usize = 32;
const FOOTER_BYTES: usize = 44;

/// A partition by its topic's number and its own.
pub type PartitionId = (u32, u32);

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its first offset.
    pub base: i64,
    /// How many records.
    pub count: u32,
    /// Where it begins in the segment.
    pub position: u64,
    /// How long it is, in bytes.
    pub len: u32,
    /// The highest time in it.
    pub max_time: i64,
}

impl Entry {
    /// The offset after its last record.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.base + i64::from(self.count)
    }
}

/// What a segment holds of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The first offset.
    pub first: i64,
    /// The offset after the last.
    pub next: i64,
    /// The highest time.
    pub max_time: i64,
}

/// The entries of a segment, by partition, in offset order.
pub type Entries = BTreeMap<PartitionId, Vec<Entry>>;

/// What is known of a segment in memory.
#[derive(Debug)]
pub struct Segment {
    /// Its number; segments are in the order of their numbers.
    pub number: u64,
    /// Its file.
    pub file: Arc<dyn DiskFile>,
    /// How long it is; only the one being written grows.
    pub len: u64,
    /// The time of its last append, in ms.
    pub appended: i64,
    /// What it holds.
    pub summaries: BTreeMap<PartitionId, Summary>,
    /// Where; `None`: in the index file.
    pub entries: Option<Entries>,
}

/// What a scan of a segment brought up.
#[derive(Debug, Default)]
pub struct Scan {
    /// All whole batches up to the first fault.
    pub entries: Entries,
    /// Where they end.
    pub len: u64,
    /// How far the file is durable for certain: where the last group begins, 0 without one.
    pub synced: u64,
    /// The time of the last append.
    pub appended: i64,
    /// What is wrong behind `len`, if anything is.
    pub fault: Option<String>,
    /// A batch behind the fault says that what cannot be read was durable once: it is no torn
    /// write but damage.
    pub damaged: bool,
}

/// The name of a segment's file.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:016}.seg")
}

/// The name of its index.
#[must_use]
pub fn index_name(number: u64) -> String {
    format!("{number:016}.idx")
}

/// The number in a segment's file name.
#[must_use]
pub fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| digits.parse().ok()).flatten()
}

/// Makes an empty segment, durable.
pub fn create(disk: &dyn Disk, number: u64) -> io::Result<Segment> {
    let file = disk.create(&file_name(number))?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&number.to_le_bytes());
    file.write_at(&head, 0)?;
    file.sync()?;
    disk.sync()?;
    let (summaries, entries) = (BTreeMap::new(), Some(Entries::new()));
    Ok(Segment { number, file, len: HEAD_BYTES, appended: 0, summaries, entries })
}

/// Whether the head is that of segment `number`. One that is cut off holds nothing yet.
pub fn has_head(file: &dyn DiskFile, number: u64) -> io::Result<bool> {
    if file.size()? < HEAD_BYTES {
        return Ok(false);
    }
    let head = read_exact(file, 0, 16)?;
    Ok(head[..8] == MAGIC && head[8..] == number.to_le_bytes())
}

/// Reads a segment from batch to batch. `keep`: whether a batch continues what is known.
pub fn scan(file: &dyn DiskFile, mut keep: impl FnMut(&Meta) -> bool) -> io::Result<Scan> {
    let end = file.size()?;
    let mut scan = Scan { len: HEAD_BYTES.min(end), ..Scan::default() };
    loop {
        match batch::read(file, scan.len, end) {
            Ok((meta, _, len)) if keep(&meta) => {
                let entry = Entry {
                    base: meta.base,
                    count: meta.count,
                    position: scan.len,
                    len: u32::try_from(len).expect("a batch is below 4 GiB"),
                    max_time: meta.max_time,
                };
                scan.entries.entry((meta.topic, meta.partition)).or_default().push(entry);
                scan.synced = meta.synced_to.min(scan.len);
                scan.len += len;
                scan.appended = meta.append_time;
            }
            Ok(_) => {
                scan.fault = Some("a batch does not continue its partition".to_owned());
                break;
            }
            Err(BadBatch::End) => break,
            Err(BadBatch::Io(error)) => return Err(error),
            Err(error @ BadBatch::Broken(_)) => {
                scan.fault = Some(error.to_string());
                break;
            }
        }
    }
    if scan.fault.is_some() {
        scan.damaged = later_batches(file, scan.len + 1)?.any(|(_, m)| m.synced_to > scan.len);
    }
    Ok(scan)
}

/// All whole batches from `from` on, wherever they begin.
pub fn later_batches(
    file: &dyn DiskFile,
    from: u64,
) -> io::Result<impl Iterator<Item = (u64, Meta)>> {
    let (end, mut at, mut piece) = (file.size()?, from, SEARCH_BYTES_MIN);
    let mut found = Vec::new();
    while at + batch::MAGIC.len() as u64 <= end {
        let len = piece.min(usize::try_from(end - at).unwrap_or(piece));
        let bytes = read_exact(file, at, len)?;
        let Some(i) = bytes.windows(4).position(|w| w == batch::MAGIC) else {
            // A magic may begin in the last three bytes.
            at += (len - 3) as u64;
            piece = SEARCH_BYTES_MAX.min(piece * 2);
            continue;
        };
        at += i as u64;
        piece = SEARCH_BYTES_MIN;
        match batch::read(file, at, end) {
            Ok((meta, _, len)) => {
                found.push((at, meta));
                at += len;
            }
            Err(BadBatch::Io(error)) => return Err(error),
            Err(_) => at += 1,
        }
    }
    Ok(found.into_iter())
}

/// What the entries come to.
#[must_use]
pub fn summarise(entries: &Entries) -> BTreeMap<PartitionId, Summary> {
    let of = |(id, entries): (&PartitionId, &Vec<Entry>)| {
        let (first, last) = (entries.first()?, entries.last()?);
        let max_time = entries.iter().map(|e| e.max_time).max()?;
        Some((*id, Summary { first: first.base, next: last.next(), max_time }))
    };
    entries.iter().filter_map(of).collect()
}

/// The index of a segment whose entries are in memory: its name, and its bytes. With this file in
/// place it is sealed.
#[must_use]
pub fn index(segment: &Segment) -> Option<(String, Vec<u8>)> {
    let entries = segment.entries.as_ref()?;
    let mut bytes = Vec::new();
    let mut count = 0u32;
    for (id, entries) in entries {
        for entry in entries {
            bytes.extend_from_slice(&id.0.to_le_bytes());
            bytes.extend_from_slice(&id.1.to_le_bytes());
            bytes.extend_from_slice(&entry.base.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.max_time.to_le_bytes());
            bytes.extend_from_slice(&entry.count.to_le_bytes());
            bytes.extend_from_slice(&entry.len.to_le_bytes());
            count += 1;
        }
    }
    for (id, summary) in &segment.summaries {
        bytes.extend_from_slice(&id.0.to_le_bytes());
        bytes.extend_from_slice(&id.1.to_le_bytes());
        bytes.extend_from_slice(&summary.first.to_le_bytes());
        bytes.extend_from_slice(&summary.next.to_le_bytes());
        bytes.extend_from_slice(&summary.max_time.to_le_bytes());
    }
    let summaries = u32::try_from(segment.summaries.len()).expect("few partitions");
    let summary_crc = crc32c::crc32c(&bytes[count as usize * ENTRY_BYTES..]);
    let entries_crc = crc32c::crc32c(&bytes[..count as usize * ENTRY_BYTES]);
    let mut footer = INDEX_MAGIC.to_vec();
    footer.extend_from_slice(&segment.len.to_le_bytes());
    footer.extend_from_slice(&segment.appended.to_le_bytes());
    footer.extend_from_slice(&count.to_le_bytes());
    footer.extend_from_slice(&summaries.to_le_bytes());
    footer.extend_from_slice(&summary_crc.to_le_bytes());
    footer.extend_from_slice(&entries_crc.to_le_bytes());
    footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
    debug_assert_eq!(footer.len(), FOOTER_BYTES);
    bytes.extend_from_slice(&footer);
    Some((index_name(segment.number), bytes))
}

/// What an index file says, without its entries.
#[derive(Debug)]
struct Footer {
    len: u64,
    appended: i64,
    entries: usize,
    summaries: usize,
    summary_crc: u32,
    entries_crc: u32,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the index is damaged: {what}"))
}

fn footer(file: &dyn DiskFile) -> io::Result<(Footer, u64)> {
    let len = file.size()?;
    let at = len.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| bad("it is too short"))?;
    let bytes = read_exact(file, at, FOOTER_BYTES)?;
    let four = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().expect("four bytes"));
    let eight = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().expect("eight bytes"));
    if bytes[..8] != INDEX_MAGIC || crc32c::crc32c(&bytes[..40]) != four(40) {
        return Err(bad("its footer is wrong"));
    }
    let footer = Footer {
        len: eight(8),
        appended: eight(16).cast_signed(),
        entries: four(24) as usize,
        summaries: four(28) as usize,
        summary_crc: four(32),
        entries_crc: four(36),
    };
    let whole = footer.entries * ENTRY_BYTES + footer.summaries * SUMMARY_BYTES + FOOTER_BYTES;
    if whole as u64 != len {
        return Err(bad("its length is wrong"));
    }
    Ok((footer, at))
}

/// Opens a sealed segment by its index; its entries stay on the disk.
pub fn open_sealed(disk: &dyn Disk, number: u64) -> io::Result<Segment> {
    let index = disk.open(&index_name(number))?;
    let (footer, at) = footer(&*index)?;
    let bytes = footer.summaries * SUMMARY_BYTES;
    let bytes = read_exact(&*index, at - bytes as u64, bytes)?;
    if crc32c::crc32c(&bytes) != footer.summary_crc {
        return Err(bad("its summary is wrong"));
    }
    let summaries = bytes.chunks_exact(SUMMARY_BYTES).map(|b| {
        let four = |i: usize| u32::from_le_bytes(b[i..i + 4].try_into().expect("four bytes"));
        let eight = |i: usize| i64::from_le_bytes(b[i..i + 8].try_into().expect("eight bytes"));
        ((four(0), four(4)), Summary { first: eight(8), next: eight(16), max_time: eight(24) })
    });
    let file = disk.open(&file_name(number))?;
    if !has_head(&*file, number)? || file.size()? < footer.len {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the segment is shorter than its index",
        ));
    }
    Ok(Segment {
        number,
        file,
        len: footer.len,
        appended: footer.appended,
        summaries: summaries.collect(),
        entries: None,
    })
}

/// The entries of a sealed segment.
pub fn read_entries(disk: &dyn Disk, number: u64) -> io::Result<Entries> {
    let bytes = read_whole(disk, &index_name(number))?;
    let (footer, _) = footer(&*disk.open(&index_name(number))?)?;
    let bytes = &bytes[..footer.entries * ENTRY_BYTES];
    if crc32c::crc32c(bytes) != footer.entries_crc {
        return Err(bad("its entries are wrong"));
    }
    let mut all = Entries::new();
    for b in bytes.chunks_exact(ENTRY_BYTES) {
        let four = |i: usize| u32::from_le_bytes(b[i..i + 4].try_into().expect("four bytes"));
        let eight = |i: usize| i64::from_le_bytes(b[i..i + 8].try_into().expect("eight bytes"));
        let entry = Entry {
            base: eight(8),
            position: eight(16).cast_unsigned(),
            max_time: eight(24),
            count: four(32),
            len: four(36),
        };
        all.entry((four(0), four(4))).or_default().push(entry);
    }
    Ok(all)
}
