//! A catch-up in its turns: it reads while it has one, and rests where it has nothing to do.
//!
//! ```text
//!  turn? ─▶ step ─▶ bytes handed on ─▶ rest, its chunks in the turn's keeping ─▶ asked again
//!    ▲        └─▶ nothing to read yet ─▶ rest, for a moment ──────────────────────▶ │
//!    └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//! What it has in memory while it rests is the turn's: if that is given to another, the chunks are
//! gone and are read again, from the cache if they are still there. Its places are exact all the
//! time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use super::catchup::{CatchUp, Held, Step, Waits};
use crate::feed::vector::Cursor;
use crate::gate::catchup::Turn;

/// What a catch-up gave.
#[derive(Debug)]
pub(super) enum Given {
    /// Whole events (or gaps).
    Bytes(super::catchup::Batch),
    /// All has been passed up to this place of the feed.
    Joined(Cursor),
}

type Stepping = Pin<Box<dyn Future<Output = (Box<CatchUp>, Step)> + Send>>;
type Pausing = Pin<Box<dyn Future<Output = Box<CatchUp>> + Send>>;

enum Work {
    Rests(Box<CatchUp>),
    Steps(Stepping),
    Pauses(Pausing),
    /// It has joined, or is between two of the others.
    Nothing,
}

/// A reader on its way to its feed.
pub(super) struct Replay {
    turn: Turn,
    work: Work,
    held: Weak<Mutex<Held>>,
}

impl Replay {
    pub(super) fn new(catchup: Box<CatchUp>, turn: Turn) -> Self {
        Self { turn, work: Work::Rests(catchup), held: Weak::new() }
    }

    /// Events that it is behind its feed, as far as is known while it rests.
    pub(super) fn behind(&self) -> u64 {
        match &self.work {
            Work::Rests(catchup) => catchup.behind(),
            _ => 0,
        }
    }

    /// Ready with what comes next; not any more once it has joined.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Given> {
        loop {
            match std::mem::replace(&mut self.work, Work::Nothing) {
                Work::Nothing => return Poll::Pending,
                Work::Rests(mut catchup) => {
                    // Before the turn lets go of it.
                    let held = self.held.upgrade();
                    if self.turn.poll_read(cx).is_pending() {
                        self.work = Work::Rests(catchup);
                        return Poll::Pending;
                    }
                    if let Some(held) = held {
                        catchup.take_up(&mut held.lock().expect("no holder panics"));
                    }
                    self.work = Work::Steps(Box::pin(catchup.step()));
                }
                Work::Steps(mut steps) => {
                    let Poll::Ready((mut catchup, step)) = steps.as_mut().poll(cx) else {
                        self.work = Work::Steps(steps);
                        return Poll::Pending;
                    };
                    match step {
                        Step::Joined(cursor) => return Poll::Ready(Given::Joined(cursor)),
                        Step::Bytes(batch) => {
                            self.rest(&mut catchup, batch.bytes.len());
                            self.work = Work::Rests(catchup);
                            return Poll::Ready(Given::Bytes(batch));
                        }
                        Step::Waits(waits) => {
                            self.rest(&mut catchup, 0);
                            self.work = Work::Pauses(Box::pin(pause(catchup, waits)));
                        }
                    }
                }
                Work::Pauses(mut pauses) => {
                    let Poll::Ready(catchup) = pauses.as_mut().poll(cx) else {
                        self.work = Work::Pauses(pauses);
                        return Poll::Pending;
                    };
                    self.work = Work::Rests(catchup);
                }
            }
        }
    }

    fn rest(&mut self, catchup: &mut CatchUp, bytes: usize) {
        let held = Arc::new(Mutex::new(catchup.put_down()));
        self.held = Arc::downgrade(&held);
        self.turn.rest(bytes, held);
    }
}

async fn pause(catchup: Box<CatchUp>, waits: Waits) -> Box<CatchUp> {
    waits.over().await;
    catchup
}
