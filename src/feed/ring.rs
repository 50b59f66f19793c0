//! The bounded ring of a feed: the last frames, ready to be written, shared by all its readers.
//!
//! Every record that is passed is an entry, also one that is not shown; an index counts entries.
//! Bytes bound it: the oldest entries leave, and a reader whose cursor lies before the first one
//! reads them elsewhere (`session/catchup`).
//!
//! Pure: no I/O, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{Frame, write_sse};
use super::vector::{Block, Cursor, Slot, Vector};
use crate::event::{Offset, TimestampMs, TopicPartition};
use crate::limits;
use crate::position::gap::Gap;
use crate::position::{PartitionPosition, PositionTime, write_fragment};

/// What an entry shows.
#[derive(Debug, Clone)]
pub enum Entry {
    /// An event, in every framing.
    Event {
        /// `event:`, `id:`, `data:` and the empty line.
        sse: Frame,
        /// The data line with its `\n`.
        line: Bytes,
    },
    /// Nothing: a record that is no event, or a hole in the offsets.
    Passed,
    /// Records that nobody will get.
    Gap(Arc<Gap>),
}

impl Entry {
    /// What the entry counts against the ring's bound, in bytes.
    fn weight(&self) -> usize {
        const AROUND: usize = 64;
        match self {
            Self::Event { sse, .. } => sse.chunk().len() + AROUND,
            Self::Passed | Self::Gap(_) => AROUND,
        }
    }
}

/// What a cursor finds in the ring.
#[derive(Debug)]
pub enum Found<'a> {
    /// Entries from the cursor on (at least one).
    Entries(std::collections::vec_deque::Iter<'a, Entry>),
    /// Nothing yet.
    AtHead,
    /// The cursor's entry has left.
    Behind,
}

/// The ring, and the feed's vector at its head.
#[derive(Debug)]
pub struct Ring {
    /// Index of the oldest entry that is here.
    first: u64,
    entries: VecDeque<Entry>,
    weight: usize,
    weight_max: usize,
    /// Of all entries that ever were.
    weight_ever: u64,
    /// Blocks that entries of the ring lie in; the last one is being filled.
    blocks: VecDeque<Arc<Block>>,
    block_len: usize,
    vector: Vector,
    /// One rendered id entry per slot, in the vector's order.
    fragments: Vec<Vec<u8>>,
}

impl Ring {
    /// An empty ring whose index 0 stands for `vector`; it keeps about `weight_max` bytes.
    #[must_use]
    pub fn new(vector: Vector, weight_max: usize) -> Self {
        let fragments = vector.slots().iter().map(fragment).collect();
        let blocks = VecDeque::from([Block::new(0, vector.clone())]);
        Self {
            first: 0,
            entries: VecDeque::new(),
            weight: 0,
            weight_max,
            weight_ever: 0,
            blocks,
            block_len: 0,
            vector,
            fragments,
        }
    }

    /// From now on it keeps about `weight_max` bytes.
    pub fn resize(&mut self, weight_max: usize) {
        self.weight_max = weight_max;
        self.evict();
    }

    /// Bytes of all entries that ever were, as they count against its bound.
    #[must_use]
    pub fn weight_ever(&self) -> u64 {
        self.weight_ever
    }

