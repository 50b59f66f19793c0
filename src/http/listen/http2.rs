//! A connection that speaks HTTP/2: many requests at once, each a stream of frames.
//!
//! ```text
//!  Wire ─▶ hyper ─┬─▶ request ─▶ router ─▶ answer ─▶ Paced body ─▶ pieces, as the client lets
//!                 └─▶ request ─▶ …
//! ```
//! All of it is one task, so that it ends as one. hyper knows no client that stops taking: a
//! stream whose window stays closed (`pace`) is reset here, and a connection without any stream is
//! closed after a while, as one of HTTP/1 without a request is.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, header};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Sleep, sleep};
use tower::ServiceExt;

use self::lent::{Back, Lent};
use self::pace::{Paced, Patience};
use super::wire::Wire;
use super::{Connection, IDLE};
use crate::http::handover::Takeable;
use crate::limits::{
    CLOSE_MAX, H2_HEAD_BYTES_MAX, H2_PING_EVERY, H2_PING_TIMEOUT, H2_RECEIVE_BYTES_MAX,
    H2_RESETS_MAX, H2_RESETS_UNSEEN_MAX, H2_SEND_BYTES_MAX, H2_STREAMS_MAX,
};

mod lent;
mod pace;

type Streaming = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes what hyper would run elsewhere.
#[derive(Clone)]
struct Fresh {
    streams: Arc<Mutex<Vec<Streaming>>>,
    patience: Patience,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Fresh {
    fn execute(&self, stream: F) {
        let stream = Box::pin(pace::watched(stream, self.patience.clone()));
        self.streams.lock().expect("no holder panics").push(stream);
    }
}

/// Serves it to its end.
pub(super) async fn drive(connection: &Connection, wire: Wire) {
    let Connection { patience, shutdown, .. } = connection;
    let patience = Patience { stall: patience.stall, shutdown: shutdown.clone() };
    let fresh = Fresh { streams: Arc::default(), patience };
    let back = Back::default();
    let stalled = wire.stalled();
    let service = {
        let connection = connection.clone();
        service_fn(move |request| respond(connection.clone(), request, Arc::clone(&stalled)))
    };
    let http =
        builder(fresh.clone()).serve_connection(TokioIo::new(Lent::new(wire, &back)), service);
    let mut http = Box::pin(http);
    let mut streams = FuturesUnordered::new();
    let mut idle = Idle::new(connection);
    let mut cancelled = pin!(shutdown.clone().cancelled_owned());
    let mut stopping = false;
    let outcome = poll_fn(|cx| {
        if !stopping && cancelled.as_mut().poll(cx).is_ready() {
            stopping = true;
            http.as_mut().graceful_shutdown();
            idle.is_to_close(CLOSE_MAX);
        }
        if let Poll::Ready(ended) = http.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        streams.extend(mem::take(&mut *fresh.streams.lock().expect("no holder panics")));
        // What they hand to hyper wakes this task, and hyper writes it in the next turn.
        while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {}
        match idle.poll(cx, streams.is_empty()) {
            Due::Nothing => Poll::Pending,
            Due::Close => {
                connection.ended(IDLE);
                http.as_mut().graceful_shutdown();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Due::Cut => Poll::Ready(None),
        }
    });
    let outcome = outcome.await;
    drop((streams, http));
    let wire = back.lock().expect("no holder panics").take();
    match (outcome, wire) {
        (Some(Ok(())), Some(wire)) => wire.into_channel().linger().await,
        (Some(Err(error)), _) => tracing::trace!(%error, "connection ended"),
        (Some(Ok(())) | None, _) => tracing::trace!("connection cut"),
    }
}

fn builder(fresh: Fresh) -> http2::Builder<Fresh> {
    let mut builder = http2::Builder::new(fresh);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_TIMEOUT)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(H2_HEAD_BYTES_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_UNSEEN_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .max_send_buf_size(H2_SEND_BYTES_MAX)
        .initial_stream_window_size(H2_RECEIVE_BYTES_MAX)
        .initial_connection_window_size(H2_RECEIVE_BYTES_MAX);
    builder
}

async fn respond(
    connection: Connection,
    mut request: Request<Incoming>,
    stalled: Arc<AtomicBool>,
) -> Result<Response<Paced>, Infallible> {
    connection.arrival.is_alive();
    request.extensions_mut().insert(ConnectInfo(connection.peer));
    let mut response = connection.router.oneshot(request.map(Body::new)).await?;
    // HTTP/2 says this in frames, and forbids the words (RFC 9113, 8.2.2).
    response.headers_mut().remove(header::CONNECTION);
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    let session = response.extensions().get::<Takeable>().cloned();
    if let Some(stream) = &session {
        stream.holds(connection.arrival.carries());
        stream.goes_over(&stalled);
    }
    Ok(response.map(|body| Paced::new(body, session)))
}

/// What is to be done with a connection without streams.
enum Due {
    Nothing,
    /// The client is told that no more is taken.
    Close,
    /// It was told, and did not end.
    Cut,
}

/// How long a connection has been without streams.
struct Idle {
    timer: Option<Pin<Box<Sleep>>>,
    /// Until it is told to close.
    patience: Duration,
    closing: bool,
    /// From then on.
    grace: Duration,
}

impl Idle {
    fn new(connection: &Connection) -> Self {
        let super::Patience { head, stall } = connection.patience;
        Self { timer: None, patience: head, closing: false, grace: stall }
    }

    fn is_to_close(&mut self, grace: Duration) {
        *self = Self { timer: None, patience: self.patience, closing: true, grace };
    }

    fn poll(&mut self, cx: &mut Context<'_>, is_idle: bool) -> Due {
        if !is_idle {
            self.timer = None;
            return Due::Nothing;
        }
        let after = if self.closing { self.grace } else { self.patience };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(after)));
        if timer.as_mut().poll(cx).is_pending() {
            return Due::Nothing;
        }
        if self.closing {
            return Due::Cut;
        }
        self.is_to_close(self.grace);
        // The next look starts the timer anew.
        Due::Close
    }
}
