//! A TCP proxy that cuts connections where it is told to: after so many bytes of the response,
//! wherever in an event that is, or behind a mark.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// How many bytes of its response a connection gets, by its number.
pub type Plan = dyn Fn(usize) -> Option<usize> + Send + Sync;

/// The proxy. Ends its listener when dropped.
pub struct Cutter {
    address: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
    connections: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Cutter {
    /// A proxy to `to`. `plan` says for each connection, from 0 on, after how many bytes it is cut;
    /// `None`: never.
    #[must_use]
    pub fn new(to: SocketAddr, plan: Box<Plan>) -> Self {
        Self::after(b"", to, plan)
    }

    /// As `new`, but the cut is right behind the next `mark` that comes in one piece.
    #[must_use]
    pub fn after(mark: &'static [u8], to: SocketAddr, plan: Box<Plan>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let cutter = Self {
            address: listener.local_addr().expect("bound"),
            to: Arc::new(Mutex::new(to)),
            connections: Arc::default(),
            cuts: Arc::default(),
            stop: Arc::default(),
        };
        let (connections, cuts) = (Arc::clone(&cutter.connections), Arc::clone(&cutter.cuts));
        let (stop, to) = (Arc::clone(&cutter.stop), Arc::clone(&cutter.to));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                let after = plan(connections.fetch_add(1, Ordering::AcqRel));
                let cuts = Arc::clone(&cuts);
                let to = *to.lock().expect("sound");
                std::thread::spawn(move || {
                    if carry(&client, to, after, mark) {
                        cuts.fetch_add(1, Ordering::AcqRel);
                    }
                });
            }
        });
        cutter
    }

    /// Where clients go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that come from now on go there.
    pub fn lead_to(&self, to: SocketAddr) {
        *self.to.lock().expect("sound") = to;
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// How many of them were cut.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Acquire)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

/// Carries one connection. True: it was cut by us.
fn carry(client: &TcpStream, to: SocketAddr, after: Option<usize>, mark: &[u8]) -> bool {
    let Ok(server) = TcpStream::connect(to) else { return false };
    let (up_from, up_to) = (client.try_clone(), server.try_clone());
    let (Ok(mut up_from), Ok(mut up_to)) = (up_from, up_to) else { return false };
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut up_from, &mut up_to);
        let _ = up_to.shutdown(Shutdown::Write);
    });
    let after = after.unwrap_or(usize::MAX);
    let was_cut = carry_down(&server, client, after, mark).unwrap_or(false);
    for socket in [client, &server] {
        let _ = socket.shutdown(Shutdown::Both);
    }
    was_cut
}

fn carry_down(
    mut server: &TcpStream,
    mut client: &TcpStream,
    mut left: usize,
    mark: &[u8],
) -> std::io::Result<bool> {
    let mut bytes = vec![0; 32 * 1024];
    loop {
        let n = server.read(&mut bytes)?;
        if n == 0 {
            return Ok(false);
        }
        let cut = (n >= left).then(|| end_of(mark, &bytes[..n], left)).flatten();
        client.write_all(&bytes[..cut.unwrap_or(n)])?;
        if cut.is_some() {
            return Ok(true);
        }
        left = left.saturating_sub(n);
    }
}

/// The first place from `from` on that is right behind a mark.
fn end_of(mark: &[u8], bytes: &[u8], from: usize) -> Option<usize> {
    (from.max(mark.len())..=bytes.len()).find(|end| bytes[..*end].ends_with(mark))
}
