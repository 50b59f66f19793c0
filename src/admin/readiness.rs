//! Whether this host takes readers: what has still to start, and whether it is draining.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Whether this host takes readers: everything has started, and it is not draining.
#[derive(Debug, Default)]
pub struct Readiness {
    waiting_for: Mutex<BTreeSet<&'static str>>,
    draining: AtomicBool,
}

/// Something that has to start first; it has when this is dropped.
#[derive(Debug)]
pub struct Latch {
    readiness: Arc<Readiness>,
    name: &'static str,
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.waiting().remove(self.name);
    }
}

impl Readiness {
    /// Ready when the latch is dropped. Each name is used once.
    pub fn latch(self: &Arc<Self>, name: &'static str) -> Latch {
        self.waiting().insert(name);
        Latch { readiness: Arc::clone(self), name }
    }

    /// No longer ready, for good.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The answer of `/readyz`.
    pub(super) fn answer(&self) -> Response {
        let draining = self.draining.load(Ordering::Acquire);
        let waiting_for: Vec<_> = self.waiting().iter().copied().collect();
        let ready = !draining && waiting_for.is_empty();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = json!({ "ready": ready, "draining": draining, "waiting_for": waiting_for });
        (status, axum::Json(body)).into_response()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.waiting_for.lock().expect("no holder panics")
    }
}
