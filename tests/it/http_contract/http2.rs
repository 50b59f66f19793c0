//! HTTP/2 in plain text: how it is told from HTTP/1, many streams on a connection, their ends, and
//! clients that take nothing or change their mind.

use std::future::poll_fn;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, Version};
use tidegate::http::Settings;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::harness::{Live, PATIENCE, Reply, Server, front};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const STREAM: &str = "/v2/stream/recentchange";

/// A connection that speaks HTTP/2.
pub(super) struct Client {
    send: SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
    silence: Option<oneshot::Sender<()>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Client {
    pub(super) async fn over<S>(socket: S, settings: &Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, mut connection) = settings.handshake(socket).await.expect("a handshake");
        let (silence, silent) = oneshot::channel();
        let driving = tokio::spawn(async move {
            tokio::select! {
                ended = &mut connection => ended,
                Ok(()) = silent => {
                    let _held = connection;
                    std::future::pending().await
                }
            }
        });
        Self { send, driving, silence: Some(silence) }
    }

    async fn connect(server: &Server) -> Self {
        Self::over(server.connect().await, &Builder::new()).await
    }

    /// Sends a request; a test may change its mind before the answer.
    async fn ask(&mut self, uri: &str, headers: &[(&str, &str)]) -> (ResponseFuture, Ask) {
        let mut request = Request::get(format!("http://t{uri}")).version(Version::HTTP_2);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let ready = timeout(PATIENCE, self.send.clone().ready()).await.expect("in time");
        self.send = ready.expect("the connection lives");
        self.send.send_request(request, true).expect("sent")
    }

    pub(super) async fn get(&mut self, uri: &str) -> Response<RecvStream> {
        let (answer, _) = self.ask(uri, &[]).await;
        timeout(PATIENCE, answer).await.expect("in time").expect("an answer")
    }

    /// Neither reads nor writes any more, and does not close.
    pub(super) fn falls_silent(&mut self) {
        self.silence.take().expect("once").send(()).expect("it is driven");
    }

    /// How the server has ended the connection.
    async fn ended(mut self) -> Result<(), h2::Error> {
        timeout(PATIENCE, &mut self.driving).await.expect("it ends").expect("no panic")
    }
}

type Ask = h2::SendStream<Bytes>;

/// The next bytes; `None`: the server has ended the stream, whole.
pub(super) async fn next(stream: &mut RecvStream) -> Option<String> {
    let data = timeout(PATIENCE, stream.data()).await.expect("in time")?.expect("no reset");
    let _ = stream.flow_control().release_capacity(data.len());
    Some(String::from_utf8(data.to_vec()).expect("whole characters"))
}

/// Everything until the stream's whole end.
async fn rest(stream: &mut RecvStream) -> String {
    let mut all = String::new();
    while let Some(part) = next(stream).await {
        all += &part;
    }
    all
}

async fn until(stream: &mut RecvStream, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        all += &next(stream).await.expect("the stream goes on");
    }
    all
}

fn said<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

// Which of the two it is ---------------------------------------------------------------------------

/// Reads a frame's head; gives its kind.
async fn frame(socket: &mut TcpStream) -> u8 {
    let mut head = [0; 9];
    timeout(PATIENCE, socket.read_exact(&mut head)).await.expect("in time").expect("a frame");
    head[3]
}

#[tokio::test]
async fn a_preface_is_known_however_it_is_cut() {
    const SETTINGS: u8 = 4;
    const NO_SETTINGS: &[u8] = &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    let server = Server::front();
    for cut in [0, 1, 3, 14, 16, 23, 24] {
        let mut socket = server.connect().await;
        socket.set_nodelay(true).expect("set");
        socket.write_all(&PREFACE[..cut]).await.expect("send");
        tokio::time::sleep(Duration::from_millis(30)).await;
        let rest = [&PREFACE[cut..], NO_SETTINGS].concat();
        socket.write_all(&rest).await.expect("send");
        assert_eq!(frame(&mut socket).await, SETTINGS, "cut after {cut}");
    }
}

