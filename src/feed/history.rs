//! Range reads behind the tails, shared by all who replay.
//!
//! ```text
//!  read(tp, from) ─▶ tail's memory? ─▶ a cached chunk with `from`? ─▶ a read under way? ─▶ source
//! ```
//! A chunk is what one range read gave, as data lines. What the tail has in memory is one too where
//! no feed has made its lines: they are made for the cache, which has its bound. A new chunk ends
//! where the next cached one, or the tail's memory, begins; so replays that start at different
//! places soon share chunks. Chunks of another generation of a log are never given.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

use super::Hub;
use super::lines::Line;
use super::tail::TailRecord;
use crate::event::{LogTag, Offset, Record, TimestampMs, TopicPartition};
use crate::metrics::Metrics;
use crate::source::{Fetched, Source, SourceError};

/// A partition in one generation of its log.
type LogKey = (TopicPartition, u32);
type Reading = Shared<BoxFuture<'static, Result<Arc<Chunk>, SourceError>>>;

/// One record of a chunk.
#[derive(Debug)]
pub struct Item {
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub time: TimestampMs,
    /// Its data line, or why it has none.
    pub line: Line,
}

/// A run of records, as lines.
#[derive(Debug)]
pub struct Chunk {
    /// Everything of `from ≤ offset < next` is in `items` or is a hole.
    pub from: Offset,
    /// In offset order.
    pub items: Vec<Item>,
    /// Where to go on. Equal to `from`: there is nothing more to read yet.
    pub next: Offset,
}

impl Chunk {
    fn weight(&self) -> usize {
        const AROUND: usize = 96;
        let len = |item: &Item| item.line.as_ref().map_or(0, bytes::Bytes::len) + AROUND;
        self.items.iter().map(len).sum::<usize>() + AROUND
    }
}

/// What a chunk is made of.
enum Ground {
    /// Records in the tail's memory, and where to go on.
    Tail(Vec<Arc<TailRecord>>, Offset),
    /// A range read of this log, up to here.
    Log(Option<LogTag>, Offset),
}

#[derive(Debug, Default)]
struct Cache {
    chunks: HashMap<LogKey, BTreeMap<Offset, Arc<Chunk>>>,
    /// Oldest first.
    arrivals: VecDeque<(LogKey, Offset)>,
    weight: usize,
    reading: HashMap<(LogKey, Offset), Reading>,
}

/// The shared history of a source.
#[derive(Debug)]
pub struct History {
    source: Arc<dyn Source>,
    hub: Arc<Hub>,
    cache: Mutex<Cache>,
    bytes_max: usize,
    /// One per read that is under way at the source. Held by the read's own task, never by a
    /// session: one that stops taking bytes must not keep others from reading.
    slots: Semaphore,
    metrics: Arc<Metrics>,
}

impl History {
    /// A history that keeps about `bytes_max` bytes of lines and has at most `reads_max` reads
    /// under way.
    #[must_use]
    pub fn new(
        source: Arc<dyn Source>,
        hub: Arc<Hub>,
        (bytes_max, reads_max): (usize, usize),
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let slots = Semaphore::new(reads_max.max(1));
        Arc::new(Self { source, hub, cache: Mutex::default(), bytes_max, slots, metrics })
    }

    /// The source, for what is no range read.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Records from `from` on, about `bytes_max` bytes of them if they have to be read. The chunk
    /// may begin below `from` and end above `until`; the caller takes what it needs.
    ///
    /// # Errors
    /// As `Source::read`.
    pub async fn read(
        self: &Arc<Self>,
        tp: &TopicPartition,
        (log, generation): (Option<LogTag>, u32),
        (from, until): (Offset, Offset),
        bytes_max: usize,
    ) -> Result<Arc<Chunk>, SourceError> {
        let tail = self.hub.read_tail(tp, generation, from, bytes_max);
        if let Some((records, next)) = &tail
            && records.iter().all(|record| record.made().is_some())
        {
            return Ok(Arc::new(self.of_tail(tp, from, (records, *next))));
        }
        let key = (tp.clone(), generation);
        let reading = {
            let mut cache = self.lock();
            if let Some(chunk) = cache.find(&key, from) {
                return Ok(chunk);
            }
            if let Some(reading) = cache.reading.get(&(key.clone(), from)) {
                reading.clone()
            } else {
                let ground = match tail {
                    Some((records, next)) => Ground::Tail(records, next),
                    None => Ground::Log(log, self.end_of_read(&cache, &key, from, until)),
                };
                let reading = self.start(key.clone(), from, ground, bytes_max);
                cache.reading.insert((key, from), reading.clone());
                reading
            }
        };
        reading.await
    }

