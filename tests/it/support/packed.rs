//! Compressed bodies decoded as they come, strictly: what is not readable at once fails, and so
//! does an end without its checksum.

use std::io::Write;

use flate2::write::{GzDecoder, ZlibDecoder};
use tidegate::feed::encode::Encoding;

/// Every way of getting a stream.
pub const ENCODINGS: [Option<Encoding>; 4] =
    [None, Some(Encoding::Gzip), Some(Encoding::Deflate), Some(Encoding::Zstd)];

/// A body's text so far.
pub struct Unpacker(Kind);

enum Kind {
    Plain(Vec<u8>),
    Gzip(GzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
    /// And what the decoder still waits for; 0: its frame has ended.
    Zstd(zstd_safe::DCtx<'static>, Vec<u8>, usize),
}

impl Unpacker {
    /// At the body's beginning.
    #[must_use]
    pub fn new(encoding: Option<Encoding>) -> Self {
        Self(match encoding {
            None => Kind::Plain(Vec::new()),
            Some(Encoding::Gzip) => Kind::Gzip(GzDecoder::new(Vec::new())),
            Some(Encoding::Deflate) => Kind::Deflate(ZlibDecoder::new(Vec::new())),
            // Before anything has come, a frame is waited for.
            Some(Encoding::Zstd) => Kind::Zstd(zstd_safe::DCtx::create(), Vec::new(), 1),
        })
    }

    /// The next bytes. Nothing may follow a trailer.
    #[track_caller]
    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Kind::Plain(text) => text.extend_from_slice(bytes),
            Kind::Gzip(decoder) => {
                decoder.write_all(bytes).and_then(|()| decoder.flush()).expect("gzip");
            }
            Kind::Deflate(decoder) => {
                decoder.write_all(bytes).and_then(|()| decoder.flush()).expect("zlib");
            }
            Kind::Zstd(context, text, hint) => {
                let mut input = zstd_safe::InBuffer::around(bytes);
                loop {
                    let mut piece = vec![0; 1 << 17];
                    let mut output = zstd_safe::OutBuffer::around(&mut piece[..]);
                    let before = input.pos;
                    *hint = context.decompress_stream(&mut output, &mut input).expect("zstd");
                    let n = output.pos();
                    text.extend_from_slice(&piece[..n]);
                    if input.pos == bytes.len() && n < piece.len() {
                        break;
                    }
                    assert!(n > 0 || input.pos > before, "the decoder stands still");
                }
            }
        }
    }

    /// What it says so far.
    #[must_use]
    pub fn text(&self) -> &str {
        let text = match &self.0 {
            Kind::Plain(text) | Kind::Zstd(_, text, _) => text,
            Kind::Gzip(decoder) => decoder.get_ref(),
            Kind::Deflate(decoder) => decoder.get_ref(),
        };
        std::str::from_utf8(text).expect("UTF-8, and no half of a character")
    }

    /// What it says since the last time, as it came; for those who read for long.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.0 {
            Kind::Plain(text) | Kind::Zstd(_, text, _) => text,
            Kind::Gzip(decoder) => decoder.get_mut(),
            Kind::Deflate(decoder) => decoder.get_mut(),
        })
    }

    /// The body has ended: fails if it is not whole.
    #[track_caller]
    pub fn end(&mut self) {
        match &mut self.0 {
            Kind::Plain(_) => {}
            Kind::Gzip(decoder) => decoder.try_finish().expect("a whole gzip stream"),
            Kind::Deflate(decoder) => decoder.try_finish().expect("a whole zlib stream"),
            Kind::Zstd(_, _, hint) => assert_eq!(*hint, 0, "the last frame is whole"),
        }
    }
}
