//! Who reads history next.
//!
//! ```text
//!  wait ─▶ queue of its errand, by client ─▶ next: room? ─▶ runs ─▶ done
//!             returns first, then replays;
//!             the client with the fewest running first, of one client who came first
//! ```
//! Readers that fell off their feed's ring (*returns*) come before those that ask for the past
//! (*replays*): they were live, read a short stretch that is in memory, and every moment that they
//! wait lengthens it. So that neither can starve the other, each errand leaves a quarter of the
//! budget to the other, on the host and for each client.
//!
//! Pure: no I/O, no clock.

use std::collections::{BTreeSet, HashMap};

use super::super::client::ClientKey;

/// Names a reader that waits or runs; a later one is greater.
pub type Ticket = u64;

/// What a reader catches up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Errand {
    /// It was live and fell off its feed's ring.
    Return,
    /// It asked for the past.
    Replay,
}

/// How many may read history at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// All together.
    pub all: usize,
    /// Of one client.
    pub of_client: usize,
}

impl Budget {
    /// As many as like to.
    pub const UNLIMITED: Self = Self { all: usize::MAX, of_client: usize::MAX };
}

/// What one errand may take of `all`.
fn share(all: usize) -> usize {
    if all < 2 { all } else { all - (all / 4).max(1) }
}

/// How many run, by errand.
#[derive(Debug, Clone, Copy, Default)]
struct Running([usize; 2]);

impl Running {
    fn all(self) -> usize {
        self.0[0] + self.0[1]
    }

    fn has_room(self, errand: Errand, most: usize) -> bool {
        self.all() < most && self.0[errand as usize] < share(most)
    }
}

#[derive(Debug, Default)]
struct Account {
    running: Running,
    waiting: [BTreeSet<Ticket>; 2],
}

/// Who waits and who runs.
#[derive(Debug)]
pub struct Order {
    budget: Budget,
    running: Running,
    waiting: usize,
    accounts: HashMap<ClientKey, Account>,
    /// Clients that wait with an errand: how many of each run, and who waits longest.
    queues: [BTreeSet<(usize, Ticket, ClientKey)>; 2],
}

impl Order {
    /// Nobody yet.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        let (running, accounts) = (Running::default(), HashMap::new());
        Self { budget, running, waiting: 0, accounts, queues: Default::default() }
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.all()
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Somebody comes.
    pub fn wait(&mut self, ticket: Ticket, key: ClientKey, errand: Errand) {
        self.waiting += 1;
        self.change(key, |account| {
            account.waiting[errand as usize].insert(ticket);
        });
    }

    /// Somebody who waits goes.
    pub fn quit(&mut self, ticket: Ticket, key: ClientKey, errand: Errand) {
        self.waiting -= 1;
        self.change(key, |account| {
            account.waiting[errand as usize].remove(&ticket);
        });
    }

    /// Somebody who runs is done.
    pub fn done(&mut self, key: ClientKey, errand: Errand) {
        self.running.0[errand as usize] -= 1;
        self.change(key, |account| account.running.0[errand as usize] -= 1);
    }

    /// Who runs from now on, if there is room for anybody who waits.
    #[must_use]
    pub fn next(&mut self) -> Option<Ticket> {
        let (ticket, key, errand) = self.first()?;
        self.quit(ticket, key, errand);
        self.run(key, errand);
        Some(ticket)
    }

    /// Takes the place of somebody who runs, if that lets somebody run who waits.
    pub fn make_room(&mut self, key: ClientKey, errand: Errand) -> bool {
        self.done(key, errand);
        let helps = self.first().is_some();
        if !helps {
            self.run(key, errand);
        }
        helps
    }

    fn run(&mut self, key: ClientKey, errand: Errand) {
        self.running.0[errand as usize] += 1;
        self.change(key, |account| account.running.0[errand as usize] += 1);
    }

    fn first(&self) -> Option<(Ticket, ClientKey, Errand)> {
        let errands = [Errand::Return, Errand::Replay].into_iter();
        errands.filter(|errand| self.running.has_room(*errand, self.budget.all)).find_map(
            |errand| {
                // Those without room are few: each holds its share of what runs.
                let mut queue = self.queues[errand as usize].iter();
                let found = queue.find(|(.., key)| {
                    let running = self.accounts.get(key).map_or(Running::default(), |a| a.running);
                    running.has_room(errand, self.budget.of_client)
                });
                found.map(|(_, ticket, key)| (*ticket, *key, errand))
            },
        )
    }

    fn change(&mut self, key: ClientKey, change: impl FnOnce(&mut Account)) {
        let account = self.accounts.entry(key).or_default();
        for (queue, waiting) in self.queues.iter_mut().zip(&account.waiting) {
            let first = waiting.first();
            first.map(|first| queue.remove(&(account.running.all(), *first, key)));
        }
        change(account);
        for (queue, waiting) in self.queues.iter_mut().zip(&account.waiting) {
            let first = waiting.first();
            first.map(|first| queue.insert((account.running.all(), *first, key)));
        }
        if account.running.all() == 0 && account.waiting.iter().all(BTreeSet::is_empty) {
            self.accounts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
