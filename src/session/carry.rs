//! A session on a socket of its own: greeting and replay, until it is live and the pump takes it.
//!
//! ```text
//!  head, :ok ─▶ replay … ─▶ live, nothing left to say ─▶ pump
//!                  ▲                                       │
//!                  └────────────── fell off the ring ◀─────┘
//! ```
//! What is said and when is the body's business (`body`); here it is framed and written, and it is
//! noticed when the client goes or takes nothing.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Presence;
use super::body::SessionBody;
use super::catchup::Shared;
use super::closing::{close, reset};
use super::pump::Pump;
use super::state::{EndReason, State};
use crate::feed::FeedHandle;
use crate::feed::encode;
use crate::feed::frame::Frame;
use crate::feed::vector::Cursor;
use crate::limits;

/// How a response's end is known to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transfer {
    /// By its last chunk (HTTP/1.1).
    Chunked,
    /// By the end of the connection (HTTP/1.0).
    UntilClose,
}

impl Transfer {
    /// What says that the response is whole.
    pub(super) fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => b"0\r\n\r\n",
            Self::UntilClose => b"",
        }
    }
}

/// A live session without its socket.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) feed: Arc<FeedHandle>,
    pub(super) cursor: Cursor,
    pub(super) state: State,
    pub(super) presence: Presence,
    pub(super) transfer: Transfer,
    pub(super) gap_events: bool,
    pub(super) shared: Arc<Shared>,
    /// Where it is in the text of its encoding, if it has one.
    pub(super) packed: Option<Box<encode::Reader>>,
}

/// A live session and its socket.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) socket: std::net::TcpStream,
    pub(super) session: Session,
    /// What has to go out before the next event.
    pub(super) rest: Bytes,
    /// Bytes of the client that were dropped.
    pub(super) dropped: u16,
}

/// What became of the session on its socket.
enum Outcome {
    /// It is live; what is in `pending` has still to be written.
    Live,
    /// The body has ended; the client may be told so.
    Ended,
    /// Nobody is there any more, or it is over at once.
    Over(EndReason),
}

struct Carrier {
    body: SessionBody,
    socket: TcpStream,
    transfer: Transfer,
    pending: BytesMut,
    /// Bytes of the client that were dropped.
    dropped: u16,
    /// How long the socket may be full.
    stall_max: Duration,
    /// Runs while the socket is full.
    stall: Option<Pin<Box<Sleep>>>,
}

/// Carries a session until the pump has it, or it has ended. `pending` goes out first; of the
/// client's bytes so many were `dropped` already.
pub(super) async fn carry(
    body: SessionBody,
    socket: TcpStream,
    transfer: Transfer,
    (pending, dropped): (BytesMut, u16),
    pump: Arc<Pump>,
) {
    let stall_max = pump.stall_max();
    let mut this = Carrier { body, socket, transfer, pending, dropped, stall_max, stall: None };
    let outcome = poll_fn(|cx| this.poll(cx)).await;
    let Carrier { mut body, socket, mut pending, dropped, .. } = this;
    match outcome {
        Outcome::Live => {
            if let (Some(session), Ok(socket)) = (body.into_live(transfer), socket.into_std()) {
                pump.take(Live { socket, session, rest: pending.freeze(), dropped });
            }
        }
        Outcome::Ended => {
            // The slot is free before the client can see its stream end.
            drop(body);
            pending.extend_from_slice(transfer.end());
            close(socket, &pending).await;
        }
        Outcome::Over(reason) => {
            body.end(reason);
            if reason == EndReason::Stalled {
                reset(&socket);
            }
        }
    }
}

impl Carrier {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            if let Poll::Ready(reason) = self.poll_client(cx) {
                return Poll::Ready(Outcome::Over(reason));
            }
            let filled = self.poll_fill(cx);
            if self.pending.is_empty() {
                return filled;
            }
            let written = Pin::new(&mut self.socket).poll_write(cx, &self.pending);
            match written {
                Poll::Ready(Ok(n @ 1..)) => {
                    self.stall = None;
                    self.pending.advance(n);
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Outcome::Over(EndReason::ClientClosed)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Outcome::Over(EndReason::broken(error.kind())));
                }
                // The pump waits for full sockets too, and does it at less cost.
                Poll::Pending if matches!(filled, Poll::Ready(Outcome::Live)) => return filled,
                Poll::Pending => {
                    let stall_max = self.stall_max;
                    let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(stall_max)));
                    ready!(stall.as_mut().poll(cx));
                    return Poll::Ready(Outcome::Over(EndReason::Stalled));
                }
            }
        }
    }

    /// Moves frames to `pending` as long as it is short.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while self.pending.len() < limits::BATCH_BYTES_MAX {
            if self.body.is_settled() {
                return Poll::Ready(Outcome::Live);
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let Some(Ok(frame)) = frame else { return Poll::Ready(Outcome::Ended) };
            let Ok(data) = frame.into_data() else { continue };
            match self.transfer {
                Transfer::Chunked => {
                    self.pending.extend_from_slice(Frame::from(&data[..]).chunk());
                }
                Transfer::UntilClose => self.pending.extend_from_slice(&data),
            }
        }
        Poll::Pending
    }

    /// Ready when the client has gone, or talks where it should listen.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let mut bytes = [0; 1024];
        loop {
            let mut read = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {
                    let n = u16::try_from(read.filled().len()).unwrap_or(u16::MAX);
                    self.dropped = self.dropped.saturating_add(n);
                }
                Ok(()) => return Poll::Ready(EndReason::ClientClosed),
                Err(error) => return Poll::Ready(EndReason::broken(error.kind())),
            }
            if usize::from(self.dropped) > limits::CLIENT_BYTES_MAX {
                return Poll::Ready(EndReason::ClientTalks);
            }
        }
    }
}
