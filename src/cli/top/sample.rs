//! What a gateway says of itself at one moment, and what has happened between two.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::super::admin_client::{AdminClient, AdminError, Exposition};

/// Columns that clients are sorted by, as the admin port calls them.
pub(super) const SORTS: [&str; 6] = ["share", "streams", "lag", "bytes", "age", "refused"];

/// The head of an answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Host {
    pub(super) streams: u64,
    pub(super) streams_max: u64,
    pub(super) clients: u64,
    pub(super) greediest_permille: u64,
    pub(super) catching_up: u64,
    pub(super) draining: bool,
    pub(super) connection_log_s: u64,
}

/// A client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) client: String,
    pub(super) streams: u64,
    pub(super) leaving: u64,
    pub(super) budget: Option<u64>,
    pub(super) refused_lately: u64,
    pub(super) refused_reason: Option<String>,
    pub(super) oldest_s: f64,
    pub(super) lag_events: u64,
    pub(super) lag_ms: Option<u64>,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) agents: Vec<String>,
    #[serde(default)]
    pub(super) bytes_per_s: f64,
}

/// A session.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) agent: Option<String>,
    pub(super) streams: Vec<String>,
    pub(super) encoding: String,
    pub(super) delivery: String,
    pub(super) age_s: f64,
    pub(super) lag_events: u64,
    pub(super) bytes: u64,
    pub(super) told_to_go: bool,
}

#[derive(Debug, Deserialize)]
struct Answer<T> {
    #[serde(flatten)]
    host: Host,
    items: Vec<T>,
}

/// What happens in a second.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Rates {
    pub(super) connects_per_s: f64,
    pub(super) deliveries_per_s: f64,
    pub(super) bytes_per_s: f64,
    pub(super) refusals_per_s: BTreeMap<String, f64>,
}

/// All that is shown of a moment.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct View {
    pub(super) host: Host,
    pub(super) rates: Rates,
    pub(super) clients: Vec<Client>,
}

/// Numbers that only grow, at one moment.
#[derive(Debug)]
struct Totals {
    at: Instant,
    connects: f64,
    deliveries: f64,
    bytes: f64,
    refusals: BTreeMap<String, f64>,
    by_client: HashMap<String, u64>,
}

/// Looks again and again, and knows what it saw the last time.
#[derive(Debug)]
pub(super) struct Watcher {
    client: AdminClient,
    before: Option<Totals>,
}

impl Watcher {
    pub(super) fn new(client: AdminClient) -> Self {
        Self { client, before: None }
    }

    /// What there is now; rates are since the last look, and nothing at the first.
    pub(super) async fn look(&mut self, sort: &str, limit: usize) -> anyhow::Result<View> {
        let path = format!("/admin/clients?sort={sort}&limit={limit}");
        let answer = self.client.get(&path).await?;
        let Answer { host, items } =
            serde_json::from_value(answer).context("read what /admin/clients says")?;
        let now = Totals::of(&self.client.metrics().await?, &items);
        let mut view = View { host, rates: Rates::default(), clients: items };
        if let Some(before) = &self.before {
            view.rates = now.since(before);
            for client in &mut view.clients {
                let bytes = before.by_client.get(&client.client);
                let more = bytes.map_or(0, |bytes| client.bytes.saturating_sub(*bytes));
                client.bytes_per_s = per_s(more as f64, now.at - before.at);
            }
        }
        self.before = Some(now);
        Ok(view)
    }

    /// The sessions of a client.
    pub(super) async fn sessions(&self, client: &str) -> anyhow::Result<Vec<Session>> {
        let path = format!("/admin/sessions?client={client}&limit=1000");
        let answer: Answer<Session> = serde_json::from_value(self.client.get(&path).await?)
            .context("read what /admin/sessions says")?;
        Ok(answer.items)
    }

    /// The gateway may have been started anew: what grew has begun at zero again.
    pub(super) fn forget(&mut self) {
        self.before = None;
    }

    pub(super) fn client(&self) -> &AdminClient {
        &self.client
    }
}

impl Totals {
    fn of(metrics: &Exposition, clients: &[Client]) -> Self {
        let refusals = metrics.series("tidegate_refusals_total").filter_map(|(labels, count)| {
            let reason = labels.strip_prefix("reason=\"")?.strip_suffix('"')?;
            Some((reason.to_owned(), count))
        });
        Self {
            at: Instant::now(),
            connects: metrics.sum("eventstreams_client_connections_total"),
            deliveries: metrics.sum("tidegate_events_delivered_total"),
            bytes: metrics.sum("tidegate_delivered_bytes_total"),
            refusals: refusals.collect(),
            by_client: clients.iter().map(|c| (c.client.clone(), c.bytes)).collect(),
        }
    }

    fn since(&self, before: &Self) -> Rates {
        let time = self.at - before.at;
        let refusals = self.refusals.iter().filter_map(|(reason, count)| {
            let more = count - before.refusals.get(reason).copied().unwrap_or(0.0);
            (more > 0.0).then(|| (reason.clone(), per_s(more, time)))
        });
        Rates {
            connects_per_s: per_s(self.connects - before.connects, time),
            deliveries_per_s: per_s(self.deliveries - before.deliveries, time),
            bytes_per_s: per_s(self.bytes - before.bytes, time),
            refusals_per_s: refusals.collect(),
        }
    }
}

/// With one digit after the point; a counter that began anew has no rate.
fn per_s(more: f64, time: Duration) -> f64 {
    let rate = more.max(0.0) / time.as_secs_f64().max(0.001);
    (rate * 10.0).round() / 10.0
}

/// Whether nobody is there, which passes.
pub(super) fn is_away(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(AdminError::Unreachable { .. } | AdminError::NoAnswer { .. })
    )
}
