//! The live end of each partition: where it stands, and the last records of all of them.
//!
//! Read once per process, however many readers there are. The records are kept raw, under one
//! budget of bytes for all partitions; a record's data line is made when a feed first shows it and
//! shared from then on. The budget has room for the lines.
//!
//! Pure: what a source tells is applied here; nothing is asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use super::lines::{Line, Lines};
use super::recent::Recent;
use super::vector::{Carried, Slot};
use crate::event::{Offset, Record, TimestampMs, TopicName, TopicPartition};
use crate::limits;
use crate::position::{PartitionPosition, PositionTime};

/// A record in memory, and its data line once a feed has asked for it.
#[derive(Debug)]
pub struct TailRecord {
    /// The record as the source gave it.
    pub record: Record,
    line: OnceLock<Line>,
}

impl TailRecord {
    /// A record whose line nobody has asked for yet.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self { record, line: OnceLock::new() }
    }

    /// The data line, made at the first call.
    pub fn line(&self, tp: &TopicPartition, lines: &Lines) -> &Line {
        self.line.get_or_init(|| lines.line(tp, &self.record))
    }

    /// The data line, if it was made.
    #[must_use]
    pub fn made(&self) -> Option<&Line> {
        self.line.get()
    }

    /// Bytes that it takes at most in the tail, with its line.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let value = self.record.value.as_ref().map_or(0, bytes::Bytes::len);
        self.record.size_bytes() + value + limits::LINE_MORE_BYTES
    }
}

/// One partition.
#[derive(Debug)]
struct PartitionTail {
    slot: Slot,
    /// All records of `kept_from ≤ offset < slot.at.next` are in `records`.
    kept_from: Offset,
    records: VecDeque<Arc<TailRecord>>,
}

/// What is in memory about a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// The record before the position is in memory and has this time.
    Before(TimestampMs),
    /// The position lies in memory, but not the record before it.
    Within,
    /// Not in memory.
    Unknown,
}

/// All partitions of all topics that are followed.
#[derive(Debug, Default)]
pub struct Tails {
    partitions: BTreeMap<TopicPartition, PartitionTail>,
    /// Where partitions stood in the log before this one, or before their topic went.
    former: BTreeMap<TopicPartition, Slot>,
    /// One entry per record in memory, oldest first.
    arrivals: VecDeque<TopicPartition>,
    bytes: usize,
    bytes_max: usize,
    /// Generations given out, over all partitions: none is used twice.
    generations: u32,
}

impl Tails {
    /// Nothing yet; keeps about `bytes_max` bytes of records and their lines.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Bytes of records in memory, with room for their lines.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where a partition stands.
    #[must_use]
    pub fn slot(&self, tp: &TopicPartition) -> Option<&Slot> {
        self.partitions.get(tp).map(|p| &p.slot)
    }

    /// Where the partitions of a topic stand.
    pub fn slots_of(&self, topic: &TopicName) -> impl Iterator<Item = &Slot> {
        let from = TopicPartition::new(topic.clone(), 0);
        let here = self.partitions.range(from..).take_while(move |(tp, _)| tp.topic == *topic);
        here.map(|(_, p)| &p.slot)
    }

    /// Adds what a topic's partitions brought lately.
    pub fn recent(&self, topic: &TopicName, recent: &mut Recent) {
        let from = TopicPartition::new(topic.clone(), 0);
        let here = self.partitions.range(from..).take_while(|(tp, _)| tp.topic == *topic);
        for (_, partition) in here {
            recent.add(&partition.records);
            if let PositionTime::Record(time) = partition.slot.at.time {
                recent.seen(time);
            }
        }
    }

    /// Where a partition stood in the log before this one, if this host has followed it.
    #[must_use]
    pub fn former(&self, tp: &TopicPartition) -> Option<&Slot> {
        self.former.get(tp)
    }

