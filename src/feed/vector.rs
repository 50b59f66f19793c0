//! A feed's position: one entry per partition, and how an index turns back into one.
//!
//! ```text
//!  index:   0 ........ 256 ........ 512 ..... head
//!           └ block ──┘└ block ────┘└ block ─┘
//!  block = the whole vector at its first index + one delta per entry since
//! ```
//! A cursor is an index and a handle on the block that it lies in. Whoever holds a cursor can
//! name its position exactly, however long ago the frames (and the block) left the ring.
//!
//! Pure: no I/O, no clock.

use std::sync::{Arc, Mutex};

use crate::event::{Offset, TopicPartition};
use crate::position::{PartitionPosition, PositionTime};

/// One partition of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Which partition.
    pub tp: TopicPartition,
    /// Everything below has been passed.
    pub at: PartitionPosition,
    /// Counts how often the partition went on elsewhere than where it was (a topic made anew, a
    /// log that became shorter, retention): positions of different generations are not compared.
    pub generation: u32,
    /// Where this generation began to be followed.
    pub opened: PartitionPosition,
    /// The log sets the times of its records, not the producer.
    pub append_time: bool,
    /// Whether it came here from another cluster's copy.
    pub carried: Carried,
}

/// Whether a log is another cluster's copy of the one before: places in that go on here by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carried {
    /// It is not.
    #[default]
    No,
    /// This generation began so.
    Now,
    /// An earlier generation of this log did.
    Before,
}

/// All partitions of a feed, in canonical order (topic, partition), each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vector(Vec<Slot>);

impl Vector {
    /// Takes the slots in any order; of two for one partition the later counts.
    #[must_use]
    pub fn new(slots: impl IntoIterator<Item = Slot>) -> Self {
        let mut this = Self::default();
        for slot in slots {
            this.put(slot);
        }
        this
    }

    /// The slots, in canonical order.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.0
    }

    /// The slot of a partition, and its place.
    #[must_use]
    pub fn find(&self, tp: &TopicPartition) -> Option<(usize, &Slot)> {
        let place = self.0.binary_search_by(|s| s.tp.cmp(tp)).ok()?;
        Some((place, &self.0[place]))
    }

    /// Adds a partition or replaces what is said of it. Its place is returned.
    pub fn put(&mut self, slot: Slot) -> usize {
        match self.0.binary_search_by(|s| s.tp.cmp(&slot.tp)) {
            Ok(place) => {
                self.0[place] = slot;
                place
            }
            Err(place) => {
                self.0.insert(place, slot);
                place
            }
        }
    }

    /// Moves the slot at `place` on, within its generation.
    pub fn move_to(&mut self, place: usize, at: PartitionPosition) {
        self.0[place].at = at;
    }

    fn pass(&mut self, delta: Delta) {
        let at = &mut self.0[delta.place as usize].at;
        (at.next, at.time) = (delta.next, delta.time);
    }
}

/// One entry passed: where its partition stands after it.
#[derive(Debug, Clone, Copy)]
struct Delta {
    place: u32,
    next: Offset,
    time: PositionTime,
}

/// A run of entries between which no partition came, went or began anew.
#[derive(Debug)]
pub struct Block {
    first: u64,
    start: Vector,
    /// Locked for one push or one short copy.
    deltas: Mutex<Vec<Delta>>,
}

impl Block {
    /// A block that begins at index `first` with this vector.
    #[must_use]
    pub fn new(first: u64, start: Vector) -> Arc<Self> {
        Arc::new(Self { first, start, deltas: Mutex::default() })
    }

    /// The index at which it begins.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Adds an entry.
    pub fn push(&self, place: usize, at: PartitionPosition) {
        let place = u32::try_from(place).expect("a request has few partitions");
        let delta = Delta { place, next: at.next, time: at.time };
        self.deltas.lock().expect("no holder panics").push(delta);
    }

    fn vector_at(&self, index: u64) -> Vector {
        let passed = usize::try_from(index - self.first).expect("a block is short");
        let mut vector = self.start.clone();
        for delta in &self.deltas.lock().expect("no holder panics")[..passed] {
            vector.pass(*delta);
        }
        vector
    }
}

/// A place in a feed: `index` entries have been passed.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// How many entries of the feed have been passed.
    pub index: u64,
    block: Arc<Block>,
}

impl Cursor {
    /// A place inside a block, its end included.
    #[must_use]
    pub fn new(index: u64, block: Arc<Block>) -> Self {
        debug_assert!(index >= block.first, "a cursor lies in its block");
        Self { index, block }
    }

    /// The position that the index stands for.
    #[must_use]
    pub fn vector(&self) -> Vector {
        self.block.vector_at(self.index)
    }
}
