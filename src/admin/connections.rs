//! `/admin/connection-log`: every connection in the log for a time, and then no more.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::Admins;
use super::asked::object;
use super::look::answer;
use super::problem::Problem;
use crate::config::seconds_in;
use crate::gate::{ConnectionLog, Gate};
use crate::limits::CONNECTION_LOG_MAX;

pub(super) async fn show(State(admin): Admins) -> Result<Response, Problem> {
    Ok(answer(shown(admin.controls()?.gate.connection_log())))
}

pub(super) async fn turn_on(
    State(admin): Admins,
    ConnectInfo(by): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, Problem> {
    let gate = &admin.controls()?.gate;
    let time = seconds_in(&object(&body)?, "for_s", CONNECTION_LOG_MAX);
    let time = time.map_err(|mistake| Problem::bad(mistake.to_string()))?;
    gate.connection_log().turn_on(time);
    tracing::warn!(%by, seconds = time.as_secs(), "an operator has connections logged");
    tokio::spawn(say_when_off(std::sync::Arc::clone(gate), time));
    Ok(answer(shown(gate.connection_log())))
}

pub(super) async fn turn_off(
    State(admin): Admins,
    ConnectInfo(by): ConnectInfo<SocketAddr>,
) -> Result<Response, Problem> {
    let log = admin.controls()?.gate.connection_log();
    log.turn_off();
    tracing::warn!(%by, "an operator has connections logged no more");
    Ok(answer(shown(log)))
}

/// It ends by itself; that nothing more comes is only said here.
async fn say_when_off(gate: std::sync::Arc<Gate>, time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(10)).await;
    if gate.connection_log().ran_out() {
        tracing::warn!("connections are logged no more: their time is over");
    }
}

fn shown(log: &ConnectionLog) -> Value {
    let left = log.left();
    json!({ "on": left.is_some(), "left_s": left.map_or(0, |left| left.as_secs() + 1) })
}
