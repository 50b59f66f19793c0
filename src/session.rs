//! One reader: a position, a permit, a framing, an end reason. (Interface; being written.)

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::catalog::Selection;
use crate::event::TimestampMs;
use crate::gate::{Permit, Refusal};
use crate::position::LastEventId;
use crate::position::gap::Gap;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// One JSON object a line.
    Ndjson,
}

/// What a reader asked for, read and checked as far as text alone can be checked.
#[derive(Debug)]
pub struct OpenRequest {
    /// Which streams.
    pub selection: Selection,
    /// `Last-Event-ID`, if it was given and not empty.
    pub last_event_id: Option<LastEventId>,
    /// `?since=`.
    pub since: Option<TimestampMs>,
    /// How to write.
    pub framing: Framing,
    /// Say the id before the first event (recognised browsers, `?id=first`). SSE only.
    pub id_first: bool,
    /// Tell gaps as events too (`?gap=event`).
    pub gap_events: bool,
}

/// Why no stream was opened.
#[derive(Debug, Clone)]
pub enum OpenError {
    /// 404 `topic_not_available`: the id names a topic outside the requested streams.
    TopicNotAvailable(String),
    /// 400 `invalid_assignment`; the text says what was found and what is accepted.
    InvalidAssignment(String),
    /// 400 `too_many_partitions`: the request would read more partitions than one may.
    TooManyPartitions {
        /// How many it would be.
        found: usize,
    },
    /// 503, with the one reason.
    Refused(Refusal),
}

/// An open stream.
pub struct Opened {
    /// The body: whole events only; ends after a whole event.
    pub body: SessionBody,
    /// What could not be given, for the header `x-stream-gap`.
    pub gaps: Vec<Gap>,
}

/// Opens sessions.
#[derive(Debug)]
pub struct Sessions {}

impl Sessions {
    /// Fixes the start (within `limits::START_DEADLINE`) and opens the stream.
    ///
    /// # Errors
    /// See `OpenError`.
    pub async fn open(&self, _request: OpenRequest, permit: Permit) -> Result<Opened, OpenError> {
        drop(permit);
        Err(OpenError::Refused(Refusal::SourceUnavailable))
    }
}

/// The bytes of one stream, for hyper.
pub struct SessionBody {}

impl http_body::Body for SessionBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(None)
    }
}
