//! The way out: a thread that writes to the standard output, flushes, and then keeps the state.
//! What is on its way is bounded, so a slow reader of the pipe slows the stream down.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::pretty;
use super::state::State;
use crate::visit::Event;

/// Parcels that wait to be written.
const WAITING_MAX: usize = 4;
/// The state is kept at most so often, and at the end.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// Its data, a line of JSON
    Json,
    /// When, what, where and who, for people
    Pretty,
    /// Its id, which says the position behind it
    Id,
}

impl Form {
    /// Whether an event has to be parsed to be written.
    pub(super) fn reads(self, event: &Event) -> bool {
        match self {
            Self::Json => event.data.contains('\n'),
            Self::Pretty => true,
            Self::Id => false,
        }
    }

    /// Adds an event to what is written.
    pub(super) fn add(self, out: &mut String, event: &Event, parsed: &serde_json::Value) {
        let line = match self {
            // Who sends it in lines sends what can be written in one.
            Self::Json if event.data.contains('\n') => parsed.to_string(),
            Self::Json => event.data.clone(),
            Self::Pretty => pretty::line(parsed),
            Self::Id => event.id.clone(),
        };
        let _ = writeln!(out, "{line}");
    }
}

/// What is written at once.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// Whole lines.
    pub(super) text: String,
    /// Where the stream stands behind them.
    pub(super) id: Option<String>,
}

/// Where parcels go.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) parcels: mpsc::Sender<Parcel>,
    pub(super) done: oneshot::Receiver<anyhow::Result<()>>,
    /// It is writing, and whoever reads may never go on.
    writing: Arc<AtomicBool>,
    _thread: JoinHandle<()>,
}

impl Output {
    /// Begins to write. `around` is given each write to do; a bar steps aside for it.
    pub(super) fn begin(
        state: Option<State>,
        around: impl Fn(&mut dyn FnMut()) + Send + 'static,
    ) -> Self {
        let (parcels, waiting) = mpsc::channel(WAITING_MAX);
        let (over, done) = oneshot::channel();
        let writing = Arc::new(AtomicBool::new(false));
        let (is_writing, kept) = (Arc::clone(&writing), Instant::now());
        let writer = Writer { state, reached: None, kept, writing: is_writing };
        let work = move || drop(over.send(writer.run(waiting, around)));
        Self { parcels, done, writing, _thread: std::thread::spawn(work) }
    }

    /// Writes what is on its way, and keeps the state. Who does not read keeps us for `patience`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn finish(self, patience: Duration) -> anyhow::Result<()> {
        let Self { parcels, mut done, writing, .. } = self;
        drop(parcels);
        loop {
            match timeout(patience, &mut done).await {
                Ok(written) => return written.context("the output ended")?.context("write"),
                // Nothing was kept that has not left.
                Err(_) if writing.load(Ordering::Acquire) => return Ok(()),
                Err(_) => {}
            }
        }
    }
}

struct Writer {
    state: Option<State>,
    /// What was written out and is not kept yet.
    reached: Option<String>,
    kept: Instant,
    writing: Arc<AtomicBool>,
}

impl Writer {
    /// Writes until there is no more, or nobody reads it: both are well.
    fn run(
        mut self,
        mut waiting: mpsc::Receiver<Parcel>,
        around: impl Fn(&mut dyn FnMut()),
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        while let Some(Parcel { text, id }) = waiting.blocking_recv() {
            let mut written = Ok(());
            if text.is_empty() {
                if is_left(&out) {
                    break;
                }
            } else {
                self.writing.store(true, Ordering::Release);
                around(&mut || written = out.write_all(text.as_bytes()).and_then(|()| out.flush()));
                self.writing.store(false, Ordering::Release);
            }
            match written {
                Ok(()) => self.reached = id.or(self.reached.take()),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error.into()),
            }
            if self.kept.elapsed() >= KEEP_EVERY {
                self.keep()?;
            }
        }
        self.keep()
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        if let (Some(state), Some(id)) = (&mut self.state, self.reached.take()) {
            state.keep(id)?;
            self.kept = Instant::now();
        }
        Ok(())
    }
}

/// Whether whoever read the pipe has gone: it is asked when there is nothing to write.
fn is_left(out: &std::io::Stdout) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::empty())];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    let asked = poll(&mut fds, Some(&now));
    asked.is_ok() && fds[0].revents().contains(PollFlags::ERR)
}
