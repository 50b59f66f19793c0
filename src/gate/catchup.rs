//! Turns at reading history: a budget of its own, smaller than that of streams, for the host and
//! for each client. Who finds it spent waits; nobody is refused.
//!
//! ```text
//!            ┌───────── waits ◀──────────┐
//!  (came) ───┤                           │ others wait, and it has had a stretch,
//!            └─▶ reads ─▶ rests ─────────┘ or its socket takes nothing
//!                  ▲        │
//!                  └────────┘ its socket took it all
//! ```
//! A reader rests from the moment at which it has handed bytes on until it is asked for more. Who
//! rests for long while others wait has a client that takes nothing: the turn is given to another,
//! and what it held in memory is let go. So a turn is held only while bytes are taken, and what
//! all readers of history hold is bounded by the turns. `order` says who is next. Knows no history
//! and no sessions.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::Permit;
use super::client::ClientKey;
use crate::limits::{CATCHUP_REST_MAX, CATCHUP_STRETCH_BYTES};
use crate::metrics::Metrics;

mod order;

pub use order::{Budget, Errand};
use order::{Order, Ticket};

/// What a reader that rests has in memory. It is dropped when the turn is given to another.
pub type Luggage = Arc<dyn Any + Send + Sync>;

#[derive(Debug)]
enum Stage {
    Waits(Waker),
    Reads,
    /// Since when.
    Rests(Instant, #[allow(dead_code, reason = "only its drop counts")] Option<Luggage>),
}

#[derive(Debug)]
struct Entry {
    key: ClientKey,
    errand: Errand,
    stage: Stage,
}

#[derive(Debug)]
struct State {
    order: Order,
    entries: HashMap<Ticket, Entry>,
    /// Who rests, the longest first.
    resting: BTreeSet<(Instant, Ticket)>,
    next: Ticket,
    /// Somebody looks after those who wait.
    is_ushered: bool,
}

/// Turns at reading history.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

/// One reader's turn; its drop gives back whatever it holds.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    key: ClientKey,
    errand: Errand,
    ticket: Option<Ticket>,
    /// Bytes since its turn began.
    taken: usize,
}

impl Permit {
    /// A turn at reading history, to be waited for.
    #[must_use]
    pub fn turn(&self, errand: Errand) -> Turn {
        self.gate.turns.turn(self.client(), errand)
    }
}

impl Turns {
    /// All turns are free.
    #[must_use]
    pub fn new(budget: Budget, metrics: Arc<Metrics>) -> Arc<Self> {
        let (entries, resting) = (HashMap::new(), BTreeSet::new());
        let order = Order::new(budget);
        let state = State { order, entries, resting, next: 0, is_ushered: false };
        Arc::new(Self { state: Mutex::new(state), metrics })
    }

    /// For a reader of this client; it asks for its turn when it first needs it.
    #[must_use]
    pub fn turn(self: &Arc<Self>, key: ClientKey, errand: Errand) -> Turn {
        Turn { turns: Arc::clone(self), key, errand, ticket: None, taken: 0 }
    }

