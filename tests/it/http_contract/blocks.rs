//! Who is blocked gets no stream, loses those that are open, and is told why; the others notice
//! nothing. Whoever delivers.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tidegate::event::TimestampMs;
use tidegate::gate::Settings;
use tidegate::gate::blocks::{Change, Verdict, canonical};
use tidegate::gate::client::ClientHeader;

use super::harness::{Live, PATIENCE, Reply, Server, front};
use super::streams::Stream;

const URI: &str = "/v2/stream/recentchange";
const BROWSER: &str = "accept: text/event-stream\r\nuser-agent: Mozilla/5.0\r\n";

/// What an operator decides now.
fn decided(prefix: &str, verdict: Verdict, reason: Option<&str>) -> Change {
    Change {
        at: TimestampMs::now(),
        host: "gw1:8092".into(),
        verdict,
        prefix: canonical(prefix.parse().expect("a prefix")),
        by: "ann".into(),
        reason: reason.map(Into::into),
    }
}

fn block(prefix: &str, reason: Option<&str>) -> Change {
    decided(prefix, Verdict::Blocked { until: None }, reason)
}

/// An open stream of 127.0.0.`host`.
async fn from(host: u8, live: &Live) -> Stream {
    let mut stream = Stream::open_from([127, 0, 0, host], &live.server, URI, "").await;
    assert_eq!(stream.head.status(), 200, "{:?}", stream.head);
    assert_eq!(stream.chunk().await, ":ok\n\n");
    stream
}

async fn refused(host: u8, live: &Live, headers: &str) -> u16 {
    Stream::open_from([127, 0, 0, host], &live.server, URI, headers).await.head.status()
}

