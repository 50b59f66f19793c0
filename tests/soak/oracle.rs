//! Who has to have what: every event by topic, partition and offset, and every reader's account of
//! it. No clock and no I/O here.
//!
//! ```text
//!  writers ─ acknowledged, unknown ─▶ Book ◀─ delivered ─ readers
//!                                      │                     │
//!                                      └──▶ judge ◀─ Account ┘
//! ```
//! The book has a cell for each offset, which the first who knows what is there fills in; all others
//! must find the same there. An account is as small as what is odd in it: where reading goes on, and
//! the holes.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::support::checker::Place;

/// Cells of a page.
const PAGE: usize = 1 << 16;
/// Pages of a place: 67 million offsets.
const PAGES: usize = 1 << 10;
/// Set in a cell whose event was acknowledged to its writer.
const ACKNOWLEDGED: u64 = 1 << 63;

/// Everything that was written, or was seen by anybody.
pub struct Book {
    places: Vec<(Place, Cells)>,
    /// Events of which their writer does not know whether they were written.
    unknown: Mutex<HashSet<u64>>,
    /// Offsets at which two different events were seen.
    changed: AtomicU64,
}

type Cells = Vec<OnceLock<Box<[AtomicU64]>>>;

impl Book {
    /// An empty one for these places.
    #[must_use]
    pub fn new(places: Vec<Place>) -> Self {
        let cells = || (0..PAGES).map(|_| OnceLock::new()).collect();
        Self {
            places: places.into_iter().map(|place| (place, cells())).collect(),
            unknown: Mutex::default(),
            changed: AtomicU64::new(0),
        }
    }

    /// The number of a place; `None`: nobody writes there.
    #[must_use]
    pub fn place(&self, topic: &str, partition: i32) -> Option<usize> {
        self.places.iter().position(|((t, p), _)| t == topic && *p == partition)
    }

    /// What an id says: the next offset of each place. `None`: it cannot be read, or names a place
    /// that is none of ours.
    #[must_use]
    pub fn positions(&self, id: &[u8]) -> Option<Vec<(usize, i64)>> {
        let positions: Vec<Position<'_>> = serde_json::from_slice(id).ok()?;
        let one = |p: Position<'_>| Some((self.place(p.topic, p.partition)?, p.offset));
        positions.into_iter().map(one).collect()
    }

    /// The names of all places.
    pub fn names(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().map(|(place, _)| place)
    }

    fn cell(&self, place: usize, offset: i64) -> Option<&AtomicU64> {
        let offset = usize::try_from(offset).ok()?;
        let page = self.places[place].1.get(offset / PAGE)?;
        let page = page.get_or_init(|| (0..PAGE).map(|_| AtomicU64::new(0)).collect());
        page.get(offset % PAGE)
    }

    /// What is at an offset, and whether it was acknowledged.
    fn look(&self, place: usize, offset: i64) -> Option<(u64, bool)> {
        let at = usize::try_from(offset).ok()?;
        let page = self.places[place].1.get(at / PAGE)?.get()?;
        let cell = page[at % PAGE].load(Ordering::Acquire);
        (cell != 0).then(|| ((cell & !ACKNOWLEDGED) - 1, cell & ACKNOWLEDGED != 0))
    }

    /// The writer of event `n` was told that it is there.
    pub fn acknowledged(&self, place: usize, offset: i64, n: u64) {
        self.fill(place, offset, n, ACKNOWLEDGED);
    }

    /// A reader was given event `n` as the one that is there.
    pub fn delivered(&self, place: usize, offset: i64, n: u64) {
        self.fill(place, offset, n, 0);
    }

    fn fill(&self, place: usize, offset: i64, n: u64, flag: u64) {
        let Some(cell) = self.cell(place, offset) else {
            self.changed.fetch_add(1, Ordering::AcqRel);
            return;
        };
        let filled = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |cell| {
            (cell == 0 || cell & !ACKNOWLEDGED == n + 1).then_some((cell | (n + 1)) | flag)
        });
        if filled.is_err() {
            self.changed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The writer of event `n` was not told.
    pub fn unknown(&self, n: u64) {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).insert(n);
    }

