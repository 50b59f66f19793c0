//! How others wake a shard: a list of what there is to do, and one ring of an eventfd for all that
//! piles up before the shard looks.
//!
//! What can wait a moment does not ring by itself: the first of it says so to its caller, who rings
//! when there is nothing more urgent to do. Else a crowd that comes would wake the shard once for
//! each of it, and waking costs more than taking.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::carry::Live;
use super::super::drain::Drain;
use super::super::report::Glimpse;

mod asks;
#[cfg(test)]
mod proof;

/// What `asks` is made of.
mod sync {
    pub(super) use std::sync::Mutex;
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
}

use asks::Asks;

/// Something for the shard to do.
#[derive(Debug)]
pub(super) enum Ask {
    /// Serve this one.
    Take(Box<Live>),
    /// A lane's feed has moved.
    Moved(u32),
    /// Say what the readers are doing.
    Report(oneshot::Sender<Vec<Glimpse>>),
    /// Somebody has been told to go.
    Told,
    /// End all streams, each at its moment.
    Drain(Drain),
    /// Say that you are there.
    Alive(oneshot::Sender<()>),
    /// Nothing: what was asked before has been done when this is dropped.
    Settle(#[allow(dead_code, reason = "only its drop counts")] TaskTrackerToken),
    /// End the thread.
    Stop,
}

/// A shard's bell.
#[derive(Debug)]
pub(super) struct Bell {
    eventfd: OwnedFd,
    asks: Asks<Ask>,
}

impl Bell {
    pub(super) fn new() -> std::io::Result<Arc<Self>> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { eventfd, asks: Asks::new() }))
    }

    pub(super) fn ask(&self, ask: Ask) {
        self.asks.ask(ask, || self.write());
    }

    /// Asks for what can wait a moment. True: the caller has to `ring_when_due` soon.
    #[must_use]
    pub(super) fn ask_in_passing(&self, ask: Ask) -> bool {
        self.asks.ask_in_passing(ask)
    }

    /// Rings for all that was asked in passing.
    pub(super) fn ring_when_due(&self) {
        self.asks.ring_when_due(|| self.write());
    }

    fn write(&self) {
        // A full counter has been rung as well.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// All that was asked since the last time. What comes from now on rings again.
    pub(super) fn answer(&self) -> Vec<Ask> {
        self.asks.answer(|| {
            let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn whoever_asks_is_heard_however_many_ask_while_others_are_answered() {
        const ASKERS: usize = 4;
        const ASKS: usize = 50_000;
        let bell = Bell::new().expect("an eventfd");
        let patience = Duration::from_secs(20).try_into().expect("a short time");
        std::thread::scope(|scope| {
            for _ in 0..ASKERS {
                scope.spawn(|| (0..ASKS).for_each(|_| bell.ask(Ask::Moved(0))));
            }
            let mut heard = 0;
            while heard < ASKERS * ASKS {
                let mut rings = [PollFd::new(&*bell, PollFlags::IN)];
                let ready = poll(&mut rings, Some(&patience)).expect("poll an eventfd");
                assert_eq!(ready, 1, "{heard} were heard, and the bell does not ring any more");
                heard += bell.answer().len();
            }
        });
    }

    #[test]
    fn what_is_asked_in_passing_is_heard_with_the_ring_of_its_first_or_with_any_other() {
        let bell = Bell::new().expect("an eventfd");
        let rings = || {
            let mut rings = [PollFd::new(&*bell, PollFlags::IN)];
            let at_once = Duration::ZERO.try_into().expect("a short time");
            poll(&mut rings, Some(&at_once)).expect("poll an eventfd") > 0
        };
        assert!(bell.ask_in_passing(Ask::Told), "the first has to ring");
        assert!(!bell.ask_in_passing(Ask::Told), "the others need not");
        assert!(!rings());
        bell.ring_when_due();
        assert!(rings());
        assert_eq!(bell.answer().len(), 2);
        assert!(bell.ask_in_passing(Ask::Told), "the next is a first again");
        bell.ask(Ask::Moved(7));
        assert!(rings(), "what is urgent does not wait for it");
        assert!(matches!(bell.answer()[..], [Ask::Told, Ask::Moved(7)]), "and keeps its place");
    }
}
