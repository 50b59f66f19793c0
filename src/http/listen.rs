//! The public port: sockets in, requests to the router, whole answers out.
//!
//! ```text
//!  bind ─▶ Bound (its port is known) ─▶ serve ─▶ accept ─▶ a task per connection ─▶ linger
//! ```
//! A stream leaves here before its answer is written: its socket goes to the pump (`handover`).
//! Knows nothing of routes. A connection whose client has hung up is noticed while its answer is
//! still being made, since hyper keeps reading then; the body is dropped at once. A client that
//! only closes its sending side is taken for gone too: on a quiet stream the two cannot be told
//! apart, and a slot that is held for nobody costs more.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::wire::Wire;
use super::handover::{self, Taken};
use super::problem::{AppError, answer_to_no_request};
use crate::limits::{
    ACCEPT_BACKLOG, ACCEPT_PAUSE, CONNECTION_BUFFER_BYTES_MAX, REQUEST_HEAD_TIMEOUT, STALL_MAX,
};
use crate::session::closing::linger;

mod wire;

/// A port that is taken and not served yet: whoever connects waits.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    patience: Patience,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    stall: Duration,
}

/// Takes a port; port 0 lets the system choose one. `unsent_bytes_max`: what the kernel holds of a
/// connection and has not sent yet.
///
/// # Errors
/// What the system says.
pub fn bind(addr: SocketAddr, unsent_bytes_max: u32) -> io::Result<Bound> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    // Inherited by what is accepted.
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(&socket).set_tcp_notsent_lowat(unsent_bytes_max) {
        tracing::warn!(%error, "stalled readers will hold more memory than they need");
    }
    let listener = socket.listen(ACCEPT_BACKLOG)?;
    let addr = listener.local_addr()?;
    let patience = Patience { head: REQUEST_HEAD_TIMEOUT, stall: STALL_MAX };
    Ok(Bound { listener, addr, patience })
}

impl Bound {
    /// The address with the real port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How long a request head may take; by default `limits::REQUEST_HEAD_TIMEOUT`. A connection
    /// that is kept open without a request is closed after the same time.
    #[must_use]
    pub fn head_timeout(mut self, head_timeout: Duration) -> Self {
        self.patience.head = head_timeout;
        self
    }

    /// How long a client may take no byte while some wait for it; then it is cut. By default
    /// `limits::STALL_MAX`.
    #[must_use]
    pub fn stall_timeout(mut self, stall_timeout: Duration) -> Self {
        self.patience.stall = stall_timeout;
        self
    }
}

/// Serves until `shutdown`; then the port is closed, connections without a request are too, and
/// this returns when the last answer has gone out. A stream ends only through its body: to end all
/// is the business of whoever makes the bodies. Dropped, it cuts all connections.
pub async fn serve(bound: Bound, router: Router, shutdown: CancellationToken) {
    let Bound { listener, patience, .. } = bound;
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            // Without this branch the set would keep what has ended.
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    failing = false;
                    let connection = Connection { peer, patience, shutdown: shutdown.clone() };
                    connections.spawn(connection.drive(socket, router.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "cannot accept connections, trying on");
                    }
                    failing = true;
                    // No descriptors or no memory: whoever waits in the backlog waits on, and the
                    // processor is not burnt meanwhile.
                    let pause = tokio::time::sleep(ACCEPT_PAUSE);
                    tokio::select! { () = pause => {}, () = shutdown.cancelled() => break }
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// The client was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let kinds = [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted];
    kinds.contains(&error.kind())
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}

struct Connection {
    peer: SocketAddr,
    patience: Patience,
    shutdown: CancellationToken,
}

/// Where a service leaves a stream that is to be taken out of its connection.
type Leaving = Arc<Mutex<Option<Taken>>>;

impl Connection {
    async fn drive(self, socket: TcpStream, router: Router) {
        // An event is one write: it must not wait for the next one.
        let _ = socket.set_nodelay(true);
        let leaving = Leaving::default();
        let service = {
            let (peer, leaving) = (self.peer, Arc::clone(&leaving));
            service_fn(move |request| {
                Box::pin(respond(router.clone(), peer, request, Arc::clone(&leaving)))
            })
        };
        let wire = Wire::new(socket, self.patience.stall);
        let full = wire.full();
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.head)
            .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(wire), service);

        // hyper leaves the socket to us when it is done, so that it can be closed with care; and
        // when a stream is to be taken out and nothing is left of an answer before it.
        let mut cancelled = pin!(self.shutdown.clone().cancelled_owned());
        let mut stopping = false;
        let outcome = poll_fn(|cx| {
            if !stopping && cancelled.as_mut().poll(cx).is_ready() {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            let polled = connection.poll_without_shutdown(cx).map(Some);
            let leaves = leaving.lock().expect("no holder panics").is_some();
            let flushed = !full.load(Ordering::Acquire);
            if polled.is_pending() && leaves && flushed { Poll::Ready(None) } else { polled }
        });
        let outcome = outcome.await;
        let parts = connection.into_parts();
        let mut socket = parts.io.into_inner().into_socket();
        match outcome {
            None => {
                let taken = leaving.lock().expect("no holder panics").take();
                if let Some(Taken { session, head, transfer }) = taken {
                    session.carry(socket, transfer, &head).await;
                }
            }
            Some(Ok(())) => linger(socket).await,
            Some(Err(error)) if error.is_parse() => linger(socket).await,
            // Half a head is answered; of a connection kept open for later nobody waits for one,
            // and an answer to nothing would be taken for that to the next request.
            Some(Err(error)) if error.is_timeout() && !parts.read_buf.is_empty() => {
                let _ = socket.write_all(&answer_to_no_request(&AppError::HeadTimeout)).await;
                linger(socket).await;
            }
            Some(Err(error)) => tracing::trace!(%error, "connection ended"),
        }
    }
}

async fn respond(
    router: Router,
    peer: SocketAddr,
    mut request: Request<Incoming>,
    leaving: Leaving,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    let transfer = handover::fits(&request);
    let response = router.oneshot(request.map(Body::new)).await?;
    if let Some(transfer) = transfer
        && let Some(taken) = handover::take(&response, transfer)
    {
        *leaving.lock().expect("no holder panics") = Some(taken);
        // hyper waits for an answer that never comes, and is taken apart meanwhile.
        return std::future::pending().await;
    }
    Ok(response)
}
