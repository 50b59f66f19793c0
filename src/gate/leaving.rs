//! Open streams that have to go, and how they and others learn of it.

use std::collections::hash_map::Entry;

use tokio::sync::watch;

use super::books::SeatNumber;
use super::{Gate, Seat, State, Told};

impl Gate {
    /// Tells all streams to go that `whose` holds for. Their clients' other streams may come in at
    /// once; returns how many were told.
    pub fn tell(&self, why: &Told, whose: impl Fn(SeatNumber, &Seat) -> bool) -> usize {
        self.tell_each(|number, seat| whose(number, seat).then(|| why.clone()))
    }

    /// The same, each for a reason of its own.
    pub(super) fn tell_each(&self, why: impl Fn(SeatNumber, &Seat) -> Option<Told>) -> usize {
        let mut state = self.lock();
        let State { books, seats, told, .. } = &mut *state;
        let mut count = 0;
        for (number, seat) in seats.iter() {
            let Some(why) = why(number, seat) else { continue };
            if let Entry::Vacant(place) = told.entry(number) {
                place.insert(why);
                books.tell(seat.key);
                count += 1;
            }
        }
        self.measure(&state);
        drop(state);
        if count > 0 {
            self.telling.send_modify(|n| *n += 1);
        }
        count
    }

    /// Has every open stream look whether it may stay.
    pub fn have_all_look(&self) {
        self.telling.send_modify(|n| *n += 1);
    }

    /// Moves when somebody has been told to go (`Permit::told`).
    #[must_use]
    pub fn telling(&self) -> watch::Receiver<u64> {
        self.telling.subscribe()
    }

    /// Returns when no stream is open. None may come in any more.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Before the look, so that nobody leaves unseen.
            left.as_mut().enable();
            if self.held() == 0 {
                return;
            }
            left.await;
        }
    }
}
