//! The books under random arrivals, held against a plain list of who is there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::HeaderMap;
use proptest::prelude::*;

use super::super::client::{ClientHeader, Identity};
use super::*;

fn client(n: u8, budget: u32) -> Client {
    let identity = Identity {
        trusted: vec![],
        header: ClientHeader::XForwardedFor,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        streams: budget,
        budgets: vec![],
    };
    identity.of(IpAddr::from([127, 0, 0, n]), &HeaderMap::new()).expect("a peer is a client")
}

fn come(books: &mut Books, client: &Client) -> Option<Entered> {
    if books.knock(client) != Knocked::Reserved {
        return None;
    }
    let entered = books.enter(client);
    if entered == Entered::Full {
        books.turn_away(client.key);
    }
    Some(entered)
}

#[test]
fn one_address_may_not_hold_more_than_its_limit_and_failures_count_for_nothing() {
    let (mut books, one) = (Books::new(100), client(1, 3));
    for _ in 0..3 {
        assert_eq!(come(&mut books, &one), Some(Entered::Seated));
    }
    for _ in 0..5 {
        assert_eq!(books.knock(&one), Knocked::AtLimit { held: 3, limit: 3 });
    }
    books.leave(one.key, false);
    for _ in 0..5 {
        assert_eq!(books.knock(&one), Knocked::Reserved);
        assert_eq!(books.knock(&one), Knocked::AtLimit { held: 3, limit: 3 });
        books.turn_away(one.key);
    }
    assert_eq!((books.open(), books.held_by(one.key)), (2, 2));
    books.leave(one.key, false);
    books.leave(one.key, false);
    assert_eq!((books.open(), books.clients()), (0, 0));
}

#[test]
fn who_holds_nothing_or_less_than_the_others_is_under_the_share() {
    let (mut books, one, other, new) = (Books::new(6), client(1, 6), client(2, 6), client(3, 6));
    for _ in 0..3 {
        assert_eq!(come(&mut books, &one), Some(Entered::Seated));
        assert_eq!(come(&mut books, &other), Some(Entered::Seated));
    }
    assert!(!books.is_under_share(one.key), "three of six");
    assert!(books.is_under_share(new.key), "none");
    books.leave(other.key, false);
    assert!(books.is_under_share(other.key), "two of six");
}

#[test]
fn who_is_told_to_go_is_open_until_it_leaves_and_holds_no_seat() {
    let (mut books, one, other) = (Books::new(2), client(1, 2), client(2, 2));
    assert_eq!(come(&mut books, &one), Some(Entered::Seated));
    assert_eq!(come(&mut books, &one), Some(Entered::Seated));
    books.tell(one.key);
    assert_eq!((books.open(), books.held_by(one.key)), (2, 1));
    assert_eq!(come(&mut books, &other), Some(Entered::Seated), "instead of the one that goes");
    assert_eq!(books.open(), 3);
    books.leave(one.key, true);
    books.leave(one.key, false);
    books.leave(other.key, false);
    assert_eq!((books.open(), books.clients()), (0, 0));
}

#[test]
fn a_newcomer_is_let_in_where_the_greediest_is_two_ahead() {
    let mut books = Books::new(8);
    let (greedy, other, new) = (client(1, 64), client(2, 64), client(3, 64));
    for _ in 0..6 {
        come(&mut books, &greedy);
    }
    for _ in 0..2 {
        come(&mut books, &other);
    }
    assert_eq!(books.greediest_share_permille(), 750);
    assert_eq!(come(&mut books, &new), Some(Entered::InsteadOf(greedy.key)));
    assert_eq!(come(&mut books, &new), Some(Entered::InsteadOf(greedy.key)));
    assert_eq!(come(&mut books, &other), Some(Entered::InsteadOf(greedy.key)), "4 against 2");
    assert_eq!(come(&mut books, &new), Some(Entered::Full), "3 against 2: not two ahead");
    assert_eq!((books.open(), books.seated), (11, 8), "three are on their way out");
    (0..3).for_each(|_| books.leave(greedy.key, true));
    assert_eq!((books.open(), books.held_by(greedy.key)), (8, 3));
    assert_eq!(come(&mut books, &greedy), Some(Entered::Full), "it does not displace itself");
}

#[test]
fn who_may_hold_more_is_greedy_later() {
    let mut books = Books::new(12);
    let (large, small, new) = (client(1, 100), client(2, 10), client(3, 10));
    for _ in 0..8 {
        come(&mut books, &large);
    }
    for _ in 0..4 {
        come(&mut books, &small);
    }
    assert_eq!(come(&mut books, &new), Some(Entered::InsteadOf(small.key)));
}

