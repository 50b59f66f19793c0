//! Where everything is: topics, segments, and what each holds. What is here is durable.
//!
//! Readers look here for a moment and read files without the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::disk::DiskFile;
use super::segment::{Entries, Entry, PartitionId, Segment, Summary};
use super::topics::Topics;

/// Entries of sealed segments that are kept in memory: those read last.
const ENTRIES_KEPT: usize = 8;

/// What one reader needs of a segment.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which segment.
    pub number: u64,
    /// Its file.
    pub file: Arc<dyn DiskFile>,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    /// Topics.
    pub topics: Topics,
    /// By number; the last one is being written, if it is not sealed.
    pub segments: BTreeMap<u64, Segment>,
    /// The number of the next segment.
    pub next_number: u64,
    /// Entries of sealed segments, the one read last in front.
    recent: VecDeque<(u64, Arc<Entries>)>,
}

impl Index {
    /// What was found at open.
    #[must_use]
    pub fn new(topics: Topics, segments: BTreeMap<u64, Segment>, next_number: u64) -> Self {
        Self { topics, segments, next_number, recent: VecDeque::new() }
    }

    /// Start and end of a partition.
    #[must_use]
    pub fn range(&self, id: PartitionId) -> (i64, i64) {
        let given_out = self.given_out(id);
        let all = || self.segments.values().filter_map(|s| s.summaries.get(&id));
        let end = all().map(|s| s.next).max().unwrap_or(0).max(given_out);
        let start = all().map(|s| s.first).min().unwrap_or(end);
        (start, end)
    }

    fn given_out(&self, id: PartitionId) -> i64 {
        let topic = self.topics.topics.values().find(|t| t.id == id.0);
        topic.and_then(|t| t.next.get(id.1 as usize).copied()).unwrap_or(0)
    }

    /// The segments that hold records of a partition at or above `from`, oldest first.
    pub fn from(&self, id: PartitionId, from: i64) -> impl Iterator<Item = (Found, Summary)> {
        self.segments.values().filter_map(move |segment| {
            let summary = *segment.summaries.get(&id)?;
            let (number, file) = (segment.number, Arc::clone(&segment.file));
            (summary.next > from).then_some((Found { number, file }, summary))
        })
    }

    /// What `pick` takes of a partition's entries in a segment; `None`: they are not in memory.
    #[must_use]
    pub fn entries<T>(
        &self,
        number: u64,
        id: PartitionId,
        pick: impl FnOnce(&[Entry]) -> T,
    ) -> Option<T> {
        let own = self.segments.get(&number).and_then(|s| s.entries.as_ref());
        let recent = || self.recent.iter().find(|(n, _)| *n == number).map(|(_, e)| &**e);
        let entries = own.or_else(recent)?;
        Some(pick(entries.get(&id).map_or(&[][..], Vec::as_slice)))
    }

    /// Keeps entries that were read from an index file.
    pub fn keep(&mut self, number: u64, entries: &Arc<Entries>) {
        self.recent.retain(|(n, _)| *n != number);
        self.recent.push_front((number, Arc::clone(entries)));
        self.recent.truncate(ENTRIES_KEPT);
    }

    /// Shows a group of batches that has become durable at the end of the last segment.
    pub fn publish(&mut self, batches: &[(PartitionId, Entry)], len: u64, appended: i64) {
        let Some(mut segment) = self.segments.last_entry() else { return };
        let segment = segment.get_mut();
        let entries = segment.entries.get_or_insert_default();
        for (id, entry) in batches {
            entries.entry(*id).or_default().push(*entry);
            let next = Summary { first: entry.base, next: entry.next(), max_time: entry.max_time };
            let summary = segment.summaries.entry(*id).or_insert(next);
            summary.next = entry.next();
            summary.max_time = summary.max_time.max(entry.max_time);
        }
        (segment.len, segment.appended) = (len, appended);
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|s| s.len).sum()
    }
}
