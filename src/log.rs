//! The embedded log: topics and partitions in a folder, for those who have no Kafka.
//!
//! ```text
//!  append ─▶ writer thread ─▶ group: batches by partition ─▶ one write, one sync ─▶ acknowledged
//!                                                                   │
//!  read, offset_at ◀── index in memory (what is durable) ◀──────────┘
//! ```
//! # Format 1
//! | file | what it is |
//! |---|---|
//! | `tidegate-log` | the format's number: `{"format":1}` |
//! | `lock` | held while the log is open |
//! | `topics.json` | name → number, tag, offsets given out per partition; replaced as a whole |
//! | `N.seg` | a segment: batches of all partitions, in the order of their commits (`batch`) |
//! | `N.idx` | made when the segment is sealed: its length, and where each batch is (`segment`) |
//!
//! # Durability
//! An append is acknowledged when its batch has been synced; readers see a record not before that.
//! The order is: `topics.json` before the first batch of a topic, batches in the last segment, the
//! index of a segment before the first byte of the next one. "Not written" is said only when it is
//! off the disk; after a sync that failed it is "unknown", and the file is not written to any more.
//!
//! # Recovery
//! A segment with an index is as long as the index says. One without is read from batch to batch;
//! what follows the last whole batch is a torn write, and is cut, unless a later batch says that it
//! was durable once, or another segment follows: that is damage, and the log does not open before
//! `repair` has set it aside. A damaged batch in a sealed segment fails only the reads of its
//! records. A folder that is not a log is left alone.
//!
//! What is found may be there only in the system's memory (a process that ended before its sync, a
//! sync that failed), so the folder is synced and the last group is written once more before anyone
//! is shown it. Opening needs no room on the disk but for a new log.
//!
//! # Limits
//! A record is at most 64 MB; a partition's offsets have no holes but those that `repair` had to
//! leave. Retention deletes whole segments, by the time of their last append and by their size
//! together; never the last one.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::event::answers::{Fetched, NewRecord, SinkError, SourceError, TopicInfo, Watermarks};
use crate::event::{Offset, TimestampMs, TopicName, TopicPartition};

mod batch;
mod check;
pub mod disk;
mod index;
mod open;
mod partitioner;
mod segment;
mod topics;
mod writer;

pub use check::{Damage, Report, check, repair};
use disk::Disk;
use index::{Found, Index};
pub use open::OpenError;
use segment::{Entry, PartitionId};
use writer::{Appended, Ask, Writer};

/// Bytes of the largest record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries that a read takes out of the index at once.
const ENTRIES_AT_ONCE: usize = 256;
/// Appends that may wait for the writer.
const WAITING_MAX: usize = 65_536;

/// What an operator may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder.
    pub dir: PathBuf,
    /// How long an append waits for company before the disk is synced.
    pub commit_interval: Duration,
    /// Size from which on a segment is sealed.
    pub segment_bytes: u64,
    /// Age of its last append at which a segment goes; `None`: never.
    pub retention_age: Option<Duration>,
    /// Size of all segments above which the oldest go; `None`: never.
    pub retention_bytes: Option<u64>,
    /// Producers are refused when less than this is free.
    pub reserve_bytes: u64,
    /// Partitions of a topic that is made by its first record.
    pub partitions_default: i32,
}

impl Settings {
    /// The defaults, in this folder.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            commit_interval: Duration::from_millis(5),
            segment_bytes: 64 * 1024 * 1024,
            retention_age: None,
            retention_bytes: None,
            reserve_bytes: 64 * 1024 * 1024,
            partitions_default: 1,
        }
    }
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    index: Arc<Mutex<Index>>,
    asks: Mutex<Option<mpsc::Sender<Ask>>>,
    changed: watch::Receiver<u64>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Held while the log is open.
    _lock: Option<std::fs::File>,
}

impl Log {
    /// Opens the log in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When it is no log of ours, is in use, or is damaged; the text says what to do.
    pub fn open(settings: Settings) -> Result<Arc<Self>, OpenError> {
        let (disk, lock) = open::folder(&settings.dir)?;
        Self::open_on(disk, Some(lock), settings)
    }

    /// Opens the log on any file system, and starts its writer.
    fn open_on(
        disk: Arc<dyn Disk>,
        lock: Option<std::fs::File>,
        settings: Settings,
    ) -> Result<Arc<Self>, OpenError> {
        let (mut log, writer) = Self::with_writer(disk, settings)?;
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(OpenError::Io)?;
        let thread = std::thread::Builder::new()
            .name("tidegate-log".into())
            .spawn(move || runtime.block_on(writer.run(asked)))
            .map_err(OpenError::Io)?;
        log.asks = Mutex::new(Some(asks));
        log.writer = Mutex::new(Some(thread));
        log._lock = lock;
        Ok(Arc::new(log))
    }

