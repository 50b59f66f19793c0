//! What is wrong with a cluster, from what is seen of it, and what is to be done about it.
//!
//! ```text
//!  no leader of ours answers   4 statistics, 2 s ┐
//!  all brokers down            at once           ├─▶ unreachable: let go, say so; every 10 s
//!  look-ups fail, no leader    2 in a row        ┘   all clients anew
//!  one leader does not answer  2 s               ─▶ ask for metadata each second
//!  no statistics at all        3 s               ─▶ let go, and begin anew
//!  records there, none comes   5 s, 15 s         ─▶ assign again, then begin anew
//!  a look-up finds everything                    ─▶ reachable
//! ```
//! What ended a log (a topic made anew, truncation, retention) is not decided here: who looks
//! topics up finds that, before anything is read on.
//!
//! Pure: no I/O, no clock. Time is what has passed since some beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use super::counts::Why;
use crate::event::{Offset, TopicPartition};

/// A broker that leads something of ours answers each fetch within 0.1 s, also when there is
/// nothing new.
const FRESH: Duration = Duration::from_millis(1600);
/// How long nobody answers before the source is out of reach.
const STALE_MAX: Duration = Duration::from_secs(2);
/// And how many statistics have to say so: a process that was not run itself for a while sees
/// everybody silent once.
const STALE_LOOKS: u32 = 4;
/// Silence of the client itself.
const SILENT_MAX: Duration = Duration::from_secs(3);
/// Look-ups that fail, one after another, while no leader answers either.
const LOOKS_FAILED_MAX: u32 = 2;
/// How often metadata is asked for while a leader does not answer.
const METADATA_EVERY: Duration = Duration::from_secs(1);
/// How often all clients are made anew while the source is out of reach.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A partition has records that do not come: it is assigned again.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// The same, for so long that the client is made anew.
const BEHIND_LONG: Duration = Duration::from_secs(15);

/// A broker that leads partitions of ours, as the client counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    /// Since when it has said nothing; `None`: there is no connection.
    pub(super) silent: Option<Duration>,
}

impl Leader {
    /// Whether it is heard of as often as it should be.
    pub(super) fn answers(&self) -> bool {
        self.silent.is_some_and(|silent| silent < FRESH)
    }
}

/// What is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// The reader has made a client.
    Began,
    /// The reader has let its client go.
    LetGo,
    /// The reader's client counts.
    Stats(Vec<Leader>),
    /// The reader's client says that all brokers are down.
    AllDown,
    /// All topics were looked up, or the first error of that.
    Looked(Result<(), String>),
    /// Where a partition's log ends, asked after the tail stood at `next`.
    Marks {
        /// Which partition.
        tp: TopicPartition,
        /// Where the tail stood before.
        next: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// Time has passed.
    Tick,
}

/// What the reader is at when something is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// There are partitions to read.
    pub(super) follows: bool,
    /// It does not ask its client for anything, since nobody takes what it has.
    pub(super) waits: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Let the client go. The next look-up holds all positions against their logs, and the reader
    /// begins anew there.
    LetGo(Why),
    /// Say that the source cannot be reached, and why as far as it is known here.
    Unreachable(String),
    /// Say that it can be.
    Reachable,
    /// Ask for metadata with the reader's client.
    AskMetadata,
    /// Assign this partition again, where it stands.
    Assign(TopicPartition),
    /// Make all clients anew from the present list of brokers.
    RenewAll,
}

#[derive(Debug, Clone, Copy)]
struct Stale {
    since: Duration,
    looks: u32,
}

#[derive(Debug, Clone, Copy)]
struct Behind {
    next: Offset,
    since: Duration,
    was_assigned: bool,
}

