//! Raw deflate (RFC 1951), and what gzip (RFC 1952) and zlib (RFC 1950) put around it.
//!
//! Every piece ends with an empty stored block (a sync flush: `00 00 ff ff`), so it is aligned to
//! bytes and decodes when it is there. A join point costs nothing: the encoder is reset between
//! two pieces, and blocks that refer to nothing before them go on any deflate stream.

use flate2::{Compress, Compression, FlushCompress};

/// Of zlib-rs. See `feed/encode.rs` for what the levels cost and bring.
const LEVEL: u32 = 6;

/// Room that a piece finds at the least: more than what a flush ends with.
const ROOM: usize = 64;

/// gzip, deflated, no name and no time, no claim about effort, of an unknown system.
pub(super) const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// zlib, deflated, window of 32 KB, no dictionary, lowest effort; divisible by 31.
pub(super) const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];

/// An empty last block.
pub(super) const END: [u8; 2] = [0x03, 0x00];

/// The most bytes that a stored block holds.
const STORED_MAX: usize = 65_535;

/// The shared encoder.
#[derive(Debug)]
pub(super) struct Run(Compress);

impl Run {
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }

    /// From here on nothing before is referred to.
    pub(super) fn restart(&mut self) {
        self.0.reset();
    }

    /// Appends `plain`, compressed and flushed.
    pub(super) fn push(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let begun = self.0.total_in();
        loop {
            let eaten = (self.0.total_in() - begun) as usize;
            out.reserve((plain.len() - eaten) / 4 + ROOM);
            self.0
                .compress_vec(&plain[eaten..], out, FlushCompress::Sync)
                .expect("deflate fails only on a stream that was finished, and this one never is");
            // Room that was left says that the flush is complete.
            if out.len() < out.capacity() {
                return;
            }
        }
    }
}

/// Appends `plain` as it is, in stored blocks: no encoder, five bytes a block. An empty one ends
/// them, as a sync flush does: Go's decoder gives out nothing before it.
pub(super) fn stored(plain: &[u8], out: &mut Vec<u8>) {
    for block in plain.chunks(STORED_MAX) {
        let len = block.len() as u16;
        // Three bits for "stored, not the last"; the rest of the byte fills up.
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
}