    /// The acknowledged offsets of a place within a range.
    fn acknowledged_in(&self, place: usize, range: Range<i64>) -> impl Iterator<Item = i64> {
        range.filter(move |o| self.look(place, *o).is_some_and(|(_, acknowledged)| acknowledged))
    }

    /// Behind the last offset of a place at which something is.
    #[must_use]
    pub fn end(&self, place: usize) -> i64 {
        let pages = &self.places[place].1;
        let Some(last) = pages.iter().rposition(|page| page.get().is_some()) else { return 0 };
        let page = pages[last].get().expect("just seen");
        let within = page.iter().rposition(|cell| cell.load(Ordering::Acquire) != 0);
        i64::try_from(within.map_or(last * PAGE, |at| last * PAGE + at + 1)).expect("few")
    }

    /// Behind the last acknowledged offset of each place.
    #[must_use]
    pub fn goal(&self) -> Vec<i64> {
        let last = |place| {
            let mut below = (0..self.end(place)).rev();
            below.find(|o| self.look(place, *o).is_some_and(|(_, is)| is)).map_or(0, |o| o + 1)
        };
        (0..self.places.len()).map(last).collect()
    }

    /// Events in all, those of unknown fate that came, and those that nobody has written or that are
    /// there twice.
    fn census(&self) -> Census {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut census, mut all) = (Census::default(), HashSet::new());
        for place in 0..self.places.len() {
            for offset in 0..self.end(place) {
                let Some((n, acknowledged)) = self.look(place, offset) else { continue };
                let is_new = all.insert(n);
                if acknowledged {
                    census.acknowledged += 1;
                } else if unknown.contains(&n) {
                    census.unacknowledged += 1;
                }
                if !is_new || (!acknowledged && !unknown.contains(&n)) {
                    census.made_up += 1;
                }
            }
        }
        census
    }
}

/// An id's entry, as far as it matters here.
#[derive(Deserialize)]
struct Position<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Default)]
struct Census {
    acknowledged: u64,
    unacknowledged: u64,
    made_up: u64,
}

/// A gap that a reader was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where.
    pub place: usize,
    /// From the first offset that is not given, up to where reading goes on.
    pub range: Range<i64>,
    /// Whether the reason is retention.
    pub by_retention: bool,
}

/// What a reader has got in one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Got {
    /// Where it began.
    start: i64,
    /// Behind the last that came.
    next: i64,
    /// Behind all that an id has claimed to be passed.
    claimed: i64,
    /// What was left out before `next`.
    holes: BTreeMap<i64, i64>,
}

/// What one reader has got through all its connections.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// By place; places that it does not read stay empty.
    got: BTreeMap<usize, Got>,
    told: Vec<Told>,
    /// Events that came.
    pub deliveries: u64,
    repeated: u64,
    disordered: u64,
    wrong_ids: u64,
}

impl Account {
    /// For a reader of these places.
    #[must_use]
    pub fn of(places: &[usize]) -> Self {
        let got = places.iter().map(|place| (*place, Got::default())).collect();
        Self { got, ..Self::default() }
    }

    /// The first id: where it begins. A place that it does not name begins at 0.
    pub fn begin(&mut self, id: &[(usize, i64)]) {
        for (place, offset) in id {
            if let Some(got) = self.got.get_mut(place) {
                // What was told before belongs to nobody's past.
                let holes = BTreeMap::new();
                *got = Got { start: *offset, next: *offset, claimed: *offset, holes };
            }
        }
    }

