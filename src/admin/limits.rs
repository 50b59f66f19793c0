//! `/admin/limits`: what clients may hold, looked at and changed while it runs.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::asked::object;
use super::look::answer;
use super::problem::Problem;
use super::{Admins, Controls};
use crate::config::RunningLimits;
use crate::gate::{Limits, Opens};
use crate::limits::OPENS_BURST;

pub(super) async fn show(State(admin): Admins) -> Result<Response, Problem> {
    Ok(answer(shown(&running(admin.controls()?))))
}

pub(super) async fn change(
    State(admin): Admins,
    ConnectInfo(by): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, Problem> {
    let controls = admin.controls()?;
    let (patch, before) = (object(&body)?, running(controls));
    let after = before.patched(&patch, controls.streams_room).map_err(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Problem::bad(all.join("; "))
    })?;
    let streams = if after.streams == 0 { controls.streams_room } else { after.streams };
    controls.gate.change(&Limits {
        streams_per_client: after.streams_per_client,
        opens: Opens::new(after.opens_per_client_s, after.opens_burst),
        streams_max: usize::try_from(streams).unwrap_or(usize::MAX),
        budgets: after.budgets.clone(),
    });
    let after = running(controls);
    tracing::warn!(%by, ?before, ?after, "an operator changed the limits, until the next start");
    Ok(answer(shown(&after)))
}

fn running(controls: &Controls) -> RunningLimits {
    let Limits { streams_per_client, opens, streams_max, budgets } = controls.gate.limits();
    RunningLimits {
        streams_per_client,
        opens_per_client_s: opens.map_or(0, |opens| opens.per_s.get()),
        opens_burst: opens.map_or(OPENS_BURST, |opens| opens.burst.get()),
        streams: streams_max as u64,
        budgets,
    }
}

fn shown(limits: &RunningLimits) -> Value {
    let budgets: serde_json::Map<_, _> =
        limits.budgets.iter().map(|(name, streams)| (name.clone(), json!(streams))).collect();
    json!({
        "streams_per_client": limits.streams_per_client,
        "opens_per_client_s": limits.opens_per_client_s,
        "opens_burst": limits.opens_burst,
        "streams": limits.streams,
        "budgets": budgets,
        "kept": "until the next start, which goes by the configuration",
    })
}