#[tokio::test]
async fn what_only_begins_like_a_preface_is_http_1() {
    let server = Server::front();
    for (first, then, status) in [
        ("P", "OST /nothing HTTP/1.1\r\nconnection: close\r\n\r\n", 404),
        ("PR", "OPFIND /nothing HTTP/1.1\r\nconnection: close\r\n\r\n", 404),
        ("PRI * HTTP/2.0\r\n\r\nS", "T\r\n\r\n", 400),
    ] {
        let mut socket = server.connect().await;
        socket.set_nodelay(true).expect("set");
        socket.write_all(first.as_bytes()).await.expect("send");
        tokio::time::sleep(Duration::from_millis(30)).await;
        socket.write_all(then.as_bytes()).await.expect("send");
        let reply = Reply::read_whole(&mut socket).await;
        assert_eq!(reply.status(), status, "{first}: {reply:?}");
        assert_eq!(reply.json()["status"], status);
    }
}

#[tokio::test]
async fn half_a_preface_is_half_a_head() {
    let patience = |b: tidegate::http::listen::Bound| b.head_timeout(Duration::from_secs(1));
    let server = Server::with(front(Settings::default()).0, patience);
    let mut slow = server.connect().await;
    slow.write_all(&PREFACE[..10]).await.expect("send");
    Reply::read_whole(&mut slow).await.problem(408, "request_timeout");
    // And who closes after it has sent no request.
    let mut gone = server.connect().await;
    gone.write_all(&PREFACE[..3]).await.expect("send");
    gone.shutdown().await.expect("close one side");
    let mut all = Vec::new();
    timeout(PATIENCE, gone.read_to_end(&mut all)).await.expect("closed").expect("no reset");
}

// Answers ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_stream_over_http_2_says_what_the_contract_asks_for_and_nothing_of_http_1() {
    let live = Live::for_many(2);
    let mut client = Client::connect(&live.server).await;
    let answer = client.get(STREAM).await;
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    for (name, value) in [
        ("content-type", Some("text/event-stream; charset=utf-8")),
        ("cache-control", Some("no-cache")),
        ("x-accel-buffering", Some("no")),
        ("vary", Some("accept-encoding")),
        ("access-control-allow-origin", Some("*")),
        ("connection", None),
        ("transfer-encoding", None),
        ("content-length", None),
    ] {
        assert_eq!(said(answer.headers(), name), value, "{name}");
    }
    assert_eq!(next(&mut answer.into_body()).await.as_deref(), Some(":ok\n\n"));
}

#[tokio::test]
async fn errors_over_http_2_are_the_same_problems() {
    let server = Server::front();
    let mut client = Client::connect(&server).await;
    let long = "x".repeat(40_000);
    for (uri, headers, status, kind) in [
        ("/v2/stream/x", vec![], 400, "not_found"),
        (STREAM, vec![], 503, "unavailable"),
        ("/nothing", vec![], 404, "not_found"),
        ("/breaks", vec![], 500, "internal_error"),
        (STREAM, vec![("x-long", &long[..])], 431, "request_header_fields_too_large"),
    ] {
        let (answer, _) = client.ask(uri, &headers).await;
        let answer = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
        assert_eq!(answer.status(), status, "{uri}");
        assert_eq!(said(answer.headers(), "content-type"), Some("application/problem+json"));
        let text = rest(&mut answer.into_body()).await;
        let problem: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let uri_said = &problem["uri"];
        assert_eq!((&problem["type"], uri_said), (&kind.into(), &uri.into()), "{problem}");
    }
}

