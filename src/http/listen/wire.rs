//! The socket as hyper sees it, with two corrections.
//!
//! An answer that hyper gives by itself, to what is no request that could reach the router, is
//! written as problem JSON like every other error. hyper has no hook for these answers. They are
//! known by what no answer of ours is: a 400, 414 or 431 with a head and no body.
//!
//! A client that takes no byte while some wait for it is cut after a while. hyper would wait for
//! ever, since a full socket is not an error, and a slot would be held for nobody.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::http::problem::{AppError, answer_to_no_request};

/// A socket, what is left to write of a replaced answer, and how long it has been full.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    instead: Option<Instead>,
    stall_max: Duration,
    /// Runs while the socket is full; most sockets never are.
    stall: Option<Pin<Box<Sleep>>>,
    /// Whether hyper still has something to write that the socket did not take.
    full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, stall_max: Duration) -> Self {
        Self { socket, instead: None, stall_max, stall: None, full: Arc::default() }
    }

    /// True while the socket is full.
    pub(super) fn full(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.full)
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Writes the replacement for `head`, all of it, then says that `head` has been written. hyper
    /// offers the same bytes again until then.
    fn poll_instead(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        while let Some(Instead { bytes, written }) = &mut self.instead {
            if *written == bytes.len() {
                break;
            }
            let wrote = Pin::new(&mut self.socket).poll_write(cx, &bytes[*written..]);
            let n = ready!(wrote)?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += n;
        }
        self.instead = None;
        Poll::Ready(Ok(head.len()))
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
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn notices(&mut self, head: &[u8]) -> bool {
        if self.instead.is_none() {
            let error = replaced(head);
            self.instead = error.map(|e| Instead { bytes: answer_to_no_request(&e), written: 0 });
        }
        self.instead.is_some()
    }
}

/// What hyper's own answer means; `None` for every other.
fn replaced(written: &[u8]) -> Option<AppError> {
    // The one look at every write: all others are gone here.
    let status = written.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
    let has_no_body = written.ends_with(b"\r\n\r\n")
        && written.windows(19).any(|w| w.eq_ignore_ascii_case(b"content-length: 0\r\n"));
    if !has_no_body {
        return None;
    }
    match status {
        b"00" => Some(AppError::Malformed),
        b"14" => Some(AppError::UriTooLong),
        b"31" => Some(AppError::HeadTooLarge),
        _ => None,
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.notices(buf) {
            let written = self.poll_instead(cx, buf);
            return self.watched(cx, written);
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watched(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = bufs
            && self.notices(head)
        {
            let written = self.poll_instead(cx, head);
            return self.watched(cx, written);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_body_is_replaced() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(replaced(own), Some(AppError::HeadTooLarge)));
        let ours = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 10\r\n\r\n";
        assert!(replaced(ours).is_none());
        let ours = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}";
        assert!(replaced(ours).is_none());
        let found = b"HTTP/1.1 301 Moved Permanently\r\ncontent-length: 0\r\n\r\n";
        assert!(replaced(found).is_none());
        assert!(replaced(b"").is_none());
        assert!(replaced(b"HTTP/1.1 4").is_none());
    }
}
