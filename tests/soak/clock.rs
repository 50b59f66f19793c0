//! The run's own time, and who is told what by it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since the run began.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What it says.
    #[must_use]
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).expect("a run ends")
    }

    /// Waits until then; not at all if that is past.
    pub fn wait_until(self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms.saturating_sub(self.ms())));
    }
}

/// What the schedule makes a reader do, and what it shows.
pub struct Orders {
    /// It does not read until this is false.
    pub stalls: AtomicBool,
    /// It has no connection until this is false.
    pub is_away: AtomicBool,
    /// By place: when the newest event that it has got was sent, in ms of the clock.
    pub newest_ms: Vec<AtomicU64>,
}

impl Orders {
    /// For a reader that does as it likes.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            stalls: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            newest_ms: (0..places).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether it is in trouble of its own.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        self.stalls.load(Ordering::Acquire) || self.is_away.load(Ordering::Acquire)
    }

    /// Whether it has got, of each of these places, an event that was sent at this time or later.
    #[must_use]
    pub fn is_fresh(&self, places: &[usize], ms: u64) -> bool {
        places.iter().all(|place| self.newest_ms[*place].load(Ordering::Acquire) >= ms)
    }
}
