//! `/admin/blocks`: who is blocked, and to change that while the gateway runs.
//!
//! ```text
//!  GET                                      what is in force, who decided it, why, until when
//!  POST {prefix, for, reason, by, force}    one more, or another end for one that there is
//!  DELETE ?prefix=&by=&reason=              the block of this very prefix ends
//! ```
//! `order` says what may be asked for, `desk` does it, `kept` and `share` see that it lasts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Admin, Admins};
use crate::event::TimestampMs;
use crate::gate::blocks::{Change, Verdict};

mod desk;
mod kept;
pub mod order;
mod share;
mod written;

pub use desk::Desk;
use desk::{Done, NotDone, Order, in_words};
pub use kept::StateError;
pub use share::Share;

/// Bytes of what an operator sends.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The routes; they still have to be guarded.
pub(super) fn routes() -> Router<Arc<Admin>> {
    let all = get(list).post(add).delete(remove);
    let other = async || Problem::method("GET, POST, DELETE");
    Router::new().route("/admin/blocks", all.fallback(other))
}

/// `POST`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    prefix: String,
    /// `2d`, `ever`.
    r#for: String,
    #[serde(default)]
    reason: String,
    by: String,
    #[serde(default)]
    force: bool,
    /// Addresses from which the operator works, besides that of this request.
    #[serde(default)]
    operator: Vec<IpAddr>,
}

/// `DELETE`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    prefix: String,
    by: String,
    #[serde(default)]
    reason: String,
}

type Peer = ConnectInfo<SocketAddr>;

async fn list(State(admin): Admins) -> Result<Response, Problem> {
    let desk = Arc::clone(&admin.controls()?.blocks);
    on_disk(move || Ok(axum::Json(listed(&desk)).into_response())).await
}

async fn add(
    State(admin): Admins,
    ConnectInfo(peer): Peer,
    request: Request,
) -> Result<Response, Problem> {
    let desk = Arc::clone(&admin.controls()?.blocks);
    let Add { prefix, r#for, reason, by, force, operator } = read_body(request.into_body()).await?;
    let wrong = |key| move |says| Problem::bad(format!("{key}: {says}"));
    let asked = order::read_prefix(&prefix).map_err(wrong("prefix"))?;
    let seconds = order::read_duration(&r#for).map_err(wrong("for"))?;
    let reason = order::read_reason(&reason).map_err(wrong("reason"))?;
    let by = order::read_name(&by).map_err(wrong("by"))?;
    let from = peer.ip();
    let own: Vec<IpAddr> = operator.into_iter().chain([from]).collect();
    let proxies = &desk.gate().trusted_proxies();
    if let Some(danger) = order::danger(&asked.prefix, proxies, &own).filter(|_| !force) {
        let says =
            format!("{danger}. Nothing was changed; `force` (--force) blocks it nevertheless");
        return Err(Problem::conflict(says));
    }
    let order = Order { prefix: asked.prefix, seconds, reason, by, from };
    on_disk(move || match desk.add(order) {
        Ok(done) => Ok(answer(StatusCode::CREATED, &desk, &done, asked.notes)),
        Err(why) => Err(not_done(&why, asked.prefix)),
    })
    .await
}

async fn remove(
    State(admin): Admins,
    ConnectInfo(peer): Peer,
    request: Request,
) -> Result<Response, Problem> {
    let desk = Arc::clone(&admin.controls()?.blocks);
    let asked = Query::<Remove>::try_from_uri(request.uri());
    let Query(Remove { prefix, by, reason }) = asked.map_err(|error| {
        Problem::bad(format!("{}; ?prefix=&by=&reason= is accepted", error.body_text()))
    })?;
    let wrong = |key| move |says| Problem::bad(format!("{key}: {says}"));
    let asked = order::read_prefix(&prefix).map_err(wrong("prefix"))?;
    let reason = order::read_reason(&reason).map_err(wrong("reason"))?;
    let by = order::read_name(&by).map_err(wrong("by"))?;
    let from = peer.ip();
    on_disk(move || match desk.remove((asked.prefix, by, from), reason) {
        Ok(done) => Ok(answer(StatusCode::OK, &desk, &done, asked.notes)),
        Err(why) => Err(not_done(&why, asked.prefix)),
    })
    .await
}

/// Where it may wait for the disk, while metrics and health go on to be answered.
async fn on_disk(
    work: impl FnOnce() -> Result<Response, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::internal()))
}

async fn read_body<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Problem::bad(format!("The body has more than {BODY_BYTES_MAX} bytes, or broke off."))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::bad(format!("the body: {error}; a JSON object as documented is accepted"))
    })
}

fn not_done(why: &NotDone, prefix: ipnet::IpNet) -> Problem {
    match why {
        NotDone::Full => Problem::conflict(format!(
            "As many prefixes are known as may be ({}), those whose block is over included; block \
             wider ones.",
            crate::limits::BLOCKS_MAX
        )),
        NotDone::NotBlocked(None) => Problem::not_found(format!("{prefix} is not blocked.")),
        NotDone::NotBlocked(Some(near)) => {
            Problem::not_found(format!("{prefix} is not blocked; {near} is."))
        }
    }
}

fn answer(status: StatusCode, desk: &Desk, done: &Done, mut notes: Vec<String>) -> Response {
    if desk.kept_in().is_none() {
        let shared = desk.standing.lock().expect("no holder panics").is_some();
        notes.push(if shared {
            "state_dir is not set: after a restart the control topic has to be read first"
                .to_owned()
        } else {
            "state_dir is not set: this lasts until the gateway ends".to_owned()
        });
    }
    let body = json!({
        "block": shown(&done.change),
        "streams_ended": done.ended,
        "notes": notes,
        "unsaved": done.unsaved,
    });
    (status, axum::Json(body)).into_response()
}

fn shown(change: &Change) -> Value {
    let until = match change.verdict {
        Verdict::Blocked { until } => until.map(in_words),
        Verdict::Removed => Some(in_words(change.at)),
    };
    json!({
        "prefix": change.prefix,
        "since": in_words(change.at),
        "until": until,
        "by": change.by,
        "host": change.host,
        "reason": change.reason,
    })
}

fn listed(desk: &Desk) -> Value {
    let now = TimestampMs::now();
    let known = desk.known();
    let blocks: Vec<_> = known.values().filter(|c| c.is_in_force(now)).map(shown).collect();
    let standing = desk.standing.lock().expect("no holder panics");
    let shared = standing.as_ref().map(|standing| {
        json!({
            "topic": standing.topic,
            "in_step": standing.in_step,
            "unshared": standing.unshared,
            "problem": standing.problem,
        })
    });
    json!({ "blocks": blocks, "kept_in": desk.kept_in(), "shared": shared })
}
