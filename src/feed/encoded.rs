//! A feed's entries, compressed: made when the first reader of an encoding needs them, once for
//! all, and kept as long as the ring keeps the entry.
//!
//! ```text
//!  ring    e  e  –  e  e  e │ head
//!  run           –  p  p  p │          pieces in step with the ring; none before somebody asked
//! ```
//! Whoever asks for none pays nothing: the hub does not compress, those who need a piece do.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::encode::{Coding, Encoder, Piece};
use super::frame::Framing;
use super::ring::{Entry, Found, Ring};
use crate::limits;

/// Join points that joiners may cause: one in this time. Each costs the window before it.
const JOIN_PAUSE: Duration = Duration::from_millis(250);
/// Framings times codings.
const RUNS: usize = 4;

/// Encoders that exist now, over all feeds.
static ENCODERS: AtomicUsize = AtomicUsize::new(0);

/// The runs of a feed.
#[derive(Debug, Default)]
pub(super) struct Runs([Mutex<Option<Run>>; RUNS]);

/// One encoder, and its pieces.
#[derive(Debug)]
struct Run {
    encoder: Encoder,
    /// The entry of the first piece.
    first: u64,
    pieces: VecDeque<Option<Piece>>,
    joined: Instant,
    used: bool,
}

impl Drop for Run {
    fn drop(&mut self) {
        ENCODERS.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Run {
    /// A run that begins with entry `first`; none where as many encoders as may exist do.
    fn new(coding: Coding, first: u64) -> Option<Self> {
        let more = |n: usize| (n < limits::ENCODERS_MAX).then_some(n + 1);
        ENCODERS.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        let (encoder, pieces) = (Encoder::new(coding), VecDeque::new());
        Some(Self { encoder, first, pieces, joined: Instant::now(), used: true })
    }

    fn next(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    fn push(&mut self, plain: Option<&Bytes>, join: bool) {
        let Some(plain) = plain else { return self.pieces.push_back(None) };
        let join = join && self.joined.elapsed() >= JOIN_PAUSE;
        let piece = self.encoder.push(plain, join);
        if piece.join_at.is_some() {
            self.joined = Instant::now();
        }
        self.pieces.push_back(Some(piece));
    }
}

impl Runs {
    fn run(&self, framing: Framing, coding: Coding) -> &Mutex<Option<Run>> {
        &self.0[framing as usize * 2 + coding as usize]
    }

    /// The pieces of the entries `from .. until`, in their order; `None` for an entry that shows
    /// nothing, or that was passed before anybody asked. `join`: somebody waits for a join point.
    pub(super) fn pieces(
        &self,
        ring: &Mutex<Ring>,
        (framing, coding): (Framing, Coding),
        (from, until): (u64, u64),
        join: bool,
    ) -> Vec<Option<Piece>> {
        let mut run = self.run(framing, coding).lock().expect("no holder panics");
        let (first, missing) = {
            let ring = ring.lock().expect("no holder panics");
            let at = run.as_ref().map_or(from, Run::next).max(ring.first_index());
            (ring.first_index(), (at, frames(&ring, framing, at, until)))
        };
        let (at, frames) = missing;
        if run.as_ref().is_none_or(|run| run.next() < at) {
            // Nobody has needed it for a while: what was compressed before says nothing any more.
            drop(run.take());
            *run = Run::new(coding, at);
        }
        let Some(run) = run.as_mut() else { return Vec::new() };
        run.used = true;
        for frame in &frames {
            run.push(frame.as_ref(), join);
        }
        while run.first < first && run.pieces.pop_front().is_some() {
            run.first += 1;
        }
        let piece = |index: u64| {
            let place = usize::try_from(index.checked_sub(run.first)?).ok()?;
            run.pieces.get(place)?.clone()
        };
        (from..until).map(piece).collect()
    }

    /// Lets go of what nobody has used since the last call.
    pub(super) fn sweep(&self) {
        for run in &self.0 {
            let mut run = run.lock().expect("no holder panics");
            if let Some(used) = run.as_mut().map(|run| std::mem::replace(&mut run.used, false))
                && !used
            {
                *run = None;
            }
        }
    }
}

/// What the entries `from .. until` show.
fn frames(ring: &Ring, framing: Framing, from: u64, until: u64) -> Vec<Option<Bytes>> {
    let Found::Entries(entries) = ring.find(from) else { return Vec::new() };
    let many = usize::try_from(until.saturating_sub(from)).unwrap_or(usize::MAX);
    let plain = |entry: &Entry| match (entry, framing) {
        (Entry::Event { sse, .. }, Framing::Sse) => Some(sse.plain()),
        (Entry::Event { line, .. }, Framing::Ndjson) => Some(line.clone()),
        (Entry::Passed | Entry::Gap(_), _) => None,
    };
    entries.take(many).map(plain).collect()
}