    /// An event came, and with it this id.
    pub fn take(&mut self, place: usize, offset: i64, id: &[(usize, i64)]) {
        self.deliveries += 1;
        let Some(got) = self.got.get_mut(&place) else {
            // Nobody has asked for this place.
            self.wrong_ids += 1;
            return;
        };
        if offset >= got.next {
            if offset > got.next {
                got.holes.insert(got.next, offset);
            }
            got.next = offset + 1;
            // Who had come back with an id from before would have missed it.
            self.wrong_ids += u64::from(offset < got.claimed);
        } else if got.fill_hole(offset) {
            self.disordered += 1;
        } else {
            self.repeated += 1;
        }
        let named = id.iter().filter(|(place, _)| self.got.contains_key(place)).count();
        let own = id.iter().any(|(p, next)| *p == place && *next == offset + 1);
        let mut is_wrong = named < self.got.len() || !own;
        for (place, next) in id {
            let Some(got) = self.got.get_mut(place) else { continue };
            // Who comes back with this id would get something again.
            is_wrong |= *next < got.next;
            got.claimed = got.claimed.max(*next);
        }
        self.wrong_ids += u64::from(is_wrong);
    }

    /// A gap was told: reading goes on behind it.
    pub fn tell(&mut self, told: Told) {
        let got = self.got.get_mut(&told.place);
        if let Some(got) = got.filter(|got| got.next < told.range.end) {
            got.holes.insert(got.next, told.range.end);
            got.next = told.range.end;
        }
        self.told.push(told);
    }

    /// Whether all up to this is there, by place.
    #[must_use]
    pub fn has_come_to(&self, goal: &[i64]) -> bool {
        self.got.iter().all(|(place, got)| got.next >= goal[*place])
    }
}

impl Got {
    /// True if this was left out before and is not any more.
    fn fill_hole(&mut self, offset: i64) -> bool {
        let Some((&from, &to)) = self.holes.range(..=offset).next_back() else { return false };
        if offset >= to {
            return false;
        }
        self.holes.remove(&from);
        if from < offset {
            self.holes.insert(from, offset);
        }
        if offset + 1 < to {
            self.holes.insert(offset + 1, to);
        }
        true
    }

    /// What has not come, up to an end.
    fn missing(&self, end: i64) -> impl Iterator<Item = Range<i64>> {
        let holes = self.holes.iter().map(|(from, to)| *from..*to);
        holes.chain(std::iter::once(self.next..end.max(self.next)))
    }

    fn has(&self, offset: i64) -> bool {
        let mut before = self.holes.range(..=offset);
        let in_hole = before.next_back().is_some_and(|(_, to)| offset < *to);
        (self.start..self.next).contains(&offset) && !in_hole
    }
}

/// The judgement over all readers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Events that were acknowledged to their writers.
    pub acknowledged: u64,
    /// Events that came.
    pub deliveries: u64,
    /// Acknowledged, and did not come, and no gap was told.
    pub lost: u64,
    /// Came more than once.
    pub repeated: u64,
    /// Came after a later one of their partition.
    pub disordered: u64,
    /// Ids that do not say what is passed and what is not.
    pub wrong_ids: u64,
    /// Nobody wrote them, or they are there twice.
    pub made_up: u64,
    /// Offsets at which two different events were seen.
    pub changed: u64,
    /// Gaps that were told.
    pub gaps: u64,
    /// Acknowledged events in them, over all readers.
    pub gap_events: u64,
    /// Gaps that were told of what retention has not taken, or of what came.
    pub untrue_gaps: u64,
    /// Came, and their writers do not know: they may come once.
    pub unacknowledged: u64,
}

impl Verdict {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let wrong = [self.lost, self.repeated, self.disordered, self.wrong_ids];
        wrong == [0; 4] && [self.made_up, self.changed, self.untrue_gaps] == [0; 3]
    }
}

