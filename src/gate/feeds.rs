//! Who has brought which feeds into being. A feed costs a ring, whoever reads it, and a few streams
//! make more combinations than anybody has memory for: so what a client starts is counted, and how
//! fast it does. Joining a feed that is there costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::client::ClientKey;
use super::rate::{Opens, Rate};
use super::{Permit, Refusal};
use crate::metrics::Metrics;

/// Feeds of one client.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// That it has started and that still exist.
    pub held: u32,
    /// How fast it may start them; `None`: as fast as it likes.
    pub starts: Option<Opens>,
}

impl Limits {
    /// No limit for anybody.
    pub const UNLIMITED: Self = Self { held: u32::MAX, starts: None };
}

/// Feeds by the client that started them.
#[derive(Debug)]
pub(super) struct Feeds {
    limits: Limits,
    rate: Option<Rate>,
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    by: Mutex<HashMap<ClientKey, u32>>,
    metrics: Arc<Metrics>,
}

/// Held by the feed itself, so that it counts for its client exactly as long as it exists.
#[derive(Debug)]
pub struct Started {
    key: ClientKey,
    held: Arc<Held>,
}

impl Permit {
    /// Charges its client with a feed that did not exist.
    ///
    /// # Errors
    /// The one reason why it may start none; it has been counted.
    pub fn starts_feed(&self) -> Result<Started, Refusal> {
        self.gate.feeds.start(self.client()).map_err(|why| self.gate.refused(why))
    }
}

impl Feeds {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let held = Arc::new(Held { by: Mutex::default(), metrics });
        Self { limits, rate: limits.starts.map(Rate::new), held }
    }

    /// A client starts a feed.
    pub(super) fn start(&self, key: ClientKey) -> Result<Started, Refusal> {
        let limit = self.limits.held;
        let mut by = self.held.by.lock().expect("no holder panics");
        let held = by.get(&key).copied().unwrap_or(0);
        if held >= limit {
            return Err(Refusal::ClientFeeds { held, limit });
        }
        if let Some(wait_s) = self.rate.as_ref().and_then(|rate| rate.wait_s(key)) {
            return Err(Refusal::FeedRate { wait_s });
        }
        by.insert(key, held + 1);
        self.held.measure(&by);
        Ok(Started { key, held: Arc::clone(&self.held) })
    }
}

impl Held {
    fn measure(&self, by: &HashMap<ClientKey, u32>) {
        let most = by.values().copied().max().unwrap_or(0);
        self.metrics.gate.feeds_of_one_client_max.set(most.into());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let mut by = self.held.by.lock().expect("no holder panics");
        if let Some(held) = by.get_mut(&self.key) {
            *held -= 1;
            if *held == 0 {
                by.remove(&self.key);
            }
        }
        self.held.measure(&by);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::num::NonZeroU32;

    use http::HeaderMap;

    use super::super::Settings;
    use super::*;

    fn key(n: u8) -> ClientKey {
        let identity = Settings::room_for(1).identity;
        identity.of(IpAddr::from([127, 0, 0, n]), &HeaderMap::new()).expect("a client").key
    }

    #[test]
    fn a_feed_counts_for_who_started_it_as_long_as_it_exists() {
        let metrics = Arc::new(Metrics::new());
        let feeds = Feeds::new(Limits { held: 2, starts: None }, Arc::clone(&metrics));
        let (first, second) =
            (feeds.start(key(1)).expect("one"), feeds.start(key(1)).expect("two"));
        let refused = feeds.start(key(1)).expect_err("no third");
        assert_eq!(refused, Refusal::ClientFeeds { held: 2, limit: 2 });
        let other = feeds.start(key(2)).expect("another client's");
        drop(first);
        let third = feeds.start(key(1)).expect("one has gone");
        assert_eq!(metrics.gate.feeds_of_one_client_max.get(), 2);
        drop((second, third, other));
        assert_eq!(metrics.gate.feeds_of_one_client_max.get(), 0);
        assert!(feeds.held.by.lock().expect("whole").is_empty());
    }

    #[test]
    fn who_is_refused_for_its_number_is_not_charged_for_its_rate() {
        let one = NonZeroU32::MIN;
        let two = one.saturating_add(1);
        let starts = Some(Opens { per_s: one, burst: two });
        let feeds = Feeds::new(Limits { held: 1, starts }, Arc::new(Metrics::new()));
        let first = feeds.start(key(1)).expect("one");
        for _ in 0..10 {
            assert!(matches!(feeds.start(key(1)), Err(Refusal::ClientFeeds { .. })));
        }
        drop(first);
        drop(feeds.start(key(1)).expect("the second of the burst"));
        assert!(matches!(feeds.start(key(1)), Err(Refusal::FeedRate { wait_s: 1.. })));
    }
}
