//! A peer that says whatever bytes it likes, from whatever loopback address.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use socket2::{Domain, SockFilter, Socket, Type};

use super::PATIENCE;

/// Connects from this address.
pub fn connect_from(address: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // The port is chosen when it is known where to: ports may be used again for other places.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.connect(&to.into())?;
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Connects from this address and says something.
pub fn says_from(address: [u8; 4], to: SocketAddr, what: &[u8]) -> io::Result<TcpStream> {
    let mut socket = connect_from(address, to)?;
    socket.write_all(what)?;
    Ok(socket)
}

/// All that comes until the other side closes, or cuts.
#[must_use]
#[track_caller]
pub fn heard(mut socket: &TcpStream) -> String {
    let (until, mut bytes, mut piece) = (Instant::now() + PATIENCE, Vec::new(), [0; 4096]);
    loop {
        let so_far = String::from_utf8_lossy(&bytes);
        assert!(Instant::now() < until, "not closed in time: {so_far}");
        match socket.read(&mut piece) {
            Ok(n @ 1..) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return so_far.into_owned(),
        }
    }
}

/// All that comes until it ends so.
#[track_caller]
pub fn hear(mut socket: &TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let read = socket.read_exact(&mut byte);
        let so_far = String::from_utf8_lossy(&bytes);
        read.unwrap_or_else(|e| panic!("{e} before {end:?} in {so_far:?}"));
        bytes.extend(byte);
    }
    String::from_utf8(bytes).expect("text")
}

/// The system of this peer is gone: from now on it acknowledges nothing.
pub fn vanish(socket: &TcpStream) {
    // A filter that keeps no byte of any packet.
    const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    socket2::SockRef::from(socket).attach_filter(&[DROP]).expect("a filter");
}
