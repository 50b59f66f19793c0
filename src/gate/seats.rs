//! Open streams by number, close together in memory.
//!
//! Numbers only grow, so a sorted list is appended to, and who leaves leaves a hole; when half of
//! it is holes it is closed up. (A B-tree that grows at its end alone is half empty, which is 50
//! bytes for each reader.)
//!
//! Pure: no I/O, no clock.

use super::books::SeatNumber;

/// Holes that are not worth closing up.
const HOLES_MIN: usize = 64;

/// A list in the order of the numbers.
#[derive(Debug)]
pub(super) struct Seats<T> {
    all: Vec<(SeatNumber, Option<T>)>,
    taken: usize,
}

impl<T> Seats<T> {
    pub(super) fn new() -> Self {
        Self { all: Vec::new(), taken: 0 }
    }

    /// Takes the next one; its number is above all before it.
    pub(super) fn push(&mut self, number: SeatNumber, value: T) {
        debug_assert!(self.all.last().is_none_or(|(last, _)| *last < number), "numbers grow");
        self.all.push((number, Some(value)));
        self.taken += 1;
    }

    pub(super) fn get(&self, number: SeatNumber) -> Option<&T> {
        let place = self.place(number)?;
        self.all[place].1.as_ref()
    }

    pub(super) fn remove(&mut self, number: SeatNumber) -> Option<T> {
        let place = self.place(number)?;
        let value = self.all[place].1.take()?;
        self.taken -= 1;
        if self.all.len() > 2 * self.taken + HOLES_MIN {
            self.all.retain(|(_, value)| value.is_some());
            // What a crowd needed is given back when it has gone.
            self.all.shrink_to(2 * self.taken);
        }
        Some(value)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (SeatNumber, &T)> {
        taken(&self.all)
    }

    /// Those from this number on.
    pub(super) fn from(&self, number: SeatNumber) -> impl Iterator<Item = (SeatNumber, &T)> {
        taken(&self.all[self.all.partition_point(|(other, _)| *other < number)..])
    }

    fn place(&self, number: SeatNumber) -> Option<usize> {
        self.all.binary_search_by_key(&number, |(number, _)| *number).ok()
    }
}

fn taken<T>(
    seats: &[(SeatNumber, Option<T>)],
) -> impl DoubleEndedIterator<Item = (SeatNumber, &T)> {
    seats.iter().filter_map(|(number, value)| Some((*number, value.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_map_is_and_keeps_few_holes(
            steps in proptest::collection::vec((any::<bool>(), 0u64..400), 0..1000),
        ) {
            let (mut seats, mut map, mut next) = (Seats::new(), BTreeMap::new(), 0u64);
            for (comes, n) in steps {
                if comes || n >= next {
                    // Numbers that were given out and never taken are passed over.
                    next += 1 + n % 3;
                    seats.push(next, n);
                    map.insert(next, n);
                } else {
                    prop_assert_eq!(seats.remove(n), map.remove(&n));
                }
                prop_assert_eq!(seats.get(n), map.get(&n));
                prop_assert!(seats.all.len() <= 2 * map.len() + HOLES_MIN);
            }
            let all: Vec<_> = map.iter().map(|(number, value)| (*number, value)).collect();
            prop_assert_eq!(seats.iter().collect::<Vec<_>>(), all.clone());
            prop_assert_eq!(seats.iter().next_back(), all.last().copied());
            let half = next / 2;
            let from: Vec<_> = all.into_iter().filter(|(number, _)| *number >= half).collect();
            prop_assert_eq!(seats.from(half).collect::<Vec<_>>(), from);
        }
    }
}
