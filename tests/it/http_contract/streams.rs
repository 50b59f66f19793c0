//! How a stream begins and ends on the wire, with as few events as show it.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{Live, PATIENCE, Reply, Server};

/// An open stream: its head, and its chunks one by one.
pub(super) struct Stream {
    pub(super) socket: TcpStream,
    pub(super) head: Reply,
}

impl Stream {
    pub(super) async fn open(server: &Server, uri: &str, headers: &str) -> Self {
        Self::open_from([127, 0, 0, 1], server, uri, headers).await
    }

    /// As a client of another loopback address.
    pub(super) async fn open_from(
        address: [u8; 4],
        server: &Server,
        uri: &str,
        headers: &str,
    ) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((address, 0).into()).expect("a loopback address");
        let mut socket = socket.connect(server.addr).await.expect("connect");
        let request = format!("GET {uri} HTTP/1.1\r\nhost: t\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.expect("send");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, socket.read_u8()).await.expect("in time");
            head.push(byte.expect("a head"));
        }
        Self { socket, head: Reply::parse(&head) }
    }

    pub(super) async fn recentchange(live: &Live) -> Self {
        let mut stream = Self::open(&live.server, "/v2/stream/recentchange", "").await;
        assert_eq!(stream.chunk().await, ":ok\n\n");
        stream
    }

    /// The next chunk, as text; the last one is empty.
    pub(super) async fn chunk(&mut self) -> String {
        String::from_utf8(self.bytes().await).expect("UTF-8")
    }

    /// The next chunk; the last one is empty.
    pub(super) async fn bytes(&mut self) -> Vec<u8> {
        let chunk = async {
            let mut size = Vec::new();
            while !size.ends_with(b"\r\n") {
                size.push(self.socket.read_u8().await.expect("the size of a chunk"));
            }
            let size = std::str::from_utf8(&size).expect("text").trim_end();
            let size = usize::from_str_radix(size, 16).expect("hexadecimal");
            let mut data = vec![0; size + 2];
            self.socket.read_exact(&mut data).await.expect("a whole chunk");
            assert!(data.ends_with(b"\r\n"), "a chunk has its end");
            data.truncate(size);
            data
        };
        timeout(PATIENCE, chunk).await.expect("in time")
    }
}

