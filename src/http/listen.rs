//! The public port: sockets in, requests to the router, whole answers out.
//!
//! ```text
//!  bind ─▶ Bound (its port is known) ─▶ serve ─▶ accept ─▶ a task per connection ─▶ linger
//!
//!  socket ─▶ (proxy) ─▶ (tls) ─▶ http1 ─▶ linger, or a stream's socket to the pump
//!                                  └─ begins with the preface ─▶ http2 ─▶ linger
//! ```
//! Knows nothing of routes. A connection whose client has hung up is noticed while its answer is
//! still being made, since hyper keeps reading then; the body is dropped at once. A client that
//! only closes its sending side is taken for gone too: on a quiet stream the two cannot be told
//! apart, and a slot that is held for nobody costs more. Until it carries a stream a connection has
//! a place in the gate's crowd, and ends when it is told to go; so descriptors never run out.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
#[cfg(target_os = "linux")]
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::channel::{Channel, Patient};
use self::proxy::NoHeader;
use self::tls::Tls;
use self::wire::Wire;
use super::problem::{AppError, answer_to_no_request};
use crate::gate::Refusal;
use crate::gate::client::NoClient;
use crate::gate::crowd::{Arrival, Crowd};
use crate::limits::{
    ACCEPT_BACKLOG, ACCEPT_PAUSE, REQUEST_HEAD_TIMEOUT, STALL_MAX, VANISHED_LATER_MIN,
};

mod channel;
mod http1;
mod http2;
mod proxy;
pub mod tls;
mod wire;

/// A port that is taken and not served yet: whoever connects waits.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    patience: Patience,
    doors: Doors,
}

/// What stands before the first request.
#[derive(Debug, Clone)]
struct Doors {
    crowd: Arc<Crowd>,
    /// Trusted proxies begin with the PROXY protocol.
    proxy_protocol: bool,
    /// A socket with this number or a higher one is one too many.
    descriptors_max: u64,
    tls: Option<Arc<Tls>>,
}

/// Why a connection without a stream was ended, where the client is told nothing: it asked for
/// nothing in time,
const IDLE: &str = "idle";
/// it took no byte for too long while some waited,
const STALLED: &str = "stalled";
/// its peer did not even acknowledge what was sent,
const VANISHED: &str = "vanished";
/// or there were too many, and its client had most.
const CROWDED: &str = "crowded";

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
    bound(socket.listen(ACCEPT_BACKLOG)?, unsent_bytes_max)
}

/// Takes a port that is held for us and may be others' too: another process may follow this one, or
/// serve beside it, and no connection is refused meanwhile. `unsent_bytes_max` as `bind` has it.
///
/// # Errors
/// What the system says.
pub fn adopt(listener: std::net::TcpListener, unsent_bytes_max: u32) -> io::Result<Bound> {
    listener.set_nonblocking(true)?;
    bound(TcpListener::from_std(listener)?, unsent_bytes_max)
}

fn bound(listener: TcpListener, unsent_bytes_max: u32) -> io::Result<Bound> {
    // An event is one write: it must not wait for the next one. Inherited by what is accepted, as
    // is the other.
    #[cfg(target_os = "linux")]
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(&listener).set_tcp_notsent_lowat(unsent_bytes_max) {
        tracing::warn!(%error, "stalled readers will hold more memory than they need");
    }
    let addr = listener.local_addr()?;
    let patience = Patience { head: REQUEST_HEAD_TIMEOUT, stall: STALL_MAX };
    let (crowd, proxy_protocol, descriptors_max) = (Crowd::unbounded(), false, u64::MAX);
    let doors = Doors { crowd, proxy_protocol, descriptors_max, tls: None };
    Ok(Bound { listener, addr, patience, doors })
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
        self.doors.tls = Some(Arc::new(tls));
        self
    }

    /// Where connections without a stream are counted; by default there may be any number of them.
    #[must_use]
    pub fn crowd(mut self, crowd: Arc<Crowd>) -> Self {
        self.doors.crowd = crowd;
        self
    }

    /// Whom the crowd trusts begins each connection with a header of the PROXY protocol.
    #[must_use]
    pub fn proxy_protocol(mut self, is_spoken: bool) -> Self {
        self.doors.proxy_protocol = is_spoken;
        self
    }

    /// So many descriptors may be in use when a connection is accepted; then others have to go.
    #[must_use]
    pub fn descriptors_max(mut self, descriptors_max: u64) -> Self {
        self.doors.descriptors_max = descriptors_max;
        self
    }

    /// The kernel gives a peer up that acknowledges nothing. Inherited by what is accepted.
    #[cfg(target_os = "linux")]
    fn give_up_the_vanished(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.listener);
        let stall = self.patience.stall;
        // Later than the stall, which a peer may be in that is there: for the kernel a window that
        // stays shut is no acknowledgement either.
        let later = (stall / 2).max(VANISHED_LATER_MIN);
        socket.set_tcp_user_timeout(Some(stall + later))?;
        // The kernel counts in whole seconds.
        let often = (stall / 4).max(Duration::from_secs(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(stall).with_interval(often))
    }
}