/// What happens in one step.
#[derive(Debug, Clone)]
enum Step {
    Come(u8),
    Go(u8),
    /// Knocks, and its request turns out to be wrong.
    Fail(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12u8).prop_map(Step::Come),
        3 => (0..12u8).prop_map(Step::Go),
        1 => (0..12u8).prop_map(Step::Fail),
    ]
}

fn budget() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![4, 16, 64, 256])
}

fn budget_of(n: u8) -> u32 {
    [4, 16, 64, 1000][usize::from(n) % 4]
}

proptest! {
    #[test]
    fn the_books_are_exact_and_nobody_under_the_fair_share_is_displaced(
        seats in 1usize..40,
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let mut books = Books::new(seats);
        let mut held: BTreeMap<u8, u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Come(n) => {
                    let client = client(n, budget_of(n));
                    let before = held.clone();
                    let mine = before.get(&n).copied().unwrap_or(0);
                    match come(&mut books, &client) {
                        None => prop_assert_eq!(mine, budget_of(n)),
                        Some(Entered::Seated) => *held.entry(n).or_default() += 1,
                        Some(Entered::InsteadOf(key)) => {
                            let loser = (0..12).find(|m| self::client(*m, 1).key == key);
                            let loser = loser.expect("one of ours");
                            let theirs = before[&loser];
                            let ahead = u64::from(theirs) * u64::from(budget_of(n))
                                >= u64::from(mine + 2) * u64::from(budget_of(loser));
                            prop_assert!(ahead, "{loser} held {theirs}, {n} held {mine}");
                            *held.get_mut(&loser).expect("it holds some") -= 1;
                            *held.entry(n).or_default() += 1;
                            books.leave(key, true);
                        }
                        Some(Entered::Full) => {
                            let all: u32 = before.values().sum();
                            prop_assert_eq!(all as usize, seats);
                            let far_ahead = before.iter().any(|(m, theirs)| {
                                *m != n && *theirs >= 2
                                    && u64::from(*theirs) * u64::from(budget_of(n))
                                        >= u64::from(mine + 2) * u64::from(budget_of(*m))
                            });
                            prop_assert!(!far_ahead, "refused though one is far ahead");
                        }
                    }
                }
                Step::Go(n) => {
                    if let Some(mine) = held.get_mut(&n).filter(|mine| **mine > 0) {
                        *mine -= 1;
                        books.leave(client(n, 1).key, false);
                    }
                }
                Step::Fail(n) => {
                    if books.knock(&client(n, budget_of(n))) == Knocked::Reserved {
                        books.turn_away(client(n, 1).key);
                    }
                }
            }
            let all: u32 = held.values().sum();
            prop_assert_eq!(books.open(), all as usize);
            prop_assert!(all as usize <= seats);
            for n in 0..12 {
                let mine = held.get(&n).copied().unwrap_or(0);
                prop_assert_eq!(books.held_by(client(n, 1).key), mine);
            }
        }
        for (n, mine) in held {
            (0..mine).for_each(|_| books.leave(client(n, 1).key, false));
        }
        prop_assert_eq!((books.open(), books.clients(), books.greedy.len()), (0, 0, 0));
    }

    #[test]
    fn clients_that_come_back_by_themselves_do_not_displace_each_other_for_ever(
        seats in 2usize..60,
        wants in prop::collection::vec((1u32..80, budget()), 2..12),
    ) {
        let mut books = Books::new(seats);
        let clients: Vec<Client> =
            (0u8..).zip(&wants).map(|(n, (_, budget))| client(n, *budget)).collect();
        let (mut displaced, mut quiet) = (0, 0);
        // Everyone tries again and again for as many as it wants.
        while quiet < 2 {
            quiet += 1;
            for (client, (want, _)) in clients.iter().zip(&wants) {
                while books.held_by(client.key) < *want {
                    match come(&mut books, client) {
                        Some(Entered::Seated) => quiet = 0,
                        Some(Entered::InsteadOf(key)) => {
                            books.leave(key, true);
                            (quiet, displaced) = (0, displaced + 1);
                        }
                        Some(Entered::Full) | None => break,
                    }
                }
            }
            prop_assert!(displaced < 100_000, "they never come to rest");
        }
        // At rest nobody who wants more is two behind anybody.
        for (a, (want, budget_a)) in clients.iter().zip(&wants) {
            let mine = books.held_by(a.key);
            if mine >= *want || mine >= *budget_a || books.open() < seats {
                continue;
            }
            for (b, (_, budget_b)) in clients.iter().zip(&wants).filter(|(b, _)| b.key != a.key) {
                let theirs = books.held_by(b.key);
                let ahead = theirs >= 2 && u64::from(theirs) * u64::from(*budget_a)
                    >= u64::from(mine + 2) * u64::from(*budget_b);
                prop_assert!(!ahead, "{mine} of {budget_a} against {theirs} of {budget_b}");
            }
        }
    }
}
