//! Whether a stream's client takes what it is given.
//!
//! ```text
//!  body ─▶ Paced: a piece at a time ─▶ hyper asks for the next one only when there is window
//!                     └─ asked no more for too long: watched() drops the stream, which resets it
//! ```
//! hyper waits for ever until there is window for the piece that it has, and does not look at the
//! body meanwhile. So the time runs from a piece that was handed over to the moment at which the
//! next is asked for.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::http::handover::Takeable;
use crate::limits::{CLOSE_MAX, H2_PIECE_BYTES_MAX};

tokio::task_local! {
    /// That of the stream which is being polled.
    static PACE: Arc<Pace>;
}

/// How long a client may take nothing; less once the host goes down.
#[derive(Clone)]
pub(super) struct Patience {
    pub(super) stall: Duration,
    pub(super) shutdown: CancellationToken,
}

impl Patience {
    async fn ends(self) {
        let shut = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(CLOSE_MAX).await;
        };
        tokio::select! {
            () = tokio::time::sleep(self.stall) => {}
            () = shut => {}
        }
    }
}

/// How far a stream's client has come.
#[derive(Default)]
struct Pace(Mutex<Progress>);

#[derive(Default)]
struct Progress {
    /// Pieces handed over.
    pieces: u64,
    /// The last of them has not left yet, as far as is known.
    waits: bool,
    /// Who is to be told.
    session: Option<Takeable>,
}

impl Pace {
    fn with<T>(&self, f: impl FnOnce(&mut Progress) -> T) -> T {
        f(&mut self.0.lock().expect("no holder panics"))
    }
}

type Ends = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stream that ends itself when its client takes nothing for too long.
pub(super) async fn watched(stream: impl Future<Output = ()>, patience: Patience) {
    let pace = Arc::new(Pace::default());
    let mut stream = pin!(PACE.scope(Arc::clone(&pace), stream));
    // Since which piece, and when it is enough.
    let mut stall: Option<(u64, Ends)> = None;
    let stalled = poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        let (pieces, waits) = pace.with(|progress| (progress.pieces, progress.waits));
        if !waits {
            stall = None;
            return Poll::Pending;
        }
        if stall.as_ref().is_none_or(|(since, _)| *since != pieces) {
            stall = Some((pieces, Box::pin(patience.clone().ends())));
        }
        match &mut stall {
            Some((_, ends)) => ends.as_mut().poll(cx).map(|()| true),
            None => Poll::Pending,
        }
    });
    if stalled.await
        && let Some(session) = pace.with(|progress| progress.session.take())
    {
        session.has_stalled();
    }
}

/// A body in pieces, whose pace is that of the stream which is being polled. What is ready at the
/// same time is one piece: client libraries take many small frames for an attack.
pub(super) struct Paced {
    body: Body,
    rest: Bytes,
    /// What the body gave that is no data, or its end; comes after the rest.
    last: Option<Last>,
    pace: Arc<Pace>,
}

enum Last {
    End,
    Frame(Frame<Bytes>),
    Error(axum::Error),
}

impl Paced {
    /// `session`: what the body is, if it is one; it is told when it ends for want of pace.
    pub(super) fn new(body: Body, session: Option<Takeable>) -> Self {
        let pace = PACE.try_with(Arc::clone).unwrap_or_default();
        pace.with(|progress| progress.session = session);
        Self { body, rest: Bytes::new(), last: None, pace }
    }

    /// Takes data until there is a piece, nothing more for now, or something other than data.
    fn gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut several = BytesMut::new();
        while self.last.is_none() && several.len() + self.rest.len() < H2_PIECE_BYTES_MAX {
            let asked = http_body::Body::poll_frame(Pin::new(&mut self.body), cx);
            let Poll::Ready(frame) = asked else { break };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => self.last = Some(Last::End),
                Some(Err(error)) => self.last = Some(Last::Error(error)),
                Some(Ok(Err(other))) => self.last = Some(Last::Frame(other)),
                // Alone it is passed on as it is.
                Some(Ok(Ok(data))) if self.rest.is_empty() && several.is_empty() => {
                    self.rest = data;
                }
                Some(Ok(Ok(data))) => {
                    several.extend_from_slice(&mem::take(&mut self.rest));
                    several.extend_from_slice(&data);
                }
            }
        }
        if !several.is_empty() {
            self.rest = several.freeze();
        }
        let has_some = !self.rest.is_empty() || self.last.is_some();
        if has_some { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.pace.with(|progress| progress.waits = false);
        ready!(this.gather(cx));
        if this.rest.is_empty() {
            // A body that has ended is not asked again.
            return Poll::Ready(match this.last.take() {
                Some(Last::Frame(frame)) => Some(Ok(frame)),
                Some(Last::Error(error)) => Some(Err(error)),
                Some(Last::End) | None => {
                    this.last = Some(Last::End);
                    None
                }
            });
        }
        let piece = this.rest.split_to(this.rest.len().min(H2_PIECE_BYTES_MAX));
        this.pace.with(|progress| {
            progress.pieces += 1;
            progress.waits = true;
        });
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let has_ended = matches!(self.last, Some(Last::End));
        self.rest.is_empty() && (has_ended || self.last.is_none() && self.body.is_end_stream())
    }

    /// As long as nothing has been asked for, which is when it counts.
    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
