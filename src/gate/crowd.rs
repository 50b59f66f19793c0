//! Connections that carry no stream: how many there may be, and which goes when there are too many.
//!
//! ```text
//!  room ─▶ accept ─▶ arrive ─▶ (is_of: the PROXY protocol named it) ─┬─▶ carries a stream: out
//!   │                  │                                             └─▶ has ended: out
//!   │                  └ its client has too many: turned away
//!   └ all are too many: the oldest of who has most is told to go, once it has had a moment
//! ```
//! A connection costs a descriptor before anything is known of it but its peer. So this is counted
//! apart from streams, for each client and for all. None goes before it has had a moment to say
//! what it wants, so that a burst is answered as far as the limits go. Connections of a trusted
//! proxy are many clients': they have no limit of their own and go last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::{ClientKey, Identity};
use crate::limits::{CONNECTION_GRACE, CONNECTIONS_LEAVING_MAX, CONNECTIONS_LOOK_EVERY};
use crate::metrics::{ByReason, Metrics};

/// What an operator may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How clients are told apart.
    pub identity: Identity,
    /// Connections without a stream.
    pub connections_max: usize,
    /// Of one client; at least its streams. A client without a limit of streams has none here.
    pub per_client: usize,
}

/// Whose connections are counted together; those of a trusted proxy apart.
type Who = (bool, ClientKey);
type Number = u64;
/// Least first; the last one is who has to lose a connection.
type Rank = (bool, usize, Reverse<u64>, Who);

/// A connection.
#[derive(Debug)]
struct Entry {
    who: Who,
    limit: usize,
    /// Its place among those of its client.
    turn: u64,
    since: Instant,
    /// Streams that it carries; with some it is not counted.
    streams: u32,
    is_told: bool,
    told: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Number, Entry>,
    /// Connections without a stream that were not told to go, oldest first.
    clients: HashMap<Who, BTreeMap<u64, Number>>,
    ranks: BTreeSet<Rank>,
    /// In `clients`, all together.
    waiting: usize,
    /// Told to go, and still there.
    leaving: usize,
    next: u64,
}

/// The connections of this host that carry no stream.
#[derive(Debug)]
pub struct Crowd {
    settings: Settings,
    state: Mutex<State>,
    /// Somebody has left, or carries a stream now.
    left: Notify,
    metrics: Arc<Metrics>,
}

/// A connection's place in the crowd, until it is dropped.
#[derive(Debug)]
pub struct Arrival {
    crowd: Arc<Crowd>,
    number: Number,
    told: Arc<Notify>,
}

/// A stream that a connection carries, until it is dropped.
#[derive(Debug)]
pub struct Carrying(Arc<Arrival>);

impl State {
    fn rank(&self, who: Who) -> Option<Rank> {
        let turns = self.clients.get(&who)?;
        let (oldest, _) = turns.first_key_value()?;
        let (is_proxy, _) = who;
        Some((!is_proxy, turns.len(), Reverse(*oldest), who))
    }

    fn change(&mut self, who: Who, change: impl FnOnce(&mut BTreeMap<u64, Number>)) {
        if let Some(rank) = self.rank(who) {
            self.ranks.remove(&rank);
        }
        let turns = self.clients.entry(who).or_default();
        let before = turns.len();
        change(turns);
        self.waiting = self.waiting + turns.len() - before;
        if turns.is_empty() {
            self.clients.remove(&who);
        }
        self.ranks.extend(self.rank(who));
    }

    /// Takes a connection in, as the youngest of its client; if the client has too many, it has to
    /// go.
    fn wait(&mut self, number: Number) {
        let (turn, now) = (self.next, Instant::now());
        self.next += 1;
        let Some(entry) = self.entries.get_mut(&number) else { return };
        (entry.turn, entry.since) = (turn, now);
        let (who, limit) = (entry.who, entry.limit);
        self.change(who, |turns| {
            turns.insert(turn, number);
        });
        if self.clients.get(&who).is_some_and(|turns| turns.len() > limit) {
            self.tell(number);
        }
    }

    /// How long it has been waiting.
    fn age(&self, number: Number, now: Instant) -> Duration {
        let since = self.entries.get(&number).map_or(now, |entry| entry.since);
        now.saturating_duration_since(since)
    }

    /// Whatever it was, it is not counted among those who wait.
    fn unwait(&mut self, number: Number) {
        if let Some(Entry { who, turn, .. }) = self.entries.get(&number) {
            let (who, turn) = (*who, *turn);
            self.change(who, |turns| {
                turns.remove(&turn);
            });
        }
    }

    fn is_waiting(&self, number: Number) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.streams == 0 && !entry.is_told)
    }

    fn tell(&mut self, number: Number) {
        self.unwait(number);
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.is_told = true;
            entry.told.notify_one();
            self.leaving += 1;
        }
    }

    /// The oldest of who has most, if it is at least so old; else of who has most of the others.
    fn tell_greediest(&mut self, now: Instant, grace: Duration) {
        let oldest = self.ranks.iter().rev().find_map(|(.., who)| {
            let number = *self.clients.get(who)?.values().next()?;
            (self.age(number, now) >= grace).then_some(number)
        });
        if let Some(oldest) = oldest {
            self.tell(oldest);
        }
    }
}

