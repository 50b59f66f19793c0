//! What a connection's bytes go through: the socket, and TLS around it where that is spoken.
//!
//! ```text
//!  Channel ─▶ (TLS) ─▶ Patient ─▶ socket
//! ```
//! A client that takes no byte while some wait for it is cut after a while. hyper would wait for
//! ever, since a full socket is not an error, and a slot would be held for nobody. This is watched
//! below TLS, which takes some bytes in that its socket does not. Knows no HTTP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;

use crate::limits::CLOSE_MAX;
use crate::session::closing::linger;

/// A socket, and how long it has been full.
#[derive(Debug)]
pub(super) struct Patient {
    socket: TcpStream,
    stall_max: Duration,
    /// Runs while the socket is full; most sockets never are.
    stall: Option<Pin<Box<Sleep>>>,
    /// Whether there is something to write that the socket did not take.
    full: Arc<AtomicBool>,
    /// Whether it was cut for that.
    stalled: Arc<AtomicBool>,
}

impl Patient {
    pub(super) fn new(socket: TcpStream, stall_max: Duration) -> Self {
        Self { socket, stall_max, stall: None, full: Arc::default(), stalled: Arc::default() }
    }

    /// True while the socket is full.
    pub(super) fn full(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.full)
    }

    /// Passes on what a write gave, and watches how long nothing could be written.
    fn watched(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.full.store(written.is_pending(), Ordering::Release);
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall_max = self.stall_max;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(stall.as_mut().poll(cx));
        // Before the error: what it ends looks here for its reason.
        self.stalled.store(true, Ordering::Release);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A connection's way to its client.
#[derive(Debug)]
pub(super) enum Channel {
    /// The bytes go as they are.
    Plain(Patient),
    /// They are encrypted.
    Tls(Box<TlsStream<Patient>>),
}

impl Channel {
    /// Says that nothing more will be sent, and closes when the client has done the same.
    pub(super) async fn linger(self) {
        match self {
            Self::Plain(patient) => linger(patient.socket).await,
            Self::Tls(mut stream) => {
                // Without the word of TLS the client cannot tell an end from a cut.
                if let Ok(Ok(())) = timeout(CLOSE_MAX, stream.shutdown()).await {
                    linger(stream.into_inner().0.socket).await;
                }
            }
        }
    }

    /// The socket, if there is nothing around it.
    pub(super) fn into_socket(self) -> Option<TcpStream> {
        match self {
            Self::Plain(patient) => Some(patient.socket),
            Self::Tls(_) => None,
        }
    }

    /// True as soon as it has been cut because its client took nothing.
    pub(super) fn stalled(&self) -> Arc<AtomicBool> {
        let patient = match self {
            Self::Plain(patient) => patient,
            Self::Tls(stream) => stream.get_ref().0,
        };
        Arc::clone(&patient.stalled)
    }

    fn io(&mut self) -> Pin<&mut dyn Io> {
        Pin::new(match self {
            Self::Plain(patient) => patient,
            Self::Tls(stream) => &mut **stream,
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, bufs)
    }

    /// Not over TLS: an event is to be one record, and is copied once anyway.
    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Plain(patient) if patient.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watched(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
