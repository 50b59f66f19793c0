//! What operators see and do, on real sockets, whoever delivers: who holds what, sessions and their
//! end, limits that change while it runs, and who may.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::admin::{self, Access, Admin, Controls, Readiness, Serving};
use tidegate::gate::{Opens, Settings, client::Budget};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::harness::{Live, Reply, eventually, health};
use super::streams::Stream;
use super::tls;
use crate::support::certificate::{Files, Identity};

const URI: &str = "/v2/stream/recentchange";
/// Streams that the descriptors allow here.
const ROOM: u64 = 5000;

/// The admin port of a front.
struct Desk {
    addr: SocketAddr,
    stop: CancellationToken,
    token: Option<&'static str>,
    _serving: Serving,
}

impl Desk {
    fn of(live: &Live) -> Self {
        Self::with(live, Access::default())
    }

    fn with(live: &Live, access: Access) -> Self {
        let stop = CancellationToken::new();
        let admin = Arc::new(Admin {
            metrics: Arc::clone(&live.metrics),
            readiness: Arc::new(Readiness::default()),
            health: health(&live.metrics),
            access,
            controls: OnceLock::new(),
        });
        let (gate, metrics) = (Arc::clone(&live.gate), Arc::clone(&live.metrics));
        let controls = Controls {
            blocks: admin::blocks::Desk::open(gate, None, "here", metrics).expect("no folder"),
            gate: Arc::clone(&live.gate),
            sessions: Arc::clone(&live.sessions),
            streams_room: ROOM,
            drain: Arc::default(),
            reload: tokio::sync::mpsc::channel(1).0,
            stop: stop.clone(),
        };
        admin.controls.set(controls).expect("set once");
        let bound = admin::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = bound.addr();
        Self { addr, stop, token: None, _serving: bound.serve(admin).expect("a thread") }
    }

    async fn ask(&self, line: &str, body: &str) -> Reply {
        let mut socket = TcpStream::connect(self.addr).await.expect("connect");
        let token = self.token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{}content-length: {}\r\n\
             \r\n{body}",
            token.unwrap_or_default(),
            body.len()
        );
        socket.write_all(request.as_bytes()).await.expect("send");
        Reply::read_whole(&mut socket).await
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.ask(&format!("GET {path}"), "").await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        reply.json()
    }

    /// What it says when it refuses.
    async fn refuses(&self, line: &str, body: &str, status: u16) -> String {
        let reply = self.ask(line, body).await;
        assert_eq!(reply.status(), status, "{line} {body}: {reply:?}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
        reply.json()["detail"].as_str().expect("a text").to_owned()
    }
}

async fn from(host: [u8; 4], live: &Live, headers: &str) -> Stream {
    let mut stream = Stream::open_from(host, &live.server, URI, headers).await;
    assert_eq!(stream.head.status(), 200, "{:?}", stream.head);
    assert_eq!(stream.chunk().await, ":ok\n\n");
    stream
}

fn settings(streams_max: usize, per_client: u32) -> Settings {
    let mut settings = Settings::room_for(streams_max);
    settings.identity.streams = per_client;
    settings
}

fn items(answer: &Value) -> &Vec<Value> {
    answer["items"].as_array().expect("a list")
}

fn sum(items: &[Value], key: &str) -> u64 {
    items.iter().map(|item| item[key].as_u64().expect("a number")).sum()
}

