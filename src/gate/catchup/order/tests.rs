//! The order under random arrivals, held against a plain list of who is there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::HeaderMap;
use proptest::prelude::*;

use super::super::super::Settings;
use super::*;

fn key(n: u8) -> ClientKey {
    let identity = Settings::room_for(1).identity;
    identity.of(IpAddr::from([127, 0, 0, n]), &HeaderMap::new()).expect("a client").key
}

/// Lets all run that may.
fn call(order: &mut Order) -> Vec<Ticket> {
    std::iter::from_fn(|| order.next()).collect()
}

#[test]
fn a_newcomer_comes_before_the_next_of_who_has_many() {
    let mut order = Order::new(Budget { all: 4, of_client: 4 });
    (0..6).for_each(|ticket| order.wait(ticket, key(1), Errand::Replay));
    assert_eq!(call(&mut order), [0, 1, 2], "a quarter is left to those who come back");
    order.wait(6, key(2), Errand::Replay);
    order.wait(7, key(3), Errand::Replay);
    assert!(call(&mut order).is_empty());
    (0..3).for_each(|_| order.done(key(1), Errand::Replay));
    assert_eq!(call(&mut order), [3, 6, 7], "who came first, then who has none");
}

#[test]
fn who_falls_off_the_ring_comes_before_the_past_and_cannot_starve_it() {
    let mut order = Order::new(Budget { all: 8, of_client: 8 });
    (0..20).for_each(|ticket| order.wait(ticket, key(1), Errand::Replay));
    assert_eq!(call(&mut order).len(), 6);
    (20..40).for_each(|ticket| order.wait(ticket, key(1), Errand::Return));
    assert_eq!(call(&mut order), [20, 21], "what replays left");
    (0..6).for_each(|_| order.done(key(1), Errand::Replay));
    assert_eq!(call(&mut order), [22, 23, 24, 25, 6, 7], "and returns leave as much");
}

#[test]
fn the_smallest_budgets_serve_everybody_in_turn() {
    for (all, of_client) in [(1, 1), (2, 1), (1, usize::MAX), (3, 2)] {
        let mut order = Order::new(Budget { all, of_client });
        for ticket in 0..12 {
            let errand = if ticket % 2 == 0 { Errand::Return } else { Errand::Replay };
            order.wait(ticket, key(u8::try_from(ticket % 3).expect("few")), errand);
        }
        let (mut served, mut running) = (0, Vec::new());
        loop {
            running.extend(call(&mut order));
            let Some(ticket) = running.pop() else { break };
            let errand = if ticket % 2 == 0 { Errand::Return } else { Errand::Replay };
            order.done(key(u8::try_from(ticket % 3).expect("few")), errand);
            served += 1;
        }
        assert_eq!((served, order.waiting(), order.running()), (12, 0, 0), "{all} {of_client}");
    }
}

#[derive(Debug, Clone)]
enum Move {
    Come(u8, Errand),
    /// One of those who run, by its place.
    Done(usize),
    /// One of those who wait.
    Quit(usize),
    /// Somebody who runs gives its place to one who waits, and waits again.
    Rotate(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let errand = prop_oneof![Just(Errand::Return), Just(Errand::Replay)];
    let any = prop_oneof![
        6 => (0..6u8, errand).prop_map(|(who, errand)| Move::Come(who, errand)),
        3 => (0..64usize).prop_map(Move::Done),
        1 => (0..64usize).prop_map(Move::Quit),
        2 => (0..64usize).prop_map(Move::Rotate),
    ];
    prop::collection::vec(any, 1..300)
}

type Crowd = BTreeMap<Ticket, (u8, Errand)>;

/// How many of a crowd are these.
fn count(crowd: &Crowd, is: impl Fn(u8, Errand) -> bool) -> usize {
    crowd.values().filter(|(who, errand)| is(*who, *errand)).count()
}

/// Who should run next: looked for in a list, without any book.
fn expected(budget: Budget, running: &Crowd, waiting: &Crowd) -> Option<Ticket> {
    let has_room = |crowd: &Crowd, errand, most| {
        crowd.len() < most && count(crowd, |_, e| e == errand) < share(most)
    };
    [Errand::Return, Errand::Replay].into_iter().find_map(|errand| {
        let of = |who: u8| -> Crowd {
            running.iter().filter(|(_, (w, _))| *w == who).map(|(t, w)| (*t, *w)).collect()
        };
        let first = |who: u8| waiting.iter().find(|(_, w)| **w == (who, errand)).map(|(t, _)| *t);
        let clients = (0..6u8).filter(|who| has_room(&of(*who), errand, budget.of_client));
        let heads = clients.filter_map(|who| Some((of(who).len(), first(who)?)));
        let next = heads.min().map(|(_, ticket)| ticket);
        next.filter(|_| has_room(running, errand, budget.all))
    })
}

proptest! {
    #[test]
    fn whoever_is_next_is_the_first_of_the_client_with_the_fewest_and_nobody_waits_for_nothing(
        all in 1usize..12,
        of_client in 1usize..8,
        moves in moves(),
    ) {
        let budget = Budget { all, of_client };
        let mut order = Order::new(budget);
        let (mut running, mut waiting) = (Crowd::new(), Crowd::new());
        let mut tickets = 0..;
        let pick = |crowd: &Crowd, n: usize| {
            crowd.iter().nth(n % crowd.len().max(1)).map(|(ticket, who)| (*ticket, *who))
        };
        for one in moves {
            match one {
                Move::Come(who, errand) => {
                    let ticket = tickets.next().expect("endless");
                    order.wait(ticket, key(who), errand);
                    waiting.insert(ticket, (who, errand));
                }
                Move::Done(n) => if let Some((ticket, (who, errand))) = pick(&running, n) {
                    order.done(key(who), errand);
                    running.remove(&ticket);
                },
                Move::Quit(n) => if let Some((ticket, (who, errand))) = pick(&waiting, n) {
                    order.quit(ticket, key(who), errand);
                    waiting.remove(&ticket);
                },
                Move::Rotate(n) => if let Some((ticket, (who, errand))) = pick(&running, n) {
                    let mut without = running.clone();
                    without.remove(&ticket);
                    let helps = expected(budget, &without, &waiting).is_some();
                    prop_assert_eq!(order.make_room(key(who), errand), helps);
                    if helps {
                        running = without;
                        let again = tickets.next().expect("endless");
                        order.wait(again, key(who), errand);
                        waiting.insert(again, (who, errand));
                    }
                },
            }
            while let Some(ticket) = expected(budget, &running, &waiting) {
                prop_assert_eq!(order.next(), Some(ticket));
                running.insert(ticket, waiting.remove(&ticket).expect("it waited"));
            }
            prop_assert_eq!(order.next(), None);
            prop_assert_eq!((order.running(), order.waiting()), (running.len(), waiting.len()));
            prop_assert!(running.len() <= all);
            prop_assert!((0..6).all(|who| count(&running, |w, _| w == who) <= of_client));
        }
        for (ticket, (who, errand)) in waiting {
            order.quit(ticket, key(who), errand);
        }
        for (who, errand) in running.into_values() {
            order.done(key(who), errand);
        }
        prop_assert!(order.accounts.is_empty() && order.queues.iter().all(BTreeSet::is_empty));
    }
}
