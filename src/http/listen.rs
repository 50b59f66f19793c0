//! The public port: sockets in, requests to the router, whole answers out.
//!
//! ```text
//!  bind ─▶ Bound (its port is known) ─▶ serve ─▶ accept ─▶ a task per connection ─▶ linger
//!
//!  socket ─▶ (tls) ─▶ http1 ─▶ linger, or a stream's socket to the pump
//!                       └─ begins with the preface ─▶ http2 ─▶ linger
//! ```
//! Knows nothing of routes. A connection whose client has hung up is noticed while its answer is
//! still being made, since hyper keeps reading then; the body is dropped at once. A client that
//! only closes its sending side is taken for gone too: on a quiet stream the two cannot be told
//! apart, and a slot that is held for nobody costs more.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::channel::{Channel, Patient};
use self::tls::Tls;
use self::wire::Wire;
use crate::limits::{ACCEPT_BACKLOG, ACCEPT_PAUSE, REQUEST_HEAD_TIMEOUT, STALL_MAX};

mod channel;
mod http1;
mod http2;
pub mod tls;
mod wire;

/// A port that is taken and not served yet: whoever connects waits.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    patience: Patience,
    tls: Option<Arc<Tls>>,
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
    // An event is one write: it must not wait for the next one.
    #[cfg(target_os = "linux")]
    socket.set_nodelay(true)?;
    // Inherited by what is accepted, both.
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(&socket).set_tcp_notsent_lowat(unsent_bytes_max) {
        tracing::warn!(%error, "stalled readers will hold more memory than they need");
    }
    let listener = socket.listen(ACCEPT_BACKLOG)?;
    let addr = listener.local_addr()?;
    let patience = Patience { head: REQUEST_HEAD_TIMEOUT, stall: STALL_MAX };
    Ok(Bound { listener, addr, patience, tls: None })
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

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(Arc::new(tls));
        self
    }
}

/// Serves until `shutdown`; then the port is closed, connections without a request are too, and
/// this returns when the last answer has gone out. A stream ends only through its body: to end all
/// is the business of whoever makes the bodies. Dropped, it cuts all connections.
pub async fn serve(bound: Bound, router: Router, shutdown: CancellationToken) {
    let Bound { listener, patience, tls, .. } = bound;
    let _watching = tls.clone().map(|tls| AbortOnDropHandle::new(tokio::spawn(tls.watch())));
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
                    let (shutdown, router) = (shutdown.clone(), router.clone());
                    let connection = Connection { peer, patience, shutdown, router };
                    connections.spawn(connection.drive(socket, tls.clone()));
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

/// What a connection's task needs besides its socket.
#[derive(Clone)]
struct Connection {
    peer: SocketAddr,
    patience: Patience,
    shutdown: CancellationToken,
    router: Router,
}

impl Connection {
    async fn drive(self, socket: TcpStream, tls: Option<Arc<Tls>>) {
        #[cfg(not(target_os = "linux"))]
        let _ = socket.set_nodelay(true);
        let socket = Patient::new(socket, self.patience.stall);
        // Boxed where a plain connection of HTTP/1 never comes: its task stays small.
        let (channel, is_http2) = match tls {
            None => (Channel::Plain(socket), false),
            Some(tls) => match Box::pin(self.greet(socket, &tls)).await {
                Some(stream) => {
                    let is_http2 = tls::chose_http2(&stream);
                    (Channel::Tls(Box::new(stream)), is_http2)
                }
                None => return,
            },
        };
        let wire = if is_http2 {
            Some(Wire::new(channel).for_http2())
        } else {
            http1::drive(&self, channel).await
        };
        if let Some(wire) = wire {
            Box::pin(http2::drive(&self, wire)).await;
        }
    }

    /// The handshake of TLS, if it succeeds in time.
    async fn greet(&self, socket: Patient, tls: &Tls) -> Option<TlsStream<Patient>> {
        tokio::select! {
            stream = tls.greet(socket, self.patience.head) => stream,
            () = self.shutdown.cancelled() => None,
        }
    }
}
