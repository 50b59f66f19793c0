//! zstd (RFC 8878): frames of some events, each frame a join point.
//!
//! ```text
//! 28 b5 2f fd  00 30   block  block  …  01 00 00
//! magic        ↑  ↑    one or more a piece,    an empty raw block, the last
//!              │  window of 64 KB             flushed at its end
//!              no size, no checksum, no dictionary
//! ```
//! A frame claims neither a size nor a checksum, so it may end wherever a piece ends. All frames,
//! shared ones and a reader's own, claim the same window: a decoder makes its buffers once.

use std::fmt;

use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

/// See `feed/encode.rs` for what the levels cost and bring.
const LEVEL: i32 = 3;

/// Window and blocks of 64 KB, about what a frame of `JOIN_EVERY` usual events has.
const WINDOW_LOG: u8 = 16;

/// Of both hash tables, in place of what the level has for texts of any length (16 and 17): half
/// the memory, and less to clear for each frame, for a ratio of 5.20 in place of 5.21.
const TABLE_LOG: u32 = 14;

/// The most bytes of a raw block: the window (and in no case more than 128 KB).
const RAW_MAX: usize = 1 << WINDOW_LOG;

/// Room that a piece finds at the least.
const ROOM: usize = 64;

/// How a frame begins.
const HEAD: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (WINDOW_LOG - 10) << 3];

/// How a frame ends.
pub(super) const END: [u8; 3] = [1, 0, 0];

/// The shared encoder.
pub(super) struct Run {
    context: CCtx<'static>,
    /// A frame has begun.
    open: bool,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn new() -> Self {
        let mut context = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(LEVEL),
            CParameter::WindowLog(WINDOW_LOG.into()),
            CParameter::HashLog(TABLE_LOG),
            CParameter::ChainLog(TABLE_LOG),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
        ] {
            context.set_parameter(parameter).expect("zstd knows this parameter and this value");
        }
        Self { context, open: false }
    }

    /// Appends the end of the frame, if one has begun; from here on nothing before is referred to.
    pub(super) fn restart(&mut self, out: &mut Vec<u8>) {
        if self.open {
            self.run(&[], ZSTD_EndDirective::ZSTD_e_end, out);
        }
        self.open = false;
    }

    /// Appends `plain` (not empty), compressed and flushed.
    pub(super) fn push(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.run(plain, ZSTD_EndDirective::ZSTD_e_flush, out);
        self.open = true;
    }

    /// Bytes of the context, by zstd's own count.
    #[cfg(test)]
    pub(super) fn size_bytes(&self) -> usize {
        self.context.sizeof()
    }

    fn run(&mut self, plain: &[u8], then: ZSTD_EndDirective, out: &mut Vec<u8>) {
        let mut input = InBuffer::around(plain);
        loop {
            let done = out.len();
            out.reserve((plain.len() - input.pos()) / 4 + ROOM);
            let mut output = OutBuffer::around_pos(out, done);
            let left = self
                .context
                .compress_stream2(&mut output, &mut input, then)
                .expect("zstd fails only on bad parameters, or without memory");
            if left == 0 && input.pos() == plain.len() {
                return;
            }
        }
    }
}

/// Appends `plain` as it is: a frame of raw blocks, whole, nine bytes more.
pub(super) fn raw(plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&HEAD);
    let mut blocks = plain.chunks(RAW_MAX).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&END);
    }
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let head = ((block.len() as u32) << 3) | last;
        out.extend_from_slice(&head.to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
}