#[tokio::test]
async fn the_head_of_a_stream_says_all_that_the_contract_asks_for() {
    for live in Live::each_way() {
        let mut stream = Stream::open(&live.server, "/v2/stream/recentchange", "").await;
        let head = &stream.head;
        assert_eq!(head.line, "HTTP/1.1 200 OK");
        for (name, value) in [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
            ("vary", "accept-encoding"),
            ("access-control-allow-origin", "*"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
        ] {
            assert_eq!(head.header(name), value);
        }
        for absent in ["x-stream-gap", "content-length", "content-encoding"] {
            assert_eq!(head.has(absent), None);
        }
        assert_eq!(stream.chunk().await, ":ok\n\n");
    }
}

#[tokio::test]
async fn an_event_is_one_chunk_and_retry_follows_the_first() {
    for live in Live::each_way() {
        let mut stream = Stream::recentchange(&live).await;
        live.tells(5);
        let event = stream.chunk().await;
        let lines: Vec<_> = event.split('\n').collect();
        assert_eq!(lines[0], "event: message");
        assert!(
            lines[1].starts_with(r#"id: [{"topic":"eqiad.recentchange","partition":0,"offset":6"#)
        );
        assert!(lines[2].starts_with(r#"data: {"#) && lines[2].contains(r#""n":5"#));
        assert_eq!(lines[3..], ["", ""]);
        let retry = stream.chunk().await;
        assert!(retry.starts_with("retry: ") && retry.ends_with('\n') && !retry.ends_with("\n\n"));
        live.tells(6);
        assert!(stream.chunk().await.starts_with("event: message\n"));
    }
}

#[tokio::test]
async fn ndjson_is_one_object_a_line_after_an_empty_one() {
    for kind in ["application/json", "application/x-ndjson"] {
        for live in Live::each_way() {
            let accept = format!("accept: {kind}\r\n");
            let mut stream = Stream::open(&live.server, "/v2/stream/recentchange", &accept).await;
            assert_eq!(stream.head.header("content-type"), format!("{kind}; charset=utf-8"));
            assert_eq!(stream.chunk().await, "\n");
            live.tells(5);
            let line = stream.chunk().await;
            assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
            let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!((&event["n"], &event["meta"]["offset"]), (&5.into(), &5.into()));
        }
    }
}

#[tokio::test]
async fn only_browsers_and_who_asks_get_an_id_before_the_first_event() {
    let sse = "accept: text/event-stream\r\n";
    for (uri, headers, is_first) in [
        ("/v2/stream/recentchange", format!("{sse}user-agent: Mozilla/5.0\r\n"), true),
        ("/v2/stream/recentchange", format!("{sse}origin: http://a.example\r\n"), true),
        ("/v2/stream/recentchange?id=first", String::new(), true),
        ("/v2/stream/recentchange", sse.to_owned(), false),
        ("/v2/stream/recentchange", "user-agent: Mozilla/5.0\r\n".to_owned(), false),
    ] {
        for live in Live::each_way() {
            let mut stream = Stream::open(&live.server, uri, &headers).await;
            assert_eq!(stream.chunk().await, ":ok\n\n");
            live.tells(5);
            let next = stream.chunk().await;
            if is_first {
                assert!(
                    next.starts_with("retry: ") && next.contains("\nid: [{"),
                    "{headers}: {next}"
                );
                assert!(next.ends_with("]\n\n") && !next.contains("data:"), "{next}");
            } else {
                assert!(next.starts_with("event: message\n"), "{headers}: {next}");
            }
        }
    }
}

#[tokio::test]
async fn a_gap_is_said_in_the_head_and_on_request_in_the_stream() {
    for live in Live::each_way() {
        let id = r#"[{"topic":"eqiad.recentchange","partition":7,"offset":3}]"#;
        let headers = format!("last-event-id: {id}\r\n");
        let mut quiet = Stream::open(&live.server, "/v2/stream/recentchange", &headers).await;
        let said = quiet.head.header("x-stream-gap");
        assert!(said.starts_with(r#""eqiad.recentchange";p=7;from=3;"#), "{said}");
        assert!(quiet.head.header("access-control-expose-headers").contains("x-stream-gap"));
        assert_eq!(quiet.chunk().await, ":ok\n\n");
        live.tells(5);
        assert!(quiet.chunk().await.starts_with("event: message\n"));
        let uri = "/v2/stream/recentchange?gap=event";
        let mut told = Stream::open(&live.server, uri, &headers).await;
        assert_eq!(told.chunk().await, ":ok\n\n");
        let gap = told.chunk().await;
        assert!(gap.starts_with("event: gap\n") && gap.contains("eqiad.recentchange"), "{gap}");
    }
}

#[tokio::test]
async fn an_id_of_another_stream_is_a_404_that_does_not_say_what_there_is() {
    for live in Live::each_way() {
        let headers = "last-event-id: [{\"topic\":\"secret\",\"partition\":0,\"offset\":1}]\r\n";
        let reply = live.server.request("GET /v2/stream/recentchange", headers).await;
        let problem = reply.problem(404, "topic_not_available");
        assert!(!problem["detail"].to_string().contains("eqiad"), "{problem}");
        assert_eq!(live.gate.held(), 0);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot_for_the_next() {
    for live in Live::each_way() {
        let first = Stream::recentchange(&live).await;
        let _second = Stream::recentchange(&live).await;
        let gauge = r#"eventstreams_connected_clients{stream="recentchange"}"#;
        assert!(live.metrics.render().contains(&format!("{gauge} 2\n")));
        live.server.get("/v2/stream/recentchange").await.problem(503, "unavailable");
        drop(first);
        let since = Instant::now();
        while live.gate.held() == 2 {
            assert!(since.elapsed() < PATIENCE, "the slot stays taken");
            tokio::task::yield_now().await;
        }
        let _third = Stream::recentchange(&live).await;
        assert!(live.metrics.render().contains(&format!("{gauge} 2\n")));
    }
}

#[tokio::test]
async fn a_drained_stream_ends_after_a_whole_event_with_its_last_chunk() {
    for live in Live::each_way() {
        let mut stream = Stream::recentchange(&live).await;
        live.tells(5);
        assert!(stream.chunk().await.ends_with("\n\n"));
        live.gate.drain();
        live.sessions.drain(std::time::Duration::ZERO);
        loop {
            let chunk = stream.chunk().await;
            if chunk.is_empty() {
                break;
            }
            assert!(chunk.starts_with("retry: "), "{chunk}");
        }
        let end = timeout(PATIENCE, stream.socket.read(&mut [0; 1])).await.expect("closed");
        assert_eq!(end.expect("without a reset"), 0);
        live.server.get("/v2/stream/recentchange").await.problem(503, "unavailable");
        assert_eq!(live.gate.held(), 0);
    }
}

#[tokio::test]
async fn http_1_0_gets_the_same_bytes_without_chunks() {
    for live in Live::each_way() {
        let mut socket = live.server.connect().await;
        let request = b"GET /v2/stream/recentchange HTTP/1.0\r\n\r\n";
        socket.write_all(request).await.expect("send");
        let since = Instant::now();
        while live.gate.held() == 0 {
            assert!(since.elapsed() < PATIENCE, "it does not open");
            tokio::task::yield_now().await;
        }
        live.sessions.drain(std::time::Duration::ZERO);
        let reply = Reply::read_whole(&mut socket).await;
        assert_eq!(reply.has("transfer-encoding"), None);
        // Before any event it is told with the end when to come back.
        assert!(reply.text().starts_with(":ok\n\nretry: "), "{}", reply.text());
    }
}
