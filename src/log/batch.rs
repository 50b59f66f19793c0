//! The bytes of a batch: records of one partition that were committed together.
//!
//! ```text
//!  magic 4 │ body length 4 │ CRC-32C of the body 4 │ body
//!  body = topic id 4 │ partition 4 │ base offset 8 │ count 4 │ append time 8 │ max time 8
//!       │ synced to 8 │ records
//!  record = time 8 │ key length 4 (-1: none) │ key │ value length 4 │ value
//! ```
//! Little endian, lengths in bytes, times in ms. `synced to` is how far the segment was durable
//! when the batch was written: what lies below it and cannot be read is damage, not a torn write.

use bytes::Bytes;

use super::disk::{DiskFile, read_exact};
use crate::event::{Offset, Record, TimestampMs};

/// Begins every batch.
pub const MAGIC: [u8; 4] = *b"TGB1";
/// Magic, length and checksum.
pub const HEAD_BYTES: usize = 12;
const FIXED_BYTES: usize = 44;
/// A longer body is not a body.
pub const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Which topic, by its number in `topics.json`.
    pub topic: u32,
    /// Which partition.
    pub partition: u32,
    /// The offset of its first record; the others follow without holes.
    pub base: i64,
    /// How many records.
    pub count: u32,
    /// When it was appended.
    pub append_time: i64,
    /// The highest time of its records.
    pub max_time: i64,
    /// How far the segment was durable when it was written.
    pub synced_to: u64,
}

/// Why there is no batch at a place.
#[derive(Debug, thiserror::Error)]
pub enum BadBatch {
    /// The segment ends here.
    #[error("the segment ends")]
    End,
    /// There is something, but no whole batch.
    #[error("{0}")]
    Broken(&'static str),
    /// The disk does not give it.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

const CUT_OFF: BadBatch = BadBatch::Broken("a batch begins and is cut off");

/// Writes a batch at the end of `out`. `records`: time, key, value.
pub fn write(out: &mut Vec<u8>, meta: &Meta, records: &[(i64, Option<Bytes>, Bytes)]) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&meta.topic.to_le_bytes());
    out.extend_from_slice(&meta.partition.to_le_bytes());
    out.extend_from_slice(&meta.base.to_le_bytes());
    out.extend_from_slice(&meta.count.to_le_bytes());
    out.extend_from_slice(&meta.append_time.to_le_bytes());
    out.extend_from_slice(&meta.max_time.to_le_bytes());
    out.extend_from_slice(&meta.synced_to.to_le_bytes());
    let len = |n: usize| i32::try_from(n).expect("a record is below 2 GiB").to_le_bytes();
    for (time, key, value) in records {
        out.extend_from_slice(&time.to_le_bytes());
        match key {
            Some(key) => {
                out.extend_from_slice(&len(key.len()));
                out.extend_from_slice(key);
            }
            None => out.extend_from_slice(&(-1i32).to_le_bytes()),
        }
        out.extend_from_slice(&len(value.len()));
        out.extend_from_slice(value);
    }
    let body = start + HEAD_BYTES;
    let body_len = u32::try_from(out.len() - body).expect("a group is below 4 GiB");
    let crc = crc32c::crc32c(&out[body..]);
    out[start + 4..start + 8].copy_from_slice(&body_len.to_le_bytes());
    out[start + 8..body].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the batch at `at` of a segment that ends at `end`, and its whole length.
///
/// # Errors
/// See `BadBatch`.
pub fn read(file: &dyn DiskFile, at: u64, end: u64) -> Result<(Meta, Bytes, u64), BadBatch> {
    if at >= end {
        return Err(BadBatch::End);
    }
    if end - at < (HEAD_BYTES + FIXED_BYTES) as u64 {
        return Err(CUT_OFF);
    }
    let head = read_exact(file, at, HEAD_BYTES)?;
    let len = body_len(&head)?;
    if end - at < (HEAD_BYTES + len) as u64 {
        return Err(CUT_OFF);
    }
    let body = Bytes::from(read_exact(file, at + HEAD_BYTES as u64, len)?);
    let (meta, records) = checked(&head, body)?;
    Ok((meta, records, (HEAD_BYTES + len) as u64))
}

/// Reads the batch at `at` whose whole length is known.
///
/// # Errors
/// See `BadBatch`.
pub fn read_known(file: &dyn DiskFile, at: u64, len: u32) -> Result<(Meta, Bytes), BadBatch> {
    let mut head = Bytes::from(read_exact(file, at, len as usize)?);
    if head.len() < HEAD_BYTES + FIXED_BYTES {
        return Err(CUT_OFF);
    }
    let body = head.split_off(HEAD_BYTES);
    if body_len(&head)? != body.len() {
        return Err(BadBatch::Broken("the length of a batch is wrong"));
    }
    checked(&head, body)
}

fn word(head: &[u8], i: usize) -> u32 {
    u32::from_le_bytes(head[i..i + 4].try_into().expect("four bytes"))
}

fn body_len(head: &[u8]) -> Result<usize, BadBatch> {
    if head[..4] != MAGIC {
        return Err(BadBatch::Broken("no batch begins here"));
    }
    let len = word(head, 4) as usize;
    if (FIXED_BYTES..=BODY_BYTES_MAX).contains(&len) { Ok(len) } else { Err(CUT_OFF) }
}

fn checked(head: &[u8], body: Bytes) -> Result<(Meta, Bytes), BadBatch> {
    if crc32c::crc32c(&body) != word(head, 8) {
        return Err(BadBatch::Broken("the checksum of a batch is wrong"));
    }
    Ok((meta(&body), body.slice(FIXED_BYTES..)))
}

fn meta(body: &[u8]) -> Meta {
    let four = |i: usize| u32::from_le_bytes(body[i..i + 4].try_into().expect("four bytes"));
    let eight = |i: usize| i64::from_le_bytes(body[i..i + 8].try_into().expect("eight bytes"));
    Meta {
        topic: four(0),
        partition: four(4),
        base: eight(8),
        count: four(16),
        append_time: eight(20),
        max_time: eight(28),
        synced_to: u64::from_le_bytes(body[36..44].try_into().expect("eight bytes")),
    }
}

/// The records of a batch, whose checksum was right.
///
/// # Errors
/// When they are not what the head says: another program's batch.
pub fn records(meta: &Meta, mut body: Bytes) -> Result<Vec<Record>, BadBatch> {
    const CUT: BadBatch = BadBatch::Broken("a record is cut off");
    fn part(body: &mut Bytes) -> Result<Option<Bytes>, BadBatch> {
        let len = i32::from_le_bytes(take(body, 4)?[..].try_into().expect("four bytes"));
        usize::try_from(len).ok().map(|len| take(body, len)).transpose()
    }
    fn take(body: &mut Bytes, n: usize) -> Result<Bytes, BadBatch> {
        if body.len() < n { Err(CUT) } else { Ok(body.split_to(n)) }
    }
    let mut all = Vec::with_capacity(meta.count.min(100_000) as usize);
    for n in 0..i64::from(meta.count) {
        let time = i64::from_le_bytes(take(&mut body, 8)?[..].try_into().expect("eight bytes"));
        let (key, value) = (part(&mut body)?, part(&mut body)?);
        all.push(Record { offset: Offset(meta.base + n), time: TimestampMs(time), key, value });
    }
    Ok(all)
}