/// Serves until `shutdown`; then the port is closed, connections without a request are too, and
/// this returns when the last answer has gone out. A stream ends only through its body: to end all
/// is the business of whoever makes the bodies. Dropped, it cuts all connections.
pub async fn serve(bound: Bound, router: Router, shutdown: CancellationToken) {
    #[cfg(target_os = "linux")]
    if let Err(error) = bound.give_up_the_vanished() {
        tracing::warn!(%error, "streams of vanished clients will be held for long");
    }
    let Bound { listener, patience, doors, .. } = bound;
    let watched = doors.tls.clone();
    let _watching = watched.map(|tls| AbortOnDropHandle::new(tokio::spawn(tls.watch())));
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = async {
            doors.crowd.room().await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            // Without this branch the set would keep what has ended.
            Some(ended) = connections.join_next() => report(ended),
            accepted = accepted => match accepted {
                Ok((socket, peer)) => {
                    failing = false;
                    let arrival = doors.crowd.arrive(peer.ip());
                    // The kernel gives the lowest number that is free: all below it are in use.
                    if u64::try_from(socket.as_raw_fd()).is_ok_and(|n| n >= doors.descriptors_max) {
                        doors.crowd.press();
                    }
                    let (shutdown, router) = (shutdown.clone(), router.clone());
                    let connection = Connection { peer, arrival, patience, shutdown, router };
                    connections.spawn(connection.drive(socket, doors.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "cannot accept connections, trying on");
                    }
                    failing = true;
                    doors.crowd.press();
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
    /// Who it comes from; behind a proxy that says so, its client.
    peer: SocketAddr,
    arrival: Arc<Arrival>,
    patience: Patience,
    shutdown: CancellationToken,
    router: Router,
}

impl Connection {
    async fn drive(self, socket: TcpStream, doors: Doors) {
        let (arrival, peer) = (Arc::clone(&self.arrival), self.peer);
        if arrival.is_told() {
            return self.turn_away(&socket, doors.tls.is_none());
        }
        tokio::select! {
            () = self.converse(socket, doors) => {}
            () = arrival.has_to_go() => arrival.ended(CROWDED, peer.ip()),
        }
    }

    /// Says no at once and does not wait until it is read.
    fn turn_away(&self, socket: &TcpStream, is_plain: bool) {
        self.ended(CROWDED);
        if is_plain {
            let answer = answer_to_no_request(&Refusal::Rate { wait_s: 1 }.into());
            let now = rustix::net::RecvFlags::DONTWAIT;
            // What has come and is not read would turn the close into a reset.
            let _ = rustix::net::recv(socket, &mut [0; 4096], now);
            let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
            let _ = rustix::net::send(socket, &answer, flags);
        }
    }

    async fn converse(mut self, mut socket: TcpStream, doors: Doors) {
        #[cfg(not(target_os = "linux"))]
        let _ = socket.set_nodelay(true);
        if doors.proxy_protocol && doors.crowd.trusts(self.peer.ip()) {
            match Box::pin(self.ask_the_proxy(socket, doors.tls.is_none())).await {
                Some((named, client)) => (socket, self.peer) = (named, client),
                None => return,
            }
        }
        let socket = Patient::new(socket, self.patience.stall);
        // Boxed where a plain connection of HTTP/1 never comes: its task stays small.
        let (channel, is_http2) = match &doors.tls {
            None => (Channel::Plain(socket), false),
            Some(tls) => match Box::pin(self.greet(socket, tls)).await {
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

    /// Whom the proxy comes for. `None`: it did not say, and has been told so where it can read it.
    async fn ask_the_proxy(
        &self,
        mut socket: TcpStream,
        is_plain: bool,
    ) -> Option<(TcpStream, SocketAddr)> {
        let said = tokio::select! {
            said = tokio::time::timeout(self.patience.head, proxy::read(&mut socket)) => said,
            () = self.shutdown.cancelled() => return None,
        };
        let error = match said {
            Ok(Ok(None)) => return Some((socket, self.peer)),
            Ok(Ok(Some(client))) => {
                self.arrival.is_of(client.ip());
                return Some((socket, client));
            }
            Ok(Err(NoHeader::Gone)) => return None,
            Ok(Err(NoHeader::Otherwise(what))) => {
                tracing::debug!(peer = %self.peer, what, "a trusted proxy does not say who comes");
                AppError::from(Refusal::NoClient(NoClient::NoProxyHeader(what)))
            }
            Err(_) => AppError::HeadTimeout,
        };
        self.ended(error.reason());
        if is_plain {
            let _ = socket.write_all(&answer_to_no_request(&error)).await;
            Channel::Plain(Patient::new(socket, self.patience.stall)).linger().await;
        }
        None
    }

    /// Counts the end of a connection that carries no stream.
    fn ended(&self, reason: &'static str) {
        self.arrival.ended(reason, self.peer.ip());
    }
}
