//! The gate and its blocks: in force for whoever asks from now on, and for the streams that are
//! open.
//!
//! Nobody slips through who comes in at the same moment: a block is in the table before the open
//! streams are looked through, and a stream looks into the table with its seat already taken in
//! the same order (`Knock::enter`, under the lock of the seats).

use std::net::IpAddr;
use std::sync::RwLockReadGuard;

use http::HeaderMap;

use super::blocks::{Blocks, Change};
use super::client::Client;
use super::{Gate, Refusal, Told};
use crate::event::TimestampMs;

/// Changes up to which a stream is first asked whether one of them is about it at all.
const FEW: usize = 16;

impl Gate {
    /// What is known of prefixes. Nothing else of the gate may be called while this is held.
    pub fn blocks(&self) -> RwLockReadGuard<'_, Blocks> {
        self.blocks.read().expect("no holder panics")
    }

    /// Takes changes; the streams of clients that are blocked by them are told to go. Returns what
    /// was news, and how many streams were told.
    pub fn learn(&self, changes: Vec<Change>) -> (Vec<Change>, usize) {
        let news: Vec<Change> = {
            let mut blocks = self.blocks.write().expect("no holder panics");
            changes.into_iter().filter(|change| blocks.learn(change.clone())).collect()
        };
        let now = TimestampMs::now();
        let blocked = news.iter().filter(|change| change.is_in_force(now)).map(|c| c.prefix);
        let blocked: Vec<_> = blocked.collect();
        if blocked.is_empty() {
            return (news, 0);
        }
        let meant = |address: &IpAddr| {
            blocked.len() > FEW || blocked.iter().any(|prefix| prefix.contains(address))
        };
        // The seats first, then the table, as everywhere: a reader of the table that waited for the
        // seats could wait for ever behind somebody who waits to write into it.
        let told = self.tell_each(|_, seat| {
            if !meant(&seat.address) {
                return None;
            }
            let blocks = self.blocks();
            let blocking = blocks.blocking(seat.address, now)?;
            Some(Told::Blocked(blocking.reason.clone()))
        });
        (news, told)
    }

    /// Forgets what is known of these changes' prefixes, unless it is something newer.
    pub fn forget(&self, changes: &[Change]) {
        let mut blocks = self.blocks.write().expect("no holder panics");
        for change in changes {
            if blocks.get(&change.prefix) == Some(change) {
                blocks.forget(change.prefix);
            }
        }
    }

    /// Whether a client may not come in at all.
    pub(super) fn blocked(&self, address: IpAddr) -> Option<Refusal> {
        let blocks = self.blocks();
        let blocking = blocks.blocking(address, TimestampMs::now())?;
        Some(Refusal::Blocked(blocking.reason.clone()))
    }

    /// Whether a request that is not for a stream may pass. Nothing is held for it, so a trusted
    /// proxy need not say whom it speaks for; it is its own client then.
    ///
    /// # Errors
    /// It is blocked; it has been counted.
    pub fn let_pass(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        let client = self.terms().settings.identity.of(peer, headers);
        let address = client.map_or(peer.to_canonical(), |Client { address, .. }| address);
        self.blocked(address).map_or(Ok(()), |why| Err(self.refused(why)))
    }

    /// The proxies that are believed about their clients.
    #[must_use]
    pub fn trusted_proxies(&self) -> Vec<ipnet::IpNet> {
        self.terms().settings.identity.trusted.clone()
    }
}