    /// Bytes of all entries that it keeps, as they count against its bound.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.weight
    }

    /// About how many bytes it keeps.
    #[must_use]
    pub fn weight_max(&self) -> usize {
        self.weight_max
    }

    /// Bytes that an event's entry has beyond its line.
    #[must_use]
    pub fn weight_around(&self) -> usize {
        128 + self.fragments.iter().map(|fragment| fragment.len() + 1).sum::<usize>()
    }

    /// The place after the last entry.
    #[must_use]
    pub fn head(&self) -> Cursor {
        let block = self.blocks.back().expect("there is always one");
        Cursor::new(self.head_index(), Arc::clone(block))
    }

    /// The index after the last entry.
    #[must_use]
    pub fn head_index(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The index of the oldest entry that is here.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.first
    }

    /// The vector at the head.
    #[must_use]
    pub fn vector(&self) -> &Vector {
        &self.vector
    }

    /// What there is from `index` on.
    #[must_use]
    pub fn find(&self, index: u64) -> Found<'_> {
        if index < self.first {
            return Found::Behind;
        }
        let skip = usize::try_from(index - self.first).expect("an index lies near the ring");
        if skip >= self.entries.len() {
            return Found::AtHead;
        }
        Found::Entries(self.entries.range(skip..))
    }

    /// A cursor at `index`, which must lie between the first entry and the head.
    #[must_use]
    pub fn cursor(&self, index: u64) -> Cursor {
        debug_assert!((self.first..=self.head_index()).contains(&index));
        let later = self.blocks.partition_point(|b| b.first() <= index);
        Cursor::new(index, Arc::clone(&self.blocks[later.saturating_sub(1)]))
    }

    /// Passes a record; `line` is its data line, or nothing if it is no event.
    ///
    /// A record of a partition that the feed does not have is left out: it is `open`ed first.
    pub fn record(
        &mut self,
        tp: &TopicPartition,
        offset: Offset,
        time: TimestampMs,
        line: Option<Bytes>,
    ) {
        let Some((place, slot)) = self.vector.find(tp) else { return };
        let time = PositionTime::Record(time);
        let at = PartitionPosition { next: offset.next(), time, ..slot.at };
        self.pass(place, at);
        let entry = match line {
            Some(line) => Entry::Event { sse: self.frame(&line), line },
            None => Entry::Passed,
        };
        self.push(entry);
    }

    /// Passes a hole: the partition moves to `next` without a record.
    pub fn hole(&mut self, tp: &TopicPartition, next: Offset) {
        let Some((place, slot)) = self.vector.find(tp) else { return };
        if next > slot.at.next {
            let at = PartitionPosition { next, ..slot.at };
            self.pass(place, at);
            self.push(Entry::Passed);
        }
    }

    /// Takes in a partition, or goes on elsewhere in one (`gap` says what is lost by that).
    pub fn open(&mut self, slot: Slot, gap: Option<Gap>) {
        let known = self.vector.find(&slot.tp).is_some();
        let rendered = fragment(&slot);
        let place = self.vector.put(slot);
        if known {
            self.fragments[place] = rendered;
        } else {
            self.fragments.insert(place, rendered);
        }
        // The entry belongs to the old block: a cursor after it lies at the new block's start.
        self.push(gap.map_or(Entry::Passed, |gap| Entry::Gap(Arc::new(gap))));
        self.begin_block();
    }

    /// Takes a partition out (its topic is gone).
    pub fn close(&mut self, tp: &TopicPartition) {
        if let Some((place, _)) = self.vector.find(tp) {
            let left = self.vector.slots().iter().filter(|s| s.tp != *tp).cloned();
            self.vector = Vector::new(left.collect::<Vec<_>>());
            self.fragments.remove(place);
            self.push(Entry::Passed);
            self.begin_block();
        }
    }

    fn pass(&mut self, place: usize, at: PartitionPosition) {
        if self.block_len >= limits::RING_VECTOR_EVERY {
            self.begin_block();
        }
        self.blocks.back().expect("there is always one").push(place, at);
        self.block_len += 1;
        self.vector.move_to(place, at);
        self.fragments[place] = fragment(&self.vector.slots()[place]);
    }

    fn begin_block(&mut self) {
        self.blocks.push_back(Block::new(self.head_index(), self.vector.clone()));
        self.block_len = 0;
    }

    fn frame(&self, line: &Bytes) -> Frame {
        let id_len: usize = self.fragments.iter().map(|f| f.len() + 1).sum();
        let fragments = self.fragments.iter().map(Vec::as_slice);
        Frame::new(40 + id_len + line.len(), |out| write_sse(out, fragments, line))
    }

    fn push(&mut self, entry: Entry) {
        self.weight += entry.weight();
        self.weight_ever += entry.weight() as u64;
        self.entries.push_back(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.weight > self.weight_max && self.entries.len() > 1 {
            let oldest = self.entries.pop_front().expect("there are several");
            self.weight -= oldest.weight();
            self.first += 1;
        }
        while self.blocks.len() > 1 && self.blocks[1].first() <= self.first {
            self.blocks.pop_front();
        }
    }
}

fn fragment(slot: &Slot) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_fragment(&mut out, &slot.tp, &slot.at);
    out
}
