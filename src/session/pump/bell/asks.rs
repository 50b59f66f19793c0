//! A list of what there is to do, and whether its reader has been rung for since it looked last.
//!
//! Compiled a second time, over loom's atomics, for the proof that no ring is lost.

use super::sync::{AtomicBool, Mutex, Ordering};

#[derive(Debug)]
pub(super) struct Asks<T> {
    rung: AtomicBool,
    list: Mutex<Vec<T>>,
}

impl<T> Asks<T> {
    pub(super) fn new() -> Self {
        Self { rung: AtomicBool::new(false), list: Mutex::new(Vec::new()) }
    }

    /// Adds one, and rings unless that has been done.
    pub(super) fn ask(&self, ask: T, ring: impl FnOnce()) {
        self.list.lock().expect("no holder panics").push(ask);
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