impl Crowd {
    /// An empty crowd.
    #[must_use]
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { settings, state: Mutex::default(), left: Notify::new(), metrics })
    }

    /// As many as there may be, and nobody is trusted.
    #[must_use]
    pub fn unbounded() -> Arc<Self> {
        let identity = super::Settings::room_for(0).identity;
        let (connections_max, per_client) = (usize::MAX, usize::MAX);
        let settings = Settings { identity, connections_max, per_client };
        Self::new(settings, Arc::default())
    }

    /// Whether this peer is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.settings.identity.trusts(peer.to_canonical())
    }

    /// Returns as soon as one more may be accepted. It need not take long: who has most loses the
    /// oldest, unless all are so young that they have hardly been looked at.
    pub async fn room(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Before the look, so that nobody leaves unseen.
            left.as_mut().enable();
            {
                let mut state = self.lock();
                let all = state.waiting + state.leaving;
                if all < self.settings.connections_max && state.leaving < CONNECTIONS_LEAVING_MAX {
                    return;
                }
                if state.leaving == 0 {
                    state.tell_greediest(Instant::now(), CONNECTION_GRACE);
                }
            }
            let _ = tokio::time::timeout(CONNECTIONS_LOOK_EVERY, left).await;
        }
    }

    /// Descriptors run short: who has most loses the oldest, however young it is.
    pub fn press(&self) {
        self.lock().tell_greediest(Instant::now(), Duration::ZERO);
    }

    /// Counts a connection that was accepted.
    #[must_use]
    pub fn arrive(self: &Arc<Self>, peer: IpAddr) -> Arc<Arrival> {
        let (who, limit) = self.who(peer, self.trusts(peer));
        let told = Arc::new(Notify::new());
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let since = Instant::now();
        let (turn, streams, is_told) = (number, 0, false);
        let entry = Entry { who, limit, turn, since, streams, is_told, told: Arc::clone(&told) };
        state.entries.insert(number, entry);
        state.wait(number);
        self.measure(&state);
        Arc::new(Arrival { crowd: Arc::clone(self), number, told })
    }

    /// Counts a connection that was ended, for this reason.
    pub fn ended(&self, reason: &'static str, peer: IpAddr) {
        self.metrics.gate.connections_ended.get_or_create(&ByReason { reason }).inc();
        tracing::debug!(%peer, reason, "connection ended");
    }

    fn who(&self, address: IpAddr, is_proxy: bool) -> (Who, usize) {
        let address = address.to_canonical();
        let identity = &self.settings.identity;
        let limit = match identity.budget(address) {
            _ if is_proxy => usize::MAX,
            u32::MAX => usize::MAX,
            streams => self.settings.per_client.max(streams as usize),
        };
        ((is_proxy, identity.key(address)), limit)
    }

    fn measure(&self, state: &State) {
        let all = state.waiting + state.leaving;
        self.metrics.gate.connections_waiting.set(i64::try_from(all).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Changes something, and tells whoever waits for room.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.measure(&state);
        drop(state);
        self.left.notify_waiters();
    }
}

impl Arrival {
    /// A proxy has said whose it is.
    pub fn is_of(&self, client: IpAddr) {
        let (who, limit) = self.crowd.who(client, false);
        self.crowd.change(|state| {
            let waits = state.is_waiting(self.number);
            if waits {
                state.unwait(self.number);
            }
            if let Some(entry) = state.entries.get_mut(&self.number) {
                (entry.who, entry.limit) = (who, limit);
            }
            if waits {
                state.wait(self.number);
            }
        });
    }

    /// A request has come: it is not the oldest any more.
    pub fn is_alive(&self) {
        self.crowd.change(|state| {
            if state.is_waiting(self.number) {
                state.unwait(self.number);
                state.wait(self.number);
            }
        });
    }

    /// It carries one stream more.
    #[must_use]
    pub fn carries(self: &Arc<Self>) -> Carrying {
        self.crowd.change(|state| {
            if state.is_waiting(self.number) {
                state.unwait(self.number);
            }
            if let Some(entry) = state.entries.get_mut(&self.number) {
                entry.streams += 1;
            }
        });
        Carrying(Arc::clone(self))
    }

    /// It has become a stream's for good.
    pub fn leaves(&self) {
        self.crowd.change(|state| {
            if state.is_waiting(self.number) {
                state.unwait(self.number);
            }
            let entry = state.entries.remove(&self.number);
            state.leaving -= usize::from(entry.is_some_and(|entry| entry.is_told));
        });
    }

    /// Whether it has to end, since there are too many.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.crowd.lock().entries.get(&self.number).is_some_and(|entry| entry.is_told)
    }

    /// Returns when it has to end, since there are too many.
    pub async fn has_to_go(&self) {
        self.told.notified().await;
    }

    /// Counts its end for this reason.
    pub fn ended(&self, reason: &'static str, peer: IpAddr) {
        self.crowd.ended(reason, peer);
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.leaves();
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        let number = self.0.number;
        self.0.crowd.change(|state| {
            let Some(entry) = state.entries.get_mut(&number) else { return };
            entry.streams -= 1;
            if entry.streams == 0 && !entry.is_told {
                state.wait(number);
            }
        });
    }
}

#[cfg(test)]
mod tests;
