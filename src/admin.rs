//! The admin port, on a thread and a runtime of its own, so that it answers while the public port
//! is busy or shedding.
//!
//! ```text
//!  /metrics /healthz /readyz   for anyone who reaches the port
//!  /admin/…                    access (loopback or a token, no web page) ─▶ controls
//! ```
//! What there is to see and to do is in `controls`; here it is served.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::DrainConfig;
use crate::gate::Gate;
use crate::health::Board;
use crate::limits::ADMIN_END_MAX;
use crate::metrics::Metrics;
use crate::session::Sessions;

mod access;
mod asked;
pub mod audit;
pub mod blocks;
mod clients;
mod connections;
mod health;
mod limits;
mod look;
mod problem;
mod readiness;
mod reload;
mod sessions;

pub use access::Access;
use problem::Problem;
pub use readiness::{Latch, Readiness};
pub use reload::{AskReload, Reloaded};

/// What the admin port shows and moves.
#[derive(Debug)]
pub struct Admin {
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Whether this host takes readers.
    pub readiness: Arc<Readiness>,
    /// How everything is.
    pub health: Arc<Board>,
    /// Who may do what `/admin/` offers.
    pub access: Access,
    /// The parts that an operator may look into and change, from when they have started.
    pub controls: OnceLock<Controls>,
}

/// The parts that an operator may look into and change.
#[derive(Debug)]
pub struct Controls {
    /// Who holds what.
    pub gate: Arc<Gate>,
    /// What each stream is.
    pub sessions: Arc<Sessions>,
    /// Who is blocked.
    pub blocks: Arc<blocks::Desk>,
    /// Streams that the descriptors allow.
    pub streams_room: u64,
    /// Ends the process as SIGTERM does, when it is cancelled.
    pub stop: CancellationToken,
    /// How long that takes, if every reader takes its last event.
    pub drain: Arc<RwLock<DrainConfig>>,
    /// Has the configuration read again.
    pub reload: mpsc::Sender<AskReload>,
}

impl Admin {
    /// The parts behind `/admin/`.
    ///
    /// # Errors
    /// 503 while they have not started.
    fn controls(&self) -> Result<&Controls, Problem> {
        self.controls.get().ok_or_else(Problem::starting)
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
    adopt(std::net::TcpListener::bind(addr)?)
}

/// Takes a port that is held for us.
///
/// # Errors
/// What the system says.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<Bound> {
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
    pub fn serve(self, admin: Arc<Admin>) -> io::Result<Serving> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(self.listener)?;
                let serving = router(admin).into_make_service_with_connect_info::<SocketAddr>();
                // Who is just being answered gets its answer, also that all of it ends.
                let asked = stopped.clone().cancelled_owned();
                let serving = axum::serve(listener, serving).with_graceful_shutdown(asked);
                let over = async {
                    stopped.cancelled().await;
                    tokio::time::sleep(ADMIN_END_MAX).await;
                };
                tokio::select! {
                    served = serving.into_future() => served,
                    () = over => Ok(()),
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

/// Everything that the admin port serves.
fn router(admin: Arc<Admin>) -> Router {
    macro_rules! only {
        ($methods:literal, $routes:expr) => {
            $routes.fallback(async || Problem::method($methods))
        };
    }
    let one_session = only!("DELETE", delete(sessions::end_one));
    let all_sessions = only!("GET, DELETE", get(sessions::list).delete(sessions::end_all));
    let log = get(connections::show).post(connections::turn_on).delete(connections::turn_off);
    let guarded = Router::new()
        .route("/admin/clients", only!("GET", get(clients::list)))
        .route("/admin/sessions", all_sessions)
        .route("/admin/sessions/{id}", one_session)
        .route("/admin/limits", only!("GET, PATCH", get(limits::show).patch(limits::change)))
        .route("/admin/connection-log", only!("GET, POST, DELETE", log))
        .route("/admin/health", only!("GET", get(health::show)))
        .route("/admin/drain", only!("POST", post(drain)))
        .route("/admin/reload", only!("POST", post(reload::reload)))
        .merge(blocks::routes())
        .layer(from_fn_with_state(Arc::clone(&admin), access::check));
    Router::new()
        .route("/metrics", get(async |State(admin): Admins| exposition(&admin)))
        .route("/healthz", get(health::process))
        .route("/readyz", get(async |State(admin): Admins| admin.readiness.answer()))
        .merge(guarded)
        .fallback(async |uri: Uri| Problem::nothing_here(&uri))
        .with_state(admin)
}

type Admins = State<Arc<Admin>>;

/// Takes this host out of service, as SIGTERM does.
async fn drain(
    State(admin): Admins,
    ConnectInfo(by): ConnectInfo<SocketAddr>,
) -> Result<Response, Problem> {
    let controls = admin.controls()?;
    tracing::info!(%by, "asked to drain by the admin port");
    let streams = controls.gate.held();
    controls.stop.cancel();
    let drain = *controls.drain.read().unwrap_or_else(PoisonError::into_inner);
    let within_s = (drain.grace + drain.spread).as_secs();
    let body = json!({ "draining": true, "streams": streams, "within_s": within_s });
    Ok((StatusCode::ACCEPTED, axum::Json(body)).into_response())
}

fn exposition(admin: &Admin) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // What is not heard of turns critical at a look: also when nobody else looks any more.
    let _ = admin.health.look(Instant::now());
    ([(header::CONTENT_TYPE, OPEN_METRICS)], admin.metrics.render()).into_response()
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

    fn serving(readiness: &Arc<Readiness>, access: Access) -> (SocketAddr, Arc<Admin>, Serving) {
        let bound = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let (addr, metrics) = (bound.addr(), Arc::new(Metrics::new()));
        let readiness = Arc::clone(readiness);
        let plan = crate::health::Plan::of("embedded", &crate::catalog::Catalog::new([]));
        let health = Board::new(plan, Arc::clone(&metrics));
        let admin = Admin { metrics, readiness, health, access, controls: OnceLock::new() };
        let admin = Arc::new(admin);
        (addr, Arc::clone(&admin), bound.serve(admin).expect("a thread"))
    }

    #[test]
    fn a_host_is_ready_when_all_has_started_and_until_it_drains() {
        let readiness = Arc::new(Readiness::default());
        let (log, port) = (readiness.latch("log"), readiness.latch("port"));
        let (addr, _admin, _serving) = serving(&readiness, Access::default());
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
        let (addr, admin, _serving) = serving(&Arc::default(), Access::default());
        admin.metrics.stream_opened(&["a"]);
        let answer = get(addr, "/metrics");
        assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
        let line = "eventstreams_client_connections_total{streams=\"a\"} 1";
        assert!(answer.contains(line) && answer.ends_with("# EOF\n"), "{answer}");
        assert!(get(addr, "/other").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn what_an_operator_may_do_is_for_operators_and_waits_for_the_start() {
        let (addr, _admin, _serving) = serving(&Arc::default(), Access::default());
        let post = |more: &str| {
            let mut socket = TcpStream::connect(addr).expect("connect");
            let request = format!(
                "POST /admin/drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n"
            );
            socket.write_all(request.as_bytes()).expect("send");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).expect("read");
            answer
        };
        assert!(post("").starts_with("HTTP/1.1 503"), "{}", post(""));
        assert!(post("origin: https://a.example\r\n").starts_with("HTTP/1.1 403"));
        assert!(get(addr, "/admin/drain").starts_with("HTTP/1.1 403"), "a host of another name");
    }
}
