//! Where there is no epoll there is no pump: the session's body delivers everything.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::carry::Live;

/// Nothing.
#[derive(Debug)]
pub enum Pump {}

impl Pump {
    /// Fails.
    ///
    /// # Errors
    /// `Unsupported`, always.
    pub fn start(_: usize, _: (Duration, watch::Receiver<u64>)) -> io::Result<Arc<Self>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn stall_max(&self) -> Duration {
        match *self {}
    }

    pub(super) fn take(&self, _: Live) {
        match *self {}
    }

    pub(super) async fn report(&self) -> Vec<super::Glimpse> {
        match *self {}
    }

    pub(super) fn drain(&self, _: super::drain::Drain) {
        match *self {}
    }

    pub(super) async fn alive(&self) {
        match *self {}
    }

    /// Never called.
    pub async fn closed(&self) {
        match *self {}
    }
}
