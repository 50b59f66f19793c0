//! A feed's frames, compressed once for all readers of an encoding.
//!
//! ```text
//!           plain   frame      frame      frame      frame      frame
//!  Encoder  piece  ├─ join ───┼──────────┼──────────┼─ join ───┼──────────  one run, for all
//!                  ▲ nothing before is referred to  ▲
//!  Reader a  header  own  own                       └─ piece ──┴─ piece ──  trailer
//!  Reader b  header ┴─ piece ──┴─ piece ── own  own └─ piece ── trailer
//! ```
//! A piece decodes when it is there. What is a reader's own (greeting, catch-up, `retry:`) goes
//! as stored blocks, between pieces: no encoder and no memory. Own bytes make the references of
//! the pieces that follow wrong, and no decoder would notice; so they *leave* the run, and only a
//! join point leads back. `Reader` holds to that.
//!
//! gzip and zlib readers share a run of raw deflate.
//!
//! What it costs, once for all readers: 4,000 recent changes of the demo as SSE frames of 1,440
//! bytes, a join point every 50 (one core of a shared two-core machine, best of several rounds,
//! the libraries optimised; zlib-rs 0.6.8, zstd 1.5.7; chosen levels in bold).
//!
//! | deflate level | 1 | 4 | **6** | 9 | zstd level | 1 | **3** | 6 |
//! |---|---|---|---|---|---|---|---|---|
//! | ratio | 4.2 | 5.2 | 5.4 | 5.5 | | 5.0 | 5.2 | 5.7 |
//! | µs an event | 3.4 | 15.0 | 17.2 | 22.6 | | 6.2 | 6.3 | 14.1 |
//!
//! | a join point every | 1 | 10 | 25 | **50** | 100 |
//! |---|---|---|---|---|---|
//! | deflate's ratio | 2.2 | 4.3 | 5.0 | 5.4 | 5.6 |
//! | zstd's ratio | | 4.1 | 4.8 | 5.2 | 5.5 |
//!
//! The bytes go to everybody and the time is spent once, so deflate takes the level after which
//! hardly anything is won. Both sums together are 0.4 µs of it.
//!
//! Pure: no I/O, no clock.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

mod check;
mod deflate;
mod reader;
mod zstd;

#[cfg(test)]
mod tests;

pub use reader::Reader;

use check::{Check, Sums};

/// Pieces from a join point to the next, if nobody asks for one. A joiner waits that long at the
/// most; rarer is smaller (the table above).
pub const JOIN_EVERY: u32 = 50;

/// Of the buffer for one piece, what is kept from piece to piece, in bytes.
const SCRATCH_MAX: usize = 64 << 10;

/// A content coding that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950: zlib's framing, as HTTP means it.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// As `Content-Encoding` names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    /// The run that its readers are in.
    #[must_use]
    pub fn coding(self) -> Coding {
        match self {
            Self::Gzip | Self::Deflate => Coding::Deflate,
            Self::Zstd => Coding::Zstd,
        }
    }

    fn check(self) -> Check {
        match self {
            Self::Gzip => Check::Crc32,
            Self::Deflate => Check::Adler32,
            Self::Zstd => Check::None,
        }
    }
}

/// What a feed is compressed to: one encoder each serves all encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    /// Raw deflate, for gzip and zlib.
    Deflate,
    /// zstd frames.
    Zstd,
}

impl Coding {
    /// The most bytes that an encoder holds from piece to piece. zlib-rs with a window of 32 KB;
    /// zstd with the small tables that `feed/encode/zstd.rs` asks for, by its own count.
    #[must_use]
    pub const fn encoder_bytes_max(self) -> usize {
        let context = match self {
            Self::Deflate => 336 << 10,
            Self::Zstd => 640 << 10,
        };
        context + SCRATCH_MAX
    }
}

/// Where a piece is: in which encoder's run, and there the how manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    run: u32,
    piece: u32,
}

impl Place {
    fn next(self) -> Self {
        Self { piece: self.piece.wrapping_add(1), ..self }
    }
}

/// One frame, compressed.
#[derive(Debug, Clone)]
pub struct Piece {
    /// What is sent to those who took the piece before.
    pub bytes: Bytes,
    /// Where a reader may join: from which byte on it is sent the piece. What is before ends the
    /// frame (of zstd) of those who are inside.
    pub join_at: Option<usize>,
    coding: Coding,
    place: Place,
    plain_len: u64,
    before: Sums,
    after: Sums,
}

/// The shared encoder: one for each coding of each framing of a feed.
#[derive(Debug)]
pub struct Encoder {
    run: Run,
    place: Place,
    /// Pieces since the last join point; `JOIN_EVERY` or more: the next is one.
    since_join: u32,
    sums: Sums,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Run {
    Deflate(deflate::Run),
    Zstd(zstd::Run),
}

impl Encoder {
    /// A new run: its first piece is a join point. Pieces of different runs never mix, also not of
    /// the same feed: a reader of the one has to leave it before it can join the other.
    #[must_use]
    pub fn new(coding: Coding) -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(1);
        let place = Place { run: RUNS.fetch_add(1, Ordering::Relaxed), piece: 0 };
        let run = match coding {
            Coding::Deflate => Run::Deflate(deflate::Run::new()),
            Coding::Zstd => Run::Zstd(zstd::Run::new()),
        };
        Self { run, place, since_join: JOIN_EVERY, sums: Sums::EMPTY, scratch: Vec::new() }
    }

    /// What it makes.
    #[must_use]
    pub fn coding(&self) -> Coding {
        match self.run {
            Run::Deflate(_) => Coding::Deflate,
            Run::Zstd(_) => Coding::Zstd,
        }
    }

    /// Compresses the next frame. `join` makes it a join point, as every `JOIN_EVERY`th is; a
    /// frame of no bytes is none and puts it off.
    pub fn push(&mut self, plain: &[u8], join: bool) -> Piece {
        if join {
            self.since_join = JOIN_EVERY;
        }
        let (coding, before) = (self.coding(), self.sums);
        let mut join_at = None;
        self.scratch.clear();
        if !plain.is_empty() {
            if self.since_join >= JOIN_EVERY {
                join_at = Some(self.restart());
            }
            self.since_join += 1;
            match &mut self.run {
                Run::Deflate(run) => run.push(plain, &mut self.scratch),
                Run::Zstd(run) => run.push(plain, &mut self.scratch),
            }
            if coding == Coding::Deflate {
                self.sums = before.with(plain);
            }
        }
        let bytes = Bytes::copy_from_slice(&self.scratch);
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_MAX);
        let place = self.place;
        self.place = place.next();
        let (plain_len, after) = (plain.len() as u64, self.sums);
        Piece { bytes, join_at, coding, place, plain_len, before, after }
    }

    /// Makes a join point: gives how many bytes it takes, for those who are inside.
    fn restart(&mut self) -> usize {
        self.since_join = 0;
        match &mut self.run {
            Run::Deflate(run) => run.restart(),
            Run::Zstd(run) => run.restart(&mut self.scratch),
        }
        self.scratch.len()
    }
}
