//! Who holds what, for operators to look at.
//!
//! Taken in parts: whoever knocks or leaves waits for a part at most. So it is exact for each
//! stream, and of one moment only when nobody comes or goes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::books::{Holding, SeatNumber};
use super::client::ClientKey;
use super::lately::Tried;
use super::{Gate, State};

/// Streams that are looked at under one lock.
const PART: usize = 1024;

/// An open stream, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seated {
    /// What it is counted by.
    pub key: ClientKey,
    /// Its client's own address.
    pub address: IpAddr,
    /// What the client calls itself: not longer than `limits::AGENT_BYTES_MAX`, else as it came.
    pub agent: Option<Arc<str>>,
    /// How long it has been open.
    pub age: Duration,
    /// It has been told to go.
    pub leaves: bool,
}

/// All open streams, and what their clients hold.
#[derive(Debug, Default)]
pub struct Census {
    /// By number.
    pub seats: BTreeMap<SeatNumber, Seated>,
    /// Of every client that has a seat.
    pub holdings: HashMap<ClientKey, Holding>,
    /// What clients have tried lately; also those that hold nothing.
    pub tried: HashMap<ClientKey, Tried>,
    /// In how much time.
    pub tried_in: Duration,
}

impl Gate {
    /// Everybody who is in.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        let mut from = 0;
        loop {
            let state = self.lock();
            let part = state.seats.from(from).take(PART);
            let (mut seen, now) = (0, Instant::now());
            for (number, _) in part {
                let Some(seated) = self.seated(&state, number, now) else { continue };
                let key = seated.key;
                census.holdings.entry(key).or_insert_with(|| state.books.holding(key));
                census.seats.insert(number, seated);
                from = number + 1;
                seen += 1;
            }
            if seen < PART {
                break;
            }
        }
        (census.tried, census.tried_in) = self.lately().all(Instant::now());
        census
    }

    /// Whose a seat is.
    pub(super) fn seated(&self, state: &State, number: SeatNumber, now: Instant) -> Option<Seated> {
        let seat = state.seats.get(number)?;
        let opened = self.began + Duration::from_millis(u64::from(seat.opened_tenths_s) * 100);
        Some(Seated {
            key: seat.key,
            address: seat.address,
            agent: state.agents.text(seat.agent),
            age: now.saturating_duration_since(opened),
            leaves: state.told.contains_key(&number),
        })
    }

    /// When a stream opens, as it is kept: in tenths of a second after the gate's beginning.
    pub(super) fn tenths_now(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis() / 100).unwrap_or(u32::MAX)
    }
}
