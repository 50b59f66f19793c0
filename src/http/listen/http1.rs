//! A connection that speaks HTTP/1.
//!
//! A stream leaves here before its answer is written: its socket goes to the pump (`handover`).
//! Over TLS there is no socket to give away; the stream stays, as the answer's body.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

use super::channel::Channel;
use super::wire::Wire;
use super::{Arrival, Connection, IDLE, STALLED, VANISHED};
use crate::http::handover::{self, Takeable, Taken};
use crate::http::problem::{AppError, answer_to_no_request};
use crate::limits::CONNECTION_BUFFER_BYTES_MAX;

/// Where a service leaves a stream that is to be taken out of its connection.
type Leaving = Arc<Mutex<Option<Taken>>>;

/// Why hyper is taken apart.
enum Outcome {
    Ended(hyper::Result<()>),
    StreamLeaves,
    IsHttp2,
}

/// Serves it to its end; or gives it back as soon as it turns out to be HTTP/2.
pub(super) async fn drive(connection: &Connection, channel: Channel) -> Option<Wire> {
    let leaving = Leaving::default();
    // Over TLS nothing is ever full here.
    let full = match &channel {
        Channel::Plain(patient) => Some(patient.full()),
        Channel::Tls(_) => None,
    };
    let stalled = channel.stalled();
    let service = {
        let (router, peer, may_leave) = (&connection.router, connection.peer, full.is_some());
        let leaving = Arc::clone(&leaving);
        service_fn(move |request| {
            let leaving = may_leave.then(|| Arc::clone(&leaving));
            let connection = (router.clone(), peer, Arc::clone(&connection.arrival));
            Box::pin(respond(connection, request, leaving, Arc::clone(&stalled)))
        })
    };
    let wire = Wire::new(channel);
    let is_http2 = wire.is_http2();
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(connection.patience.head)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(wire), service);

    // hyper leaves the socket to us when it is done, so that it can be closed with care; and when
    // a stream is to be taken out and nothing is left of an answer before it.
    let mut cancelled = pin!(connection.shutdown.cancelled());
    let mut stopping = false;
    let outcome = poll_fn(|cx| {
        if !stopping && cancelled.as_mut().poll(cx).is_ready() {
            stopping = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        if let Poll::Ready(ended) = http.poll_without_shutdown(cx) {
            return Poll::Ready(Outcome::Ended(ended));
        }
        if is_http2.load(Ordering::Acquire) {
            return Poll::Ready(Outcome::IsHttp2);
        }
        let leaves = leaving.lock().expect("no holder panics").is_some();
        let flushed = full.as_ref().is_none_or(|full| !full.load(Ordering::Acquire));
        if leaves && flushed { Poll::Ready(Outcome::StreamLeaves) } else { Poll::Pending }
    });
    let outcome = outcome.await;
    let parts = http.into_parts();
    let wire = parts.io.into_inner();
    let half_a_head = !parts.read_buf.is_empty() || wire.holds_some();
    match outcome {
        Outcome::IsHttp2 => return Some(wire.for_http2()),
        Outcome::StreamLeaves => {
            let taken = leaving.lock().expect("no holder panics").take();
            if let (Some(taken), Some(socket)) = (taken, wire.into_channel().into_socket()) {
                connection.arrival.leaves();
                taken.session.carry(socket, taken.transfer, &taken.head).await;
            }
        }
        Outcome::Ended(ended) => end(connection, ended, wire, half_a_head).await,
    }
    None
}

/// Closes a connection with care that hyper is done with, and counts what it ended for.
async fn end(connection: &Connection, ended: hyper::Result<()>, wire: Wire, half_a_head: bool) {
    match ended {
        Ok(()) => wire.into_channel().linger().await,
        Err(error) if error.is_parse() => {
            wire.said().into_iter().for_each(|reason| connection.ended(reason));
            wire.into_channel().linger().await;
        }
        // Half a head is answered; of a connection kept open for later nobody waits for one, and
        // an answer to nothing would be taken for that to the next request.
        Err(error) if error.is_timeout() && half_a_head => {
            connection.ended(AppError::HeadTimeout.reason());
            let mut channel = wire.into_channel();
            let _ = channel.write_all(&answer_to_no_request(&AppError::HeadTimeout)).await;
            let _ = channel.flush().await;
            channel.linger().await;
        }
        Err(error) => {
            if error.is_timeout() {
                connection.ended(IDLE);
            } else if let Some(reason) = silence(&error) {
                connection.ended(reason);
            }
            tracing::trace!(%error, "connection ended");
        }
    }
}

/// Whether the connection broke for want of the client's bytes, and how.
fn silence(error: &hyper::Error) -> Option<&'static str> {
    let io = error.source()?.downcast_ref::<io::Error>()?;
    // Ours has no number of the system's.
    let is_ours = io.raw_os_error().is_none();
    let is_timeout = io.kind() == io::ErrorKind::TimedOut;
    is_timeout.then_some(if is_ours { STALLED } else { VANISHED })
}

async fn respond(
    (router, peer, arrival): (Router, SocketAddr, Arc<Arrival>),
    mut request: Request<Incoming>,
    leaving: Option<Leaving>,
    stalled: Arc<AtomicBool>,
) -> Result<Response, Infallible> {
    arrival.is_alive();
    request.extensions_mut().insert(ConnectInfo(peer));
    let transfer = leaving.as_ref().and_then(|_| handover::fits(&request));
    // A length beside it is passed over, and hyper does not tell. Who reads the length sees another
    // request after this one, so there is to be none (RFC 9112, 6.1).
    let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = router.oneshot(request.map(Body::new)).await?;
    if let (Some(leaving), Some(transfer)) = (leaving, transfer)
        && let Some(taken) = handover::take(&response, transfer)
    {
        *leaving.lock().expect("no holder panics") = Some(taken);
        // hyper waits for an answer that never comes, and is taken apart meanwhile.
        return std::future::pending().await;
    }
    if let Some(stream) = response.extensions().get::<Takeable>() {
        stream.holds(arrival.carries());
        stream.goes_over(&stalled);
    }
    if is_last {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