/// Holds the accounts against the book. `kept_from`: the first offset of each place that retention
/// has left.
#[must_use]
pub fn judge(book: &Book, accounts: &[Account], kept_from: &[i64]) -> Verdict {
    let Census { acknowledged, unacknowledged, made_up } = book.census();
    let changed = book.changed.load(Ordering::Acquire);
    let mut verdict =
        Verdict { acknowledged, unacknowledged, made_up, changed, ..Verdict::default() };
    let ends: Vec<i64> = (0..book.places.len()).map(|place| book.end(place)).collect();
    for account in accounts {
        verdict.deliveries += account.deliveries;
        verdict.repeated += account.repeated;
        verdict.disordered += account.disordered;
        verdict.wrong_ids += account.wrong_ids;
        verdict.gaps += account.told.len() as u64;
        let is_true = |told: &Told| {
            let got = account.got.get(&told.place);
            told.by_retention
                && told.range.end <= kept_from[told.place]
                && got.is_some_and(|got| !told.range.clone().any(|offset| got.has(offset)))
        };
        let (truths, lies): (Vec<_>, Vec<_>) = account.told.iter().partition(|t| is_true(t));
        verdict.untrue_gaps += lies.len() as u64;
        for (place, got) in &account.got {
            for missing in got.missing(ends[*place]) {
                for offset in book.acknowledged_in(*place, missing) {
                    let told =
                        truths.iter().any(|t| t.place == *place && t.range.contains(&offset));
                    *(if told { &mut verdict.gap_events } else { &mut verdict.lost }) += 1;
                }
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two places; ten acknowledged events in each, numbered through.
    fn book() -> Book {
        let book = Book::new(vec![("t".into(), 0), ("t".into(), 1)]);
        for offset in 0..10 {
            for place in 0..2 {
                book.acknowledged(place, offset, number(place, offset));
            }
        }
        book
    }

    fn number(place: usize, offset: i64) -> u64 {
        place as u64 * 1000 + offset as u64
    }

    /// A reader that gets these offsets in place 0, and all of place 1 before.
    fn reads(book: &Book, offsets: &[i64]) -> Account {
        let mut account = Account::of(&[0, 1]);
        account.begin(&[(0, 0), (1, 0)]);
        for offset in 0..10 {
            book.delivered(1, offset, number(1, offset));
            account.take(1, offset, &[(0, 0), (1, offset + 1)]);
        }
        for offset in offsets {
            book.delivered(0, *offset, number(0, *offset));
            account.take(0, *offset, &[(0, offset + 1), (1, 10)]);
        }
        account
    }

    fn judged(book: &Book, account: Account) -> Verdict {
        judge(book, &[account], &[0, 0])
    }

    const CLEAN: Verdict = Verdict {
        acknowledged: 20,
        deliveries: 20,
        lost: 0,
        repeated: 0,
        disordered: 0,
        wrong_ids: 0,
        made_up: 0,
        changed: 0,
        gaps: 0,
        gap_events: 0,
        untrue_gaps: 0,
        unacknowledged: 0,
    };

    #[test]
    fn who_gets_everything_once_and_in_order_has_nothing_to_complain_of() {
        let book = book();
        let verdict = judged(&book, reads(&book, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!(verdict, CLEAN);
        assert!(verdict.is_clean());
    }

    #[test]
    fn a_lost_event_is_found_in_the_middle_and_at_the_end() {
        let book = book();
        for offsets in [[0, 1, 2, 4, 5, 6, 7, 8, 9], [0, 1, 2, 3, 4, 5, 6, 7, 8]] {
            let verdict = judged(&book, reads(&book, &offsets));
            assert_eq!(verdict, Verdict { deliveries: 19, lost: 1, ..CLEAN });
            assert!(!verdict.is_clean());
        }
    }

    #[test]
    fn a_place_that_never_spoke_is_lost_and_one_that_is_not_read_is_not() {
        let book = book();
        let mut account = Account::of(&[0]);
        account.begin(&[(0, 4)]);
        assert_eq!(judged(&book, account), Verdict { deliveries: 0, lost: 6, ..CLEAN });
    }

    #[test]
    fn a_repeated_event_is_found() {
        let book = book();
        let verdict = judged(&book, reads(&book, &[0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9]));
        // The id of the second one goes back to where the first one stood, and is right.
        assert_eq!(verdict, Verdict { deliveries: 21, repeated: 1, ..CLEAN });
        let verdict = judged(&book, reads(&book, &[0, 1, 2, 3, 4, 5, 3, 6, 7, 8, 9]));
        assert_eq!(verdict, Verdict { deliveries: 21, repeated: 1, wrong_ids: 1, ..CLEAN });
    }

    #[test]
    fn swapped_events_are_found() {
        let book = book();
        let verdict = judged(&book, reads(&book, &[0, 1, 3, 2, 4, 5, 6, 7, 8, 9]));
        assert_eq!(verdict, Verdict { disordered: 1, wrong_ids: 1, ..CLEAN });
    }

    #[test]
    fn a_made_up_event_is_found_and_one_of_unknown_fate_may_come() {
        let book = book();
        let offsets = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        let account = reads(&book, &offsets);
        let seen = Verdict { deliveries: 21, ..CLEAN };
        let verdict = judged(&book, account.clone());
        // The other place's end is where it was: only this one has eleven.
        assert_eq!(verdict, Verdict { made_up: 1, ..seen.clone() });
        book.unknown(number(0, 10));
        assert_eq!(judged(&book, account), Verdict { unacknowledged: 1, ..seen });
    }

    #[test]
    fn an_event_that_is_there_twice_is_found() {
        let book = book();
        let mut account = reads(&book, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        book.unknown(number(0, 3));
        book.delivered(0, 10, number(0, 3));
        account.take(0, 10, &[(0, 11), (1, 10)]);
        let expected = Verdict { deliveries: 21, made_up: 1, unacknowledged: 1, ..CLEAN };
        assert_eq!(judged(&book, account), expected);
    }

    #[test]
    fn another_event_under_an_offset_is_found() {
        let book = book();
        let account = reads(&book, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        book.delivered(0, 5, 77);
        assert_eq!(judged(&book, account), Verdict { changed: 1, ..CLEAN });
    }

    #[test]
    fn an_id_that_claims_too_much_or_too_little_is_found() {
        let book = book();
        for id in [vec![(0, 1), (1, 3)], vec![(0, 2), (1, 0)], vec![(0, 1)]] {
            let mut account = Account::of(&[0, 1]);
            account.begin(&[(0, 0), (1, 0)]);
            account.take(0, 0, &id);
            account.take(1, 0, &[(0, 1), (1, 1)]);
            assert!(judged(&book, account).wrong_ids > 0, "{id:?}");
        }
    }

    #[test]
    fn what_retention_took_has_to_be_told_and_only_that() {
        let book = book();
        let told = |range| Told { place: 0, range, by_retention: true };
        let account = reads(&book, &[0, 1, 2, 6, 7, 8, 9]);
        let judged = |told: Option<Told>, kept_from: i64| {
            let mut account = account.clone();
            told.into_iter().for_each(|told| account.tell(told));
            judge(&book, &[account], &[kept_from, 0])
        };
        let seen = Verdict { deliveries: 17, ..CLEAN };
        assert_eq!(judged(None, 6), Verdict { lost: 3, ..seen.clone() });
        let all = Some(told(3..6));
        let expected = Verdict { gaps: 1, gap_events: 3, ..seen.clone() };
        assert_eq!(judged(all.clone(), 6), expected);
        // Told of less than what is missing.
        let expected = Verdict { lost: 1, gaps: 1, gap_events: 2, ..seen.clone() };
        assert_eq!(judged(Some(told(3..5)), 6), expected);
        // Retention has not been there; it came all the same; another reason.
        let wrong = Verdict { gaps: 1, untrue_gaps: 1, lost: 3, ..seen };
        assert_eq!(judged(all, 5), wrong);
        assert_eq!(judged(Some(told(2..6)), 6), wrong);
        let other = Told { by_retention: false, ..told(3..6) };
        assert_eq!(judged(Some(other), 6), wrong);
    }

    #[test]
    fn who_begins_later_misses_nothing_of_what_was_before() {
        let book = book();
        let mut account = Account::of(&[0, 1]);
        account.begin(&[(0, 8), (1, 10)]);
        account.take(0, 8, &[(0, 9), (1, 10)]);
        assert!(!account.has_come_to(&book.goal()));
        account.take(0, 9, &[(0, 10), (1, 10)]);
        assert!(account.has_come_to(&book.goal()));
        assert_eq!(judged(&book, account), Verdict { deliveries: 2, ..CLEAN });
    }
}
