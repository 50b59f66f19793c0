//! What is held is what is open, per client and for the host, whatever fails, aborts or breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate::gate::Settings;
use tidegate::gate::client::ClientHeader;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use super::harness::{Live, PATIENCE, Server, eventually};
use super::streams::Stream;
use super::tls::{self, greet, until};
use crate::support::certificate::{Files, Identity};

const URI: &str = "/v2/stream/recentchange";
const PROXY: [u8; 4] = [127, 0, 0, 9];
/// Streams that a client may hold.
const LIMIT: usize = 3;
/// Whoever comes over TLS comes from here.
const OVER_TLS: Client = Client::Address(1);

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    /// By itself, from 127.0.0.n.
    Address(u8),
    /// Through the proxy, from 2001:db8:0:n::/64.
    Behind(u8),
}

impl Client {
    fn all() -> impl Iterator<Item = Self> {
        (1..6).map(Self::Address).chain((0..5).map(Self::Behind))
    }

    /// Where it connects from, and what the proxy adds. The forged one of a stranger says nothing.
    fn way(self, host: u16) -> ([u8; 4], String) {
        match self {
            Self::Address(n) => ([127, 0, 0, n], format!("x-client-ip: 198.51.100.{host}\r\n")),
            Self::Behind(n) => (PROXY, format!("x-client-ip: 2001:db8:0:{n}::{host}\r\n")),
        }
    }

    async fn opens(self, server: &Server, host: u16) -> Stream {
        let (from, header) = self.way(host);
        Stream::open_from(from, server, URI, &header).await
    }

    /// Sends these bytes and hangs up, or lets the connection be reset.
    async fn aborts(self, server: &Server, bytes: &str, resets: bool) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((self.way(1).0, 0).into()).expect("a loopback address");
        let mut socket = socket.connect(server.addr).await.expect("connect");
        let _ = socket.write_all(bytes.as_bytes()).await;
        end(socket, resets);
    }
}

fn end(socket: TcpStream, resets: bool) {
    if resets {
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("set");
    }
}

/// An open stream.
enum Open {
    Plain(Stream),
    OverTls(Box<TlsStream<TcpStream>>),
}

impl Open {
    fn ends(self, resets: bool) {
        end(
            match self {
                Self::Plain(stream) => stream.socket,
                Self::OverTls(stream) => stream.into_inner().0,
            },
            resets,
        );
    }
}

struct World {
    live: Live,
    over_tls: Server,
    identity: Identity,
    rng: StdRng,
    open: BTreeMap<Client, Vec<Open>>,
}

impl World {
    fn held(&self, client: Client) -> usize {
        self.open.get(&client).map_or(0, Vec::len)
    }

    fn any(&mut self) -> Client {
        let n = self.rng.random_range(0..10);
        Client::all().nth(n).expect("ten")
    }

    async fn step(&mut self) {
        let (client, host) = (self.any(), self.rng.random_range(1..200));
        let resets = self.rng.random();
        let server = &self.live.server;
        let (from, header) = client.way(host);
        match self.rng.random_range(0..14) {
            0..5 if self.held(client) < LIMIT => {
                let stream = client.opens(server, host).await;
                assert_eq!(stream.head.status(), 200, "{client:?}");
                self.open.entry(client).or_default().push(Open::Plain(stream));
            }
            0..5 => {
                let stream = client.opens(server, host).await;
                assert_eq!(stream.head.status(), 429, "{client:?}");
            }
            5 if self.held(OVER_TLS) < LIMIT => {
                let mut stream = greet(&self.over_tls, &self.identity).await.expect("greeted");
                let ask = format!("GET {URI} HTTP/1.1\r\nhost: t\r\n\r\n");
                stream.write_all(ask.as_bytes()).await.expect("sent");
                until(&mut stream, ":ok\n\n").await;
                self.open.entry(OVER_TLS).or_default().push(Open::OverTls(Box::new(stream)));
            }
            5 | 6 => {
                let hello = ["", "\u{16}\u{3}\u{1}\0", "GET / HTTP/1.1\r\n\r\n"];
                let hello = hello[self.rng.random_range(0..3)];
                client.aborts(&self.over_tls, hello, resets).await;
            }
            7 => {
                let half = format!("GET {URI} HTTP/1.1\r\nhost: t\r\n{header}");
                let cut = self.rng.random_range(0..half.len());
                client.aborts(server, &half[..cut], resets).await;
            }
            // Right after its head; whether it was a stream for a moment nobody can say.
            8 => {
                let whole = format!("GET {URI} HTTP/1.1\r\nhost: t\r\n{header}\r\n");
                client.aborts(server, &whole, resets).await;
            }
            9 => {
                let wrong = ["/v2/stream/none", "/v2/stream/recentchange?since=never", "/none"];
                let (uri, statuses) = (wrong[self.rng.random_range(0..3)], [400, 404, 429]);
                let stream = Stream::open_from(from, server, uri, &header).await;
                assert!(statuses.contains(&stream.head.status()), "{:?}", stream.head);
            }
            10 => {
                let line = format!("HEAD {URI}");
                assert_eq!(server.request(&line, "").await.status(), 200);
            }
            _ => {
                let streams = self.open.entry(client).or_default();
                if !streams.is_empty() {
                    let one = self.rng.random_range(0..streams.len());
                    streams.swap_remove(one).ends(resets);
                }
            }
        }
    }

