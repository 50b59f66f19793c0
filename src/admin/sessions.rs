//! `/admin/sessions`: what each stream is doing, and the end of it.

use std::cmp::Reverse;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::Uri;
use axum::response::Response;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::asked::Asked;
use super::clients::seconds;
use super::look::{Look, answer};
use super::problem::Problem;
use super::{Admins, Controls};
use crate::gate::{Gate, Seat, SeatNumber, Seated, Told};
use crate::session::{Framing, Glimpse};

#[derive(Clone, Copy)]
enum Sort {
    Age,
    Lag,
    Bytes,
}

const SORTS: [(&str, Sort); 3] = [("age", Sort::Age), ("lag", Sort::Lag), ("bytes", Sort::Bytes)];
const NO_OR_YES: [(&str, bool); 2] = [("no", false), ("yes", true)];

type Session<'a> = (SeatNumber, &'a Seated, Option<&'a Glimpse>);

pub(super) async fn list(State(admin): Admins, uri: Uri) -> Result<Response, Problem> {
    let asked = Asked::of(&uri, &["client", "stream", "limit", "sort", "position"])?;
    let (limit, client) = (asked.limit()?, asked.prefix("client")?);
    let sort = asked.choice("sort", &SORTS)?;
    let position = asked.choice("position", &NO_OR_YES)?;
    let controls = admin.controls()?;
    let look = Look::at(controls).await;
    let reads = |glimpse: Option<&Glimpse>| match asked.text("stream") {
        None => true,
        Some(name) => glimpse.is_some_and(|g| g.streams().any(|stream| stream == name)),
    };
    let of_client = |seated: &Seated| client.is_none_or(|c| c.contains(&seated.address));
    let fits = |(_, seated, glimpse): &Session<'_>| of_client(seated) && reads(*glimpse);
    let mut found: Vec<Session<'_>> = look.sessions().filter(fits).collect();
    match sort {
        // As they came.
        Sort::Age => {}
        Sort::Lag => found.sort_by_key(|(_, _, glimpse)| Reverse(glimpse.map(|g| g.behind))),
        Sort::Bytes => found.sort_by_key(|(_, _, glimpse)| Reverse(glimpse.map(|g| g.bytes))),
    }
    let shown = found.iter().take(limit);
    let shown: Vec<Value> = shown.map(|one| show(&controls.gate, one, position)).collect();
    let mut body = look.host(controls);
    body["items_of"] = json!(found.len());
    body["items"] = shown.into();
    Ok(answer(body))
}

fn show(gate: &Gate, (number, seated, glimpse): &Session<'_>, position: bool) -> Value {
    let age = SignedDuration::try_from(seated.age).unwrap_or(SignedDuration::ZERO);
    let opened = Timestamp::now().checked_sub(age).ok();
    let mut all = json!({
        "id": number,
        "client": gate.name_of(seated.key),
        "address": seated.address,
        "agent": seated.agent.as_deref(),
        "opened": opened.map(|opened| format!("{opened:.1}")),
        "age_s": seconds(seated.age),
        "told_to_go": seated.leaves,
    });
    let Some(glimpse) = glimpse else { return all };
    all["streams"] = glimpse.streams().collect();
    all["format"] = match glimpse.framing {
        Framing::Sse => "sse",
        Framing::Ndjson => "ndjson",
    }
    .into();
    all["encoding"] = glimpse.encoding().into();
    all["delivery"] = glimpse.delivery.as_str().into();
    all["lag_events"] = glimpse.behind.into();
    all["lag_ms"] = glimpse.behind_ms().into();
    all["events"] = glimpse.events.into();
    all["bytes"] = glimpse.bytes.into();
    if position {
        let id = glimpse.position().and_then(|id| RawValue::from_string(id).ok());
        all["position"] = json!(id);
    }
    all
}

/// Ends one stream.
pub(super) async fn end_one(
    State(admin): Admins,
    ConnectInfo(by): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let Ok(id) = id.parse::<SeatNumber>() else {
        return Err(Problem::bad(format!("\"{id}\" is no session; a number is accepted.")));
    };
    let ended = end(admin.controls()?, |number, _| number == id);
    if ended == 0 {
        return Err(Problem::not_found(format!("There is no session {id}.")));
    }
    tracing::info!(%by, session = id, "an operator ended a stream");
    Ok(answer(json!({ "ended": ended })))
}

/// Ends all streams of a client.
pub(super) async fn end_all(
    State(admin): Admins,
    ConnectInfo(by): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Result<Response, Problem> {
    let Some(client) = Asked::of(&uri, &["client"])?.prefix("client")? else {
        return Err(Problem::bad("?client: is missing; an address or a prefix is accepted."));
    };
    let ended = end(admin.controls()?, |_, seat| is_of(&client, seat));
    if ended == 0 {
        return Err(Problem::not_found(format!("Nobody in {client} has a stream.")));
    }
    tracing::info!(%by, %client, ended, "an operator ended a client's streams");
    Ok(answer(json!({ "ended": ended })))
}

fn is_of(client: &IpNet, seat: &Seat) -> bool {
    client.contains(&seat.address)
}

fn end(controls: &Controls, whose: impl Fn(SeatNumber, &Seat) -> bool) -> usize {
    controls.gate.tell(&Told::Ended, whose)
}
