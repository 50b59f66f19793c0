//! Nobody can take the service from the others: limits, refusals and fairness, on real sockets from
//! many loopback addresses, whoever delivers.

use std::num::NonZeroU32;
use std::time::Instant;

use tidegate::gate::{Opens, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Live, PATIENCE};
use super::streams::Stream;

const URI: &str = "/v2/stream/recentchange";
const BROWSER: &str = "accept: text/event-stream\r\nuser-agent: Mozilla/5.0\r\n";

/// Room for `streams_max`, and `per_client` for each.
fn settings(streams_max: usize, per_client: u32) -> Settings {
    let mut settings = Settings::room_for(streams_max);
    settings.identity.streams = per_client;
    settings
}

async fn from(host: u8, live: &Live) -> Stream {
    let mut stream = Stream::open_from([127, 0, 0, host], &live.server, URI, "").await;
    assert_eq!(stream.head.status(), 200, "{:?}", stream.head);
    assert_eq!(stream.chunk().await, ":ok\n\n");
    stream
}

async fn held_is(live: &Live, expected: usize) {
    let since = Instant::now();
    while live.gate.held() != expected {
        assert!(since.elapsed() < PATIENCE, "{} are held, not {expected}", live.gate.held());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_client_at_its_limit_is_told_so_and_the_others_are_not() {
    for live in Live::each_way_with(&settings(100, 3)) {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(from(1, &live).await);
        }
        let refused = live.server.get(URI).await;
        let problem = refused.problem(429, "too_many_requests");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains("holds 3 streams; 3 are"), "{detail}");
        assert!(refused.header("retry-after").parse::<u32>().expect("seconds") > 0);
        held.push(from(2, &live).await);
        assert_eq!(live.gate.held(), 4);
        let counted = "tidegate_refusals_total{reason=\"client_limit\"} 1\n";
        assert!(live.metrics.render().contains(counted), "{}", live.metrics.render());
        drop(held);
        held_is(&live, 0).await;
    }
}

#[tokio::test]
async fn what_fails_is_aborted_or_only_looks_holds_nothing() {
    for live in Live::each_way_with(&settings(100, 2)) {
        let _one = from(1, &live).await;
        for n in 0..20 {
            match n % 4 {
                0 => drop(live.server.get("/v2/stream/nothing").await.problem(400, "not_found")),
                1 => {
                    let wrong = format!("{URI}?since=never");
                    live.server.get(&wrong).await.problem(400, "invalid_timestamp");
                }
                2 => {
                    assert_eq!(live.server.request(&format!("HEAD {URI}"), "").await.status(), 200)
                }
                _ => {
                    let mut socket = TcpStream::connect(live.server.addr).await.expect("connect");
                    let half = format!("GET {URI} HTTP/1.1\r\nho");
                    socket.write_all(half.as_bytes()).await.expect("send");
                }
            }
        }
        let second = from(1, &live).await;
        held_is(&live, 2).await;
        live.server.get(URI).await.problem(429, "too_many_requests");
        drop(second);
        held_is(&live, 1).await;
    }
}