#[tokio::test]
async fn a_body_longer_than_any_window_comes_whole() {
    let body = Bytes::from((0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let given = body.clone();
    let server = Server::of(Router::new().route("/long", get(async move || given.clone())));
    let mut stream = Client::connect(&server).await;
    let mut stream = stream.get("/long").await.into_body();
    let mut all = Vec::new();
    while let Some(part) = timeout(PATIENCE, stream.data()).await.expect("in time") {
        let part = part.expect("no reset");
        let _ = stream.flow_control().release_capacity(part.len());
        all.extend_from_slice(&part);
    }
    assert!(all == body, "{} bytes of {}", all.len(), body.len());
}

// Streams begin and end ----------------------------------------------------------------------------

#[tokio::test]
async fn many_streams_on_one_connection_are_told_the_same_and_end_whole() {
    const STREAMS: usize = 60;
    let mut live = Live::for_many(STREAMS);
    let mut client = Client::connect(&live.server).await;
    let mut reading = JoinSet::new();
    for _ in 0..STREAMS {
        let mut stream = client.get(STREAM).await.into_body();
        reading.spawn(async move { rest(&mut stream).await });
    }
    live.holds(STREAMS).await;
    for offset in 5..25 {
        live.tells(offset);
    }
    live.has_delivered(20 * STREAMS as u64).await;
    live.drains();
    live.server.shutdown.cancel();
    let mut first = None;
    for text in reading.join_all().await {
        assert!(text.starts_with(":ok\n\nevent: message\n") && text.ends_with("\n\n"), "{text}");
        assert_eq!(text.matches("\ndata: ").count(), 20);
        let lines = text.lines().filter(|line| !line.starts_with("retry: "));
        let events = lines.map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(first.get_or_insert_with(|| events.clone()), &events);
    }
    assert_eq!((live.gate.held(), live.ended("draining")), (0, STREAMS as u64));
    client.ended().await.expect("GOAWAY and a clean end");
    let serving = live.server.serving.take().expect("there");
    timeout(PATIENCE, serving).await.expect("it ends").expect("well");
}

#[tokio::test]
async fn events_that_are_there_together_are_one_frame() {
    let live = Live::for_many(1);
    let mut stream = Client::connect(&live.server).await;
    let mut stream = stream.get(STREAM).await.into_body();
    assert_eq!(next(&mut stream).await.as_deref(), Some(":ok\n\n"));
    // This is the only thread: the reader is not asked in between.
    for offset in 5..8 {
        live.tells(offset);
    }
    let frame = next(&mut stream).await.expect("events");
    let kinds = frame.lines().filter_map(|line| line.split_once(": ")).map(|(kind, _)| kind);
    let event = ["event", "id", "data"];
    let expected = [&event[..], &["retry"], &event, &event].concat();
    assert_eq!(kinds.collect::<Vec<_>>(), expected, "{frame}");
}

#[tokio::test]
async fn a_stream_that_is_reset_gives_its_slot_back_at_once() {
    let live = Live::for_many(1);
    let mut client = Client::connect(&live.server).await;
    for round in 0..150 {
        let (answer, mut ask) = client.ask(STREAM, &[]).await;
        if round % 2 == 0 {
            // After the answer: the stream is open and quiet.
            let answer = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
            assert_eq!(answer.status(), 200, "round {round}");
            assert_eq!(next(&mut answer.into_body()).await.as_deref(), Some(":ok\n\n"));
            ask.send_reset(Reason::CANCEL);
        } else {
            ask.send_reset(Reason::CANCEL);
            drop(answer);
        }
        live.holds(0).await;
    }
    assert_eq!(client.get(STREAM).await.status(), 200);
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection_and_holds_no_slot() {
    let live = Live::for_many(1000);
    let client = Client::connect(&live.server).await;
    let flood = async {
        for sent in 1.. {
            let request = Request::get(format!("http://t{STREAM}")).body(()).expect("a request");
            let asked = match client.send.clone().ready().await {
                Ok(mut ready) => ready.send_request(request, true),
                Err(_) => return,
            };
            let Ok((_, mut ask)) = asked else { return };
            ask.send_reset(Reason::CANCEL);
            if sent % 50 == 0 {
                // The connection is driven by another task.
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(PATIENCE, flood).await.expect("the server ends it");
    let error = client.ended().await.expect_err("not a clean end");
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{error}");
    live.holds(0).await;
    let plain = live.server.get("/_info/name").await;
    assert_eq!(plain.status(), 200);
}

#[tokio::test]
async fn a_client_that_goes_gives_all_its_slots_back() {
    let live = Live::for_many(3);
    let mut client = Client::connect(&live.server).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(client.get(STREAM).await.into_body());
    }
    live.holds(3).await;
    drop((client, streams));
    live.holds(0).await;
}

#[tokio::test]
async fn a_window_that_stays_closed_ends_its_stream_and_no_other() {
    let live = Live::for_many(2);
    let stall = |b: tidegate::http::listen::Bound| b.stall_timeout(Duration::from_secs(2));
    let server = Server::with(live.router.clone(), stall);
    let mut small = Builder::new();
    small.initial_window_size(300);
    let mut client = Client::over(server.connect().await, &small).await;
    let mut taking = client.get(STREAM).await.into_body();
    let mut stalled = client.get(STREAM).await.into_body();
    for offset in 5..10 {
        live.tells(offset);
        // It takes its bytes all the time, and its window is no larger.
        until(&mut taking, &format!("\"n\":{offset}")).await;
    }
    live.holds(1).await;
    assert_eq!((live.ended("stalled"), live.ended("client_closed")), (1, 0));
    live.tells(10);
    until(&mut taking, "\"n\":10").await;
    // What had come before is there; then the reset.
    let mut end = None;
    while end.is_none() {
        let part = timeout(PATIENCE, stalled.data()).await.expect("in time").expect("no end");
        end = part.err();
    }
    assert_eq!(end.expect("a reset").reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_slow_client_that_takes_some_now_and_then_is_not_cut() {
    const BYTES: usize = 400_000;
    let router = Router::new().route("/long", get(async || vec![b'x'; BYTES]));
    let server = Server::with(router, |b| b.stall_timeout(Duration::from_secs(3)));
    let mut client = Client::connect(&server).await;
    let mut stream = client.get("/long").await.into_body();
    let mut taken = 0;
    // The first 65,535 bytes come by themselves; from then on 16 KB each 200 ms.
    while let Some(part) = timeout(PATIENCE, stream.data()).await.expect("in time") {
        taken += part.as_ref().expect("it is not cut").len();
        let _ = stream.flow_control().release_capacity(part.expect("seen above").len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(taken, BYTES);
}

#[tokio::test]
async fn a_connection_without_a_stream_is_closed_after_a_while_and_one_with_a_stream_is_not() {
    let live = Live::for_many(1);
    let patience = |b: tidegate::http::listen::Bound| b.head_timeout(Duration::from_secs(2));
    let server = Server::with(live.router.clone(), patience);
    let fresh = Client::connect(&server).await;
    let mut used = Client::connect(&server).await;
    assert_eq!(used.get("/_info/name").await.status(), 200);
    let mut streaming = Client::connect(&server).await;
    let mut stream = streaming.get(STREAM).await.into_body();
    fresh.ended().await.expect("GOAWAY and a clean end");
    used.ended().await.expect("GOAWAY and a clean end");
    tokio::time::sleep(Duration::from_secs(3)).await;
    live.tells(5);
    until(&mut stream, "\"n\":5").await;
}

#[tokio::test]
async fn a_stop_cuts_a_client_that_ignores_it_and_ends_one_that_takes_nothing() {
    let mut live = Live::for_many(2);
    let mut small = Builder::new();
    small.initial_window_size(10);
    let mut client = Client::over(live.server.connect().await, &small).await;
    let mut stalled = client.get(STREAM).await.into_body();
    // The first fills the window; the second is what hyper waits with.
    for (offset, delivered) in [(5, 1), (6, 2)] {
        live.tells(offset);
        live.has_delivered(delivered).await;
    }
    // Has said hello, and nothing since: it answers neither GOAWAY nor PING.
    let mut mute = live.server.connect().await;
    mute.write_all(PREFACE).await.expect("send");
    mute.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("send");
    assert_eq!(frame(&mut mute).await, 4);
    live.drains();
    live.server.shutdown.cancel();
    let serving = live.server.serving.take().expect("there");
    timeout(PATIENCE, serving).await.expect("it ends before the stall's minute").expect("well");
    assert_eq!((live.gate.held(), live.ended("stalled")), (0, 1));
    let _ = poll_fn(|cx| stalled.poll_data(cx)).await;
}
