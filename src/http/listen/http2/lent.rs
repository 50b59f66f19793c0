//! Something that is lent to an owner who never gives it back, and comes back when that is gone.
//!
//! hyper drops the connection of an HTTP/2 client when it is done; it is to be closed with care.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::listen::wire::Wire;

/// Where it comes back to.
pub(super) type Back = Arc<Mutex<Option<Wire>>>;

/// A wire on loan.
pub(super) struct Lent {
    /// There until the drop.
    wire: Option<Wire>,
    back: Back,
}

impl Lent {
    pub(super) fn new(wire: Wire, back: &Back) -> Self {
        Self { wire: Some(wire), back: Arc::clone(back) }
    }

    fn wire(&mut self) -> Pin<&mut Wire> {
        Pin::new(self.wire.as_mut().expect("it is there until the drop"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Ok(mut back) = self.back.lock() {
            *back = self.wire.take();
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wire().poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.as_ref().is_some_and(Wire::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire().poll_shutdown(cx)
    }
}
