//! Which addresses are blocked: what operators have decided of prefixes, and what holds now.
//!
//! ```text
//!  change {prefix, at, host, verdict} ─▶ learn: the latest of each prefix is kept
//!  address, time ─▶ blocking: the longest prefix that holds it and whose block is in force
//! ```
//! Changes come from operators of this host and, through a log, from other hosts; in any order, and
//! again and again. Each prefix has the latest change, by (time, host), so all who have seen the
//! same changes know the same. A removal is a change too, and is kept for as long as an older block
//! of that prefix may still turn up somewhere.
//!
//! Pure: no I/O, no clock. The time is given.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::event::TimestampMs;
use crate::limits::BLOCK_KNOWN_AFTER_MS;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The prefix is blocked.
    Blocked {
        /// Until then; `None`: until it is removed.
        until: Option<TimestampMs>,
    },
    /// It is no longer.
    Removed,
}

/// A decision of an operator. Ordered by time and host; the rest only makes the order total.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// When it was decided, by the clock of `host`.
    pub at: TimestampMs,
    /// Which gateway was told.
    pub host: Arc<str>,
    /// What was decided.
    pub verdict: Verdict,
    /// Of which addresses. Without host bits, IPv4 never in IPv6's mapped form (`canonical`).
    pub prefix: IpNet,
    /// Who decided it.
    pub by: Arc<str>,
    /// Why; those who are blocked are told.
    pub reason: Option<Arc<str>>,
}

impl Change {
    /// Whether it blocks at `now`.
    #[must_use]
    pub fn is_in_force(&self, now: TimestampMs) -> bool {
        match self.verdict {
            Verdict::Blocked { until } => until.is_none_or(|until| now < until),
            Verdict::Removed => false,
        }
    }

    /// When its block ended, if it has by `now`.
    #[must_use]
    pub fn ended(&self, now: TimestampMs) -> Option<TimestampMs> {
        match self.verdict {
            Verdict::Blocked { until } => until.filter(|until| *until <= now),
            Verdict::Removed => Some(self.at),
        }
    }

    /// Whether nobody can know an older block of the prefix any more.
    #[must_use]
    pub fn is_history(&self, now: TimestampMs) -> bool {
        self.ended(now).is_some_and(|end| now.less(BLOCK_KNOWN_AFTER_MS) > end)
    }
}

/// Without host bits, and IPv4 as IPv4. (`::ffff:192.0.2.0/120` is `192.0.2.0/24`: no client's
/// address is in the mapped form.)
#[must_use]
pub fn canonical(prefix: IpNet) -> IpNet {
    if let IpNet::V6(v6) = prefix
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(bits) = v6.prefix_len().checked_sub(96)
    {
        return Ipv4Net::new(v4, bits).map_or(prefix, |net| IpNet::V4(net.trunc()));
    }
    prefix.trunc()
}

/// Everything that is known of prefixes.
#[derive(Debug)]
pub struct Blocks {
    latest: HashMap<IpNet, Change>,
    /// How many blocks there are of each length, so that only those are looked for.
    v4: [u32; 33],
    v6: [u32; 129],
}

impl Default for Blocks {
    fn default() -> Self {
        Self { latest: HashMap::new(), v4: [0; 33], v6: [0; 129] }
    }
}

impl Blocks {
    /// Takes a change, unless it is older than what is known of its prefix, or just that. True: it
    /// was news.
    pub fn learn(&mut self, change: Change) -> bool {
        if self.latest.get(&change.prefix).is_some_and(|known| *known >= change) {
            return false;
        }
        self.forget(change.prefix);
        self.count(&change, 1);
        self.latest.insert(change.prefix, change);
        true
    }

    /// Forgets all that is known of a prefix.
    pub fn forget(&mut self, prefix: IpNet) {
        if let Some(old) = self.latest.remove(&prefix) {
            self.count(&old, u32::MAX);
        }
    }

    /// Only blocks are looked for; those that are over, too, until they are forgotten.
    fn count(&mut self, change: &Change, by: u32) {
        if let Verdict::Blocked { .. } = change.verdict {
            let bits = usize::from(change.prefix.prefix_len());
            let count = match change.prefix {
                IpNet::V4(_) => &mut self.v4[bits],
                IpNet::V6(_) => &mut self.v6[bits],
            };
            *count = count.wrapping_add(by);
        }
    }

    /// The block that an address is under: of several, the one of the longest prefix.
    #[must_use]
    pub fn blocking(&self, address: IpAddr, now: TimestampMs) -> Option<&Change> {
        if self.latest.is_empty() {
            return None;
        }
        let in_force =
            |prefix: IpNet| self.latest.get(&prefix).filter(|change| change.is_in_force(now));
        match address.to_canonical() {
            IpAddr::V4(v4) => lengths(&self.v4)
                .find_map(|bits| in_force(IpNet::V4(Ipv4Net::new(v4, bits).ok()?.trunc()))),
            IpAddr::V6(v6) => lengths(&self.v6)
                .find_map(|bits| in_force(IpNet::V6(Ipv6Net::new(v6, bits).ok()?.trunc()))),
        }
    }

    /// The latest of this very prefix.
    #[must_use]
    pub fn get(&self, prefix: &IpNet) -> Option<&Change> {
        self.latest.get(prefix)
    }

    /// The latest of every prefix, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Change> {
        self.latest.values()
    }

    /// How many prefixes something is known of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.latest.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }
}

/// The lengths that there are, the longest first.
fn lengths(counts: &[u32]) -> impl Iterator<Item = u8> {
    let longest_first = (0u8..=128).take(counts.len()).rev();
    longest_first.filter(|bits| counts[usize::from(*bits)] > 0)
}

#[cfg(test)]
mod tests;
