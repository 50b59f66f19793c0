//! Where a catch-up is in one partition.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::event::{Offset, TopicPartition};
use crate::feed::history::Chunk;
use crate::feed::vector::Slot;
use crate::position::{PartitionPosition, write_fragment};
use crate::source::SourceError;

/// Which log of a partition an offset speaks of, in this host's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// A generation that this host's tail follows, or followed.
    Generation(u32),
    /// The source has it, this host's tail has not told of it yet.
    Coming {
        /// The generation that it will take the place of, if the partition is known.
        instead_of: Option<u32>,
    },
}

/// Where a reader is in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its position.
    pub at: PartitionPosition,
    /// What the offset speaks of.
    pub era: Era,
}

impl Place {
    /// A place in the generation of this slot.
    #[must_use]
    pub fn here(slot: &Slot, at: PartitionPosition) -> Self {
        Self { at, era: Era::Generation(slot.generation) }
    }
}

/// A chunk, and the first of its items that has not been passed.
pub(super) type InHand = (Arc<Chunk>, usize);
pub(super) type Reading = Pin<Box<dyn Future<Output = Result<Arc<Chunk>, SourceError>> + Send>>;

/// One partition of a catch-up.
pub(super) struct Part {
    pub(super) tp: TopicPartition,
    pub(super) place: Place,
    pub(super) fragment: Vec<u8>,
    /// How far this leg reads.
    pub(super) target: Offset,
    pub(super) chunk: Option<InHand>,
    pub(super) reading: Option<Reading>,
    /// Nobody waits for it now: it was too slow, or has failed and is tried again.
    pub(super) overdue: bool,
}

impl Part {
    pub(super) fn new(tp: TopicPartition, place: Place) -> Self {
        let mut part = Self {
            tp,
            place,
            fragment: Vec::new(),
            target: place.at.next,
            chunk: None,
            reading: None,
            overdue: false,
        };
        part.render();
        part
    }

    /// Whether this host's tail still has to tell of the log that the position speaks of.
    pub(super) fn awaits(&self, slot: Option<&Slot>) -> bool {
        match self.place.era {
            Era::Generation(_) => false,
            Era::Coming { instead_of } => {
                slot.is_none_or(|slot| Some(slot.generation) == instead_of)
            }
        }
    }

    pub(super) fn render(&mut self) {
        self.fragment.clear();
        write_fragment(&mut self.fragment, &self.tp, &self.place.at);
    }

    pub(super) fn go_to(&mut self, place: Place) {
        *self = Self::new(self.tp.clone(), place);
    }

    /// Reads nothing until it is known where it goes on.
    pub(super) fn stay(&mut self) {
        (self.chunk, self.reading, self.overdue) = (None, None, false);
        self.target = self.place.at.next;
    }

    pub(super) fn move_to(&mut self, next: Offset) {
        if next > self.place.at.next {
            self.place.at.next = next;
            self.render();
        }
    }

    pub(super) fn needs_reading(&self) -> bool {
        self.chunk.is_none() && self.place.at.next < self.target
    }

    /// Passes what is left of a chunk that has no further record for this leg.
    pub(super) fn finish_chunk(&mut self) {
        let Some((chunk, i)) = &self.chunk else { return };
        let more = chunk.items.get(*i).is_some_and(|item| item.offset < self.target);
        if !more {
            let next = chunk.next.min(self.target);
            self.chunk = None;
            self.move_to(next);
        }
    }
}
