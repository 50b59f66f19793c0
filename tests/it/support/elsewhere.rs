//! A server elsewhere, for catalogues and schemas: real HTTP, also over TLS, and it says,
//! breaks off or keeps silent as a test tells it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificate::Identity;

/// What is said to who asks for a path.
#[derive(Clone, Debug)]
pub enum Says {
    /// 200 and this.
    Body(String),
    /// This status, with a page for people.
    Status(u16),
    /// To go there.
    GoTo(String),
    /// Nothing, for as long as the asker waits.
    Nothing,
    /// The beginning of an answer, and then the end of the connection.
    Half(String),
}

#[derive(Default)]
struct Shared {
    paths: Mutex<HashMap<String, Says>>,
    /// Paths that were asked for.
    asked: Mutex<Vec<String>>,
    heads: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// The server.
pub struct Elsewhere {
    shared: Arc<Shared>,
    port: u16,
    is_secured: bool,
}

impl Elsewhere {
    /// One that has nothing yet: 404.
    #[must_use]
    pub fn start() -> Self {
        Self::serve(None)
    }

    /// The same over TLS, as `localhost`.
    #[must_use]
    pub fn secured(identity: &Identity) -> Self {
        Self::serve(Some(identity.server()))
    }

    fn serve(tls: Option<Arc<ServerConfig>>) -> Self {
        let is_secured = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if serving.ended.load(Ordering::Acquire) {
                    return;
                }
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                std::thread::spawn(move || match tls {
                    None => shared.answer(socket),
                    Some(tls) => {
                        let tls = ServerConnection::new(tls).expect("a connection");
                        shared.answer(StreamOwned::new(tls, socket));
                    }
                });
            }
        });
        Self { shared, port, is_secured }
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.is_secured { "https://localhost" } else { "http://127.0.0.1" };
        format!("{scheme}:{}{path}", self.port)
    }

    /// From now on this is said there.
    pub fn says(&self, path: &str, says: Says) {
        self.shared.paths.lock().expect("no holder panics").insert(path.to_owned(), says);
    }

    /// 200, and this.
    pub fn has(&self, path: &str, body: impl ToString) {
        self.says(path, Says::Body(body.to_string()));
    }

    /// How often it has been asked for a path.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        let asked = self.shared.asked.lock().expect("no holder panics");
        asked.iter().filter(|asked| *asked == path).count()
    }

    /// The heads of all requests.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().expect("no holder panics").clone()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn answer(&self, socket: impl Read + Write) {
        let mut head = String::new();
        let mut lines = BufReader::new(socket);
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.asked.lock().expect("no holder panics").push(path.clone());
        self.heads.lock().expect("no holder panics").push(head);
        let says = self.paths.lock().expect("no holder panics").get(&path).cloned();
        let (status, more, body) = match says {
            Some(Says::Body(body)) => (200, String::new(), body),
            Some(Says::Status(status)) => (status, String::new(), "<html>sorry</html>".to_owned()),
            Some(Says::GoTo(place)) => (302, format!("location: {place}\r\n"), String::new()),
            Some(Says::Half(body)) => {
                let length = body.len() * 2;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                let _ = lines.get_mut().write_all(head.as_bytes());
                return;
            }
            Some(Says::Nothing) => {
                // Until the other side has had enough.
                let _ = lines.read_line(&mut String::new());
                return;
            }
            None => (404, String::new(), "<html>nothing here</html>".to_owned()),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let _ = lines.get_mut().write_all(answer.as_bytes());
    }
}
