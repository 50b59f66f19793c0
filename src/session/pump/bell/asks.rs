//! A list of what there is to do, and whether its reader has been rung for since it looked last.
//!
//! Compiled a second time, over loom's atomics, for the proof that no ring is lost.

use super::sync::{AtomicBool, Mutex, Ordering};

#[derive(Debug)]
pub(super) struct Asks<T> {
    rung: AtomicBool,
    /// Somebody is about to ring for what was asked in passing.
    is_due: AtomicBool,
    list: Mutex<Vec<T>>,
}

impl<T> Asks<T> {
    pub(super) fn new() -> Self {
        let (rung, is_due) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { rung, is_due, list: Mutex::new(Vec::new()) }
    }

    /// Adds one, and rings unless that has been done.
    pub(super) fn ask(&self, ask: T, ring: impl FnOnce()) {
        self.list.lock().expect("no holder panics").push(ask);
        self.ring(ring);
    }

    /// Adds one that can wait a moment. True: the caller has to `ring_when_due` soon.
    pub(super) fn ask_in_passing(&self, ask: T) -> bool {
        self.list.lock().expect("no holder panics").push(ask);
        !self.is_due.swap(true, Ordering::AcqRel)
    }

    /// Rings for all that was added in passing.
    pub(super) fn ring_when_due(&self, ring: impl FnOnce()) {
        // In this order: who asks from now on sees to a ring of its own.
        self.is_due.swap(false, Ordering::AcqRel);
        self.ring(ring);
    }

    fn ring(&self, ring: impl FnOnce()) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            ring();
        }
    }

    /// All that was asked since the last time. What comes from now on rings again.
    pub(super) fn answer(&self, hush: impl FnOnce()) -> Vec<T> {
        // In this order: a ring between the two would be hushed with `rung` left standing, and
        // nobody would ring again. A swap, since it has its place among the askers' swaps: with a
        // store loom finds an order in which a ring is lost.
        hush();
        self.rung.swap(false, Ordering::AcqRel);
        std::mem::take(&mut *self.list.lock().expect("no holder panics"))
    }
}
