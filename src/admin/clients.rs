//! `GET /admin/clients`: who holds what.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};

use super::Admins;
use super::asked::Asked;
use super::look::{Look, answer};
use super::problem::Problem;
use crate::gate::client::ClientKey;
use crate::gate::{Gate, Holding, Seated, Tried};
use crate::session::Glimpse;

/// Addresses and agents that are named of one client.
const NAMED_MAX: usize = 5;

/// A client and all that it has.
struct Row<'a> {
    key: ClientKey,
    held: Holding,
    tried: Tried,
    addresses: BTreeSet<IpAddr>,
    agents: BTreeMap<&'a Arc<str>, u32>,
    oldest: Duration,
    events: u64,
    bytes: u64,
    /// Its stream that is behind most.
    slowest: Option<&'a Glimpse>,
}

#[derive(Clone, Copy)]
enum Sort {
    Share,
    Streams,
    Age,
    Lag,
    Bytes,
    Refused,
}

const SORTS: [(&str, Sort); 6] = [
    ("share", Sort::Share),
    ("streams", Sort::Streams),
    ("age", Sort::Age),
    ("lag", Sort::Lag),
    ("bytes", Sort::Bytes),
    ("refused", Sort::Refused),
];

pub(super) async fn list(State(admin): Admins, uri: Uri) -> Result<Response, Problem> {
    let asked = Asked::of(&uri, &["limit", "sort"])?;
    let (limit, sort) = (asked.limit()?, asked.choice("sort", &SORTS)?);
    let controls = admin.controls()?;
    let look = Look::at(controls).await;
    let mut rows = rows(&look);
    rows.sort_by_cached_key(|row| (Reverse(row.rank(sort)), Reverse(row.held.seated), row.key));
    let all = look.census.seats.len();
    let shown: Vec<Value> =
        rows.iter().take(limit).map(|row| row.show(&controls.gate, all)).collect();
    let mut body = look.host(controls);
    body["tried_in_s"] = json!(look.census.tried_in.as_secs());
    body["items_of"] = json!(rows.len());
    body["items"] = shown.into();
    Ok(answer(body))
}

/// Of all clients that hold something, or have tried something lately.
fn rows(look: &Look) -> Vec<Row<'_>> {
    let census = &look.census;
    let row = |key: ClientKey| Row {
        key,
        held: census.holdings.get(&key).copied().unwrap_or_default(),
        tried: census.tried.get(&key).copied().unwrap_or_default(),
        addresses: BTreeSet::new(),
        agents: BTreeMap::new(),
        oldest: Duration::ZERO,
        events: 0,
        bytes: 0,
        slowest: None,
    };
    let mut rows: HashMap<ClientKey, Row<'_>> =
        census.tried.keys().map(|key| (*key, row(*key))).collect();
    for (_, seated, glimpse) in look.sessions() {
        rows.entry(seated.key).or_insert_with(|| row(seated.key)).add(seated, glimpse);
    }
    rows.into_values().collect()
}

impl<'a> Row<'a> {
    fn add(&mut self, seated: &'a Seated, glimpse: Option<&'a Glimpse>) {
        self.addresses.insert(seated.address);
        if let Some(agent) = &seated.agent {
            *self.agents.entry(agent).or_default() += 1;
        }
        self.oldest = self.oldest.max(seated.age);
        let Some(glimpse) = glimpse else { return };
        self.events += glimpse.events;
        self.bytes += glimpse.bytes;
        if self.slowest.is_none_or(|slowest| glimpse.behind > slowest.behind) {
            self.slowest = Some(glimpse);
        }
    }

    fn lag(&self) -> u64 {
        self.slowest.map_or(0, |slowest| slowest.behind)
    }

    /// The highest comes first.
    fn rank(&self, by: Sort) -> u64 {
        let Holding { seated, budget, .. } = self.held;
        match by {
            Sort::Share => (u64::from(seated) << 32) / u64::from(budget.max(1)),
            Sort::Streams => seated.into(),
            Sort::Age => u64::try_from(self.oldest.as_millis()).unwrap_or(u64::MAX),
            Sort::Lag => self.lag(),
            Sort::Bytes => self.bytes,
            Sort::Refused => self.tried.refused.into(),
        }
    }

    fn show(&self, gate: &Gate, all: usize) -> Value {
        let Holding { seated, leaving, budget } = self.held;
        let known = (budget > 0 && budget < u32::MAX).then_some(budget);
        let mut agents: Vec<_> = self.agents.iter().collect();
        agents.sort_by_key(|(agent, users)| (Reverse(**users), **agent));
        let agents = agents.iter().take(NAMED_MAX).map(|(agent, _)| &***agent);
        json!({
            "client": gate.name_of(self.key),
            "addresses": self.addresses.iter().take(NAMED_MAX).collect::<Vec<_>>(),
            "addresses_of": self.addresses.len(),
            "streams": seated,
            "leaving": leaving,
            "budget": known,
            "of_all_permille": u64::from(seated) * 1000 / (all as u64).max(1),
            "opened_lately": self.tried.opened,
            "refused_lately": self.tried.refused,
            "refused_reason": self.tried.reason,
            "oldest_s": seconds(self.oldest),
            "lag_events": self.lag(),
            "lag_ms": self.slowest.and_then(Glimpse::behind_ms),
            "events": self.events,
            "bytes": self.bytes,
            "agents": agents.collect::<Vec<_>>(),
            "agents_of": self.agents.len(),
        })
    }
}

/// Seconds with one digit after the point.
pub(super) fn seconds(age: Duration) -> f64 {
    (age.as_secs_f64() * 10.0).round() / 10.0
}