/// The state machine.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// The reader has a client.
    reads: bool,
    /// The client was heard of last.
    heard: Duration,
    /// A leader answered last.
    fresh: Option<Duration>,
    /// No leader answers.
    stale: Option<Stale>,
    /// A leader does not.
    one_stale: Option<Duration>,
    asked_metadata: Duration,
    looks_failed: u32,
    has_looked: bool,
    /// Out of reach; all clients were made anew last.
    down: Option<Duration>,
    behind: BTreeMap<TopicPartition, Behind>,
}

impl Watchdog {
    /// Takes what is seen `now`.
    pub(super) fn see(&mut self, now: Duration, reading: Reading, seen: Seen) -> Vec<Order> {
        let mut orders = Vec::new();
        match seen {
            Seen::Began => (self.reads, self.heard) = (true, now),
            Seen::LetGo => self.let_go(),
            Seen::Stats(leaders) if self.reads => self.stats(now, reading, &leaders, &mut orders),
            Seen::AllDown if self.reads => {
                self.go_down(now, (Why::AllDown, "all brokers are down"), &mut orders);
            }
            Seen::Stats(_) | Seen::AllDown | Seen::Tick => {}
            Seen::Looked(looked) => self.looked(now, looked, &mut orders),
            Seen::Marks { tp, next, end } => self.marks(now, tp, (next, end), &mut orders),
        }
        self.tick(now, reading, &mut orders);
        orders
    }

    /// Whether everything is as it should be, so that details may be looked at.
    pub(super) fn is_calm(&self) -> bool {
        self.reads && self.down.is_none() && self.stale.is_none() && self.one_stale.is_none()
    }

    /// Partitions that seem to have records that do not come.
    pub(super) fn behind(&self) -> impl Iterator<Item = &TopicPartition> {
        self.behind.keys()
    }

    fn let_go(&mut self) {
        self.reads = false;
        (self.fresh, self.stale, self.one_stale) = (None, None, None);
        self.behind.clear();
    }

    fn stats(
        &mut self,
        now: Duration,
        reading: Reading,
        leaders: &[Leader],
        orders: &mut Vec<Order>,
    ) {
        self.heard = now;
        // A client that nobody takes anything from does not fetch either.
        if reading.waits || !reading.follows {
            (self.stale, self.one_stale) = (None, None);
            return;
        }
        let fresh = leaders.iter().filter(|leader| leader.answers()).count();
        if fresh == 0 {
            let stale = self.stale.get_or_insert(Stale { since: now, looks: 0 });
            stale.looks += 1;
            if stale.looks >= STALE_LOOKS && now.saturating_sub(stale.since) >= STALE_MAX {
                self.go_down(now, (Why::NoAnswer, "no broker answers"), orders);
            }
            return;
        }
        (self.stale, self.fresh) = (None, Some(now));
        if fresh == leaders.len() {
            self.one_stale = None;
            return;
        }
        let since = *self.one_stale.get_or_insert(now);
        let asked = self.asked_metadata;
        if now.saturating_sub(since) >= STALE_MAX && now.saturating_sub(asked) >= METADATA_EVERY {
            self.asked_metadata = now;
            orders.push(Order::AskMetadata);
        }
    }

    fn looked(&mut self, now: Duration, looked: Result<(), String>, orders: &mut Vec<Order>) {
        let Err(cause) = looked else {
            (self.looks_failed, self.has_looked) = (0, true);
            if self.down.take().is_some() {
                orders.push(Order::Reachable);
            }
            return;
        };
        self.looks_failed = self.looks_failed.saturating_add(1);
        let answers = self.fresh.is_some_and(|at| now.saturating_sub(at) < STALE_MAX);
        if !answers && (self.looks_failed >= LOOKS_FAILED_MAX || !self.has_looked) {
            self.go_down(now, (Why::LookUps, &cause), orders);
        }
    }

    fn go_down(&mut self, now: Duration, (why, cause): (Why, &str), orders: &mut Vec<Order>) {
        if self.reads {
            orders.push(Order::LetGo(why));
            self.let_go();
        }
        if self.down.is_none() {
            self.down = Some(now);
            orders.push(Order::Unreachable(cause.to_owned()));
        }
    }

