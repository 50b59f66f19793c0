//! What the service manager is told (systemd's `sd_notify`); nothing where there is none.
//!
//! A manager that is told of a start waits for it, of a stop takes that for wanted, and of a life
//! each so often starts anew what does not say so any more.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::AbortHandle;

use crate::session::Sessions;

/// It has started, or has read its configuration again.
pub(super) fn is_ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration again; `is_ready` has to follow.
pub(super) fn is_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told of a reload"),
    }
}

/// It goes down.
pub(super) fn is_stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// What it is doing, for people.
pub(super) fn says(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Says so as long as those who deliver answer, where the manager wants to hear it.
pub(super) fn watch(sessions: Arc<Sessions>) -> Option<AbortHandle> {
    let within: Duration = sd_notify::watchdog_enabled()?;
    let task = tokio::spawn(async move {
        // Twice as often as it has to, so that one late turn is not the end.
        let mut turns = tokio::time::interval(within / 2);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            sessions.alive().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
    Some(task.abort_handle())
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) cannot be told");
    }
}
