//! Who holds how much, and who has to go when all is full. Counted exactly, and decided fairly.
//!
//! ```text
//!  knock ─▶ reserved (counts for its client) ─▶ enter ─▶ seated (counts for all) ─▶ leave
//!                                                 │
//!                                                 └ full: is the greediest client two ahead?
//!                                                     its newest stream goes, else nobody comes in
//! ```
//! *Max-min fair by client*: a newcomer that holds n of its budget is let in where the greediest
//! holds at least n + 2 (each divided by its budget). So nobody at or under the fair share is ever
//! displaced, and after a displacement the one who came is not the greediest: two clients never
//! displace each other in turns.
//!
//! Pure: no I/O, no clock.

use std::collections::{BTreeSet, HashMap};

use super::client::{Client, ClientKey};

/// Names a stream in the books.
pub type SeatNumber = u64;

/// What a client has.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    seated: u32,
    /// Under way: they count for the client, and not yet for all.
    reserved: u32,
    /// Told to go, and still open.
    leaving: u32,
    budget: u32,
}

/// How greedy a client is: held ÷ budget, in fixed point.
type Greed = u64;

impl Account {
    /// `None` with fewer than two streams: nobody is displaced for having one.
    fn greed(&self) -> Option<Greed> {
        (self.seated >= 2).then(|| greed(self.seated, self.budget))
    }

    fn is_empty(&self) -> bool {
        self.seated == 0 && self.reserved == 0 && self.leaving == 0
    }
}

fn greed(held: u32, budget: u32) -> Greed {
    (u64::from(held) << 32) / u64::from(budget.max(1))
}

/// What a knock found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knocked {
    /// A place among the client's own is reserved.
    Reserved,
    /// It holds its limit.
    AtLimit {
        /// How many it holds.
        held: u32,
        /// How many it may.
        limit: u32,
    },
}

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It is seated.
    Seated,
    /// It is seated, and the newest stream of this client has to go.
    InsteadOf(ClientKey),
    /// All is full, and nobody holds so much more.
    Full,
}

/// What a client holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Streams that hold a seat.
    pub seated: u32,
    /// Streams that were told to go and are still open.
    pub leaving: u32,
    /// What it may hold, as its last stream was told; `u32::MAX`: as many as it likes.
    pub budget: u32,
}

/// The books of a host.
#[derive(Debug)]
pub struct Books {
    accounts: HashMap<ClientKey, Account>,
    /// Clients with two streams or more, by their greed.
    greedy: BTreeSet<(Greed, ClientKey)>,
    seated: usize,
    leaving: usize,
    seats_max: usize,
}

impl Books {
    /// Empty books for so many streams.
    #[must_use]
    pub fn new(seats_max: usize) -> Self {
        let (accounts, greedy) = (HashMap::new(), BTreeSet::new());
        Self { accounts, greedy, seated: 0, leaving: 0, seats_max }
    }

    /// Streams that are open, those that were told to go included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.seated + self.leaving
    }

    /// Streams that a client holds: open, or under way.
    #[must_use]
    pub fn held_by(&self, key: ClientKey) -> u32 {
        self.accounts.get(&key).map_or(0, |a| a.seated + a.reserved)
    }

    /// What a client holds that has a seat.
    #[must_use]
    pub fn holding(&self, key: ClientKey) -> Holding {
        let account = self.accounts.get(&key).copied().unwrap_or_default();
        let Account { seated, leaving, budget, .. } = account;
        Holding { seated, leaving, budget }
    }

    /// There are so many seats from now on.
    pub fn resize(&mut self, seats_max: usize) {
        self.seats_max = seats_max;
    }

    /// Clients that hold something.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.accounts.len()
    }

    /// What the greediest client holds of all, in thousandths.
    #[must_use]
    pub fn greediest_share_permille(&self) -> u32 {
        let most = self.greedy.last().and_then(|(_, key)| self.accounts.get(key));
        let most = most.map_or(usize::from(self.seated > 0), |a| a.seated as usize);
        u32::try_from(most * 1000 / self.seated.max(1)).unwrap_or(1000)
    }

    /// Whether a client holds nothing, or less than it would if all who hold something held alike.
    #[must_use]
    pub fn is_under_share(&self, key: ClientKey) -> bool {
        let seated = self.accounts.get(&key).map_or(0, |a| a.seated) as usize;
        seated == 0 || seated < self.fair_level()
    }

    /// Streams that each client could hold if all who hold some held alike.
    #[must_use]
    pub fn fair_level(&self) -> usize {
        self.seats_max / self.accounts.len().max(1)
    }

    /// Reserves a place among the client's own.
    pub fn knock(&mut self, client: &Client) -> Knocked {
        let account = self.accounts.entry(client.key).or_default();
        let (held, limit) = (account.seated + account.reserved, client.budget);
        if held >= limit {
            self.close_if_empty(client.key);
            return Knocked::AtLimit { held, limit };
        }
        account.reserved += 1;
        Knocked::Reserved
    }

    /// Gives a reservation back.
    pub fn turn_away(&mut self, key: ClientKey) {
        if let Some(account) = self.accounts.get_mut(&key) {
            account.reserved = account.reserved.saturating_sub(1);
        }
        self.close_if_empty(key);
    }

    /// Turns a reservation into a seat, or keeps it reserved (`Full`).
    pub fn enter(&mut self, client: &Client) -> Entered {
        let displaced = match self.room_for(client) {
            Some(displaced) => displaced,
            None => return Entered::Full,
        };
        if let Some(key) = displaced {
            self.tell(key);
        }
        self.change(client.key, |account| {
            account.reserved -= 1;
            account.seated += 1;
            account.budget = client.budget;
        });
        self.seated += 1;
        displaced.map_or(Entered::Seated, Entered::InsteadOf)
    }

    /// Whether there is a seat, and who loses one for it. `None`: there is none.
    fn room_for(&self, client: &Client) -> Option<Option<ClientKey>> {
        if self.seated < self.seats_max {
            return Some(None);
        }
        let holds = self.accounts.get(&client.key).map_or(0, |a| a.seated);
        let (most, key) = *self.greedy.last()?;
        let ahead = key != client.key && most >= greed(holds.saturating_add(2), client.budget);
        ahead.then_some(Some(key))
    }

    /// A stream of this client is told to go: it is open until it leaves, and holds no seat.
    pub fn tell(&mut self, key: ClientKey) {
        self.change(key, |account| {
            account.seated = account.seated.saturating_sub(1);
            account.leaving += 1;
        });
        self.seated = self.seated.saturating_sub(1);
        self.leaving += 1;
    }

    /// A stream has ended; `told`: it had been told to go.
    pub fn leave(&mut self, key: ClientKey, told: bool) {
        self.change(key, |account| {
            let count = if told { &mut account.leaving } else { &mut account.seated };
            *count = count.saturating_sub(1);
        });
        let count = if told { &mut self.leaving } else { &mut self.seated };
        *count = count.saturating_sub(1);
        self.close_if_empty(key);
    }

    fn change(&mut self, key: ClientKey, change: impl FnOnce(&mut Account)) {
        let account = self.accounts.entry(key).or_default();
        let before = account.greed();
        change(account);
        let after = account.greed();
        if before != after {
            before.map(|greed| self.greedy.remove(&(greed, key)));
            after.map(|greed| self.greedy.insert((greed, key)));
        }
    }

    fn close_if_empty(&mut self, key: ClientKey) {
        if self.accounts.get(&key).is_some_and(Account::is_empty) {
            self.accounts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