    /// The log, and its writer, which nobody runs yet.
    fn with_writer(disk: Arc<dyn Disk>, settings: Settings) -> Result<(Self, Writer), OpenError> {
        let index = Arc::new(Mutex::new(open::index(&*disk)?));
        let (tell, changed) = watch::channel(0);
        let writer = Writer::new(Arc::clone(&disk), Arc::clone(&index), settings, tell);
        let (asks, thread) = (Mutex::new(None), Mutex::new(None));
        Ok((Self { disk, index, asks, changed, writer: thread, _lock: None }, writer))
    }

    /// Opens one that is there, and makes none.
    ///
    /// # Errors
    /// As `open`, and when the folder is empty.
    pub fn open_existing(settings: Settings) -> Result<Arc<Self>, OpenError> {
        drop(check::existing(&settings.dir)?);
        Self::open(settings)
    }

    /// All topics, by name, and how many partitions each has.
    #[must_use]
    pub fn topics(&self) -> Vec<(TopicName, i32)> {
        let index = self.lock();
        let all = index.topics.topics.iter();
        let partitions = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let named = |name: &str| TopicName::new(name).ok();
        all.filter_map(|(name, t)| Some((named(name)?, partitions(t.next.len())))).collect()
    }

    /// Writes a record; when this returns it is durable. Concurrent calls are written in the order
    /// of their first poll.
    ///
    /// # Errors
    /// See `SinkError`.
    pub async fn append(&self, record: NewRecord) -> Appended {
        let size = record.value.len() + record.key.as_ref().map_or(0, bytes::Bytes::len);
        if size > RECORD_BYTES_MAX {
            let says = format!("it has {size} bytes; {RECORD_BYTES_MAX} are accepted");
            return Err(SinkError::Refused(says));
        }
        let (done, outcome) = oneshot::channel();
        let NewRecord { topic, key, value, time } = record;
        self.ask(Ask::Append { topic, key, value, time, done }).await.map_err(closed)?;
        outcome.await.unwrap_or_else(|_| Err(closed(())))
    }

