//! The waiting room: requests that wait a moment for a seat that their own client has just left.

use super::Gate;
use super::client::ClientKey;
use crate::limits;

/// Somebody in the waiting room.
pub(super) struct Waiting<'a>(&'a Gate, ClientKey);

impl<'a> Waiting<'a> {
    pub(super) fn new(gate: &'a Gate, key: ClientKey) -> Option<Self> {
        let mut state = gate.lock();
        let own = state.waiting.get(&key).copied().unwrap_or(0);
        let fits = state.waiting_all < limits::WAITING_MAX && own < limits::WAITING_OF_CLIENT_MAX;
        if !fits {
            return None;
        }
        state.waiting_all += 1;
        state.waiting.insert(key, own + 1);
        Some(Self(gate, key))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting_all -= 1;
        let own = state.waiting.get_mut(&self.1).map(|own| {
            *own -= 1;
            *own
        });
        if own == Some(0) {
            state.waiting.remove(&self.1);
        }
    }
}
