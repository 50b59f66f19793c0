//! How fast a client may open streams.

use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::client::ClientKey;
pub use crate::config::Opens;

/// After so many looks the clients that have been quiet are forgotten.
const FORGET_EVERY: u32 = 4096;

#[derive(Debug)]
pub(super) struct Rate {
    limiter: DefaultKeyedRateLimiter<ClientKey>,
    clock: DefaultClock,
    looks: AtomicU32,
}

impl Rate {
    pub(super) fn new(opens: Opens) -> Self {
        let quota = Quota::per_second(opens.per_s).allow_burst(opens.burst);
        let limiter = RateLimiter::keyed(quota);
        Self { limiter, clock: DefaultClock::default(), looks: AtomicU32::new(0) }
    }

    /// Counts a new stream. In how many seconds it may come, if not now.
    pub(super) fn wait_s(&self, key: ClientKey) -> Option<u32> {
        if self.looks.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let not_until = self.limiter.check_key(&key).err()?;
        let wait = not_until.wait_time_from(self.clock.now());
        Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
    }
}
