//! `/admin/reload`: the configuration is read again, as SIGHUP has it, and what came of it is said.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use serde_json::json;
use tokio::sync::oneshot;

use super::Admins;
use super::look::answer;
use super::problem::Problem;

/// What has changed, or why the old configuration stays.
pub type Reloaded = Result<Vec<String>, String>;

/// Asks for the configuration to be read again.
pub type AskReload = oneshot::Sender<Reloaded>;

pub(super) async fn reload(
    State(admin): Admins,
    ConnectInfo(by): ConnectInfo<SocketAddr>,
) -> Result<Response, Problem> {
    let (tell, told) = oneshot::channel();
    tracing::info!(%by, "asked to read the configuration again by the admin port");
    let asked = admin.controls()?.reload.send(tell).await;
    let outcome = match asked {
        Ok(()) => told.await,
        Err(_) => return Err(Problem::starting()),
    };
    match outcome {
        Ok(Ok(changed)) => Ok(answer(json!({ "reloaded": true, "changed": changed }))),
        Ok(Err(why)) => Err(Problem::bad(format!("The configuration stays as it was: {why}"))),
        Err(_) => Err(Problem::starting()),
    }
}
