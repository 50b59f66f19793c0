//! The crowd against a plain list, under random arrivals.

use proptest::prelude::*;

use super::*;
use crate::gate::client::ClientHeader;

const PROXY: u8 = 9;

fn crowd(connections_max: usize, per_client: usize) -> Arc<Crowd> {
    let identity = Identity {
        trusted: vec!["127.0.0.9/32".parse().expect("a prefix")],
        header: ClientHeader::XForwardedFor,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        streams: 1,
        budgets: Vec::new(),
    };
    Crowd::new(Settings { identity, connections_max, per_client }, Arc::default())
}

fn peer(host: u8) -> IpAddr {
    [127, 0, 0, host].into()
}

impl Crowd {
    fn all(&self) -> usize {
        let state = self.lock();
        assert_eq!(
            self.metrics.gate.connections_waiting.get(),
            (state.waiting + state.leaving) as i64
        );
        state.waiting + state.leaving
    }
}

#[test]
fn a_client_with_too_many_is_turned_away_and_nobody_else_is() {
    let crowd = crowd(100, 3);
    let other = crowd.arrive(peer(2));
    let mut own: Vec<_> = (0..5).map(|_| crowd.arrive(peer(1))).collect();
    let told: Vec<_> = own.iter().map(|arrival| arrival.is_told()).collect();
    assert_eq!(told, [false, false, false, true, true]);
    assert!(!other.is_told());
    assert_eq!(crowd.all(), 6);
    drop(own.remove(0));
    assert!(!crowd.arrive(peer(1)).is_told());
    drop(own);
    assert_eq!(crowd.all(), 1);
}

#[test]
fn what_carries_a_stream_is_not_counted_until_the_last_one_ends() {
    let crowd = crowd(100, 2);
    let first = crowd.arrive(peer(1));
    let streams = (first.carries(), first.carries());
    assert_eq!(crowd.all(), 0);
    let two = (crowd.arrive(peer(1)), crowd.arrive(peer(1)));
    drop(streams.0);
    assert!(!first.is_told());
    drop(streams.1);
    assert_eq!((first.is_told(), crowd.all()), (true, 3), "it is one too many now");
    assert!(!two.0.is_told() && !two.1.is_told());
    first.leaves();
    drop(first);
    assert_eq!(crowd.all(), 2);
}

#[test]
fn a_proxy_has_no_limit_and_its_clients_have_theirs_once_they_are_named() {
    let crowd = crowd(100, 2);
    let all: Vec<_> = (0..20).map(|_| crowd.arrive(peer(PROXY))).collect();
    assert!(all.iter().all(|arrival| !arrival.is_told()));
    for arrival in &all[..3] {
        arrival.is_of(peer(1));
    }
    let told = all.iter().filter(|arrival| arrival.is_told()).count();
    assert!(told == 1 && all[2].is_told());
    // Under pressure whoever is known goes first, however young.
    crowd.press();
    assert!(all[0].is_told());
}

#[tokio::test(start_paused = true)]
async fn when_all_are_too_many_the_oldest_of_who_has_most_goes_once_it_has_had_its_time() {
    let crowd = crowd(6, 5);
    let proxy: Vec<_> = (0..2).map(|_| crowd.arrive(peer(PROXY))).collect();
    let greedy: Vec<_> = (0..3).map(|_| crowd.arrive(peer(1))).collect();
    let other = crowd.arrive(peer(2));
    let early = tokio::time::timeout(CONNECTION_GRACE / 2, crowd.room()).await;
    assert!(early.is_err() && !greedy[0].is_told());
    let mut room = Box::pin(crowd.room());
    assert!(tokio::time::timeout(CONNECTION_GRACE, &mut room).await.is_err());
    assert!(greedy[0].is_told(), "and there is room when it has gone");
    let mut greedy = greedy.into_iter();
    drop(greedy.next());
    room.await;
    let rest: Vec<_> = greedy.chain(proxy).chain([other]).collect();
    assert!(rest.iter().all(|arrival| !arrival.is_told()));
}

/// What happens to a crowd.
#[derive(Debug, Clone)]
enum Step {
    Arrives(u8),
    IsOf(usize, u8),
    IsAlive(usize),
    Carries(usize),
    StreamEnds(usize),
    Leaves(usize),
    Ends(usize),
    Press,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..10).prop_map(Step::Arrives),
        1 => (0usize..30, 1u8..5).prop_map(|(n, host)| Step::IsOf(n, host)),
        1 => (0usize..30).prop_map(Step::IsAlive),
        2 => (0usize..30).prop_map(Step::Carries),
        2 => (0usize..30).prop_map(Step::StreamEnds),
        1 => (0usize..30).prop_map(Step::Leaves),
        1 => (0usize..30).prop_map(Step::Ends),
        1 => Just(Step::Press),
    ]
}

proptest! {
    #[test]
    fn the_count_is_what_is_there_whatever_comes(steps in prop::collection::vec(step(), 0..120)) {
        let crowd = crowd(1000, 3);
        let mut all: Vec<(Arc<Arrival>, Vec<Carrying>, bool)> = Vec::new();
        for step in steps {
            let n = all.len();
            let at = move |k: usize| (n > 0).then(|| k % n);
            match step {
                Step::Arrives(host) => all.push((crowd.arrive(peer(host)), Vec::new(), false)),
                Step::IsOf(k, host) => {
                    at(k).into_iter().for_each(|k| all[k].0.is_of(peer(host)));
                }
                Step::IsAlive(k) => at(k).into_iter().for_each(|k| all[k].0.is_alive()),
                Step::Carries(k) => at(k).into_iter().for_each(|k| {
                    let carrying = all[k].0.carries();
                    all[k].1.push(carrying);
                }),
                Step::StreamEnds(k) => at(k).into_iter().for_each(|k| drop(all[k].1.pop())),
                Step::Leaves(k) => at(k).into_iter().for_each(|k| {
                    all[k].0.leaves();
                    all[k].2 = true;
                }),
                Step::Ends(k) => at(k).into_iter().for_each(|k| drop(all.swap_remove(k))),
                Step::Press => crowd.press(),
            }
            let there = all.iter().filter(|(a, streams, has_left)| {
                !has_left && (streams.is_empty() || a.is_told())
            });
            prop_assert_eq!(crowd.all(), there.count());
            let state = crowd.lock();
            prop_assert_eq!(state.ranks.len(), state.clients.len());
            for ((is_proxy, _), turns) in &state.clients {
                prop_assert!(*is_proxy || turns.len() <= 3);
            }
        }
        drop(all);
        prop_assert_eq!(crowd.all(), 0);
        prop_assert!(crowd.lock().entries.is_empty());
        prop_assert!(crowd.lock().ranks.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn room_waits_for_those_who_were_told_to_go() {
    let crowd = crowd(100_000, 1);
    let told: Vec<_> = (0..=CONNECTIONS_LEAVING_MAX).map(|_| crowd.arrive(peer(1))).collect();
    let wait = Duration::from_secs(5);
    assert!(tokio::time::timeout(wait, crowd.room()).await.is_err());
    drop(told);
    crowd.room().await;
}
