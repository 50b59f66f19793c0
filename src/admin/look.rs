//! Who holds what, and what each stream is doing, put together: what operators are shown.

use std::collections::HashMap;

use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Controls;
use crate::gate::{Census, SeatNumber, Seated};
use crate::session::{Delivery, Glimpse};

/// All that there is to see.
pub(super) struct Look {
    pub(super) census: Census,
    glimpses: HashMap<SeatNumber, Glimpse>,
}

impl Look {
    /// Everything as it is now. The seats first: a stream that has come since is not shown, and of
    /// one that has gone only whose it was.
    pub(super) async fn at(controls: &Controls) -> Self {
        let census = controls.gate.census();
        Self { census, glimpses: controls.sessions.report().await }
    }

    /// All streams; what one is doing is not known while it passes from one delivery to another.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (SeatNumber, &Seated, Option<&Glimpse>)> {
        let seats = self.census.seats.iter();
        seats.map(|(number, seated)| (*number, seated, self.glimpses.get(number)))
    }

    /// What is said of the host beside what was asked for.
    pub(super) fn host(&self, controls: &Controls) -> Value {
        let (seats, gate) = (&self.census.seats, &controls.gate);
        let most = self.census.holdings.values().map(|held| u64::from(held.seated)).max();
        let catching_up =
            self.glimpses.values().filter(|glimpse| glimpse.delivery == Delivery::CatchUp);
        json!({
            "streams": seats.len(),
            "streams_max": gate.limits().streams_max,
            "clients": self.census.holdings.len(),
            "greediest_permille": most.unwrap_or(0) * 1000 / (seats.len() as u64).max(1),
            "catching_up": catching_up.count(),
            "draining": gate.is_draining(),
            "connection_log_s": gate.connection_log().left().map_or(0, |left| left.as_secs() + 1),
        })
    }
}

/// An answer that is a success.
pub(super) fn answer(body: Value) -> Response {
    axum::Json(body).into_response()
}