#[tokio::test]
async fn who_holds_what_is_shown_with_its_share_whoever_delivers() {
    for live in Live::each_way_with(&settings(100, 8)) {
        let desk = Desk::of(&live);
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(from([127, 0, 0, 2], &live, "user-agent: greedy\"\\\u{9b}2J\r\n").await);
        }
        let mut one = from([127, 0, 0, 3], &live, "").await;
        for offset in 5..9 {
            live.tells(offset);
        }
        live.has_delivered(16).await;
        one.chunk().await;
        let clients = desk.get("/admin/clients").await;
        assert_eq!((&clients["streams"], &clients["streams_max"]), (&json!(4), &json!(100)));
        assert_eq!((&clients["clients"], &clients["greediest_permille"]), (&json!(2), &json!(750)));
        let [first, second] = &items(&clients)[..] else { panic!("{clients}") };
        assert_eq!(
            (&first["client"], &second["client"]),
            (&json!("127.0.0.2"), &json!("127.0.0.3"))
        );
        assert_eq!((&first["streams"], &first["budget"]), (&json!(3), &json!(8)));
        assert_eq!((&first["events"], &second["events"]), (&json!(12), &json!(4)));
        assert_eq!(first["bytes"].as_u64(), second["bytes"].as_u64().map(|bytes| bytes * 3));
        assert_eq!((&first["lag_events"], &first["opened_lately"]), (&json!(0), &json!(3)));
        assert_eq!((&first["agents_of"], &second["agents"]), (&json!(1), &json!([])));
        let agent = first["agents"][0].as_str().expect("a text");
        assert!(agent.starts_with("greedy\"\\"), "{agent:?}");
        assert_eq!(sum(items(&clients), "events"), live.metrics.events_delivered.get());
        let least = desk.get("/admin/clients?sort=bytes&limit=1").await;
        assert_eq!((items(&least).len(), &least["items_of"]), (1, &json!(2)));
        drop((greedy, one));
        live.holds(0).await;
        let gone = desk.get("/admin/clients?sort=streams").await;
        assert!(items(&gone).iter().all(|client| client["streams"] == 0), "{gone}");
    }
}

#[tokio::test]
async fn who_was_refused_lately_is_shown_with_the_reason_also_if_it_holds_nothing() {
    for live in Live::each_way_with(&settings(1, 1)) {
        let desk = Desk::of(&live);
        let _held = from([127, 0, 0, 2], &live, "").await;
        for host in [2, 2, 3] {
            let refused = Stream::open_from([127, 0, 0, host], &live.server, URI, "").await;
            assert!([429, 503].contains(&refused.head.status()));
        }
        let clients = desk.get("/admin/clients?sort=refused").await;
        let said = |n: usize, key: &str| items(&clients)[n][key].clone();
        assert_eq!(
            (said(0, "refused_lately"), said(0, "refused_reason")),
            (json!(2), json!("client_limit"))
        );
        assert_eq!(
            (said(1, "refused_lately"), said(1, "refused_reason")),
            (json!(1), json!("full"))
        );
        assert_eq!((said(1, "client"), said(1, "streams")), (json!("127.0.0.3"), json!(0)));
    }
}

fn curl(url: &str, how: &str) -> Child {
    let mut curl = Command::new("curl");
    curl.args(["-sNk", how, "-A", how, url]).kill_on_drop(true);
    curl.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("curl")
}

#[tokio::test]
async fn every_way_of_delivery_is_shown_with_what_it_has_given() {
    let live = Live::for_many(10);
    let desk = Desk::of(&live);
    let files = Files::of(&Identity::new());
    let over_tls = tls::serve(&files, live.router.clone(), &live.metrics);
    let (plain, secure) = (live.server.addr, over_tls.addr);
    let _running = [
        curl(&format!("http://{plain}{URI}?encoding=gzip"), "--http1.1"),
        curl(&format!("http://{plain}{URI},Page-Create"), "--http2-prior-knowledge"),
        curl(&format!("https://{secure}{URI}"), "--http2"),
        curl(&format!("https://{secure}{URI}"), "--tlsv1.3"),
    ];
    live.holds(4).await;
    live.tells(5);
    live.tells(6);
    live.has_delivered(8).await;
    let sessions = desk.get("/admin/sessions?position=yes").await;
    assert_eq!(items(&sessions).len(), 4);
    for session in items(&sessions) {
        let agent = session["agent"].as_str().expect("a text");
        let over_http1 = agent == "--http1.1";
        assert_eq!(session["delivery"], if over_http1 { "pump" } else { "body" }, "{session}");
        assert_eq!(session["encoding"], if over_http1 { "gzip" } else { "identity" }, "{session}");
        assert_eq!(
            (&session["events"], &session["lag_events"]),
            (&json!(2), &json!(0)),
            "{session}"
        );
        assert!(session["bytes"].as_u64() > Some(0), "{session}");
        if over_http1 {
            assert_eq!(session["position"][0]["offset"], 7, "{session}");
        }
    }
    let bytes = sum(items(&sessions), "bytes");
    let counted = live.metrics.render();
    let counted = counted.lines().filter(|line| line.starts_with("tidegate_delivered_bytes_total"));
    let counted: u64 =
        counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(bytes, counted, "sessions and metrics agree");
    let composed = desk.get("/admin/sessions?stream=Page-Create").await;
    assert_eq!(items(&composed)[0]["streams"], json!(["Page-Create", "recentchange"]));
    assert_eq!(items(&desk.get("/admin/sessions?client=127.0.0.2").await).len(), 0);
    assert_eq!(items(&desk.get("/admin/sessions?client=127.0.0.0/8&limit=3").await).len(), 3);
}

