//! The admin port: `/metrics`, `/healthz`, `/readyz`, on a thread and a runtime of their own, so
//! that they answer while the public port is busy or shedding.
//!
//! It is fed by what the others report and changes nothing.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

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

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.waiting_for.lock().expect("no holder panics")
    }
}

/// A port that is taken and not served yet.
#[derive(Debug)]
pub struct Bound {
    listener: std::net::TcpListener,
    addr: SocketAddr,
}

/// Takes the admin port; port 0 lets the system choose one.
///
/// # Errors
/// What the system says.
pub fn bind(addr: SocketAddr) -> io::Result<Bound> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    Ok(Bound { listener, addr })
}

/// The admin port being served; it stops when this is dropped.
#[derive(Debug)]
pub struct Serving {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Bound {
    /// The address with the real port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn serve(self, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> io::Result<Serving> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(self.listener)?;
                let serving = axum::serve(listener, router(metrics, readiness)).into_future();
                tokio::select! {
                    served = serving => served,
                    () = stopped.cancelled() => Ok(()),
                }
            });
            if let Err(error) = served {
                tracing::error!(%error, "the admin port is not served any more");
            }
        };
        let thread = std::thread::Builder::new().name("tidegate-admin".into()).spawn(serve)?;
        Ok(Serving { stop, thread: Some(thread) })
    }
}

fn router(metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/metrics", get(async |State(metrics): State<Arc<Metrics>>| exposition(&metrics)))
        .with_state(metrics)
        .route("/healthz", get(async || axum::Json(json!({ "status": "ok" }))))
        .route("/readyz", get(async |State(readiness): State<Arc<Readiness>>| ready(&readiness)))
        .with_state(readiness)
        .fallback(nothing_here)
}

fn exposition(metrics: &Metrics) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render()).into_response()
}

fn ready(readiness: &Readiness) -> Response {
    let draining = readiness.draining.load(Ordering::Acquire);
    let waiting_for: Vec<_> = readiness.waiting().iter().copied().collect();
    let ready = !draining && waiting_for.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "draining": draining, "waiting_for": waiting_for });
    (status, axum::Json(body)).into_response()
}

async fn nothing_here(uri: Uri) -> Response {
    let body = json!({
        "status": 404,
        "type": "not_found",
        "title": "Not Found",
        "detail": "Here are /metrics, /healthz and /readyz.",
        "uri": uri.path(),
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::NOT_FOUND, kind, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn get(addr: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(addr).expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("send");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("read");
        answer
    }

    #[test]
    fn a_host_is_ready_when_all_has_started_and_until_it_drains() {
        let readiness = Arc::new(Readiness::default());
        let (log, port) = (readiness.latch("log"), readiness.latch("port"));
        let bound = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = bound.addr();
        let metrics = Arc::new(Metrics::new());
        let _serving = bound.serve(metrics, Arc::clone(&readiness)).expect("a thread");
        drop(log);
        let answer = get(addr, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("[\"port\"]"), "{answer}");
        drop(port);
        assert!(get(addr, "/readyz").starts_with("HTTP/1.1 200"));
        readiness.drain();
        assert!(get(addr, "/readyz").starts_with("HTTP/1.1 503"));
        assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn metrics_are_open_metrics_and_the_rest_is_a_problem() {
        let bound = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = bound.addr();
        let metrics = Arc::new(Metrics::new());
        metrics.stream_opened(&["a"]);
        let _serving = bound.serve(metrics, Arc::new(Readiness::default())).expect("a thread");
        let answer = get(addr, "/metrics");
        assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
        let line = "eventstreams_client_connections_total{streams=\"a\"} 1";
        assert!(answer.contains(line) && answer.ends_with("# EOF\n"), "{answer}");
        assert!(get(addr, "/other").starts_with("HTTP/1.1 404"));
    }
}
