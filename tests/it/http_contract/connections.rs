//! How connections begin and end: hang-ups, slow and stalled clients, stops, lack of descriptors.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use tidegate::http::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::harness::{PATIENCE, Reply, Server, front};

/// A body that never comes, and tells when it is dropped.
struct Silent(Option<oneshot::Sender<()>>);

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.0.take().expect("once").send(());
    }
}

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// One route whose body stays silent; the receiver hears when it is dropped.
fn silent_route() -> (Router, oneshot::Receiver<()>) {
    let (dropped, heard) = oneshot::channel();
    let body = Arc::new(Mutex::new(Some(Silent(Some(dropped)))));
    let handler = move || {
        let body = body.lock().expect("whole").take().expect("asked for once");
        std::future::ready(Body::new(body))
    };
    (Router::new().route("/silent", get(handler)), heard)
}

const ASK_SILENT: &[u8] = b"GET /silent HTTP/1.1\r\nhost: t\r\n\r\n";

#[tokio::test]
async fn a_client_that_hangs_up_on_a_quiet_stream_is_noticed_at_once() {
    for only_half in [false, true] {
        let (router, heard) = silent_route();
        let server = Server::of(router);
        let mut socket = server.connect().await;
        socket.write_all(ASK_SILENT).await.expect("send");
        assert_ne!(socket.read_u8().await.expect("the head comes before the body"), 0);
        if only_half {
            socket.shutdown().await.expect("half a hang-up");
            timeout(PATIENCE, heard).await.expect("noticed").expect("dropped");
        } else {
            drop(socket);
            timeout(PATIENCE, heard).await.expect("noticed").expect("dropped");
        }
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_before_its_answer_is_noticed_at_once() {
    struct Told(Option<oneshot::Sender<()>>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().expect("once").send(());
        }
    }
    let (started, has_started) = oneshot::channel();
    let (dropped, heard) = oneshot::channel();
    let parts = Arc::new(Mutex::new(Some((started, Told(Some(dropped))))));
    let handler = async move || {
        let (started, _told) = parts.lock().expect("whole").take().expect("asked for once");
        let _ = started.send(());
        std::future::pending::<&'static str>().await
    };
    let server = Server::of(Router::new().route("/silent", get(handler)));
    let mut socket = server.connect().await;
    socket.write_all(ASK_SILENT).await.expect("send");
    timeout(PATIENCE, has_started).await.expect("in time").expect("it starts");
    drop(socket);
    timeout(PATIENCE, heard).await.expect("noticed").expect("dropped");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_after_a_while() {
    let (dropped, heard) = oneshot::channel();
    let guard = Arc::new(Mutex::new(Some(Silent(Some(dropped)))));
    let handler = move || {
        let guard = guard.lock().expect("whole").take().expect("asked for once");
        let endless = std::iter::repeat_with(move || {
            let _held = &guard;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 10_000]))
        });
        std::future::ready(Body::from_stream(futures_util::stream::iter(endless)))
    };
    let router = Router::new().route("/silent", get(handler));
    let server = Server::with(router, |b| b.stall_timeout(Duration::from_millis(500)));
    let mut socket = server.connect().await;
    socket.write_all(ASK_SILENT).await.expect("send");
    timeout(PATIENCE, heard).await.expect("noticed").expect("dropped");
}

#[tokio::test]
async fn http_1_0_gets_a_stream_without_chunks_until_the_close() {
    let body = async || {
        let parts = [":ok\n\n", "event: message\n\n"].map(Ok::<_, Infallible>);
        Body::from_stream(futures_util::stream::iter(parts))
    };
    let server = Server::of(Router::new().route("/stream", get(body)));
    let reply = server.says_to("GET /stream HTTP/1.0\r\n\r\n").await;
    assert_eq!(reply.has("transfer-encoding"), None);
    assert_eq!(reply.text(), ":ok\n\nevent: message\n\n");
}