    /// Makes a topic; one that exists gets as many partitions, if it has fewer.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn create_topic(&self, topic: &TopicName, partitions: usize) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        let ask = Ask::Create(topic.clone(), partitions.max(1), done);
        self.ask(ask).await.map_err(|()| io::Error::other("the log is closed"))?;
        outcome.await.map_err(io::Error::other)?
    }

    /// Takes a topic away, with all that is in it. Made anew it has another tag.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn delete_topic(&self, topic: &TopicName) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        let ask = Ask::Delete(topic.clone(), done);
        self.ask(ask).await.map_err(|()| io::Error::other("the log is closed"))?;
        outcome.await.map_err(io::Error::other)?
    }

    /// Looks at retention now and not in some seconds.
    pub async fn retain(&self) {
        let (done, outcome) = oneshot::channel();
        if self.ask(Ask::Retain(done)).await.is_ok() {
            let _ = outcome.await;
        }
    }

    /// Moves whenever something has become durable, or a topic or its start has changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// What a topic is.
    #[must_use]
    pub fn topic(&self, topic: &TopicName) -> Option<TopicInfo> {
        let index = self.lock();
        let found = index.topics.get(topic)?;
        let partitions = i32::try_from(found.next.len()).unwrap_or(i32::MAX);
        Some(TopicInfo { partitions, log: found.tag(), append_time: false })
    }

    /// What can be read of a partition.
    ///
    /// # Errors
    /// When there is no such topic or partition.
    pub fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError> {
        let index = self.lock();
        let (start, end) = index.range(Self::id(&index, tp)?);
        Ok(Watermarks { start: Offset(start), end: Offset(end) })
    }

    /// The first record, in log order, with a time ≥ `time`. Reads the disk: blocking.
    ///
    /// # Errors
    /// When there is no such partition, or a batch that has to be read is damaged.
    pub fn offset_at(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        let (id, segments) = {
            let index = self.lock();
            let id = Self::id(&index, tp)?;
            (id, index.from(id, 0).collect::<Vec<_>>())
        };
        for (segment, _) in segments.iter().filter(|(_, s)| s.max_time >= time.0) {
            let first = |entries: &[Entry]| entries.iter().find(|e| e.max_time >= time.0).copied();
            let Some(found) = self.entries(tp, id, segment, first)? else {
                return self.offset_at(tp, time);
            };
            let Some(entry) = found else { continue };
            let records = self.batch(tp, id, segment, &entry)?;
            if let Some(record) = records.into_iter().find(|r| r.time >= time) {
                return Ok(Some(record.offset));
            }
        }
        Ok(None)
    }

    /// Reads a range. Blocking.
    ///
    /// # Errors
    /// As `Source::read`.
    pub fn read(
        &self,
        tp: &TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, SourceError> {
        let (id, kept, segments) = {
            let index = self.lock();
            let id = Self::id(&index, tp)?;
            let (start, end) = index.range(id);
            let kept = Watermarks { start: Offset(start), end: Offset(end) };
            (id, kept, index.from(id, from.0).collect::<Vec<_>>())
        };
        if from < kept.start || from > kept.end {
            return Err(SourceError::OutOfRange { tp: tp.clone(), wanted: from, kept });
        }
        let until = until.min(kept.end);
        let (mut records, mut bytes) = (Vec::new(), 0);
        for (segment, summary) in segments {
            let mut at = from.0.max(summary.first);
            while at < until.0 {
                let some = |entries: &[Entry]| {
                    let rest = &entries[entries.partition_point(|e| e.next() <= at)..];
                    let rest = rest.iter().take_while(|e| e.base < until.0);
                    rest.take(ENTRIES_AT_ONCE).copied().collect::<Vec<_>>()
                };
                let entries = match self.entries(tp, id, &segment, some) {
                    // What can be read is given; who goes on there is told what is wrong.
                    Err(_) if !records.is_empty() => {
                        return Ok(Fetched { records, next: Offset(at) });
                    }
                    entries => entries?,
                };
                // The segment was deleted meanwhile.
                let Some(entries) = entries else { return self.read(tp, from, until, max_bytes) };
                let Some(last) = entries.last() else { break };
                at = last.next();
                for entry in entries {
                    let batch = match self.batch(tp, id, &segment, &entry) {
                        Err(_) if !records.is_empty() => {
                            return Ok(Fetched { records, next: Offset(entry.base) });
                        }
                        batch => batch?,
                    };
                    for record in batch {
                        if record.offset < from || record.offset >= until {
                            continue;
                        }
                        if bytes >= max_bytes && !records.is_empty() {
                            return Ok(Fetched { next: record.offset, records });
                        }
                        bytes += record.size_bytes();
                        records.push(record);
                    }
                }
            }
        }
        Ok(Fetched { records, next: until.max(from) })
    }

    /// Commits what is under way and closes the log. Nothing can be appended any more.
    pub async fn close(&self) {
        self.asks.lock().expect("no holder panics").take();
        let writer = self.writer.lock().expect("no holder panics").take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }

    async fn ask(&self, ask: Ask) -> Result<(), ()> {
        let asks = self.asks.lock().expect("no holder panics").clone();
        asks.ok_or(())?.send(ask).await.map_err(|_| ())
    }

    /// What `pick` takes of the entries of a segment, which may have to be read first. `None`: the
    /// segment is not in the log any more.
    fn entries<T>(
        &self,
        tp: &TopicPartition,
        id: PartitionId,
        segment: &Found,
        pick: impl Fn(&[Entry]) -> T,
    ) -> Result<Option<T>, SourceError> {
        if let Some(picked) = self.lock().entries(segment.number, id, &pick) {
            return Ok(Some(picked));
        }
        let read = segment::read_entries(&*self.disk, segment.number);
        let mut index = self.lock();
        let Some(summaries) = index.segments.get(&segment.number).map(|s| &s.summaries) else {
            return Ok(None);
        };
        let first = summaries.get(&id).map_or(0, |summary| summary.first);
        let entries = read.map_err(|error| damaged(tp, first, segment.number, 0, &error))?;
        let picked = pick(entries.get(&id).map_or(&[][..], Vec::as_slice));
        index.keep(segment.number, &Arc::new(entries));
        Ok(Some(picked))
    }

    fn batch(
        &self,
        tp: &TopicPartition,
        id: PartitionId,
        segment: &Found,
        entry: &Entry,
    ) -> Result<Vec<crate::event::Record>, SourceError> {
        let broken = |error: &dyn std::fmt::Display| {
            damaged(tp, entry.base, segment.number, entry.position, error)
        };
        let read = batch::read_known(&*segment.file, entry.position, entry.len);
        let (meta, body) = read.map_err(|e| broken(&e))?;
        if (meta.topic, meta.partition) != id || meta.base != entry.base {
            return Err(broken(&"another batch is there than the index says"));
        }
        batch::records(&meta, body).map_err(|e| broken(&e))
    }

    fn id(index: &Index, tp: &TopicPartition) -> Result<PartitionId, SourceError> {
        let topic = index.topics.get(&tp.topic);
        let topic = topic.ok_or_else(|| SourceError::UnknownTopic(tp.topic.clone()))?;
        match u32::try_from(tp.partition.0) {
            Ok(partition) if (partition as usize) < topic.next.len() => Ok((topic.id, partition)),
            _ => Err(SourceError::UnknownPartition(tp.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no holder panics")
    }
}

fn closed(_: ()) -> SinkError {
    SinkError::Unavailable("embedded".to_owned(), "the log is closed".to_owned())
}

fn damaged(
    tp: &TopicPartition,
    offset: i64,
    segment: u64,
    position: u64,
    error: &dyn std::fmt::Display,
) -> SourceError {
    let file = segment::file_name(segment);
    let cause =
        format!("{file} at byte {position}: {error}; `tidegate log check` names all damage");
    SourceError::Damaged { tp: tp.clone(), at: Offset(offset), cause }
}

#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod tests;
