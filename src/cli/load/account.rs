//! What every reader got, against what it should have got.

use super::scan::Mark;

/// Writers of other runs that are told apart; events of further ones are only counted.
const OTHERS_MAX: usize = 16;
/// Where a reader begins is not known before its first event.
const UNKNOWN: u64 = u64::MAX;

/// Which events are accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// Those of this run's writers, which began after all streams were open: from number 0 on.
    Ours { first: u64, count: usize },
    /// Those of this run's writers, from whatever a stream begins with.
    OursUnderWay { first: u64, count: usize },
    /// All, from whatever a stream begins with.
    Others,
}

/// The books.
pub(super) struct Account {
    writing: Writing,
    /// Writers that were met, where they are not ours.
    others: Vec<u64>,
    slots: usize,
    /// The next number, by reader and writer.
    next: Vec<u64>,
    /// Events that came.
    pub(super) deliveries: u64,
    /// Numbers that were left out.
    pub(super) lost: u64,
    /// Numbers that came again, or after a higher one.
    pub(super) repeated: u64,
    /// Events that are not accounted for.
    pub(super) foreign: u64,
}

impl Account {
    pub(super) fn new(writing: Writing, readers: usize) -> Self {
        let (slots, begin) = match writing {
            Writing::Ours { count, .. } => (count, 0),
            Writing::OursUnderWay { count, .. } => (count, UNKNOWN),
            Writing::Others => (OTHERS_MAX, UNKNOWN),
        };
        let next = vec![begin; readers * slots];
        let (others, deliveries, lost, repeated, foreign) = Default::default();
        Self { writing, others, slots, next, deliveries, lost, repeated, foreign }
    }

    /// An event came; whether it is accounted for.
    pub(super) fn came(&mut self, reader: usize, mark: Mark) -> bool {
        let Some(slot) = self.slot(mark.writer) else {
            self.foreign += 1;
            return false;
        };
        self.deliveries += 1;
        let next = &mut self.next[reader * self.slots + slot];
        match mark.seq {
            seq if *next == UNKNOWN => *next = seq + 1,
            seq if seq < *next => self.repeated += 1,
            seq => {
                self.lost += seq - *next;
                *next = seq + 1;
            }
        }
        true
    }

    /// A reader has left and comes again: it begins with whatever it gets first.
    pub(super) fn begins_anew(&mut self, reader: usize) {
        self.next.iter_mut().skip(reader * self.slots).take(self.slots).for_each(|n| *n = UNKNOWN);
    }

    /// How many events a reader still misses, up to these numbers.
    pub(super) fn missing(&self, reader: usize, goals: &[u64]) -> u64 {
        let of_reader = self.next.iter().skip(reader * self.slots).take(self.slots);
        let open = of_reader.zip(goals).filter(|(next, _)| **next != UNKNOWN);
        open.map(|(next, goal)| goal.saturating_sub(*next)).sum()
    }

    fn slot(&mut self, writer: u64) -> Option<usize> {
        match self.writing {
            Writing::Ours { first, count } | Writing::OursUnderWay { first, count } => {
                let slot = usize::try_from(writer.checked_sub(first)?).ok()?;
                (slot < count).then_some(slot)
            }
            Writing::Others => {
                if let Some(slot) = self.others.iter().position(|other| *other == writer) {
                    return Some(slot);
                }
                let slot = self.others.len();
                (slot < OTHERS_MAX).then(|| self.others.push(writer))?;
                Some(slot)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(account: &mut Account, reader: usize, writer: u64, seqs: &[u64]) {
        for seq in seqs {
            account.came(reader, Mark { sent_us: 1, seq: *seq, writer });
        }
    }

    fn read(account: &Account) -> (u64, u64, u64, u64) {
        (account.deliveries, account.lost, account.repeated, account.foreign)
    }

    #[test]
    fn gaps_are_lost_lower_numbers_repeated_and_readers_and_writers_are_apart() {
        let mut account = Account::new(Writing::Ours { first: 512, count: 2 }, 2);
        came(&mut account, 0, 512, &[0, 1, 2]);
        came(&mut account, 1, 512, &[0, 1]);
        came(&mut account, 1, 513, &[0]);
        assert_eq!(read(&account), (6, 0, 0, 0));
        came(&mut account, 0, 512, &[5, 5, 2, 6]);
        assert_eq!(read(&account), (10, 2, 2, 0));
        came(&mut account, 1, 514, &[0]);
        came(&mut account, 1, 7, &[0]);
        assert_eq!(read(&account), (10, 2, 2, 2));
        assert_eq!(account.missing(0, &[7, 1]), 1);
        assert_eq!(account.missing(1, &[7, 1]), 5);
    }

    #[test]
    fn a_begin_that_never_came_is_lost_when_the_readers_were_there_first() {
        let mut account = Account::new(Writing::Ours { first: 0, count: 1 }, 1);
        came(&mut account, 0, 0, &[3]);
        assert_eq!(read(&account), (1, 3, 0, 0));
        let mut account = Account::new(Writing::OursUnderWay { first: 0, count: 1 }, 1);
        assert_eq!(account.missing(0, &[9]), 0, "it is not known where it begins");
        came(&mut account, 0, 0, &[3]);
        assert_eq!(read(&account), (1, 0, 0, 0));
        assert_eq!(account.missing(0, &[9]), 5);
    }

    #[test]
    fn who_comes_again_begins_with_what_it_gets_first() {
        let mut account = Account::new(Writing::Ours { first: 0, count: 1 }, 2);
        came(&mut account, 0, 0, &[0, 1]);
        came(&mut account, 1, 0, &[0]);
        account.begins_anew(0);
        assert_eq!((account.missing(0, &[9]), account.missing(1, &[9])), (0, 8));
        came(&mut account, 0, 0, &[5, 6, 8]);
        assert_eq!(read(&account), (6, 1, 0, 0));
    }

    #[test]
    fn writers_of_other_runs_are_told_apart_up_to_a_bound() {
        let mut account = Account::new(Writing::Others, 1);
        for writer in 0..OTHERS_MAX as u64 {
            came(&mut account, 0, writer * 1000, &[5, 6]);
        }
        assert_eq!(read(&account), (2 * OTHERS_MAX as u64, 0, 0, 0));
        came(&mut account, 0, 0, &[8]);
        came(&mut account, 0, 1_000_000, &[5]);
        assert_eq!(read(&account), (2 * OTHERS_MAX as u64 + 1, 1, 0, 1));
    }
}
