//! How a stream leaves hyper before a byte of its answer is written.
//!
//! ```text
//!  stream::open ─▶ response + Takeable ─▶ middleware ─▶ listen: fits? ─▶ take, carry ─▶ pump
//!                                                             └─ no: hyper writes it all
//! ```
//! The answer to a stream's request holds its session where it can still be taken out. What is not
//! taken is delivered as the response's body.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{Method, Request, Response, Version, header};
use bytes::Bytes;
use http_body::Frame;

use crate::gate::crowd::Carrying;
use crate::session::{SessionBody, Transfer};

/// A session that may be taken out of its response.
#[derive(Clone)]
pub(super) struct Takeable(Arc<Shared>);

struct Shared {
    session: Mutex<Option<SessionBody>>,
    stalled: AtomicBool,
    /// What says that its connection was cut because the client took nothing.
    cut: OnceLock<Arc<AtomicBool>>,
    /// That its connection carries it, as long as there is a body.
    carrying: Mutex<Option<Carrying>>,
}

/// The response's body, if nobody takes the session.
struct Untaken {
    takeable: Takeable,
    session: Option<SessionBody>,
}

impl http_body::Body for Untaken {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.session.is_none() {
            this.session = this.takeable.take();
        }
        match &mut this.session {
            Some(session) => Pin::new(session).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        if let Some(session) = &mut self.session
            && self.takeable.is_stalled()
        {
            session.stalls();
        }
        drop(self.takeable.0.carrying.lock().expect("no holder panics").take());
    }
}

impl Takeable {
    /// A session, and the body that delivers it where it is not taken.
    pub(super) fn new(session: SessionBody) -> (Self, Body) {
        let takeable = Self(Arc::new(Shared {
            session: Mutex::new(Some(session)),
            stalled: AtomicBool::default(),
            cut: OnceLock::new(),
            carrying: Mutex::default(),
        }));
        let body = Untaken { takeable: takeable.clone(), session: None };
        (takeable, Body::new(body))
    }

    /// The body is about to be dropped, because its client takes nothing.
    pub(super) fn has_stalled(&self) {
        self.0.stalled.store(true, Ordering::Release);
    }

    /// What is dropped with the body, if the session is not taken before.
    pub(super) fn holds(&self, carrying: Carrying) {
        *self.0.carrying.lock().expect("no holder panics") = Some(carrying);
    }

    /// It is delivered over a connection of which `cut` says that it ended since its client took
    /// nothing.
    pub(super) fn goes_over(&self, cut: &Arc<AtomicBool>) {
        let _ = self.0.cut.set(Arc::clone(cut));
    }

    fn is_stalled(&self) -> bool {
        let cut = self.0.cut.get().is_some_and(|cut| cut.load(Ordering::Acquire));
        cut || self.0.stalled.load(Ordering::Acquire)
    }

    fn take(&self) -> Option<SessionBody> {
        self.0.session.lock().expect("no holder panics").take()
    }

    fn take_for_a_socket(&self) -> Option<SessionBody> {
        let mut session = self.0.session.lock().expect("no holder panics");
        session.take_if(|session| session.can_be_carried())
    }
}

/// How the answer to this request would be framed, if its connection can be taken out of hyper:
/// nothing may follow the head, and nothing may have been promised about what does.
pub(super) fn fits<B: http_body::Body>(request: &Request<B>) -> Option<Transfer> {
    let plain = request.method() == Method::GET
        && request.body().is_end_stream()
        && !request.headers().contains_key(header::EXPECT)
        && !request.headers().contains_key(header::UPGRADE);
    match request.version() {
        Version::HTTP_11 if plain => Some(Transfer::Chunked),
        Version::HTTP_10 if plain => Some(Transfer::UntilClose),
        _ => None,
    }
}

/// A stream that has left hyper: what is to be written, and how.
pub(super) struct Taken {
    pub(super) session: SessionBody,
    pub(super) head: Vec<u8>,
    pub(super) transfer: Transfer,
}

/// Takes the session out of a response, if there is one in it.
pub(super) fn take(response: &Response<Body>, transfer: Transfer) -> Option<Taken> {
    let session = response.extensions().get::<Takeable>()?.take_for_a_socket()?;
    Some(Taken { session, head: head(response, transfer), transfer })
}

fn head(response: &Response<Body>, transfer: Transfer) -> Vec<u8> {
    let version = match transfer {
        Transfer::Chunked => "1.1",
        Transfer::UntilClose => "1.0",
    };
    let mut text = String::with_capacity(512);
    let (status, date) = (response.status(), httpdate::fmt_http_date(std::time::SystemTime::now()));
    let reason = status.canonical_reason().unwrap_or_default();
    let written = write!(text, "HTTP/{version} {} {reason}\r\ndate: {date}\r\n", status.as_u16());
    written.expect("a String takes all that is written");
    let mut head = text.into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    if transfer == Transfer::Chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, version: Version, headers: &[(&str, &str)]) -> Option<Transfer> {
        let mut request = Request::builder().method(method).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        fits(&request.body(http_body_util::Empty::<Bytes>::new()).expect("a request"))
    }

    #[test]
    fn only_a_plain_get_of_http_1_is_taken() {
        assert_eq!(request("GET", Version::HTTP_11, &[]), Some(Transfer::Chunked));
        assert_eq!(request("GET", Version::HTTP_10, &[]), Some(Transfer::UntilClose));
        assert_eq!(request("HEAD", Version::HTTP_11, &[]), None);
        assert_eq!(request("GET", Version::HTTP_2, &[]), None);
        assert_eq!(request("GET", Version::HTTP_11, &[("expect", "100-continue")]), None);
        let body = http_body_util::Full::new(Bytes::from_static(b"x"));
        assert_eq!(fits(&Request::new(body)), None);
    }
}
