//! The end of a connection, with care.
//!
//! ```text
//!  what is left to say ─▶ SHUT_WR ─▶ read and drop until the client does the same ─▶ close
//! ```
//! A plain close with bytes of the client unread would reset the connection, and what it has not
//! taken yet would be lost. A client that takes nothing gets a reset after a while, since a whole
//! end cannot be given to it.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::limits::{CLOSE_MAX, LINGER, LINGER_BYTES_MAX};

/// Writes `last` and closes.
pub async fn close(mut socket: TcpStream, last: &[u8]) {
    match tokio::time::timeout(CLOSE_MAX, socket.write_all(last)).await {
        Ok(Ok(())) => linger(socket).await,
        Ok(Err(_)) => {}
        Err(_) => reset(&socket),
    }
}

/// Says that nothing more will be sent, and waits a little for the client to do the same.
pub async fn linger(mut socket: TcpStream) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        // On the heap: every connection's task would have room for it, for all its life.
        let mut dropped = vec![0; 4096];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(n @ 1..) = socket.read(&mut dropped).await {
            left = left.saturating_sub(n);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// The close that follows is a reset: the kernel forgets what it still holds for the client.
pub(super) fn reset<'a>(socket: impl Into<SockRef<'a>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}