async fn held_is(live: &Live, expected: usize) {
    let since = Instant::now();
    while live.gate.held() != expected {
        assert!(since.elapsed() < PATIENCE, "{} are held, not {expected}", live.gate.held());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_forbidden(reply: &Reply, detail: &str) {
    let problem = reply.problem(403, "forbidden");
    assert_eq!(problem["detail"], detail);
    assert_eq!(reply.has("retry-after"), None, "when, nobody can say");
}

#[tokio::test]
async fn a_block_ends_the_streams_of_its_prefix_with_the_reason_and_no_others() {
    for live in Live::each_way_with(&Settings::room_for(100)) {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for host in [16, 17, 31] {
            inside.push(from(host, &live).await);
        }
        for host in [15, 32, 1] {
            outside.push(from(host, &live).await);
        }
        let (news, told) = live.gate.learn(vec![block("127.0.0.16/28", Some("scrapes"))]);
        assert_eq!((news.len(), told), (1, 3));
        for stream in &mut inside {
            let said = stream.chunk().await;
            let data = said.strip_prefix("event: error\ndata: ").expect("an error");
            let problem: serde_json::Value = serde_json::from_str(data).expect("JSON");
            assert_eq!((&problem["status"], &problem["type"]), (&403.into(), &"blocked".into()));
            assert_eq!(problem["detail"], "Your address has been blocked: scrapes");
            assert_eq!(stream.chunk().await, "", "and then a whole end");
        }
        held_is(&live, 3).await;
        live.tells(5);
        for stream in &mut outside {
            assert!(stream.chunk().await.starts_with("event: message\n"), "they go on");
        }
        let text = live.metrics.render();
        assert!(text.contains("tidegate_streams_ended_total{reason=\"blocked\"} 3\n"), "{text}");
    }
}

#[tokio::test]
async fn who_is_blocked_is_refused_before_all_else_also_a_browser_and_also_with_head() {
    for live in Live::each_way_with(&Settings::room_for(100)) {
        live.gate.learn(vec![block("127.0.0.1/32", Some("scrapes"))]);
        let detail = "Your address has been blocked: scrapes";
        is_forbidden(&live.server.get(URI).await, detail);
        is_forbidden(&live.server.get("/v2/stream/nothing?since=never").await, detail);
        is_forbidden(&live.server.request(&format!("GET {URI}"), BROWSER).await, detail);
        assert_eq!(live.server.request(&format!("HEAD {URI}"), "").await.status(), 403);
        let reply = live.server.get(URI).await;
        assert_eq!(reply.header("access-control-allow-origin"), "*", "a page sees why");
        assert_eq!(live.server.get("/_info").await.status(), 200, "harmless, and open to all");
        let counted = "tidegate_refusals_total{reason=\"blocked\"} 5\n";
        assert!(live.metrics.render().contains(counted), "{}", live.metrics.render());
        drop(from(2, &live).await);
        // Nothing was said about why.
        live.gate.learn(vec![block("127.0.0.1/32", None)]);
        is_forbidden(&live.server.get(URI).await, "Your address has been blocked.");
        live.gate.learn(vec![decided("127.0.0.1/32", Verdict::Removed, None)]);
        assert_eq!(live.server.request(&format!("HEAD {URI}"), "").await.status(), 200);
    }
}

#[tokio::test]
async fn who_is_blocked_cannot_write_either() {
    let (router, gate) = front(Default::default());
    let server = Server::of(router);
    let post = || server.request("POST /v1/events", "");
    assert_eq!(post().await.text(), "taken");
    gate.learn(vec![block("127.0.0.1/32", None)]);
    let reply = post().await;
    assert_eq!(reply.status(), 403);
    assert_eq!(reply.json()["detail"], "Your address has been blocked.");
    assert_eq!(reply.has("access-control-allow-origin"), None, "no web page may write");
}

#[tokio::test]
async fn a_block_is_over_by_itself_and_at_once() {
    let live = Live::for_many(10);
    let until = TimestampMs(TimestampMs::now().0 + 700);
    let verdict = Verdict::Blocked { until: Some(until) };
    live.gate.learn(vec![decided("127.0.0.0/8", verdict, None)]);
    let since = Instant::now();
    loop {
        let before = TimestampMs::now();
        let status = refused(1, &live, "").await;
        let after = TimestampMs::now();
        assert!(before < until || status == 200, "it is over");
        assert!(after >= until || status == 403, "it is not over");
        if status == 200 {
            break;
        }
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_it_is_the_client_that_is_blocked_and_not_the_proxy() {
    let mut settings = Settings::room_for(100);
    settings.identity.trusted = vec!["127.0.0.9/32".parse().expect("a prefix")];
    settings.identity.header = ClientHeader::new("x-client-ip".parse().expect("a name"));
    for live in Live::each_way_with(&settings) {
        let named = |client: &str| format!("x-client-ip: {client}\r\n");
        let mut open = Vec::new();
        for client in ["2001:db8:1:2::7", "2001:db8:1:3::7", "::ffff:198.51.100.7"] {
            let stream = Stream::open_from([127, 0, 0, 9], &live.server, URI, &named(client)).await;
            assert_eq!(stream.head.status(), 200);
            open.push(stream);
        }
        let blocks = ["2001:db8:1:2::/64", "198.51.100.0/24", "127.0.0.9/32"];
        let (_, told) = live.gate.learn(blocks.map(|prefix| block(prefix, None)).to_vec());
        assert_eq!(told, 2);
        held_is(&live, 1).await;
        for (client, status) in [
            ("2001:db8:1:2:ffff::1", 403),
            ("2001:db8:1:3::1", 200),
            ("198.51.100.9", 403),
            ("::ffff:198.51.100.9", 403),
            ("198.51.101.9", 200),
        ] {
            assert_eq!(refused(9, &live, &named(client)).await, status, "{client}");
        }
        // From anyone else the header says nothing.
        assert_eq!(refused(5, &live, &named("198.51.100.9")).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_slips_in_while_the_block_comes() {
    let live = Live::for_many(1000);
    let blocked: IpAddr = [127, 0, 0, 2].into();
    for round in 0..50 {
        let mut knocking = Vec::new();
        for _ in 0..8 {
            let gate = live.gate.clone();
            knocking.push(std::thread::spawn(move || {
                (0..200).filter_map(|_| gate.admit(blocked).ok()).collect::<Vec<_>>()
            }));
        }
        while live.gate.held() < 100 {
            std::thread::yield_now();
        }
        let mut change = block("127.0.0.2/32", None);
        change.at = TimestampMs(1_000_000_000_000 + 2 * round);
        live.gate.learn(vec![change.clone()]);
        for permits in knocking {
            let permits = permits.join().expect("no panic");
            let unknowing = permits.iter().filter(|permit| permit.told().is_none()).count();
            assert_eq!(unknowing, 0, "of {} that came in", permits.len());
        }
        held_is(&live, 0).await;
        let over = Change { at: TimestampMs(change.at.0 + 1), verdict: Verdict::Removed, ..change };
        live.gate.learn(vec![over]);
    }
}
