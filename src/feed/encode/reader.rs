//! One reader of an encoded feed: what it is sent, and what its stream must end with.
//!
//! ```text
//!            own ↺                        take ↺
//!  open ─▶ outside ── take, at a join ──▶ inside ─▶ close
//!             │  ▲                          │
//!             │  └─────── leave, own ───────┘
//!             └────────▶ close
//! ```
//! Inside, its bytes are the feed's and nobody reads them for it: the checksum of its text comes
//! from the shared one at the two ends of its stay (`feed/encode/check.rs`). Pure; 32 bytes.

use super::check::Check;
use super::{Encoding, Piece, Place, deflate, zstd};

/// A reader's state. Whatever is said here to be sent has to be sent, whole and in this order.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// Outside: the sum of its text. Inside: what that differed by from the shared one.
    sum: u32,
    /// Inside: the shared sum where it stands.
    shared: u32,
    /// Bytes of its text, modulo 2^32 as gzip wants it.
    len: u32,
    /// Inside: the piece that it needs.
    next: Place,
    /// Inside: bytes of the shared text since it came.
    stay: u64,
    encoding: Encoding,
    at: At,
}

// There are tens of thousands.
const _: () = assert!(size_of::<Reader>() <= 32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Outside; nothing was sent but the encoding's header.
    Start,
    Outside,
    Inside,
}

impl Reader {
    /// A new reader; appends what its stream begins with.
    #[must_use]
    pub fn open(encoding: Encoding, out: &mut Vec<u8>) -> Self {
        match encoding {
            Encoding::Gzip => out.extend_from_slice(&deflate::GZIP_HEAD),
            Encoding::Deflate => out.extend_from_slice(&deflate::ZLIB_HEAD),
            Encoding::Zstd => {}
        }
        let sum = encoding.check().empty();
        let next = Place { run: 0, piece: 0 };
        Self { sum, shared: 0, len: 0, next, stay: 0, encoding, at: At::Start }
    }

    /// Its encoding.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether it stands in the shared run: its next bytes are the next piece's, or it leaves.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.at == At::Inside
    }

    /// Appends text of its own. If it was inside, this leaves, and a join point leads back.
    pub fn own(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.leave(out);
        if plain.is_empty() {
            return;
        }
        match self.encoding {
            Encoding::Gzip | Encoding::Deflate => deflate::stored(plain, out),
            Encoding::Zstd => zstd::raw(plain, out),
        }
        self.sum = self.check().with(self.sum, plain);
        self.len = self.len.wrapping_add(plain.len() as u32);
        self.at = At::Outside;
    }

    /// Leaves the shared run, if it is inside; appends what that takes.
    pub fn leave(&mut self, out: &mut Vec<u8>) {
        if self.at != At::Inside {
            return;
        }
        if self.encoding == Encoding::Zstd {
            out.extend_from_slice(&zstd::END);
        }
        self.sum = self.check().together(self.sum, self.stay, self.shared);
        self.at = At::Outside;
    }

    /// Whether this piece may be its next bytes: it is the one that follows, or it is outside and
    /// may join here. (Inside, a later piece is never taken: it has to `leave` first.)
    #[must_use]
    pub fn can_take(&self, piece: &Piece) -> bool {
        self.start(piece).is_some()
    }

    /// Takes the piece. Gives from which of its bytes on it has to be sent; `None`, and no change,
    /// if it may not be sent here.
    #[must_use]
    pub fn take(&mut self, piece: &Piece) -> Option<usize> {
        let from = self.start(piece)?;
        let check = self.check();
        if self.at != At::Inside {
            self.sum = check.apart(self.sum, check.of(piece.before));
            self.stay = 0;
            self.at = At::Inside;
        }
        self.next = piece.place.next();
        self.shared = check.of(piece.after);
        self.stay += piece.plain_len;
        self.len = self.len.wrapping_add(piece.plain_len as u32);
        Some(from)
    }

    /// Appends the end of the stream: with it the response is whole.
    pub fn close(mut self, out: &mut Vec<u8>) {
        // A body of no bytes would be no zstd stream.
        if self.encoding == Encoding::Zstd && self.at == At::Start {
            zstd::raw(&[], out);
        }
        self.leave(out);
        match self.encoding {
            Encoding::Gzip => {
                out.extend_from_slice(&deflate::END);
                out.extend_from_slice(&self.sum.to_le_bytes());
                out.extend_from_slice(&self.len.to_le_bytes());
            }
            Encoding::Deflate => {
                out.extend_from_slice(&deflate::END);
                out.extend_from_slice(&self.sum.to_be_bytes());
            }
            Encoding::Zstd => {}
        }
    }

    fn start(&self, piece: &Piece) -> Option<usize> {
        match self.at {
            At::Inside => (piece.place == self.next).then_some(0),
            At::Start | At::Outside if piece.coding == self.encoding.coding() => piece.join_at,
            At::Start | At::Outside => None,
        }
    }

    fn check(&self) -> Check {
        self.encoding.check()
    }
}
