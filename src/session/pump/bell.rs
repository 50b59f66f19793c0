//! How others wake a shard: a list of what there is to do, and one ring of an eventfd for all that
//! piles up before the shard looks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::carry::Live;

/// Something for the shard to do.
#[derive(Debug)]
pub(super) enum Ask {
    /// Serve this one.
    Take(Box<Live>),
    /// A lane's feed has moved.
    Moved(u32),
    /// Somebody has been told to go.
    Told,
    /// End all streams, and take none any more.
    Drain,
    /// Nothing: what was asked before has been done when this is dropped.
    Settle(#[allow(dead_code, reason = "only its drop counts")] TaskTrackerToken),
    /// End the thread.
    Stop,
}

/// A shard's bell.
#[derive(Debug)]
pub(super) struct Bell {
    eventfd: OwnedFd,
    rung: AtomicBool,
    asks: Mutex<Vec<Ask>>,
}

impl Bell {
    pub(super) fn new() -> std::io::Result<Arc<Self>> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { eventfd, rung: AtomicBool::new(false), asks: Mutex::default() }))
    }

    pub(super) fn ask(&self, ask: Ask) {
        self.asks.lock().expect("no holder panics").push(ask);
        if !self.rung.swap(true, Ordering::AcqRel) {
            // A full counter has been rung as well.
            let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        }
    }

    /// All that was asked since the last time. What comes from now on rings again.
    pub(super) fn answer(&self) -> Vec<Ask> {
        self.rung.store(false, Ordering::Release);
        let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        std::mem::take(&mut *self.asks.lock().expect("no holder panics"))
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// Wakes a shard with one ask.
pub(super) struct Waking {
    pub(super) bell: Arc<Bell>,
    /// A lane has moved, or (`None`) somebody has been told to go.
    pub(super) lane: Option<u32>,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.bell.ask(self.lane.map_or(Ask::Told, Ask::Moved));
    }
}
