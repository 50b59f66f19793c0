//! The one thread that writes: group commit, rolling, retention.
//!
//! ```text
//!  appends ─▶ wait a little ─▶ offsets ─▶ batches by partition ─▶ write, sync ─▶ publish, answer
//! ```
//! A group that fails is acknowledged to nobody. After a failed write the segment goes on where it
//! was durable; after a failed sync nothing that this file says can be believed: it is sealed at
//! its last durable length and a new one begun before anything else is taken.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Settings;
use super::batch::{self, Meta};
use super::disk::{Disk, replace};
use super::index::Index;
use super::partitioner::partition_of;
use super::segment::{self, Entry, PartitionId};
use super::topics::Topics;
use crate::event::answers::SinkError;
use crate::event::{Offset, Partition, TimestampMs, TopicName};

/// Records of one group.
const GROUP_RECORDS_MAX: usize = 16_384;
/// Bytes of one group.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often retention is looked at.
const RETENTION_EVERY: Duration = Duration::from_secs(5);

/// What came of one append.
pub type Appended = Result<(Partition, Offset), SinkError>;

/// What the writer is asked.
#[derive(Debug)]
pub enum Ask {
    /// Write a record.
    Append {
        /// Where to.
        topic: TopicName,
        /// Its key.
        key: Option<Bytes>,
        /// Its value.
        value: Bytes,
        /// Its time.
        time: TimestampMs,
        /// Told when it is durable.
        done: oneshot::Sender<Appended>,
    },
    /// Make a topic, or give it more partitions.
    Create(TopicName, usize, oneshot::Sender<io::Result<()>>),
    /// Take a topic away.
    Delete(TopicName, oneshot::Sender<io::Result<()>>),
    /// Look at retention now.
    Retain(oneshot::Sender<()>),
}

/// One append that waits for its group: the fields of `Ask::Append`.
#[derive(Debug)]
pub struct Waiting {
    /// Where to.
    pub topic: TopicName,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Bytes,
    /// Its time.
    pub time: TimestampMs,
    /// Told when it is durable.
    pub done: oneshot::Sender<Appended>,
}

/// A record that has its place, and who waits for it.
type Placed = (Waiting, PartitionId, i64);

/// The writer.
#[derive(Debug)]
pub struct Writer {
    disk: Arc<dyn Disk>,
    index: Arc<Mutex<Index>>,
    settings: Settings,
    changed: watch::Sender<u64>,
    /// For records without a key: the next partition, per commit.
    round: usize,
    /// The last segment must not be written to any more.
    broken: bool,
    /// The file of topics may be another than the index has: a change of it has failed.
    topics_differ: bool,
}

impl Writer {
    /// A writer to the last segment of the index.
    #[must_use]
    pub fn new(
        disk: Arc<dyn Disk>,
        index: Arc<Mutex<Index>>,
        settings: Settings,
        changed: watch::Sender<u64>,
    ) -> Self {
        let (round, broken, topics_differ) = (0, false, false);
        Self { disk, index, settings, changed, round, broken, topics_differ }
    }