#[tokio::test]
async fn requests_sent_together_are_answered_in_their_order() {
    let server = Server::front();
    let close = "GET /_info/name HTTP/1.1\r\nconnection: close\r\n\r\n";
    let mut socket = server.connect().await;
    let both = format!("GET /nothing HTTP/1.1\r\n\r\n{close}");
    socket.write_all(both.as_bytes()).await.expect("send");
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    read.expect("the server closes").expect("and without a reset");
    let text = String::from_utf8(bytes).expect("text");
    let (first, second) = (text.find(" 404 ").expect("first"), text.find(" 200 ").expect("then"));
    assert!(first < second);
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_a_plain_request_gets_its_answer() {
    let server = Server::front();
    let mut socket = server.connect().await;
    socket.write_all(b"GET /_info/name HTTP/1.0\r\n\r\n").await.expect("send");
    socket.shutdown().await.expect("close one side");
    assert_eq!(Reply::read_whole(&mut socket).await.json()["name"], "tidegate");
}

#[tokio::test]
async fn a_slow_reader_gets_the_whole_body_and_its_end() {
    const PARTS: usize = 400;
    let part = Bytes::from(vec![b'x'; 50_000]);
    let body = async move || {
        let parts = (0..PARTS).map(move |_| Ok::<_, Infallible>(part.clone()));
        Body::from_stream(futures_util::stream::iter(parts))
    };
    let server = Server::of(Router::new().route("/long", get(body)));
    let mut socket = server.connect().await;
    let ask = b"GET /long HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    socket.write_all(ask).await.expect("send");
    // The server has written all that fits before the first byte is read, then waits.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let reply = Reply::read_whole(&mut socket).await;
    assert_eq!(reply.header("transfer-encoding"), "chunked");
    assert!(reply.body.ends_with(b"\r\n0\r\n\r\n"), "the terminating chunk");
    assert_eq!(reply.body.iter().filter(|&&b| b == b'x').count(), PARTS * 50_000);
}

#[tokio::test]
async fn bytes_of_the_client_that_nobody_reads_do_not_cut_the_answer() {
    let body = vec![b'y'; 200_000];
    let router = Router::new().route("/long", get(async move || body.clone()));
    let server = Server::of(router);
    let mut socket = server.connect().await;
    let ask = b"GET /long HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    socket.write_all(ask).await.expect("send");
    socket.write_all(&[b'z'; 20_000]).await.expect("send more");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(Reply::read_whole(&mut socket).await.body.len(), 200_000);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other_also_after_an_error() {
    let server = Server::front();
    let mut socket = server.connect().await;
    for (uri, status) in [("/_info", 200), ("/nothing", 404), ("/v2/stream/x", 400), ("/", 303)] {
        let ask = format!("GET {uri} HTTP/1.1\r\nhost: t\r\n\r\n");
        socket.write_all(ask.as_bytes()).await.expect("send");
        assert_eq!(Reply::read_one(&mut socket).await.status(), status, "{uri}");
    }
}

#[tokio::test]
async fn a_stop_closes_the_port_and_idle_connections_and_waits_for_open_streams() {
    let (silent, heard) = silent_route();
    let plain = Router::new().route("/plain", get(async || "plain"));
    let mut server = Server::of(silent.merge(plain));
    let fresh = server.connect().await;
    let mut kept = server.connect().await;
    kept.write_all(b"GET /plain HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("send");
    assert_eq!(Reply::read_one(&mut kept).await.text(), "plain");
    let mut streaming = server.connect().await;
    streaming.write_all(ASK_SILENT).await.expect("send");
    streaming.read_u8().await.expect("the head");

    server.shutdown.cancel();
    for mut idle in [fresh, kept] {
        let end = timeout(PATIENCE, idle.read(&mut [0; 1])).await.expect("closed");
        assert_eq!(end.expect("without a reset"), 0);
    }
    let asked = Instant::now();
    while TcpStream::connect(server.addr).await.is_ok() {
        assert!(asked.elapsed() < PATIENCE, "the port stays open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let serving = server.serving.take().expect("there");
    assert!(!serving.is_finished(), "a stream is open");
    drop(streaming);
    timeout(PATIENCE, heard).await.expect("noticed").expect("dropped");
    timeout(PATIENCE, serving).await.expect("it ends").expect("well");
}

#[test]
fn a_lack_of_descriptors_only_delays() {
    alone("a_lack_of_descriptors_only_delays", with_few_descriptors);
}

#[test]
fn before_the_descriptors_run_out_the_oldest_connection_without_a_stream_goes() {
    let name = "before_the_descriptors_run_out_the_oldest_connection_without_a_stream_goes";
    alone(name, with_a_last_descriptor);
}

/// Runs a test of this file once more, as the only one of a process, whose descriptors it can count.
fn alone(name: &str, test: impl Fn()) {
    const INSIDE: &str = "TIDEGATE_TEST_FEW_DESCRIPTORS";
    let name = &format!("http_contract::connections::{name}");
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let this = std::env::current_exe().expect("a path");
    let output = std::process::Command::new(this)
        .args(["--exact", name.as_str(), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[tokio::main(flavor = "current_thread")]
async fn with_a_last_descriptor() {
    let router = front(Settings::default()).0;
    let last = free_descriptor(60);
    let server = Server::with(router, |b| b.head_timeout(PATIENCE).descriptors_max(last));
    // Each connection has two ends here.
    let mut clients = Vec::new();
    for n in 0..60 {
        let mut client = server.connect().await;
        client.write_all(b"GET /_info HTTP/1.1\r\n\r\n").await.expect("send");
        assert_eq!(Reply::read_one(&mut client).await.status(), 200, "{n}");
        clients.push(client);
    }
    // Those that came first have been closed, and the last ones have not.
    let is_closed = async |client: &mut TcpStream| {
        timeout(Duration::from_millis(200), client.read_u8()).await.is_ok()
    };
    assert!(is_closed(&mut clients[0]).await && is_closed(&mut clients[25]).await);
    assert!(!is_closed(clients.last_mut().expect("sixty")).await);
}

/// The number that so many descriptors from now will have.
fn free_descriptor(free: usize) -> u64 {
    let open: std::collections::BTreeSet<u64> = std::fs::read_dir("/proc/self/fd")
        .expect("Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    (0..).filter(|n| !open.contains(n)).nth(free).expect("there is always a next one")
}

/// Leaves room for `free` descriptors more than are open, wherever those that were inherited lie.
fn leave_descriptors(free: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Rlimit { current: Some(free_descriptor(free)), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).expect("lower than it was");
}

#[tokio::main(flavor = "current_thread")]
async fn with_few_descriptors() {
    leave_descriptors(56);
    let server = Server::front();
    // Blocking, so that the server accepts none before all wait.
    let mut clients = Vec::new();
    for _ in 0..40 {
        let client = std::net::TcpStream::connect(server.addr).expect("the backlog takes it");
        client.set_nonblocking(true).expect("set");
        clients.push(client);
    }
    let mut last = TcpStream::from_std(clients.pop().expect("forty")).expect("registered");
    let ask = b"GET /_info HTTP/1.1\r\nconnection: close\r\n\r\n";
    last.write_all(ask).await.expect("send");
    let early = timeout(Duration::from_millis(500), last.read_u8()).await;
    assert!(early.is_err(), "the descriptors did not run out");
    clients.truncate(10);
    assert_eq!(Reply::read_whole(&mut last).await.status(), 200);
}