    fn marks(
        &mut self,
        now: Duration,
        tp: TopicPartition,
        (next, end): (Offset, Offset),
        orders: &mut Vec<Order>,
    ) {
        if end <= next || !self.reads {
            self.behind.remove(&tp);
            return;
        }
        let new = Behind { next, since: now, was_assigned: false };
        let behind = self.behind.entry(tp.clone()).or_insert(new);
        if behind.next != next {
            *behind = new;
        }
        let long = now.saturating_sub(behind.since);
        if long >= BEHIND_LONG {
            orders.push(Order::LetGo(Why::Behind));
            self.let_go();
        } else if long >= BEHIND_MAX && !behind.was_assigned {
            behind.was_assigned = true;
            orders.push(Order::Assign(tp));
        }
    }

    fn tick(&mut self, now: Duration, reading: Reading, orders: &mut Vec<Order>) {
        if reading.waits {
            self.heard = now;
            self.behind.values_mut().for_each(|behind| behind.since = now);
        }
        if self.reads && now.saturating_sub(self.heard) > SILENT_MAX {
            orders.push(Order::LetGo(Why::Stuck));
            self.let_go();
        }
        if let Some(renewed) = self.down
            && now.saturating_sub(renewed) >= RENEW_EVERY
        {
            self.down = Some(now);
            orders.push(Order::RenewAll);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::TopicName;

    const READS: Reading = Reading { follows: true, waits: false };
    const FRESH_ONE: Leader = Leader { silent: Some(Duration::from_millis(100)) };
    const STALE_ONE: Leader = Leader { silent: Some(Duration::from_secs(2)) };
    const NO_ONE: Leader = Leader { silent: None };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn tp() -> TopicPartition {
        TopicPartition::new(TopicName::new("t").expect("legal"), 0)
    }

    /// One that reads, and has looked.
    fn reading() -> Watchdog {
        let mut dog = Watchdog::default();
        assert_eq!(dog.see(ms(0), READS, Seen::Began), []);
        assert_eq!(dog.see(ms(0), READS, Seen::Looked(Ok(()))), []);
        dog
    }

    /// Sees the same every half second, from `from` to `until`. What was ordered, and when.
    fn stats(dog: &mut Watchdog, from: u64, until: u64, leaders: &[Leader]) -> Vec<(u64, Order)> {
        let times = (from..=until).step_by(500);
        let each = times.flat_map(|at| {
            let orders = dog.see(ms(at), READS, Seen::Stats(leaders.to_vec()));
            orders.into_iter().map(move |order| (at, order))
        });
        each.collect()
    }

    fn unreachable(why: &str) -> Order {
        Order::Unreachable(why.into())
    }

    #[test]
    fn a_source_of_which_no_leader_answers_is_out_of_reach_after_two_seconds() {
        for leaders in [vec![STALE_ONE, NO_ONE], vec![]] {
            let mut dog = reading();
            assert_eq!(stats(&mut dog, 500, 5000, &[FRESH_ONE]), []);
            let orders = stats(&mut dog, 5500, 9000, &leaders);
            let down =
                [(7500, Order::LetGo(Why::NoAnswer)), (7500, unreachable("no broker answers"))];
            assert_eq!(orders, down);
            assert_eq!(dog.see(ms(9100), READS, Seen::Looked(Ok(()))), [Order::Reachable]);
        }
    }

    #[test]
    fn one_late_look_after_a_pause_of_our_own_says_nothing() {
        let mut dog = reading();
        assert_eq!(stats(&mut dog, 500, 1000, &[FRESH_ONE]), []);
        assert_eq!(dog.see(ms(3900), READS, Seen::Stats(vec![STALE_ONE])), []);
        assert_eq!(dog.see(ms(6100), READS, Seen::Stats(vec![STALE_ONE])), []);
        assert_eq!(dog.see(ms(6600), READS, Seen::Stats(vec![FRESH_ONE])), []);
        assert!(dog.is_calm());
    }

    #[test]
    fn a_reader_that_waits_or_has_nothing_to_read_is_not_held_against_the_source() {
        for reading in [Reading { waits: true, ..READS }, Reading { follows: false, ..READS }] {
            let mut dog = self::reading();
            for at in (0..60_000).step_by(500) {
                assert_eq!(dog.see(ms(at), reading, Seen::Stats(vec![STALE_ONE])), []);
            }
        }
        let mut dog = reading();
        for at in (0..60_000).step_by(500) {
            assert_eq!(dog.see(ms(at), Reading { waits: true, ..READS }, Seen::Tick), []);
        }
    }

    #[test]
    fn all_brokers_down_is_believed_at_once_and_said_once() {
        let mut dog = reading();
        let down = [Order::LetGo(Why::AllDown), unreachable("all brokers are down")];
        assert_eq!(dog.see(ms(10), READS, Seen::AllDown), down);
        assert_eq!(dog.see(ms(20), READS, Seen::AllDown), []);
        assert_eq!(dog.see(ms(30), READS, Seen::LetGo), []);
        assert_eq!(dog.see(ms(9_000), READS, Seen::Looked(Err("no".into()))), []);
        assert_eq!(dog.see(ms(10_010), READS, Seen::Tick), [Order::RenewAll]);
        assert_eq!(dog.see(ms(20_000), READS, Seen::Tick), []);
        assert_eq!(dog.see(ms(20_010), READS, Seen::Tick), [Order::RenewAll]);
        assert_eq!(dog.see(ms(21_000), READS, Seen::Looked(Ok(()))), [Order::Reachable]);
        assert_eq!(dog.see(ms(60_000), READS, Seen::Tick), []);
    }

    #[test]
    fn one_leader_that_does_not_answer_has_metadata_asked_for_each_second() {
        let mut dog = reading();
        let orders = stats(&mut dog, 10_000, 14_000, &[FRESH_ONE, STALE_ONE]);
        let asked: Vec<_> = orders.iter().map(|(at, _)| *at).collect();
        assert_eq!(asked, [12_000, 13_000, 14_000]);
        assert!(orders.iter().all(|(_, order)| *order == Order::AskMetadata));
        assert_eq!(stats(&mut dog, 14_500, 20_000, &[FRESH_ONE, FRESH_ONE]), []);
    }

    #[test]
    fn look_ups_that_fail_count_only_where_no_leader_answers() {
        let failed = || Seen::Looked(Err("no answer".into()));
        let mut dog = reading();
        for at in (500..20_000).step_by(500) {
            assert_eq!(
                dog.see(ms(at), READS, Seen::Stats(vec![FRESH_ONE, STALE_ONE]))
                    .iter()
                    .filter(|order| **order != Order::AskMetadata)
                    .count(),
                0
            );
            assert_eq!(dog.see(ms(at), READS, failed()), []);
        }
        let mut dog = reading();
        assert_eq!(dog.see(ms(500), READS, failed()), []);
        assert_eq!(dog.see(ms(600), READS, Seen::Looked(Ok(()))), []);
        assert_eq!(dog.see(ms(700), READS, failed()), []);
        let down = [Order::LetGo(Why::LookUps), unreachable("no answer")];
        assert_eq!(dog.see(ms(800), READS, failed()), down);
        // Who has never found anything does not wait for a second time.
        let mut dog = Watchdog::default();
        assert_eq!(dog.see(ms(0), READS, failed()), [unreachable("no answer")]);
    }

    #[test]
    fn a_client_that_is_silent_is_made_anew() {
        let mut dog = reading();
        assert_eq!(stats(&mut dog, 500, 1000, &[FRESH_ONE]), []);
        assert_eq!(dog.see(ms(4000), READS, Seen::Tick), []);
        assert_eq!(dog.see(ms(4001), READS, Seen::Tick), [Order::LetGo(Why::Stuck)]);
        assert_eq!(dog.see(ms(9000), READS, Seen::Tick), [], "once");
        assert_eq!(dog.see(ms(9100), READS, Seen::Began), []);
        assert_eq!(dog.see(ms(12_101), READS, Seen::Tick), [Order::LetGo(Why::Stuck)]);
    }

    #[test]
    fn records_that_do_not_come_have_the_partition_assigned_again_and_then_all_anew() {
        let mut dog = reading();
        let mut marks = |at: u64, next: i64, end: i64| {
            let marks = Seen::Marks { tp: tp(), next: Offset(next), end: Offset(end) };
            let reads = dog.see(ms(at), READS, Seen::Stats(vec![FRESH_ONE]));
            assert_eq!(reads, []);
            dog.see(ms(at), READS, marks)
        };
        // It moves: whatever is there comes.
        for n in 0..20 {
            assert_eq!(marks(1000 * u64::try_from(n).expect("few"), n, n + 5), []);
        }
        assert_eq!(marks(20_000, 20, 20), []);
        for at in [21_000, 23_000, 25_000] {
            assert_eq!(marks(at, 20, 21), []);
        }
        assert_eq!(marks(26_000, 20, 21), [Order::Assign(tp())]);
        for at in [28_000, 30_000, 32_000, 34_000, 35_900] {
            assert_eq!(marks(at, 20, 22), []);
        }
        assert_eq!(marks(36_000, 20, 22), [Order::LetGo(Why::Behind)]);
    }

    fn any_seen() -> impl Strategy<Value = Seen> {
        let leader = prop_oneof![Just(FRESH_ONE), Just(STALE_ONE), Just(NO_ONE)];
        let stats = || prop::collection::vec(leader.clone(), 0..3).prop_map(Seen::Stats);
        prop_oneof![
            stats(),
            Just(Seen::AllDown),
            Just(Seen::Looked(Ok(()))),
            Just(Seen::Looked(Err("no".into()))),
            Just(Seen::Tick),
            (0..4i64, 0..4i64).prop_map(|(next, end)| Seen::Marks {
                tp: tp(),
                next: Offset(next),
                end: Offset(end),
            }),
        ]
    }

    proptest! {
        /// Whatever is seen: unreachable and reachable are said in turns, the reader is let go
        /// only where it reads, and a source that answers is reachable in the end.
        #[test]
        fn what_is_said_is_consistent(
            all in prop::collection::vec((any_seen(), 0..3000u64, any::<bool>()), 0..200),
        ) {
            let (mut dog, mut now) = (Watchdog::default(), 0);
            let (mut reads, mut is_down) = (false, false);
            for (seen, passed, waits) in all {
                now += passed;
                if !reads {
                    dog.see(ms(now), READS, Seen::Began);
                    reads = true;
                }
                let orders = dog.see(ms(now), Reading { waits, ..READS }, seen);
                for order in orders {
                    match order {
                        Order::LetGo(_) => prop_assert!(std::mem::replace(&mut reads, false)),
                        Order::Unreachable(_) => {
                            prop_assert!(!std::mem::replace(&mut is_down, true));
                        }
                        Order::Reachable => prop_assert!(std::mem::replace(&mut is_down, false)),
                        Order::RenewAll => prop_assert!(is_down),
                        Order::AskMetadata | Order::Assign(_) => prop_assert!(reads),
                    }
                }
            }
            dog.see(ms(now + 1), READS, Seen::Looked(Ok(())));
            dog.see(ms(now + 2), READS, Seen::Began);
            for at in 1..40 {
                let orders = dog.see(ms(now + at * 500), READS, Seen::Stats(vec![FRESH_ONE]));
                prop_assert_eq!(orders, vec![]);
            }
            prop_assert!(dog.is_calm());
        }
    }
}
