//! Out of service, step by step.
//!
//! ```text
//!  asked ─▶ not ready ─▶ grace: readers still come ─▶ no connection is accepted any more
//!        ─▶ streams end, spread over a time ─▶ all have ended, or are cut
//!  a second signal: all end now
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::manager;
use crate::admin::Readiness;
use crate::config::DrainConfig;
use crate::gate::Gate;
use crate::limits;
use crate::session::Sessions;

/// SIGTERM, SIGINT, or the admin port.
pub(super) struct Stop {
    /// Cancelled: the admin port was asked.
    pub(super) asked: CancellationToken,
    terminate: Signal,
    interrupt: Signal,
    /// A signal has come.
    signalled: bool,
}

impl Stop {
    pub(super) fn install() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
        Ok(Self { asked: CancellationToken::new(), terminate, interrupt, signalled: false })
    }

    pub(super) async fn requested(&mut self) {
        let asked = self.asked.clone();
        tokio::select! {
            () = self.signal() => {}
            () = asked.cancelled() => {}
        }
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.signalled = true;
    }

    /// Returns with the second signal. (The first one after the admin port was asked is what is
    /// usual: `tidegate drain` before a stop.)
    async fn hurried(&mut self) {
        if !self.signalled {
            self.signal().await;
        }
        self.signal().await;
        tracing::warn!("a second signal: all streams end now");
    }
}

/// What has to end.
pub(super) struct Serving {
    pub(super) readiness: Arc<Readiness>,
    pub(super) gate: Arc<Gate>,
    pub(super) sessions: Arc<Sessions>,
    /// Cancelled: no connection is accepted any more.
    pub(super) shutdown: CancellationToken,
    pub(super) tasks: JoinSet<()>,
}

impl Serving {
    /// Ends all streams whole, and with them the tasks.
    pub(super) async fn drain(self, stop: &mut Stop, config: DrainConfig) {
        let Self { readiness, gate, sessions, shutdown, mut tasks } = self;
        let DrainConfig { grace, mut spread } = config;
        let streams = gate.held();
        tracing::info!(streams, ?grace, ?spread, "going out of service");
        manager::is_stopping(&format!("going out of service, {streams} streams are open"));
        readiness.drain();
        let hurried = stop.hurried();
        tokio::pin!(hurried);
        let mut in_a_hurry = false;
        tokio::select! {
            biased;
            () = &mut hurried => (in_a_hurry, spread) = (true, Duration::ZERO),
            () = tokio::time::sleep(grace) => {}
        }
        shutdown.cancel();
        gate.drain();
        sessions.drain(spread);
        let ended = async {
            while tasks.join_next().await.is_some() {}
            sessions.closed().await;
        };
        tokio::pin!(ended);
        if !in_a_hurry {
            let at_most = spread + limits::SHUTDOWN_MAX;
            tokio::select! {
                ended = tokio::time::timeout(at_most, &mut ended) => {
                    return say_if_cut(ended.is_ok(), &gate);
                }
                () = &mut hurried => sessions.drain(Duration::ZERO),
                () = tell_how_many_are_left(&gate) => {}
            }
        }
        let ended = tokio::time::timeout(limits::HURRY_MAX, ended).await;
        say_if_cut(ended.is_ok(), &gate);
    }
}

async fn tell_how_many_are_left(gate: &Gate) {
    loop {
        manager::says(&format!("going out of service, {} streams are left", gate.held()));
        tokio::time::sleep(limits::DRAIN_SAID_EVERY).await;
    }
}

fn say_if_cut(all_ended: bool, gate: &Gate) {
    if !all_ended {
        tracing::warn!(streams = gate.held(), "connections are cut: they did not end in time");
    }
}
