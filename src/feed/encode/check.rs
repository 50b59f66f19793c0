//! The checksums that end a gzip and a zlib stream, and how a stretch of a shared text is put
//! behind a text of one's own without reading it again.
//!
//! Both sums are linear. Let `own` be the sum of a reader's text so far, `from` and `to` the sums
//! of the shared text at the two ends of a stretch of `n` bytes. What the stretch adds is
//!
//! ```text
//! CRC-32    own' = shift(own ^ from, n) ^ to              shift: times x^8n modulo the polynomial
//! Adler-32  A' = (A − Af) + At
//!           B' = (B − Bf) + n·(A − Af) + Bt               modulo 65521
//! ```
//! So one number, `own` less `from`, is all that has to be kept while the stretch grows; and a
//! length in 64 bits, for a reader may stay for days. Pure.

use adler2::Adler32;
use crc32fast::Hasher;

/// The modulus of Adler-32: the largest prime below 2^16.
const ADLER: u32 = 65_521;

/// Both sums of one text: gzip and zlib readers share a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    crc32: u32,
    adler32: u32,
}

impl Sums {
    /// Of the empty text.
    pub(super) const EMPTY: Self = Self { crc32: 0, adler32: 1 };

    /// Of the text with `plain` behind it.
    pub(super) fn with(self, plain: &[u8]) -> Self {
        let crc32 = Check::Crc32.with(self.crc32, plain);
        let adler32 = Check::Adler32.with(self.adler32, plain);
        Self { crc32, adler32 }
    }
}

/// Which sum ends a reader's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Crc32,
    Adler32,
    None,
}

impl Check {
    /// The sum of the empty text.
    pub(super) fn empty(self) -> u32 {
        self.of(Sums::EMPTY)
    }

    /// The one of the two.
    pub(super) fn of(self, sums: Sums) -> u32 {
        match self {
            Self::Crc32 => sums.crc32,
            Self::Adler32 => sums.adler32,
            Self::None => 0,
        }
    }

    /// The sum of a text with `plain` behind it.
    pub(super) fn with(self, sum: u32, plain: &[u8]) -> u32 {
        match self {
            Self::Crc32 => {
                let mut hasher = Hasher::new_with_initial(sum);
                hasher.update(plain);
                hasher.finalize()
            }
            Self::Adler32 => {
                let mut adler = Adler32::from_checksum(sum);
                adler.write_slice(plain);
                adler.checksum()
            }
            Self::None => 0,
        }
    }

    /// What `own` differs by from the shared sum `from`, where a stretch begins.
    pub(super) fn apart(self, own: u32, from: u32) -> u32 {
        match self {
            Self::Crc32 => own ^ from,
            Self::Adler32 => {
                let less = |own: u32, from: u32| (own + ADLER - from) % ADLER;
                (less(own >> 16, from >> 16) << 16) | less(own & 0xffff, from & 0xffff)
            }
            Self::None => 0,
        }
    }

    /// The own sum again, where a stretch of `len` bytes ends with the shared sum `to`.
    /// Takes time in the logarithm of `len`.
    pub(super) fn together(self, apart: u32, len: u64, to: u32) -> u32 {
        match self {
            Self::Crc32 => shift(apart, len) ^ to,
            Self::Adler32 => {
                let (b, a) = (apart >> 16, apart & 0xffff);
                // Both factors are below 2^16, their product fits.
                let turns = (len % u64::from(ADLER)) as u32 * a % ADLER;
                let (b, a) = (b + turns + (to >> 16), a + (to & 0xffff));
                ((b % ADLER) << 16) | (a % ADLER)
            }
            Self::None => 0,
        }
    }
}

/// A CRC-32 moved up by `len` bytes.
fn shift(crc: u32, len: u64) -> u32 {
    let mut moved = Hasher::new_with_initial_len(crc, 0);
    // The sum 0 of `len` bytes: nothing is added but the place.
    moved.combine(&Hasher::new_with_initial_len(0, len));
    moved.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition of RFC 1950, byte by byte.
    fn adler32_by_hand(text: &[u8]) -> u32 {
        let (mut a, mut b) = (1_u64, 0_u64);
        for byte in text {
            a = (a + u64::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        ((b << 16) | a) as u32
    }

    /// By the definition of RFC 1952, bit by bit.
    fn crc32_by_hand(text: &[u8]) -> u32 {
        let bit = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
        !text.iter().fold(!0, byte)
    }

    proptest! {
        #[test]
        fn a_stretch_of_a_shared_text_adds_what_its_bytes_would(
            own in proptest::collection::vec(any::<u8>(), 0..300),
            before in proptest::collection::vec(any::<u8>(), 0..300),
            stretch in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let from = Sums::EMPTY.with(&before);
            let to = from.with(&stretch);
            let whole = [own.clone(), stretch.clone()].concat();
            let sum = |check: Check| {
                let mine = check.with(check.empty(), &own);
                let apart = check.apart(mine, check.of(from));
                check.together(apart, stretch.len() as u64, check.of(to))
            };
            prop_assert_eq!(sum(Check::Crc32), crc32_by_hand(&whole));
            prop_assert_eq!(sum(Check::Adler32), adler32_by_hand(&whole));
        }
    }

    #[test]
    fn sums_at_the_edge_of_their_field_are_kept_apart_and_put_together() {
        let top = (65_520_u32 << 16) | 65_520;
        for (own, from, to) in [(top, 0, top), (0, top, 0), (top, top, top), (1, top, 0)] {
            let apart = Check::Adler32.apart(own, from);
            let (b, a) = (own >> 16, own & 0xffff);
            // A stretch of 65521 bytes turns as often as one of none.
            for len in [0, 65_521, 65_521 << 40] {
                let expected = |own: u32, from: u32, to: u32| (own + 65_521 - from + to) % 65_521;
                let expected_b = expected(b, from >> 16, to >> 16);
                let expected_a = expected(a, from & 0xffff, to & 0xffff);
                let together = Check::Adler32.together(apart, len, to);
                assert_eq!(together, (expected_b << 16) | expected_a, "{own} {from} {to} {len}");
            }
        }
    }

    #[test]
    fn a_stretch_of_days_is_shifted_by_its_true_length_and_not_modulo_two_to_the_32() {
        // Shifting is a group of order 2^32 - 1 in bits, so this many bytes change nothing ...
        let round = u64::from(u32::MAX);
        assert_eq!(shift(0xdead_beef, round), 0xdead_beef);
        // ... and one more than what 32 bits count is not nothing.
        assert_eq!(shift(0xdead_beef, round + 1), shift(0xdead_beef, 1));
        assert_ne!(shift(0xdead_beef, round + 1), 0xdead_beef);
        assert_eq!(shift(0xdead_beef, 0), 0xdead_beef);
    }
}
