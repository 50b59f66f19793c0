//! When each stream of a host that goes down ends: spread evenly, so that their readers do not all
//! come to the other hosts in the same moment.
//!
//! Pure: no clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::gate::SeatNumber;

/// 2^64 divided by the golden ratio: the multiples of no other number lie so evenly around the
/// circle, however many there are and wherever one begins (Knuth, 6.4).
const EVENLY: u64 = 0x9E37_79B9_7F4A_7C15;

/// How streams end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    pub(super) from: Instant,
    /// Their ends are spread over this.
    pub(super) over: Duration,
}

impl Drain {
    /// The moment of one of them. It is its number's and needs no place in memory.
    pub(super) fn end_of(&self, number: SeatNumber) -> Instant {
        // Who is alone does not have to go at once.
        let part = number.wrapping_add(1).wrapping_mul(EVENLY) >> 32;
        self.from + self.over.mul_f64(part as f64 / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_spread_evenly_whoever_is_there() {
        let drain = Drain { from: Instant::now(), over: Duration::from_secs(10) };
        for (first, step) in [(0, 1), (123_456, 1), (7, 2), (1 << 40, 3)] {
            let mut in_second = [0; 10];
            for n in 0..10_000 {
                let after = drain.end_of(first + n * step) - drain.from;
                in_second[(after.as_secs() as usize).min(9)] += 1;
            }
            assert!(in_second.iter().all(|n| (950..1050).contains(n)), "{step}: {in_second:?}");
        }
        let at_once = Drain { over: Duration::ZERO, ..drain };
        assert_eq!(at_once.end_of(17), at_once.from);
    }
}
