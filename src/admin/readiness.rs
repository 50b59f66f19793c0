//! Whether this host takes readers: what has still to start, whether it is draining, and whether it
//! has descriptors left. What all hosts share (a source that is gone) is none of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Whether this host takes readers: everything has started, and it is not draining.
#[derive(Debug, Default)]
pub struct Readiness {
    waiting_for: Mutex<BTreeSet<&'static str>>,
    draining: AtomicBool,
    /// The first descriptor that no connection may have; 0: not known yet.
    descriptors_max: AtomicU64,
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

    /// Not ready while no descriptor below this is free.
    pub fn needs_descriptors_below(&self, max: u64) {
        self.descriptors_max.store(max, Ordering::Release);
    }

    /// The system gives the lowest that is free, so the one it gives tells.
    fn has_descriptors(&self) -> bool {
        let max = self.descriptors_max.load(Ordering::Acquire);
        let free = File::open("/dev/null");
        max == 0 || free.is_ok_and(|file| u64::try_from(file.as_raw_fd()).is_ok_and(|n| n < max))
    }

    /// The answer of `/readyz`.
    pub(super) fn answer(&self) -> Response {
        let draining = self.draining.load(Ordering::Acquire);
        let waiting_for: Vec<_> = self.waiting().iter().copied().collect();
        let descriptors_left = self.has_descriptors();
        let ready = !draining && waiting_for.is_empty() && descriptors_left;
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = json!({
            "ready": ready,
            "draining": draining,
            "waiting_for": waiting_for,
            "descriptors_left": descriptors_left,
        });
        (status, axum::Json(body)).into_response()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.waiting_for.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_descriptors_left_is_not_ready() {
        let readiness = Readiness::default();
        assert_eq!(readiness.answer().status(), StatusCode::OK);
        readiness.needs_descriptors_below(1);
        assert_eq!(readiness.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
        readiness.needs_descriptors_below(1_000_000);
        assert_eq!(readiness.answer().status(), StatusCode::OK);
    }
}