    /// Serves until nobody can ask any more.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut retention = tokio::time::interval(RETENTION_EVERY);
        loop {
            let ask = tokio::select! {
                ask = asks.recv() => ask,
                _ = retention.tick() => {
                    self.retain(TimestampMs::now());
                    continue;
                }
            };
            match ask {
                None => return,
                Some(Ask::Append { topic, key, value, time, done }) => {
                    let first = Waiting { topic, key, value, time, done };
                    let (group, next) = self.gather(first, &mut asks).await;
                    self.commit(group, TimestampMs::now());
                    if let Some(ask) = next {
                        self.other(ask);
                    }
                }
                Some(ask) => self.other(ask),
            }
        }
    }

    /// What comes within the interval; the first thing that is no append ends it.
    async fn gather(
        &self,
        first: Waiting,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> (Vec<Waiting>, Option<Ask>) {
        let until = Instant::now() + self.settings.commit_interval;
        let size =
            |waiting: &Waiting| waiting.value.len() + waiting.key.as_ref().map_or(0, Bytes::len);
        let mut bytes = size(&first);
        let mut group = vec![first];
        while group.len() < GROUP_RECORDS_MAX && bytes < GROUP_BYTES_MAX {
            match Self::next(asks, until).await {
                Some(Some(Ask::Append { topic, key, value, time, done })) => {
                    let next = Waiting { topic, key, value, time, done };
                    bytes += size(&next);
                    group.push(next);
                }
                Some(other) => return (group, other),
                None => break,
            }
        }
        (group, None)
    }

    /// What is asked until then; `None`: nothing. What is there already comes without a look at the
    /// clock, and nobody waits for a moment that has passed: the shortest wait is a millisecond,
    /// several times that of a sync.
    async fn next(asks: &mut mpsc::Receiver<Ask>, until: Instant) -> Option<Option<Ask>> {
        match asks.try_recv() {
            Ok(ask) => return Some(Some(ask)),
            Err(TryRecvError::Disconnected) => return Some(None),
            Err(TryRecvError::Empty) if Instant::now() >= until => return None,
            Err(TryRecvError::Empty) => {}
        }
        tokio::time::timeout_at(until, asks.recv()).await.ok()
    }

    /// Does what is no append.
    pub fn other(&mut self, ask: Ask) {
        match ask {
            Ask::Append { .. } => unreachable!("appends are gathered"),
            Ask::Create(topic, partitions, done) => {
                let _ = done.send(self.change(|topics| {
                    let next = &mut topics.create(&topic, partitions).next;
                    next.resize(next.len().max(partitions), 0);
                }));
            }
            Ask::Delete(topic, done) => {
                let _ = done.send(self.change(|topics| {
                    topics.topics.remove(topic.as_str());
                }));
            }
            Ask::Retain(done) => {
                self.retain(TimestampMs::now());
                let _ = done.send(());
            }
        }
    }

    /// Changes the topics: on the disk first, then for readers.
    fn change(&mut self, change: impl FnOnce(&mut Topics)) -> io::Result<()> {
        let mut topics = self.lock().topics.clone();
        change(&mut topics);
        self.topics_differ = true;
        topics.save(&*self.disk)?;
        self.topics_differ = false;
        self.lock().topics = topics;
        self.tell();
        Ok(())
    }

    /// Writes a group and tells each of its members what came of it.
    pub fn commit(&mut self, group: Vec<Waiting>, now: TimestampMs) {
        if let Err(error) = self.ready(&group) {
            for waiting in group {
                let _ = waiting.done.send(Err(unavailable(&error)));
            }
            return;
        }
        let placed = self.place(group);
        let outcome = self.write(&placed, now);
        for (waiting, id, offset) in placed {
            let place = (Partition(i32::try_from(id.1).unwrap_or(i32::MAX)), Offset(offset));
            let _ = waiting.done.send(outcome.clone().map(|()| place));
        }
    }

    /// Room, a segment that can be written to, and every topic of the group.
    fn ready(&mut self, group: &[Waiting]) -> io::Result<()> {
        let free = self.disk.free_bytes()?;
        if free < self.settings.reserve_bytes {
            let reserve = self.settings.reserve_bytes;
            let says = format!("{free} bytes are free on the disk, {reserve} are kept in reserve");
            return Err(io::Error::new(io::ErrorKind::StorageFull, says));
        }
        if self.topics_differ {
            // A topic that is written to must not be gone after a crash.
            self.change(|_| ())?;
        }
        let (full, unknown) = {
            let index = self.lock();
            let full = index
                .segments
                .values()
                .next_back()
                .is_none_or(|s| s.entries.is_none() || s.len >= self.settings.segment_bytes);
            let topics = group.iter().map(|w| &w.topic);
            (full, topics.filter(|t| index.topics.get(t).is_none()).cloned().collect::<Vec<_>>())
        };
        if full || self.broken {
            self.roll()?;
        }
        if !unknown.is_empty() {
            let partitions = usize::try_from(self.settings.partitions_default).unwrap_or(1);
            self.change(|topics| {
                for topic in &unknown {
                    topics.create(topic, partitions);
                }
            })?;
        }
        Ok(())
    }

    /// Gives every record its partition and offset, in the order in which they were asked.
    fn place(&mut self, group: Vec<Waiting>) -> Vec<Placed> {
        self.round = self.round.wrapping_add(1);
        let index = self.lock();
        let mut next: BTreeMap<PartitionId, i64> = BTreeMap::new();
        let mut placed = Vec::with_capacity(group.len());
        for waiting in group {
            let topic = index.topics.get(&waiting.topic).expect("made ready before");
            let partition = partition_of(waiting.key.as_deref(), topic.next.len(), self.round);
            let id = (topic.id, u32::try_from(partition).expect("few partitions"));
            let offset = next.entry(id).or_insert_with(|| index.range(id).1);
            placed.push((waiting, id, *offset));
            *offset += 1;
        }
        placed
    }

    fn write(&mut self, placed: &[Placed], now: TimestampMs) -> Result<(), SinkError> {
        let (file, start) = {
            let index = self.lock();
            let segment = index.segments.values().next_back().expect("made ready before");
            (Arc::clone(&segment.file), segment.len)
        };
        let mut by_partition: BTreeMap<PartitionId, Vec<&Placed>> = BTreeMap::new();
        for one in placed {
            by_partition.entry(one.1).or_default().push(one);
        }
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        for (id, records) in by_partition {
            let max_time = records.iter().map(|r| r.0.time.0).max().expect("at least one");
            let (base, count) = (records[0].2, u32::try_from(records.len()).expect("few"));
            let position = start + bytes.len() as u64;
            let (append_time, synced_to) = (now.0, start);
            let (topic, partition) = id;
            let meta = Meta { topic, partition, base, count, append_time, max_time, synced_to };
            let records: Vec<_> = records
                .iter()
                .map(|(w, _, _)| (w.time.0, w.key.clone(), w.value.clone()))
                .collect();
            let before = bytes.len();
            batch::write(&mut bytes, &meta, &records);
            let len = u32::try_from(bytes.len() - before).expect("a group is below 4 GiB");
            entries.push((id, Entry { base, count, position, len, max_time }));
        }
        if let Err(error) = file.write_at(&bytes, start) {
            // Only when it is off the disk for certain can its producers be told so.
            let Err(and) = file.set_len(start).and_then(|()| file.sync()) else {
                return Err(unavailable(&error));
            };
            self.broken = true;
            let says = format!("{error}, and what was written of it cannot be cut off: {and}");
            return Err(SinkError::Unknown("embedded".to_owned(), says));
        }
        if let Err(error) = file.sync() {
            self.broken = true;
            tracing::error!(%error, "the log cannot be synced: its segment is sealed as it was");
            return Err(SinkError::Unknown("embedded".to_owned(), error.to_string()));
        }
        self.lock().publish(&entries, start + bytes.len() as u64, now.0);
        self.tell();
        Ok(())
    }

    /// Seals the last segment as long as it is known to be durable, if it is not sealed already,
    /// and begins the next one.
    fn roll(&mut self) -> io::Result<()> {
        let (last, unsealed, file) = {
            let index = self.lock();
            let last = index.segments.values().next_back();
            let file = last.map(|s| (Arc::clone(&s.file), s.len));
            (last.map(|s| s.number), last.and_then(segment::index), file)
        };
        if let Some((file, len)) = file.filter(|_| self.broken)
            && let Err(error) = file.set_len(len).and_then(|()| file.sync())
        {
            // Its index says how long it is. But should that be lost one day, this would come up.
            tracing::warn!(%error, "what was not acknowledged cannot be cut off");
        }
        if let Some((name, bytes)) = unsealed {
            replace(&*self.disk, &name, &bytes)?;
        }
        let number = self.lock().next_number;
        let next = segment::create(&*self.disk, number)?;
        let mut index = self.lock();
        index.next_number = next.number + 1;
        let sealed = last.and_then(|n| index.segments.get_mut(&n));
        if let Some((number, entries)) = sealed.and_then(|s| Some((s.number, s.entries.take()?))) {
            index.keep(number, &Arc::new(entries));
        }
        index.segments.insert(next.number, next);
        drop(index);
        self.broken = false;
        Ok(())
    }

    /// Deletes whole sealed segments that are too old, or more than there may be.
    pub fn retain(&mut self, now: TimestampMs) {
        while let Some(number) = self.too_many(now) {
            if let Err(error) = self.delete(number) {
                tracing::warn!(%error, segment = number, "an old segment cannot be deleted");
                return;
            }
        }
    }

    fn too_many(&self, now: TimestampMs) -> Option<u64> {
        let index = self.lock();
        let oldest = index.segments.values().next().filter(|_| index.segments.len() > 1)?;
        let age =
            self.settings.retention_age.map(|a| i64::try_from(a.as_millis()).unwrap_or(i64::MAX));
        let too_old = age.is_some_and(|age| oldest.appended < now.0.saturating_sub(age));
        let too_large = self.settings.retention_bytes.is_some_and(|most| index.bytes() > most);
        (too_old || too_large).then_some(oldest.number)
    }

    fn delete(&mut self, number: u64) -> io::Result<()> {
        // Offsets that were given out stay given out, also when no record is left to show it. (Most
        // often one is left: then nothing is written, which a full disk would not take.)
        let unshown: Vec<_> = {
            let index = self.lock();
            let Some(segment) = index.segments.get(&number) else { return Ok(()) };
            let later = |id| index.from(id, 0).any(|(found, _)| found.number > number);
            segment.summaries.iter().filter(|(id, _)| !later(**id)).map(|(id, _)| *id).collect()
        };
        if !unshown.is_empty() {
            let ends: Vec<_> = unshown.iter().map(|id| (*id, self.lock().range(*id).1)).collect();
            self.change(|topics| ends.iter().for_each(|(id, end)| topics.give_out(*id, *end)))?;
        }
        self.lock().segments.remove(&number);
        self.tell();
        // The index goes last: without it the segment would be read to the end of its file.
        self.disk.remove(&segment::file_name(number))?;
        self.disk.sync()?;
        self.disk.remove(&segment::index_name(number))
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().expect("no holder panics")
    }
}

fn unavailable(error: &io::Error) -> SinkError {
    SinkError::Unavailable("embedded".to_owned(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_need_not_wait_for_company_does_not_wait_for_the_clock_either() {
        let (ask, mut asks) = mpsc::channel(2);
        // Timers know whole milliseconds only.
        tokio::time::advance(Duration::from_micros(300)).await;
        let now = Instant::now();
        assert!(Writer::next(&mut asks, now).await.is_none());
        assert_eq!(Instant::now(), now, "a timer would have taken its millisecond");
        let (done, _outcome) = oneshot::channel();
        ask.send(Ask::Retain(done)).await.expect("there is room");
        let next = Writer::next(&mut asks, now).await;
        assert!(matches!(next, Some(Some(Ask::Retain(_)))), "what is there comes nevertheless");
        let until = now + Duration::from_millis(5);
        assert!(Writer::next(&mut asks, until).await.is_none());
        assert!(Instant::now() >= until);
        drop(ask);
        assert!(matches!(Writer::next(&mut asks, until).await, Some(None)));
    }
}
