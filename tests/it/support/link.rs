//! A TCP proxy that stands for the network: it can be cut, which both sides hear of, and held, which
//! nobody hears of.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The way to somewhere. Ends its listener and its connections when dropped.
pub struct Link {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    is_held: bool,
    is_over: bool,
    next: u64,
    /// Both ends of each connection.
    open: HashMap<u64, [TcpStream; 2]>,
}

impl Link {
    /// A way to `to`.
    #[must_use]
    pub fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let link = Self { address, state: Arc::clone(&state) };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if state.lock().is_over {
                    return;
                }
                let Ok(client) = client else { continue };
                let state = Arc::clone(&state);
                std::thread::spawn(move || state.carry(client, to));
            }
        });
        link
    }

    /// Where clients go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections. New ones are carried.
    pub fn cut(&self) {
        for (_, sockets) in self.state.lock().open.drain() {
            sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        }
    }

    /// From now on nothing passes, in no connection.
    pub fn hold(&self) {
        self.state.lock().is_held = true;
    }

    /// What waits passes, and what comes.
    pub fn release(&self) {
        self.state.lock().is_held = false;
        self.state.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.lock().is_over = true;
        self.release();
        self.cut();
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while nothing may pass.
    fn pass(&self) {
        let wait = self.changed.wait_while(self.lock(), |now| now.is_held);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    fn carry(self: Arc<Self>, client: TcpStream, to: SocketAddr) {
        self.pass();
        let Ok(server) = TcpStream::connect(to) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let copies = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
        let (Some(kept), Some([up_from, up_to])) = (copies(), copies()) else { return };
        let id = {
            let mut now = self.lock();
            now.next += 1;
            let id = now.next;
            now.open.insert(id, kept);
            id
        };
        let state = Arc::clone(&self);
        std::thread::spawn(move || state.pump(&up_from, &up_to));
        self.pump(&server, &client);
        self.lock().open.remove(&id);
    }

    /// Carries one direction to its end, and ends both.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut bytes = vec![0; 32 * 1024];
        while let Ok(n) = from.read(&mut bytes) {
            self.pass();
            if n == 0 || to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        for socket in [from, to] {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