    /// The number that is held is the number that is open, for all and for each.
    async fn is_exact(&self) {
        let all = self.open.values().map(Vec::len).sum();
        self.live.holds(all).await;
        let holding = self.open.values().filter(|streams| !streams.is_empty()).count();
        let metrics = self.live.metrics.render();
        for line in [
            format!("tidegate_streams_open {all}\n"),
            format!("tidegate_clients {holding}\n"),
            format!("eventstreams_connected_clients{{stream=\"recentchange\"}} {all}\n"),
        ] {
            assert!(metrics.contains(&line), "{line} in {metrics}");
        }
        eventually("no connection is left but theirs", || {
            self.live.metrics.gate.connections_waiting.get() == 0
        })
        .await;
        // As many more as there is room for, of each, and then not one.
        let more = Client::all().map(|client| async move {
            let mut more = Vec::new();
            for _ in self.held(client)..LIMIT {
                more.push(client.opens(&self.live.server, 7).await);
                let status = more.last().expect("one").head.status();
                assert_eq!(status, 200, "{client:?} holds {}", self.held(client));
            }
            let refused = client.opens(&self.live.server, 7).await;
            assert_eq!(refused.head.status(), 429, "{client:?} holds {}", self.held(client));
            more
        });
        let more = futures_util::future::join_all(more).await;
        assert_eq!(self.live.gate.held(), 10 * LIMIT);
        drop(more);
        self.live.holds(all).await;
    }
}

#[tokio::test]
async fn the_number_held_is_the_number_open_whatever_fails_aborts_or_breaks() {
    let mut settings = Settings::room_for(1000);
    settings.identity.streams = u32::try_from(LIMIT).expect("few");
    settings.identity.trusted = vec!["127.0.0.9/32".parse().expect("a prefix")];
    settings.identity.header = ClientHeader::new("x-client-ip".parse().expect("a name"));
    for live in Live::each_way_with(&settings) {
        let identity = Identity::new();
        let crowd = tidegate::gate::crowd::Settings {
            identity: settings.identity.clone(),
            connections_max: 1000,
            per_client: 1000,
        };
        let crowd = tidegate::gate::crowd::Crowd::new(crowd, live.metrics.clone());
        let live = live.counting(&crowd);
        let over_tls = tls::serve(&Files::of(&identity), live.router.clone(), &live.metrics);
        let seed = rand::random();
        println!("seed {seed}");
        let rng = StdRng::seed_from_u64(seed);
        let mut world = World { live, over_tls, identity, rng, open: BTreeMap::new() };
        for _ in 0..4 {
            for _ in 0..world.rng.random_range(30..60) {
                world.step().await;
            }
            tokio::time::timeout(PATIENCE * 3, world.is_exact()).await.expect("in time");
        }
        world.open.clear();
        world.is_exact().await;
        world.live.holds(0).await;
    }
}