#[tokio::test]
async fn a_session_that_an_operator_ends_is_told_so_and_its_seat_is_free() {
    for live in Live::each_way_with(&settings(100, 64)) {
        let desk = Desk::of(&live);
        let mut one = from([127, 0, 0, 2], &live, "").await;
        let mut others =
            [from([127, 0, 0, 3], &live, "").await, from([127, 0, 0, 3], &live, "").await];
        let stays = from([127, 0, 0, 4], &live, "").await;
        let of_one = desk.get("/admin/sessions?client=127.0.0.2").await;
        let path = format!("DELETE /admin/sessions/{}", items(&of_one)[0]["id"]);
        assert_eq!(desk.ask(&path, "").await.json()["ended"], 1);
        assert!(one.chunk().await.starts_with("event: error\n"), "it is told");
        assert_eq!(one.chunk().await, "", "and then a whole end");
        live.holds(3).await;
        assert!(desk.refuses(&path, "", 404).await.contains("no session"));
        let all = "DELETE /admin/sessions?client=127.0.0.3";
        assert_eq!(desk.ask(all, "").await.json()["ended"], 2);
        for other in &mut others {
            assert!(other.chunk().await.starts_with("event: error\n"));
        }
        live.holds(1).await;
        desk.refuses(all, "", 404).await;
        let ended = "tidegate_streams_ended_total{reason=\"ended\"} 3\n";
        assert!(live.metrics.render().contains(ended), "{}", live.metrics.render());
        drop(stays);
    }
}

#[tokio::test]
async fn two_thousand_sessions_are_shown_and_each_has_its_own_numbers() {
    const READERS: usize = 2000;
    let live = Live::for_many(READERS);
    let desk = Desk::of(&live);
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for n in 0..READERS {
        if n == READERS / 2 {
            live.tells(5);
            live.tells(6);
            live.has_delivered(READERS as u64).await;
        }
        let readers = if n < READERS / 2 { &mut early } else { &mut late };
        let host = u8::try_from(1 + n % 200).expect("a part of an address");
        readers.push(from([127, 0, 1, host], &live, "user-agent: crowd\r\n").await);
    }
    live.tells(7);
    live.has_delivered(2 * READERS as u64).await;
    let sessions = desk.get("/admin/sessions?limit=5000").await;
    assert_eq!(items(&sessions).len(), READERS);
    // Ids are given in the order in which they came.
    let events: Vec<_> = items(&sessions).iter().map(|session| session["events"].clone()).collect();
    assert!(events[..READERS / 2].iter().all(|events| *events == 3), "{events:?}");
    assert!(events[READERS / 2..].iter().all(|events| *events == 1), "{events:?}");
    assert_eq!(sum(items(&sessions), "lag_events"), 0);
    let clients = desk.get("/admin/clients?limit=1000").await;
    assert_eq!(items(&clients).len(), 200);
    assert!(items(&clients).iter().all(|client| client["streams"] == 10));
    assert_eq!(sum(items(&clients), "events"), live.metrics.events_delivered.get());
    drop(early);
    live.holds(READERS / 2).await;
    let head = desk.get("/admin/clients?limit=0").await;
    assert_eq!((items(&head).len(), &head["streams"]), (0, &json!(READERS / 2)));
}

