//! The pump: streams that are live, at the cost of the kernel's send and little more.
//!
//! ```text
//!  carry ─▶ Pump::take ─▶ shard (a thread, an epoll) ─┬─ lane {feed, manner}: slots of readers
//!                            │  ▲                     └─ lane …
//!            fell off ─▶ carry  └── a feed moved (bell), a socket has room, a second has passed
//! ```
//! No task, no timer and no buffer per reader: a slot with a socket, the state machine that every
//! delivery shares (`state`), and the right to be here. What piled up in a feed while a shard went
//! through its readers is one write in its next pass, so the shard slows down by itself under load
//! and adds no delay without. A reader whose socket is full gets a place of its own and at most
//! the rest of the one frame that it is inside; it is written to when its socket has room.
//!
//! Linux only; elsewhere, and for HTTP/2 and TLS, the session's body delivers.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::body::SessionBody;
use super::carry::{Live, carry};
use super::closing::close;
use super::drain::Drain;
use super::report::Glimpse;
use crate::limits::REPORT_MAX;

mod batch;
mod bell;
mod lane;
mod reader;
mod shard;
mod slots;

use bell::{Ask, Bell};
use shard::Shard;

/// The shards.
#[derive(Debug)]
pub struct Pump {
    shards: Vec<(Arc<Bell>, Option<JoinHandle<()>>)>,
    next: AtomicUsize,
    stall_max: Duration,
    runtime: Handle,
    /// Closings, and readers on their way back to a feed.
    tasks: TaskTracker,
}

impl Pump {
    /// Starts `shards` threads (at least one). A reader that takes no byte for `stall_max` while
    /// some wait is cut; `told` moves when somebody has to go. Sockets that leave the pump are
    /// looked after by the runtime in which this is called.
    ///
    /// # Errors
    /// When the kernel gives no epoll, no eventfd or no thread.
    pub fn start(
        shards: usize,
        (stall_max, told): (Duration, watch::Receiver<u64>),
    ) -> io::Result<Arc<Self>> {
        let (runtime, tasks) = (Handle::current(), TaskTracker::new());
        let mut failed = None;
        let pump = Arc::new_cyclic(|weak: &Weak<Self>| {
            let started = (0..shards.max(1)).map_while(|n| {
                let bell = Bell::new().map_err(|e| failed = Some(e)).ok()?;
                let terms = (stall_max, told.clone());
                let shard = Shard::new(Arc::clone(&bell), weak.clone(), terms);
                let shard = shard.map_err(|e| failed = Some(e)).ok()?;
                let thread = std::thread::Builder::new().name(format!("tidegate-pump-{n}"));
                let thread = thread.spawn(move || shard.run());
                let thread = thread.map_err(|e| failed = Some(e)).ok()?;
                Some((bell, Some(thread)))
            });
            let shards = started.collect();
            Self { shards, next: AtomicUsize::new(0), stall_max, runtime, tasks }
        });
        failed.map_or(Ok(pump), Err)
    }

    /// How long a reader may take no byte while some wait.
    pub(super) fn stall_max(&self) -> Duration {
        self.stall_max
    }

    /// Serves a live session from now on.
    pub(super) fn take(&self, live: Live) {
        let n = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let bell = &self.shards[n].0;
        if bell.ask_in_passing(Ask::Take(Box::new(live))) {
            let bell = Arc::clone(bell);
            self.runtime.spawn(async move {
                // The runtime comes back to this when it has looked at what else is ready.
                tokio::task::yield_now().await;
                bell.ring_when_due();
            });
        }
    }

    /// Ends all streams after a whole frame, each at its moment.
    pub(super) fn drain(&self, drain: Drain) {
        for (bell, _) in &self.shards {
            bell.ask(Ask::Drain(drain));
        }
    }

    /// Returns when every shard has answered.
    pub(super) async fn alive(&self) {
        for (bell, _) in &self.shards {
            let (tell, told) = oneshot::channel();
            bell.ask(Ask::Alive(tell));
            let _ = told.await;
        }
    }

    /// What its readers are doing. A shard that does not answer in time is left out.
    pub(super) async fn report(&self) -> Vec<Glimpse> {
        let asked = self.shards.iter().map(|(bell, _)| {
            let (tell, told) = oneshot::channel();
            bell.ask(Ask::Report(tell));
            timeout(REPORT_MAX, told)
        });
        // All are asked before the first is waited for.
        let asked: Vec<_> = asked.collect();
        let mut all = Vec::new();
        for told in asked {
            if let Ok(Ok(glimpses)) = told.await {
                all.extend(glimpses);
            }
        }
        all
    }

    /// Returns when every socket that left the pump is closed. None may come any more.
    pub async fn closed(&self) {
        for (bell, _) in &self.shards {
            bell.ask(Ask::Settle(self.tasks.token()));
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A reader that fell off the ring reads what it missed and comes back.
    fn bring_back(self: &Arc<Self>, live: Live) {
        let Live { socket, session, rest, dropped } = live;
        let transfer = session.transfer;
        let _in = self.runtime.enter();
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        let body = SessionBody::fallen_behind(session);
        let coming =
            carry(body, socket, transfer, (BytesMut::from(rest), dropped), Arc::clone(self));
        self.tasks.spawn_on(coming, &self.runtime);
    }

    /// Ends a stream whose slot is free already: `last` is what it still has to get.
    fn close(&self, socket: std::net::TcpStream, last: BytesMut) {
        let _in = self.runtime.enter();
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        self.tasks.spawn_on(async move { close(socket, &last).await }, &self.runtime);
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        for (bell, thread) in &mut self.shards {
            bell.ask(Ask::Stop);
            if let Some(thread) = thread.take() {
                // The last handle may be dropped by the shard itself.
                if thread.thread().id() != std::thread::current().id() {
                    let _ = thread.join();
                }
            }
        }
    }
}