    /// Looks now and then whether somebody rests too long, as long as somebody waits.
    fn usher(self: &Arc<Self>, state: &mut State) {
        if state.order.waiting() == 0 || std::mem::replace(&mut state.is_ushered, true) {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CATCHUP_REST_MAX).await;
                let mut state = this.lock();
                if state.order.waiting() == 0 {
                    state.is_ushered = false;
                    return;
                }
                this.settle(state);
            }
        });
    }

    /// Gives free turns to those who wait, and those of readers that rest too long.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        let (mut called, mut let_go) = (Vec::new(), Vec::new());
        state.call(now, &mut called);
        let idle: Vec<Ticket> = state
            .resting
            .iter()
            .take_while(|(since, _)| now.saturating_duration_since(*since) >= CATCHUP_REST_MAX)
            .map(|(_, ticket)| *ticket)
            .collect();
        for ticket in idle {
            if state.order.waiting() == 0 {
                break;
            }
            let_go.extend(state.revoke(ticket));
            state.call(now, &mut called);
        }
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.gate.catchups_running.set(number(state.order.running()));
        self.metrics.gate.catchups_waiting.set(number(state.order.waiting()));
        drop(state);
        drop(let_go);
        called.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    /// Whose turn it is rests until it comes for it: it may never come.
    fn call(&mut self, now: Instant, called: &mut Vec<Waker>) {
        while let Some(ticket) = self.order.next() {
            let Some(entry) = self.entries.get_mut(&ticket) else { continue };
            let before = std::mem::replace(&mut entry.stage, Stage::Rests(now, None));
            self.resting.insert((now, ticket));
            if let Stage::Waits(waker) = before {
                called.push(waker);
            }
        }
    }

    /// Takes the turn of a reader that rests, if somebody who waits can have it.
    fn revoke(&mut self, ticket: Ticket) -> Option<Entry> {
        let entry = self.entries.get(&ticket)?;
        let Stage::Rests(since, _) = entry.stage else { return None };
        if !self.order.make_room(entry.key, entry.errand) {
            return None;
        }
        self.resting.remove(&(since, ticket));
        self.entries.remove(&ticket)
    }
}

impl Turn {
    /// Ready when it may read: at once if it did so until now, rested, and kept its turn.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turns = Arc::clone(&self.turns);
        let mut state = turns.lock();
        if let Some(ticket) = self.ticket
            && let Some(entry) = state.entries.get_mut(&ticket)
        {
            match &mut entry.stage {
                Stage::Reads => return Poll::Ready(()),
                Stage::Waits(waker) => {
                    waker.clone_from(cx.waker());
                    return Poll::Pending;
                }
                Stage::Rests(since, _) => {
                    let since = *since;
                    entry.stage = Stage::Reads;
                    state.resting.remove(&(since, ticket));
                    return Poll::Ready(());
                }
            }
        }
        let (key, errand, ticket) = (self.key, self.errand, state.next);
        (self.ticket, self.taken, state.next) = (Some(ticket), 0, ticket + 1);
        let stage = Stage::Waits(cx.waker().clone());
        state.entries.insert(ticket, Entry { key, errand, stage });
        state.order.wait(ticket, key, errand);
        turns.settle(state);
        let mut state = turns.lock();
        let is_called = match state.entries.get_mut(&ticket) {
            Some(entry) => !matches!(entry.stage, Stage::Waits(_)),
            None => false,
        };
        if is_called {
            drop(state);
            return self.poll_read(cx);
        }
        turns.usher(&mut state);
        Poll::Pending
    }

    /// It has handed on so many bytes, and may be asked for more soon, later, or never. If its turn
    /// is given to another meanwhile, what it has in memory is dropped.
    pub fn rest(&mut self, bytes: usize, luggage: Luggage) {
        self.taken += bytes;
        let Some(ticket) = self.ticket else { return };
        let mut state = self.turns.lock();
        let Some(entry) = state.entries.get_mut(&ticket) else { return };
        if !matches!(entry.stage, Stage::Reads) {
            return;
        }
        let now = Instant::now();
        entry.stage = Stage::Rests(now, Some(luggage));
        state.resting.insert((now, ticket));
        let has_had_enough = self.taken >= CATCHUP_STRETCH_BYTES && state.order.waiting() > 0;
        let gone = has_had_enough.then(|| state.revoke(ticket)).flatten();
        if gone.is_some() {
            self.turns.settle(state);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.turns.lock();
        let Some(entry) = state.entries.remove(&ticket) else { return };
        match entry.stage {
            Stage::Waits(_) => state.order.quit(ticket, self.key, self.errand),
            Stage::Reads => state.order.done(self.key, self.errand),
            Stage::Rests(since, _) => {
                state.resting.remove(&(since, ticket));
                state.order.done(self.key, self.errand);
            }
        }
        self.turns.settle(state);
    }
}

#[cfg(test)]
mod tests;