    /// A read ends where something that is in memory begins.
    fn end_of_read(&self, cache: &Cache, key: &LogKey, from: Offset, until: Offset) -> Offset {
        let cached = cache.chunks.get(key).and_then(|c| c.range(from..).next().map(|(o, _)| *o));
        let tail = self.hub.kept_from(&key.0, key.1).filter(|&kept| kept > from);
        [cached, tail].into_iter().flatten().fold(until, |end, o| end.min(o).max(from.next()))
    }

    fn start(
        self: &Arc<Self>,
        key: LogKey,
        from: Offset,
        ground: Ground,
        bytes_max: usize,
    ) -> Reading {
        let this = Arc::clone(self);
        // A task of its own: it goes on when the one who asked first has left.
        let task = tokio::spawn(async move {
            let chunk = this.chunk(&key.0, from, ground, bytes_max).await.map(Arc::new);
            let mut cache = this.lock();
            cache.reading.remove(&(key.clone(), from));
            if let Ok(chunk) = &chunk {
                cache.keep(key, chunk, this.bytes_max);
                this.metrics
                    .history_cache_bytes
                    .set(i64::try_from(cache.weight).unwrap_or(i64::MAX));
            }
            chunk
        });
        let name = self.source.name().to_owned();
        let reading = task.map(|ended| {
            ended.unwrap_or_else(|e| {
                let cause = format!("the read broke off: {e}");
                Err(SourceError::Unreachable { source_name: name, cause })
            })
        });
        reading.boxed().shared()
    }

    async fn chunk(
        &self,
        tp: &TopicPartition,
        from: Offset,
        ground: Ground,
        bytes_max: usize,
    ) -> Result<Chunk, SourceError> {
        let (log, until) = match ground {
            Ground::Tail(records, next) => return Ok(self.of_tail(tp, from, (&records, next))),
            Ground::Log(log, until) => (log, until),
        };
        let _slot = self.slots.acquire().await;
        let fetched = self.fetch(tp, log, (from, until), bytes_max).await;
        self.metrics.history_reads.inc();
        let Fetched { records, next, .. } = fetched?;
        let items = records.iter().map(|record| self.item(tp, record, None)).collect();
        Ok(Chunk { from, items, next })
    }

    /// What is in the tail's memory. Lines that are not there are made, and not left there.
    fn of_tail(
        &self,
        tp: &TopicPartition,
        from: Offset,
        (records, next): (&[Arc<TailRecord>], Offset),
    ) -> Chunk {
        let items = records.iter().map(|one| self.item(tp, &one.record, one.made())).collect();
        Chunk { from, items, next }
    }

    /// A range read of this log and no other: a topic that was made anew a moment ago has other
    /// records under the same offsets, as has another cluster's copy of it, and the tail may not
    /// have told yet.
    async fn fetch(
        &self,
        tp: &TopicPartition,
        log: Option<LogTag>,
        (from, until): (Offset, Offset),
        bytes_max: usize,
    ) -> Result<Fetched, SourceError> {
        let source = self.source.in_use().unwrap_or_else(|| Arc::clone(&self.source));
        let fetched = source.read(tp, from, until, bytes_max).await;
        if log.is_some() && source.topic(&tp.topic).await?.log != log {
            return Err(SourceError::UnknownTopic(tp.topic.clone()));
        }
        fetched
    }

    fn item(&self, tp: &TopicPartition, record: &Record, made: Option<&Line>) -> Item {
        let line = made.cloned().unwrap_or_else(|| self.hub.lines().line(tp, record));
        Item { offset: record.offset, time: record.time, line }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().expect("no holder panics")
    }
}

impl Cache {
    fn find(&self, key: &LogKey, from: Offset) -> Option<Arc<Chunk>> {
        let (_, chunk) = self.chunks.get(key)?.range(..=from).next_back()?;
        (from < chunk.next).then(|| Arc::clone(chunk))
    }

    fn keep(&mut self, key: LogKey, chunk: &Arc<Chunk>, bytes_max: usize) {
        if chunk.next == chunk.from {
            return;
        }
        let log = self.chunks.entry(key.clone()).or_default();
        self.weight += chunk.weight();
        match log.insert(chunk.from, Arc::clone(chunk)) {
            Some(before) => self.weight -= before.weight(),
            None => self.arrivals.push_back((key, chunk.from)),
        }
        while self.weight > bytes_max {
            let Some((key, from)) = self.arrivals.pop_front() else { return };
            let Some(log) = self.chunks.get_mut(&key) else { continue };
            self.weight -= log.remove(&from).map_or(0, |c| c.weight());
            if log.is_empty() {
                self.chunks.remove(&key);
            }
        }
    }
}
