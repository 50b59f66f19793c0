//! The one stream whose compressed payload is decoded.

use std::io::Write;

use flate2::write::MultiGzDecoder;

/// One stream's payload, decoded as it comes.
pub(super) struct Sample(MultiGzDecoder<Vec<u8>>, Vec<u8>);

impl Default for Sample {
    fn default() -> Self {
        Self(MultiGzDecoder::new(Vec::new()), Vec::new())
    }
}

impl Sample {
    /// The text that these bytes bring; what cannot be decoded brings none, and is missed.
    pub(super) fn inflate(&mut self, bytes: &[u8]) -> &[u8] {
        self.1.clear();
        if self.0.write_all(bytes).and_then(|()| self.0.flush()).is_ok() {
            std::mem::swap(&mut self.1, self.0.get_mut());
        }
        &self.1
    }
}
