//! The PROXY protocol, versions 1 and 2: who a connection really comes from, said by a trusted
//! proxy before anything else.
//!
//! ```text
//!  socket ─ look ─▶ parse ─┬─ a prefix of a header ─▶ take it, look on
//!                          ├─ a header ─▶ take it and not a byte more ─▶ TLS, HTTP/1, HTTP/2
//!                          └─ something else ─▶ 400, and the connection ends
//! ```
//! As <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt> says. `UNKNOWN`, `LOCAL` and
//! addresses that are none of TCP's mean the proxy itself, which checks our health. Extensions
//! (TLVs) are passed over unread, their checksum too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::limits::PROXY_HEADER_BYTES_MAX;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 2, before the addresses: signature, version and command, family, length.
const FIXED: usize = 16;
const V1_BEGINS: &[u8] = b"PROXY ";
/// With its end, and the longest addresses that there are.
const V1_BYTES_MAX: usize = 107;
/// More than any header's part that says something.
const LOOK_BYTES: usize = 256;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// A header, up to here; no byte too many.
    Inside,
    /// A whole header, or all of it that says something.
    Header(Header),
    /// No header, and it cannot become one.
    Otherwise(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// Whom it names; `None`: the proxy speaks for itself.
    client: Option<SocketAddr>,
    /// Of all of it; more than has been looked at, if extensions follow.
    bytes: usize,
}

/// Why a connection is not served.
#[derive(Debug)]
pub(super) enum NoHeader {
    /// What came is none; this is what is wrong with it.
    Otherwise(&'static str),
    /// The proxy went away.
    Gone,
}

impl From<io::Error> for NoHeader {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Reads the header and not a byte more. `None`: the proxy speaks for itself.
pub(super) async fn read(socket: &mut TcpStream) -> Result<Option<SocketAddr>, NoHeader> {
    let (mut seen, mut taken) = ([0; LOOK_BYTES], 0);
    loop {
        let fresh = socket.peek(&mut seen[taken..]).await?;
        if fresh == 0 {
            return Err(NoHeader::Gone);
        }
        let known = taken + fresh;
        match parse(&seen[..known]) {
            Begins::Otherwise(what) => return Err(NoHeader::Otherwise(what)),
            Begins::Inside => {
                socket.read_exact(&mut seen[taken..known]).await?;
                taken = known;
            }
            Begins::Header(Header { client, bytes }) => {
                pass_over(socket, bytes - taken).await?;
                return Ok(client);
            }
        }
    }
}

async fn pass_over(socket: &mut TcpStream, mut bytes: usize) -> io::Result<()> {
    let mut dropped = [0; 1024];
    while bytes > 0 {
        let n = bytes.min(dropped.len());
        bytes -= socket.read_exact(&mut dropped[..n]).await?;
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Begins {
    let begins = |with: &[u8]| {
        let n = with.len().min(bytes.len());
        bytes[..n] == with[..n]
    };
    if begins(SIGNATURE) {
        parse_v2(bytes)
    } else if begins(V1_BEGINS) {
        parse_v1(bytes)
    } else {
        Begins::Otherwise("something else")
    }
}

fn parse_v1(bytes: &[u8]) -> Begins {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        let has_end = bytes.len() >= V1_BYTES_MAX;
        return if has_end { Begins::Otherwise("a line without an end") } else { Begins::Inside };
    };
    let line = bytes[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else { return Begins::Otherwise("a line with another end than CRLF") };
    let mut words = line.split(' ').skip(1);
    let header = |client| Begins::Header(Header { client, bytes: end + 1 });
    let client = match words.next() {
        // What follows is to be passed over.
        Some("UNKNOWN") => return header(None),
        Some("TCP4") => addresses::<Ipv4Addr>(words),
        Some("TCP6") => addresses::<Ipv6Addr>(words),
        _ => return Begins::Otherwise("a protocol that is none of TCP4, TCP6 and UNKNOWN"),
    };
    client.map_or(Begins::Otherwise("addresses that are none"), |client| header(Some(client)))
}

/// Source, destination and their ports; nothing less and nothing more. The source.
fn addresses<'a, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<SocketAddr> {
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let port = |text: &str| {
        let is_plain =
            text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    let (source_port, _port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| SocketAddr::new(source.into(), source_port))
}

fn parse_v2(bytes: &[u8]) -> Begins {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Begins::Inside };
    let [.., version_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Begins::Otherwise("a header that is too long");
    }
    let header = |client| Begins::Header(Header { client, bytes: FIXED + length });
    match version_command {
        0x20 => return header(None),
        0x21 => {}
        _ => return Begins::Otherwise("a version or a command that there is not"),
    }
    let needed = match family {
        // TCP over IPv4, over IPv6.
        0x11 => 12,
        0x21 => 36,
        // Unspecified, UDP, and sockets of Unix: nothing that a client of ours could come over.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return header(None),
        _ => return Begins::Otherwise("a family or a transport that there is not"),
    };
    if length < needed {
        return Begins::Otherwise("a length that is too short for its addresses");
    }
    if rest.len() < needed {
        return Begins::Inside;
    }
    // Sources stand before destinations, all addresses before the ports.
    let client = if family == 0x11 {
        let [a, b, c, d, _, _, _, _, high, low, ..] = *rest else { return Begins::Inside };
        SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
    } else {
        let Some((address, rest)) = rest.split_first_chunk::<16>() else { return Begins::Inside };
        SocketAddr::from((*address, u16::from_be_bytes([rest[16], rest[17]])))
    };
    header(Some(client))
}

#[cfg(test)]
mod tests;
