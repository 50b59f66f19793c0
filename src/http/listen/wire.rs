//! The channel as hyper sees it, with two corrections.
//!
//! An answer that hyper gives by itself, to what is no request that could reach the router, is
//! written as problem JSON like every other error. hyper has no hook for these answers. They are
//! known by what no answer of ours is: a 400, 414 or 431 with a head and no body.
//!
//! The first bytes are held back while they can still be the preface of HTTP/2, and for ever if
//! they are: HTTP/1 then has read nothing, and HTTP/2 reads everything.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::channel::Channel;
use crate::http::problem::{AppError, answer_to_no_request};

/// How a client begins that knows that we speak HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A channel, what was read ahead, and what is left to write of a replaced answer.
#[derive(Debug)]
pub(super) struct Wire {
    channel: Channel,
    begins: Begins,
    instead: Option<Instead>,
    /// Why an answer was replaced.
    said: Option<&'static str>,
    is_http2: Arc<AtomicBool>,
}

/// How far the first bytes are known.
#[derive(Debug)]
enum Begins {
    /// These have come and may become the preface.
    Perhaps(Vec<u8>),
    /// These are given to whoever reads, then what comes. No more is held back.
    Known(Vec<u8>),
}

#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
}

impl Wire {
    pub(super) fn new(channel: Channel) -> Self {
        let begins = Begins::Perhaps(Vec::new());
        Self { channel, begins, instead: None, said: None, is_http2: Arc::default() }
    }

    /// True as soon as the preface has been read; whoever reads gets nothing then.
    pub(super) fn is_http2(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_http2)
    }

    /// From now on nothing is held back.
    pub(super) fn for_http2(mut self) -> Self {
        self.begins = Begins::Known(self.begins.into_bytes());
        self
    }

    /// Whether something has come that nobody has read.
    pub(super) fn holds_some(&self) -> bool {
        let (Begins::Perhaps(held) | Begins::Known(held)) = &self.begins;
        !held.is_empty()
    }

    /// The reason that the client was told, if what it sent was no request.
    pub(super) fn said(&self) -> Option<&'static str> {
        self.said
    }

    /// See `Channel::stalled`.
    pub(super) fn stalled(&self) -> Arc<AtomicBool> {
        self.channel.stalled()
    }

    pub(super) fn into_channel(self) -> Channel {
        self.channel
    }

    /// Reads on until it is known how the connection begins.
    fn poll_begins(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while let Begins::Perhaps(held) = &mut self.begins {
            if self.is_http2.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.channel).poll_read(cx, buf))?;
            let fresh = &buf.filled()[before..];
            let has_ended = fresh.is_empty();
            if held.is_empty() && !has_ended && !may_begin(fresh) {
                // Nearly always: HTTP/1, of which nothing was held back.
                self.begins = Begins::Known(Vec::new());
                return Poll::Ready(Ok(()));
            }
            held.extend_from_slice(fresh);
            buf.set_filled(before);
            if held.starts_with(PREFACE) {
                self.is_http2.store(true, Ordering::Release);
            } else if has_ended || !may_begin(held) {
                self.begins = Begins::Known(mem::take(held));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the replacement for `head`, all of it, then says that `head` has been written. hyper
    /// offers the same bytes again until then.
    fn poll_instead(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        while let Some(Instead { bytes, written }) = &mut self.instead {
            if *written == bytes.len() {
                break;
            }
            let wrote = Pin::new(&mut self.channel).poll_write(cx, &bytes[*written..]);
            let n = ready!(wrote)?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += n;
        }
        self.instead = None;
        Poll::Ready(Ok(head.len()))
    }

    fn notices(&mut self, head: &[u8]) -> bool {
        if self.instead.is_none() {
            let Some(error) = replaced(head) else { return false };
            self.said = Some(error.reason());
            self.instead = Some(Instead { bytes: answer_to_no_request(&error), written: 0 });
        }
        true
    }
}

impl Begins {
    fn into_bytes(self) -> Vec<u8> {
        let (Self::Perhaps(held) | Self::Known(held)) = self;
        held
    }
}

/// Whether these first bytes, or those that follow, can make the preface.
fn may_begin(first: &[u8]) -> bool {
    first.starts_with(PREFACE) || PREFACE.starts_with(first)
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
        let before = buf.filled().len();
        ready!(self.poll_begins(cx, buf))?;
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        if let Begins::Known(held) = &mut self.begins
            && !held.is_empty()
        {
            let n = held.len().min(buf.remaining());
            buf.put_slice(&held[..n]);
            held.drain(..n);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.channel).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.notices(buf) {
            return self.poll_instead(cx, buf);
        }
        Pin::new(&mut self.channel).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = bufs
            && self.notices(head)
        {
            return self.poll_instead(cx, head);
        }
        Pin::new(&mut self.channel).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.channel.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_shutdown(cx)
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

    #[test]
    fn what_can_still_become_the_preface_is_told_from_what_cannot() {
        let whole = [PREFACE, b"\0\0\0\x04"].concat();
        for (first, may) in [
            (&b"P"[..], true),
            (b"PRI * HTTP/2.0\r\n", true),
            (PREFACE, true),
            (&whole, true),
            (b"POST / HTTP/1.1\r\n", false),
            (b"GET", false),
            (b"PRI * HTTP/2.0\r\n\r\nGET", false),
        ] {
            assert_eq!(may_begin(first), may, "{}", String::from_utf8_lossy(first));
        }
    }
}
