//! What the gate goes by, and how an operator changes it while it runs.
//!
//! What is changed counts from the next request on. Nobody who is in has to go for it: where there
//! is less room than streams, fairness lets newcomers in for those who hold most, and no others.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::{ClientKey, Identity};
use super::rate::{Opens, Rate};
use super::{Gate, Settings};

/// The settings, and what is made of them.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) settings: Settings,
    pub(super) rate: Option<Arc<Rate>>,
}

impl Terms {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let rate = settings.opens.map(|opens| Arc::new(Rate::new(opens)));
        Arc::new(Self { settings, rate })
    }
}

/// What can be changed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Streams that a client may hold; 0: as many as it likes.
    pub streams_per_client: u32,
    /// How fast a client may open streams; `None`: as fast as it likes.
    pub opens: Option<Opens>,
    /// Streams of this host.
    pub streams_max: usize,
    /// The budgets' names, and what each client of one may hold; 0: as many as it likes.
    pub budgets: Vec<(String, u32)>,
}

impl Gate {
    /// What it goes by now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let terms = self.terms();
        let Settings { identity, streams_max, opens, .. } = &terms.settings;
        Limits {
            streams_per_client: identity.streams,
            opens: *opens,
            streams_max: *streams_max,
            budgets: identity.budgets.iter().map(|b| (b.name.clone(), b.streams)).collect(),
        }
    }

    /// Goes by other limits from the next request on; budgets of unknown names are passed over.
    /// What clients have used of their rate is forgotten if that changes.
    pub fn change(&self, limits: &Limits) {
        self.reconfigure(None, limits);
    }

    /// The same, and clients are told apart in another way.
    pub fn reconfigure(&self, identity: Option<Identity>, limits: &Limits) {
        let mut terms = self.terms.write().expect("no holder panics");
        let mut settings = terms.settings.clone();
        settings.identity = identity.unwrap_or(settings.identity);
        settings.identity.streams = limits.streams_per_client;
        settings.streams_max = limits.streams_max;
        for budget in &mut settings.identity.budgets {
            let named = limits.budgets.iter().find(|(name, _)| *name == budget.name);
            budget.streams = named.map_or(budget.streams, |(_, streams)| *streams);
        }
        let same_rate = settings.opens == limits.opens;
        settings.opens = limits.opens;
        // The clients' buckets go on where they can: who has used theirs up gets no other.
        let kept = terms.rate.clone();
        *terms = match same_rate {
            true => Arc::new(Terms { settings, rate: kept }),
            false => Terms::new(settings),
        };
        drop(terms);
        self.lock().books.resize(limits.streams_max);
        self.metrics.gate.streams_max.set(i64::try_from(limits.streams_max).unwrap_or(i64::MAX));
    }

    /// What a client is called: its address, the prefix that it is counted by, or the beginning of
    /// its token's hash.
    #[must_use]
    pub fn name_of(&self, key: ClientKey) -> String {
        let Some(address) = key.address() else { return key.to_string() };
        let terms = self.terms();
        let identity = &terms.settings.identity;
        let (bits, all) = match address {
            IpAddr::V4(_) => (identity.ipv4_prefix, 32),
            IpAddr::V6(_) => (identity.ipv6_prefix, 128),
        };
        if bits >= all { address.to_string() } else { format!("{address}/{bits}") }
    }

    pub(super) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.read().expect("no holder panics"))
    }
}
