//! No ring is lost: shown by loom, in every order in which three threads can run that interrupt
//! each other three times, and with every value that an atomic may give.

use std::sync::atomic::Ordering;

#[allow(clippy::duplicate_mod, reason = "the same text over other atomics is the point")]
#[path = "asks.rs"]
mod asks;

mod sync {
    pub(super) use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering};
}

/// The eventfd: readable from a write to the next read.
struct Readable {
    is: loom::sync::atomic::AtomicBool,
    changed: loom::sync::Notify,
}

impl Readable {
    fn new() -> Self {
        Self { is: loom::sync::atomic::AtomicBool::new(false), changed: loom::sync::Notify::new() }
    }

    fn write(&self) {
        self.is.swap(true, Ordering::AcqRel);
        self.changed.notify();
    }

    fn read(&self) {
        self.is.swap(false, Ordering::AcqRel);
    }

    fn wait(&self) {
        while !self.is.load(Ordering::Acquire) {
            self.changed.wait();
        }
    }
}

#[test]
fn what_is_asked_in_passing_is_heard_when_who_has_to_rings() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let both = loom::sync::Arc::new((asks::Asks::new(), Readable::new()));
        for n in 0..2 {
            let both = loom::sync::Arc::clone(&both);
            loom::thread::spawn(move || {
                if both.0.ask_in_passing(n) {
                    both.0.ring_when_due(|| both.1.write());
                }
            });
        }
        let mut heard = 0;
        while heard < 2 {
            both.1.wait();
            heard += both.0.answer(|| both.1.read()).len();
        }
    });
}

#[test]
fn a_shard_hears_all_that_is_asked_and_sleeps_over_none() {
    let mut model = loom::model::Builder::new();
    // Interruptions of a thread that could have gone on. All of them take minutes.
    model.preemption_bound = Some(3);
    // A ring that is lost leaves the last thread waiting for ever, which loom finds.
    model.check(|| {
        let both = loom::sync::Arc::new((asks::Asks::new(), Readable::new()));
        for asks in [1, 2] {
            let both = loom::sync::Arc::clone(&both);
            loom::thread::spawn(move || {
                (0..asks).for_each(|n| both.0.ask(n, || both.1.write()));
            });
        }
        let mut heard = 0;
        while heard < 3 {
            both.1.wait();
            heard += both.0.answer(|| both.1.read()).len();
        }
    });
}