#[tokio::test]
async fn limits_change_for_the_next_request_and_nobody_who_is_in_goes_for_it() {
    let mut settings = settings(100, 8);
    let some = |n| std::num::NonZeroU32::new(n).expect("some");
    settings.opens = Some(Opens { per_s: some(500), burst: some(500) });
    let prefixes = vec!["127.0.0.7/32".parse().expect("a prefix")];
    settings.identity.budgets =
        vec![Budget { name: "partners".into(), prefixes, tokens: HashSet::new(), streams: 1 }];
    for live in Live::each_way_with(&settings) {
        let desk = Desk::of(&live);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(from([127, 0, 0, 2], &live, "").await);
        }
        let patch = async |body: &str| desk.ask("PATCH /admin/limits", body).await.json();
        let now = patch(r#"{"streams_per_client":4,"budgets":{"partners":2}}"#).await;
        assert_eq!((&now["streams_per_client"], &now["streams"]), (&json!(4), &json!(100)));
        assert_eq!(now["budgets"], json!({ "partners": 2 }));
        assert_eq!(now, desk.get("/admin/limits").await);
        let status = async |host: u8| {
            Stream::open_from([127, 0, 0, host], &live.server, URI, "").await.head.status()
        };
        assert_eq!(status(2).await, 429);
        held.push(from([127, 0, 0, 7], &live, "").await);
        held.push(from([127, 0, 0, 7], &live, "").await);
        assert_eq!(status(7).await, 429);
        // Less room than there are streams: who holds nothing comes in for one of the greediest.
        assert_eq!(patch(r#"{"streams":2}"#).await["streams"], 2);
        assert_eq!(live.gate.held(), 6, "nobody has to go");
        held.push(from([127, 0, 0, 3], &live, "").await);
        live.holds(6).await;
        assert_eq!(status(3).await, 503);
        assert_eq!(patch(r#"{"streams":0,"opens_per_client_s":0}"#).await["streams"], ROOM);
        assert!(live.metrics.render().contains("tidegate_streams_max 5000\n"));
        assert_eq!(live.gate.limits().opens, None);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_named_with_what_is_accepted_and_changes_nothing() {
    let live = Live::for_many(10);
    let desk = Desk::of(&live);
    let before = desk.get("/admin/limits").await;
    let patch = r#"{"streams":5001,"opens_burst":0,"streams_per_clent":1,"budgets":{"x":1}}"#;
    let said = desk.refuses("PATCH /admin/limits", patch, 400).await;
    for part in [
        "streams: found 5001; 0 to 5000 is accepted",
        "opens_burst: found 0; 1 to 1000000 is accepted",
        "streams_per_clent: there is no such key; did you mean `streams_per_client`?",
        "budgets.x: there is no such key",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    for body in ["", "[]", "{\"streams\":null}", "\u{0}", "{\"streams\":1e99}"] {
        desk.refuses("PATCH /admin/limits", body, 400).await;
    }
    assert_eq!(desk.get("/admin/limits").await, before);
    for (line, accepted) in [
        ("GET /admin/clients?sort=size", "share, streams, age, lag, bytes, refused"),
        ("GET /admin/clients?limit=-1", "0 to 1000000"),
        ("GET /admin/clients?colour=red", "limit, sort"),
        ("GET /admin/sessions?client=nobody", "192.0.2.0/24"),
        ("GET /admin/sessions?limit=1&limit=2", "twice"),
        ("DELETE /admin/sessions", "is missing"),
        ("DELETE /admin/sessions/first", "a number"),
    ] {
        let said = desk.refuses(line, "", 400).await;
        assert!(said.contains(accepted), "{line}: {said}");
    }
    for body in ["{}", "{\"for_s\":0}", "{\"for_s\":86401}", "{\"for_s\":1,\"x\":1}"] {
        let said = desk.refuses("POST /admin/connection-log", body, 400).await;
        assert!(said.contains("for_s") || said.contains('x'), "{said}");
    }
    for line in ["POST /admin/clients", "PUT /admin/limits", "GET /admin/sessions/1"] {
        let reply = desk.ask(line, "").await;
        assert_eq!((reply.status(), reply.header("allow").is_empty()), (405, false), "{line}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere_under_admin_and_nowhere_else() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "a-token-of-32-bytes-for-this-test\n").expect("write");
    let live = Live::for_many(10);
    let mut desk = Desk::with(&live, Access::with_token_in(file.path()).expect("a token"));
    let _held = from([127, 0, 0, 2], &live, "").await;
    let guarded = [
        "GET /admin/clients",
        "GET /admin/sessions",
        "DELETE /admin/sessions/0",
        "DELETE /admin/sessions?client=127.0.0.2",
        "GET /admin/limits",
        "PATCH /admin/limits",
        "GET /admin/connection-log",
        "POST /admin/connection-log",
        "DELETE /admin/connection-log",
        "POST /admin/drain",
    ];
    for token in [None, Some("a-token-of-32-bytes-for-this-tesT")] {
        desk.token = token;
        for line in guarded {
            assert_eq!(desk.ask(line, "{}").await.status(), 401, "{line}");
        }
        assert_eq!(desk.ask("GET /metrics", "").await.status(), 200);
    }
    assert_eq!((live.gate.held(), desk.stop.is_cancelled()), (1, false), "nothing was done");
    desk.token = Some("a-token-of-32-bytes-for-this-test");
    assert_eq!(desk.get("/admin/clients").await["streams"], 1);
    assert_eq!(desk.ask("POST /admin/drain", "").await.status(), 202);
    assert!(desk.stop.is_cancelled());
}

#[tokio::test]
async fn looking_does_not_stop_when_streams_come_and_go_meanwhile() {
    let live = Live::for_many(500);
    let desk = Desk::of(&live);
    let done = CancellationToken::new();
    let comers = (1..=4u8).map(|host| {
        let (addr, done) = (live.server.addr, done.clone());
        tokio::spawn(async move {
            while !done.is_cancelled() {
                let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
                socket.bind(([127, 0, 2, host], 0).into()).expect("a loopback address");
                let mut socket = socket.connect(addr).await.expect("connect");
                let request = format!("GET {URI} HTTP/1.1\r\nhost: t\r\n\r\n");
                socket.write_all(request.as_bytes()).await.expect("send");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    });
    let comers: Vec<_> = comers.collect();
    for offset in 5..60 {
        live.tells(offset);
        let clients = desk.get("/admin/clients").await;
        let held = sum(items(&clients), "streams") + sum(items(&clients), "leaving");
        assert!(held <= 500 && items(&clients).len() <= 4, "{clients}");
        desk.get("/admin/sessions").await;
    }
    done.cancel();
    for comer in comers {
        comer.await.expect("no panic");
    }
    eventually("all have gone", || live.gate.held() == 0).await;
    assert_eq!(items(&desk.get("/admin/sessions").await).len(), 0);
}

#[tokio::test]
async fn how_everything_is_is_shown_with_cause_and_since_when() {
    let live = &Live::each_way()[0];
    let desk = Desk::of(live);
    let shown = desk.get("/admin/health").await;
    let names = |kind: &str| {
        let all = shown[kind].as_array().expect("a list").iter();
        all.map(|one| one["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("sources"), ["source"]);
    assert!(names("streams").contains(&"recentchange".to_owned()), "{shown}");
    let service = &shown["service"];
    assert_eq!((&service["level"], &service["cause"]), (&"degraded".into(), &"starting".into()));
    assert!(service["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{service}");
    let health = desk.get("/healthz").await;
    assert_eq!((&health["status"], &health["service"]), (&"ok".into(), &"degraded".into()));
}