#[tokio::test]
async fn who_closes_a_stream_and_opens_the_next_at_once_meets_no_429() {
    for live in Live::each_way_with(&settings(100, 1)) {
        let mut stream = from(1, &live).await;
        for _ in 0..30 {
            drop(stream);
            stream = from(1, &live).await;
        }
        held_is(&live, 1).await;
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_header_counts_and_from_anyone_else_it_does_not() {
    let mut settings = settings(100, 1);
    settings.identity.trusted = vec!["127.0.0.9/32".parse().expect("a prefix")];
    settings.identity.header =
        tidegate::gate::client::ClientHeader::new("x-client-ip".parse().expect("a name"));
    for live in Live::each_way_with(&settings) {
        let mut held = Vec::new();
        for client in ["198.51.100.1", "198.51.100.2", "2001:db8::1"] {
            let header = format!("x-client-ip: {client}\r\n");
            let open = Stream::open_from([127, 0, 0, 9], &live.server, URI, &header);
            held.push(open.await);
            assert_eq!(held.last().expect("one").head.status(), 200);
        }
        for (client, status) in [("2001:db8::ffff", 429), ("198.51.100.2", 429), ("nobody", 400)] {
            let header = format!("x-client-ip: {client}\r\n");
            let open = Stream::open_from([127, 0, 0, 9], &live.server, URI, &header);
            assert_eq!(open.await.head.status(), status, "{client}");
        }
        let open = Stream::open_from([127, 0, 0, 9], &live.server, URI, "");
        assert_eq!(open.await.head.status(), 400, "the proxy has to say");
        // From anyone else it is passed over.
        let forged = "x-client-ip: 198.51.100.77\r\n";
        held.push(Stream::open_from([127, 0, 0, 5], &live.server, URI, forged).await);
        let again = Stream::open_from([127, 0, 0, 5], &live.server, URI, "");
        assert_eq!(again.await.head.status(), 429);
        assert_eq!(live.gate.held(), 4);
    }
}

#[tokio::test]
async fn when_all_is_full_the_greediest_loses_its_newest_and_is_told_why() {
    for live in Live::each_way_with(&settings(4, 64)) {
        let mut greedy = Vec::new();
        for _ in 0..4 {
            greedy.push(from(1, &live).await);
        }
        let new = from(2, &live).await;
        let mut newest = greedy.pop().expect("four");
        let told = newest.chunk().await;
        assert!(told.starts_with("event: error\ndata: {\"status\":503,\"type\":\"displaced\""));
        assert_eq!(newest.chunk().await, "", "and then a whole end");
        held_is(&live, 4).await;
        let other = from(2, &live).await;
        held_is(&live, 4).await;
        // Two against two: nobody is two ahead.
        let refused = Stream::open_from([127, 0, 0, 2], &live.server, URI, "").await;
        assert_eq!(refused.head.status(), 503);
        let third = from(3, &live);
        drop((new, other, third.await));
        let ended = "tidegate_streams_ended_total{reason=\"displaced\"} ";
        assert!(live.metrics.render().contains(ended));
    }
}

#[tokio::test]
async fn a_browser_is_refused_in_a_form_that_it_survives() {
    for live in Live::each_way_with(&settings(100, 1)) {
        let _held = from(1, &live).await;
        let reply = live.server.request(&format!("GET {URI}"), BROWSER).await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        let mut lines = reply.text().lines();
        assert_eq!(lines.next(), Some(":ok"));
        let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        assert!(said[0].starts_with("retry: ") && said[1] == "event: refused", "{said:?}");
        let json = said[2].strip_prefix("data: ").expect("data");
        let problem: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!((&problem["status"], &problem["uri"]), (&429.into(), &URI.into()));
        // A wrong request stays wrong: giving up is right.
        let other = [127, 0, 0, 2];
        let wrong = Stream::open_from(other, &live.server, "/v2/stream/nothing", BROWSER).await;
        assert_eq!(wrong.head.status(), 400);
        assert_eq!(live.gate.held(), 1);
    }
}

#[tokio::test]
async fn who_opens_too_fast_is_told_when_the_next_is_due() {
    let opens = |n| NonZeroU32::new(n).expect("some");
    let mut settings = settings(100, 64);
    settings.opens = Some(Opens { per_s: opens(1), burst: opens(3) });
    for live in Live::each_way_with(&settings) {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(from(1, &live).await);
        }
        let mut refused = 0;
        for _ in 0..20 {
            let mut asked = Stream::open_from([127, 0, 0, 1], &live.server, URI, "").await;
            if asked.head.status() == 200 {
                held.push(asked);
                continue;
            }
            assert_eq!(asked.head.status(), 429, "{:?}", asked.head);
            assert!(asked.head.header("retry-after").parse::<u32>().expect("seconds") > 0);
            let length = asked.head.header("content-length").parse().expect("a length");
            let mut text = vec![0; length];
            asked.socket.read_exact(&mut text).await.expect("a body");
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains("too fast"), "{text}");
            refused += 1;
            break;
        }
        assert_eq!(refused, 1);
        held.push(from(2, &live).await);
    }
}

#[tokio::test]
async fn a_token_has_one_account_wherever_it_comes_from_and_one_that_is_none_is_a_401() {
    const TOKEN: &str = "an-account-of-one-partner";
    let mut settings = settings(100, 1);
    settings.identity.budgets = vec![tidegate::gate::client::Budget {
        name: "partners".into(),
        prefixes: Vec::new(),
        tokens: [tidegate::gate::tokens::TokenHash::of(TOKEN.as_bytes())].into(),
        streams: 3,
    }];
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    for live in Live::each_way_with(&settings) {
        let mut held = vec![from(1, &live).await];
        for host in [1, 2, 3] {
            let open = Stream::open_from([127, 0, 0, host], &live.server, URI, &bearer);
            held.push(open.await);
            assert_eq!(held.last().expect("one").head.status(), 200, "{host}");
        }
        let full = live.server.request(&format!("GET {URI}"), &bearer).await;
        let problem = full.problem(429, "too_many_requests");
        assert!(problem["detail"].as_str().expect("a text").contains("holds 3 streams; 3 are"));
        // The address has its own account beside it.
        held.push(from(2, &live).await);
        live.server.get(URI).await.problem(429, "too_many_requests");
        for line in [format!("GET {URI}"), format!("HEAD {URI}")] {
            let wrong = "authorization: bearer an-account-of-no-partner\r\n";
            let reply = live.server.request(&line, wrong).await;
            assert_eq!(reply.status(), 401);
            assert_eq!(reply.header("www-authenticate"), "Bearer error=\"invalid_token\"");
            if line.starts_with("GET") {
                let problem = reply.problem(401, "unauthorized");
                assert!(!problem.to_string().contains("no-partner"), "{problem}");
            }
        }
        // A browser too has to be told.
        let wrong = format!("{BROWSER}authorization: Bearer of-nobody\r\n");
        live.server.request(&format!("GET {URI}"), &wrong).await.problem(401, "unauthorized");
        let counted = "tidegate_refusals_total{reason=\"unknown_token\"} 3\n";
        let metrics = live.metrics.render();
        assert!(metrics.contains(counted) && !metrics.contains("partner"), "{metrics}");
        assert_eq!(live.gate.held(), 5);
        drop(held);
        held_is(&live, 0).await;
    }
}
