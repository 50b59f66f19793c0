//! Faults, done one after another, and how long each was felt.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, Orders};
use crate::schedule::{Fault, Kind, Lane};

/// How long a recovery is waited for. Longer is a failure.
const RECOVERY_MAX_MS: u64 = 60_000;

/// What can be done to things.
pub trait Machinery: Send {
    /// Begins a fault.
    fn begin(&mut self, fault: &Fault);
    /// Ends it.
    fn end(&mut self, fault: &Fault);
}

/// A fault that has happened.
#[derive(Debug, Clone, Serialize)]
pub struct Happened {
    /// As it was planned.
    #[serde(flatten)]
    pub fault: Fault,
    /// When it had begun in truth, in ms of the run's clock.
    pub begun_ms: u64,
    /// When it was over: what was frozen goes on, what was killed runs again.
    pub ended_ms: u64,
    /// From its beginning until every reader had, of every partition, an event that was sent after
    /// the beginning. `None`: not within a minute of the end.
    pub felt_ms: Option<u64>,
    /// The same from its end on.
    pub recovery_ms: Option<u64>,
}

/// Who is looked at to tell when a fault is over.
#[derive(Clone)]
pub struct Watched {
    /// The run's time.
    pub clock: Clock,
    /// Readers that keep up when they are let, by number, and their places.
    pub readers: Vec<(Arc<Orders>, Vec<usize>)>,
}

impl Watched {
    /// Whether all who are in no trouble of their own have what was sent at this time or later.
    fn is_fresh(&self, fault: &Fault, ms: u64) -> bool {
        if fault.lane == Lane::Reader {
            let (orders, places) = &self.readers[fault.target];
            return orders.is_fresh(places, ms);
        }
        let mut concerned = self.readers.iter().filter(|(orders, _)| !orders.is_in_trouble());
        concerned.all(|(orders, places)| orders.is_fresh(places, ms))
    }

    /// Waits until all have what was sent at this time or later; how long after it that is. `None`:
    /// not by the deadline.
    fn wait(&self, fault: &Fault, sent_ms: u64, deadline_ms: u64) -> Option<u64> {
        while self.clock.ms() < deadline_ms {
            if self.is_fresh(fault, sent_ms) {
                return Some(self.clock.ms() - sent_ms);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

/// Does a lane's faults and notes each. What would begin after `until_ms` is left out.
pub fn run(
    machinery: &mut dyn Machinery,
    faults: &[Fault],
    watched: &Watched,
    until_ms: u64,
    note: &dyn Fn(Happened),
) {
    for fault in faults {
        watched.clock.wait_until(fault.at_ms);
        if watched.clock.ms() > until_ms {
            break;
        }
        note(one(machinery, fault, watched));
    }
}

fn one(machinery: &mut dyn Machinery, fault: &Fault, watched: &Watched) -> Happened {
    let clock = watched.clock;
    machinery.begin(fault);
    let begun_ms = clock.ms();
    // It may be over for everyone long before it is mended.
    let felt = || watched.wait(fault, begun_ms, begun_ms + fault.for_ms + 2 * RECOVERY_MAX_MS);
    std::thread::scope(|scope| {
        let felt = scope.spawn(felt);
        clock.wait_until(begun_ms + fault.for_ms);
        machinery.end(fault);
        let ended_ms = clock.ms();
        let recovery_ms = watched.wait(fault, ended_ms, ended_ms + RECOVERY_MAX_MS);
        let felt_ms = felt.join().unwrap_or_default();
        Happened { fault: fault.clone(), begun_ms, ended_ms, felt_ms, recovery_ms }
    })
}

/// What can be done to readers.
pub struct OfReaders(pub Vec<Arc<Orders>>);

impl OfReaders {
    fn order(&self, fault: &Fault, is_on: bool) {
        let orders = &self.0[fault.target];
        let order = if fault.kind == Kind::ReaderStall { &orders.stalls } else { &orders.is_away };
        order.store(is_on, Ordering::Release);
    }
}

impl Machinery for OfReaders {
    fn begin(&mut self, fault: &Fault) {
        self.order(fault, true);
        if fault.for_ms < 100 {
            // Long enough for it to see that it is cut.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn end(&mut self, fault: &Fault) {
        self.order(fault, false);
    }
}
