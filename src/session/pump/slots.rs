//! Readers in the order in which they came, in blocks that never move: going through them goes
//! through memory in order, and growing copies nothing and wastes at most a block.

/// Entries of a block.
const BLOCK: usize = 128;

/// A list with free places.
#[derive(Debug)]
pub(super) struct Slots<T> {
    blocks: Vec<Box<[Option<T>]>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { blocks: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a value in a free place.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if self.free.is_empty() {
            let start = self.blocks.len() * BLOCK;
            self.blocks.push((0..BLOCK).map(|_| None).collect());
            let places = (start..start + BLOCK).rev();
            self.free.extend(places.map(|p| u32::try_from(p).expect("descriptors are fewer")));
        }
        let place = self.free.pop().expect("just made");
        self.blocks[place as usize / BLOCK][place as usize % BLOCK] = Some(value);
        self.len += 1;
        place
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.blocks.get_mut(place as usize / BLOCK)?[place as usize % BLOCK].as_mut()
    }

    /// Takes a value out; its place is used again.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let taken = self.blocks.get_mut(place as usize / BLOCK)?[place as usize % BLOCK].take()?;
        self.len -= 1;
        self.free.push(place);
        if self.len == 0 {
            // What a crowd needed is given back when it has gone.
            (self.blocks, self.free) = (Vec::new(), Vec::new());
        }
        Some(taken)
    }

    /// All values, in the order of their places.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        let all = self.blocks.iter_mut().flat_map(|block| block.iter_mut());
        (0..).zip(all).filter_map(|(place, slot)| Some((place, slot.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_gone_through_in_order() {
        let mut slots = Slots::new();
        let places: Vec<u32> = (0..300).map(|n| slots.insert(n)).collect();
        assert_eq!(places, (0..300).collect::<Vec<_>>());
        assert_eq!((slots.remove(7), slots.remove(7), slots.len()), (Some(7), None, 299));
        assert_eq!(slots.insert(1000), 7);
        assert_eq!(slots.iter_mut().take(9).map(|(_, n)| *n).last(), Some(8));
        assert_eq!(slots.iter_mut().nth(7), Some((7, &mut 1000)));
        for place in 0..300 {
            slots.remove(place);
        }
        assert_eq!((slots.len(), slots.insert(5)), (0, 0));
        assert!(slots.get_mut(1).is_none() && slots.get_mut(1000).is_none());
    }
}