    /// Begins to follow a partition, or goes on elsewhere in it: a new generation then, and
    /// nothing of the old one stays in memory. Where it stood before is returned, also if its
    /// topic was gone meanwhile.
    pub fn open(&mut self, mut slot: Slot) -> Option<Slot> {
        let before = self.forget(&slot.tp).or_else(|| self.former.get(&slot.tp).cloned());
        let same_log = |before: &Slot| before.at.log == slot.at.log;
        // Whoever comes from the cluster before has to be carried over all the same.
        let was_carried = |b: &Slot| b.carried != Carried::No && same_log(b);
        if slot.carried == Carried::No && before.as_ref().is_some_and(was_carried) {
            slot.carried = Carried::Before;
        }
        let is_gone = |before: &&Slot| !same_log(before) && slot.carried != Carried::Now;
        if let Some(before) = before.as_ref().filter(is_gone) {
            self.former.insert(slot.tp.clone(), before.clone());
        }
        self.generations += 1;
        slot.generation = self.generations;
        let kept_from = slot.at.next;
        let tail = PartitionTail { slot, kept_from, records: VecDeque::new() };
        self.partitions.insert(tail.slot.tp.clone(), tail);
        before
    }

    /// Stops following a partition: its topic is gone.
    pub fn close(&mut self, tp: &TopicPartition) {
        if let Some(slot) = self.forget(tp) {
            self.former.insert(tp.clone(), slot);
        }
    }

    fn forget(&mut self, tp: &TopicPartition) -> Option<Slot> {
        let tail = self.partitions.remove(tp)?;
        self.bytes -= tail.records.iter().map(|r| r.held_bytes()).sum::<usize>();
        self.arrivals.retain(|other| other != tp);
        Some(tail.slot)
    }

    /// Passes records and moves to `next`. A record below the position is left out (a source does
    /// not send one). What has been passed is returned, to be shown.
    pub fn pass(
        &mut self,
        tp: &TopicPartition,
        records: Vec<Arc<TailRecord>>,
        next: Offset,
    ) -> Vec<Arc<TailRecord>> {
        let Some(tail) = self.partitions.get_mut(tp) else { return Vec::new() };
        let at = tail.slot.at.next;
        let mut passed = records;
        passed.retain(|r| r.record.offset >= at);
        for record in &passed {
            self.bytes += record.held_bytes();
            self.arrivals.push_back(tp.clone());
            tail.slot.at = PartitionPosition {
                log: tail.slot.at.log,
                next: record.record.offset.next(),
                time: PositionTime::Record(record.record.time),
            };
            tail.records.push_back(Arc::clone(record));
        }
        tail.slot.at.next = tail.slot.at.next.max(next);
        self.evict();
        passed
    }

    /// What is in memory about position `next` of this generation.
    #[must_use]
    pub fn remembered(&self, tp: &TopicPartition, generation: u32, next: Offset) -> Remembered {
        let tail = self.partitions.get(tp).filter(|tail| tail.slot.generation == generation);
        let Some(tail) = tail else { return Remembered::Unknown };
        if next < tail.kept_from || next > tail.slot.at.next {
            return Remembered::Unknown;
        }
        let place = tail.records.partition_point(|r| r.record.offset < next);
        match place.checked_sub(1) {
            Some(before) => Remembered::Before(tail.records[before].record.time),
            None => match (next == tail.slot.at.next, tail.slot.at.time) {
                (true, PositionTime::Record(time)) => Remembered::Before(time),
                _ => Remembered::Within,
            },
        }
    }

    /// The records from `from` on, if all of them are in memory, about `bytes_max` of them, and
    /// where to go on.
    #[must_use]
    pub fn read(
        &self,
        tp: &TopicPartition,
        generation: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Option<(Vec<Arc<TailRecord>>, Offset)> {
        let tail = self.partitions.get(tp)?;
        if tail.slot.generation != generation || from < tail.kept_from {
            return None;
        }
        let start = tail.records.partition_point(|r| r.record.offset < from);
        let (mut out, mut bytes) = (Vec::new(), 0);
        for record in tail.records.range(start..) {
            if bytes >= bytes_max {
                let next = record.record.offset;
                return Some((out, next));
            }
            bytes += record.record.size_bytes();
            out.push(Arc::clone(record));
        }
        Some((out, tail.slot.at.next))
    }

    /// From where on all records of this generation are in memory.
    #[must_use]
    pub fn kept_from(&self, tp: &TopicPartition, generation: u32) -> Option<Offset> {
        let tail = self.partitions.get(tp)?;
        (tail.slot.generation == generation).then_some(tail.kept_from)
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some(tp) = self.arrivals.pop_front() else { return };
            let Some(tail) = self.partitions.get_mut(&tp) else { continue };
            if let Some(oldest) = tail.records.pop_front() {
                tail.kept_from = oldest.record.offset.next();
                self.bytes -= oldest.held_bytes();
            }
        }
    }
}
