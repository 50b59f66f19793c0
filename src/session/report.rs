//! What every open stream is doing, for operators to look at.
//!
//! ```text
//!  Sessions::report ─┬─▶ roll: who has a task of its own
//!                    └─▶ each shard of the pump, by its bell ─▶ lanes ─▶ glimpses
//! ```
//! Collected only when somebody asks. A session on its way from one delivery to the other may be in
//! neither list, or in both: by its number it counts once.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Audience, Sessions};
use crate::event::TimestampMs;
use crate::feed::encode::Encoding;
use crate::feed::frame::Framing;
use crate::feed::vector::{Cursor, Vector};
use crate::gate::SeatNumber;
use crate::position::PositionTime;

/// Who delivers a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The pump: it is live, on a socket of its own.
    Pump,
    /// The HTTP library (HTTP/2, TLS), live.
    Body,
    /// A task of its own, which reads what it has missed.
    CatchUp,
}

impl Delivery {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pump => "pump",
            Self::Body => "body",
            Self::CatchUp => "catch_up",
        }
    }
}

/// One session as it was a moment ago.
#[derive(Debug, Clone)]
pub struct Glimpse {
    /// Which.
    pub number: SeatNumber,
    pub(super) of: Arc<Audience>,
    /// Who delivers it.
    pub delivery: Delivery,
    /// How events are written.
    pub framing: Framing,
    /// Events that it has been given.
    pub events: u64,
    /// Their bytes, as they are encoded.
    pub bytes: u64,
    /// Entries of its feed that it has not got yet; in catch-up records, as far as it has looked.
    pub behind: u64,
    /// Where it and its feed's head are, if it is live and the pump has it.
    pub(super) places: Option<(Cursor, Cursor)>,
}

impl Glimpse {
    /// The names of the streams.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.of.streams.iter().map(|by| by.stream.as_str())
    }

    /// The encoding, `identity` if it has none.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        self.of.encoding.map_or("identity", Encoding::as_str)
    }

    /// How much older the last record that it has passed is than its feed's newest, in ms; where
    /// that is known.
    #[must_use]
    pub fn behind_ms(&self) -> Option<u64> {
        if self.behind == 0 {
            return (self.delivery != Delivery::CatchUp).then_some(0);
        }
        let (at, head) = self.places.as_ref()?;
        let (passed, newest) = (newest(&at.vector())?, newest(&head.vector())?);
        Some(u64::try_from(newest.0.saturating_sub(passed.0)).unwrap_or(0))
    }

    /// Its position, as an id says it; where it costs nothing to know.
    #[must_use]
    pub fn position(&self) -> Option<String> {
        let (at, _) = self.places.as_ref()?;
        String::from_utf8(super::id_of(&at.vector())).ok()
    }
}

/// The time of the newest record that has been passed.
fn newest(vector: &Vector) -> Option<TimestampMs> {
    let times = vector.slots().iter().filter_map(|slot| match slot.at.time {
        PositionTime::Record(time) => Some(time),
        _ => None,
    });
    times.max()
}

impl Sessions {
    /// What every open stream is doing, by its number. A shard of the pump that does not answer
    /// within `limits::REPORT_MAX` is left out.
    pub async fn report(&self) -> HashMap<SeatNumber, Glimpse> {
        let mut all = self.shared.roll.glimpses();
        if let Some(pump) = &self.shared.pump {
            all.extend(pump.report().await);
        }
        all.into_iter().map(|glimpse| (glimpse.number, glimpse)).collect()
    }
}
