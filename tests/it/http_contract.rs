//! The wire contract as far as it needs no event: routes, errors, CORS, request heads, and how
//! connections begin and end. Spoken byte by byte over raw sockets, since a client library would
//! correct what is to be tested.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use serde_json::Value;
use tidegate::catalog::{Catalog, Stream};
use tidegate::event::{Offset, TimestampMs, TopicName, TopicPartition};
use tidegate::feed::history::History;
use tidegate::feed::lines::Lines;
use tidegate::feed::{self, Hub};
use tidegate::gate::Gate;
use tidegate::http::{Front, Settings, listen, router};
use tidegate::metrics::Metrics;
use tidegate::session::{self, Sessions};
use tidegate::source::{Fetched, Source, SourceError, TailEvent, TopicInfo, Watermarks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server of its own for one test.
struct Server {
    addr: SocketAddr,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl Server {
    fn of(router: Router) -> Self {
        Self::with_head_timeout(router, PATIENCE)
    }

    fn with_head_timeout(router: Router, head_timeout: Duration) -> Self {
        let bound = listen::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let bound = bound.head_timeout(head_timeout);
        let (addr, shutdown) = (bound.addr(), CancellationToken::new());
        let serving = tokio::spawn(listen::serve(bound, router, shutdown.clone()));
        Self { addr, shutdown, serving: Some(serving) }
    }

    /// The whole front before a source that cannot be reached: no stream opens.
    fn front() -> Self {
        Self::of(front(Settings::default()).0)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("connect")
    }

    /// Sends these bytes and reads until the server closes.
    async fn says_to(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut socket = self.connect().await;
        // The server may answer, and close, before it has read all.
        let _ = socket.write_all(request.as_ref()).await;
        Reply::read_whole(&mut socket).await
    }

    /// One request with `Connection: close`; `headers` end in CRLF each.
    async fn request(&self, line: &str, headers: &str) -> Reply {
        let request = format!("{line} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{headers}\r\n");
        self.says_to(request).await
    }

    async fn get(&self, uri: &str) -> Reply {
        self.request(&format!("GET {uri}"), "").await
    }
}

fn front(settings: Settings) -> (Router, Arc<Gate>) {
    let metrics = Arc::new(Metrics::new());
    let gate = Gate::new(2, Arc::clone(&metrics));
    let front = Front {
        catalog: Arc::new(catalog()),
        gate: Arc::clone(&gate),
        sessions: sessions_without_source(&gate, &metrics),
        settings,
    };
    let extra = Router::new().route("/v1/events", post(async || "taken"));
    (router(front, extra), gate)
}

/// Sessions over a source that is known to be down.
fn sessions_without_source(gate: &Arc<Gate>, metrics: &Arc<Metrics>) -> Arc<Sessions> {
    let catalog = Arc::new(catalog());
    let lines = Lines::new(&catalog, None, Arc::clone(metrics));
    let hub = Hub::new("down", lines, feed::Settings::default(), Arc::clone(metrics));
    hub.apply(TailEvent::Unreachable { cause: "it never was there".into() });
    let source = Arc::new(Down) as Arc<dyn Source>;
    let history = History::new(source, Arc::clone(&hub), 0, Arc::clone(metrics));
    let settings = session::Settings {
        keepalive: Duration::from_secs(15),
        lifetime: None,
        retry_ms: 2000,
        catchup_slots: 1,
    };
    Sessions::new((hub, history), catalog, Arc::clone(gate), settings, Arc::clone(metrics))
}

/// A source that answers nothing.
#[derive(Debug)]
struct Down;

impl Down {
    fn error() -> SourceError {
        SourceError::Unreachable { source_name: "down".into(), cause: "it is down".into() }
    }
}

#[async_trait::async_trait]
impl Source for Down {
    fn name(&self) -> &str {
        "down"
    }

    async fn topic(&self, _: &TopicName) -> Result<TopicInfo, SourceError> {
        Err(Self::error())
    }

    async fn watermarks(&self, _: &TopicPartition) -> Result<Watermarks, SourceError> {
        Err(Self::error())
    }

    async fn offset_at(
        &self,
        _: &TopicPartition,
        _: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        Err(Self::error())
    }

    async fn read(
        &self,
        _: &TopicPartition,
        _: Offset,
        _: Offset,
        _: usize,
    ) -> Result<Fetched, SourceError> {
        Err(Self::error())
    }

    async fn tail(&self, _: Vec<TopicName>, out: mpsc::Sender<TailEvent>) {
        out.closed().await;
    }
}

fn catalog() -> Catalog {
    let stream = |name: &str, alias: &str, description: &str| Stream {
        name: name.into(),
        topics: vec![TopicName::new(&format!("eqiad.{name}")).expect("legal")],
        aliases: vec![alias.into()],
        description: description.into(),
        schema: None,
        produce_to: None,
    };
    Catalog::new([
        stream("recentchange", "mediawiki.recentchange", "All edits & <more>"),
        stream("Page-Create", "mediawiki.page-create", ""),
    ])
}

/// One answer, taken apart.
#[derive(Debug)]
struct Reply {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    async fn read_whole(socket: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
        read.expect("the server closes").expect("and without a reset");
        Self::parse(&bytes)
    }

    /// Reads one answer with a `content-length` from a connection that stays open.
    async fn read_one(socket: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        loop {
            let found = bytes.windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(head) = found {
                let reply = Self::parse(&bytes);
                let length: usize = reply.header("content-length").parse().expect("a length");
                if bytes.len() == head + 4 + length {
                    return reply;
                }
            }
            let byte = timeout(PATIENCE, socket.read_u8()).await.expect("in time");
            bytes.push(byte.expect("an answer"));
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
        let mut lines = head.split("\r\n").map(str::to_owned);
        let line = lines.next().expect("a status line");
        let header = |line: String| {
            let (name, value) = line.split_once(": ").expect("name: value");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { line, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() }
    }

    fn status(&self) -> u16 {
        self.line.split(' ').nth(1).expect("a status").parse().expect("a number")
    }

    /// The header's value; it must be there once.
    fn header(&self, name: &str) -> &str {
        self.has(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    fn has(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = all.next();
        assert_eq!(all.next(), None, "{name} twice in {self:?}");
        first
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Checks everything that errors have in common; gives the JSON.
    fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("access-control-allow-origin"), "*");
        let problem = self.json();
        let keys = problem.as_object().expect("an object").keys().collect::<Vec<_>>();
        assert_eq!(keys.len(), 6, "{keys:?}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], kind);
        for text in ["title", "detail", "method", "uri"] {
            assert!(problem[text].is_string(), "{text} in {problem}");
        }
        problem
    }
}

// Errors ------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_unknown_stream_is_a_400_that_names_all_that_are_unknown() {
    let server = Server::front();
    let reply = server.get("/v2/stream/x,recentchange,y?since=nonsense").await;
    let problem = reply.problem(400, "not_found");
    assert_eq!(reply.line, "HTTP/1.1 400 Bad Request");
    assert_eq!(problem["title"], "Stream Not Found");
    assert_eq!(problem["detail"], "Invalid streams: x,y");
    assert_eq!(problem["method"], "GET");
    assert_eq!(problem["uri"], "/v2/stream/x,recentchange,y?since=nonsense");
    // Fields stand in the order of the reference.
    assert!(reply.text().starts_with(r#"{"status":400,"type":"not_found","title":"#));
}

#[tokio::test]
async fn names_are_exact_and_the_path_around_them_is_not() {
    let server = Server::front();
    server.get("/v2/stream/page-create").await.problem(400, "not_found");
    // Known names come as far as the source, which cannot be reached.
    for path in [
        "/v2/stream/Page-Create",
        "/V2/Stream/Page-Create/",
        "/v2/stream/recentchange,Page-Create",
        "/v2/stream/recentchange%2CPage-Create",
        "/v2/stream/recentchange%2cmediawiki.page%2Dcreate/",
        "http://any.host:81/v2/stream/recentchange",
        "/v2/stream/recentchange?unknown=%zz",
    ] {
        server.get(path).await.problem(503, "unavailable");
    }
}

#[tokio::test]
async fn checks_are_made_in_the_order_of_the_contract() {
    let server = Server::front();
    let bad_id = "last-event-id: [\r\n";
    let ask = async |uri: &str, headers| server.request(&format!("GET {uri}"), headers).await;
    ask("/v2/stream/x?since=bad", bad_id).await.problem(400, "not_found");
    ask("/v2/stream/recentchange?since=bad", bad_id).await.problem(400, "invalid_timestamp");
    ask("/v2/stream/recentchange?since=1", bad_id).await.problem(400, "invalid_assignment");
    let refused = ask("/v2/stream/recentchange?since=1", "").await;
    refused.problem(503, "unavailable");
    let seconds: u32 = refused.header("retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds));
}

#[tokio::test]
async fn an_empty_since_or_last_event_id_counts_as_absent() {
    let server = Server::front();
    for headers in ["last-event-id:\r\n", "last-event-id:   \r\n", ""] {
        let reply = server.request("GET /v2/stream/recentchange?since=", headers).await;
        reply.problem(503, "unavailable");
    }
}

#[tokio::test]
async fn of_several_last_event_ids_the_first_that_is_not_empty_counts() {
    let server = Server::front();
    let good = r#"["eqiad.recentchange"]"#;
    let ask = async |first: &str, second: &str| {
        let headers = format!("last-event-id: {first}\r\nlast-event-id: {second}\r\n");
        server.request("GET /v2/stream/recentchange", &headers).await
    };
    ask("", good).await.problem(503, "unavailable");
    ask(good, "[").await.problem(503, "unavailable");
    ask("[", good).await.problem(400, "invalid_assignment");
}

#[tokio::test]
async fn a_last_event_id_that_is_no_utf8_is_a_400() {
    let server = Server::front();
    let mut request = b"GET /v2/stream/recentchange HTTP/1.1\r\nconnection: close\r\n".to_vec();
    request.extend_from_slice(b"last-event-id: [\"\xff\xfe\"]\r\n\r\n");
    server.says_to(request).await.problem(400, "invalid_assignment");
}

#[tokio::test]
async fn a_full_host_and_one_that_goes_down_refuse_with_503_and_only_after_the_text() {
    let (router, gate) = front(Settings::default());
    let server = Server::of(router);
    let _held = [gate.admit().expect("room"), gate.admit().expect("room")];
    let full = server.get("/v2/stream/recentchange").await.problem(503, "unavailable");
    assert!(full["detail"].as_str().expect("text").contains("as many streams"), "{full}");
    server.get("/v2/stream/x").await.problem(400, "not_found");
    // HEAD needs no slot.
    assert_eq!(server.request("HEAD /v2/stream/recentchange", "").await.status(), 200);
    gate.drain();
    let draining = server.get("/v2/stream/recentchange").await;
    let detail = draining.problem(503, "unavailable")["detail"].to_string();
    assert!(detail.contains("going down"), "{detail}");
    assert!(draining.has("retry-after").is_some());
    assert_eq!(server.request("HEAD /v2/stream/recentchange", "").await.status(), 503);
}

#[tokio::test]
async fn a_refused_stream_gives_its_slot_back() {
    let (router, gate) = front(Settings::default());
    let server = Server::of(router);
    for _ in 0..5 {
        server.get("/v2/stream/recentchange").await.problem(503, "unavailable");
    }
    assert_eq!(gate.held(), 0);
}

#[tokio::test]
async fn what_there_is_not_is_a_404_and_a_broken_percent_sequence_a_400() {
    let server = Server::front();
    for uri in ["/nothing", "/v2/stream", "/v2/stream/", "/v2/stream/a/b", "/v1/nothing", "//"] {
        let problem = server.get(uri).await.problem(404, "not_found");
        assert_eq!(problem["uri"], uri);
    }
    for line in ["POST /v2/stream/recentchange", "DELETE /", "PUT /_info", "BREW /v2/ui/"] {
        let problem = server.request(line, "content-length: 0\r\n").await.problem(404, "not_found");
        assert_eq!(problem["method"], line.split(' ').next().expect("a method"));
    }
    for uri in ["/v2/stream/a%2", "/v2/stream/a%zz", "/%", "/v2/stream/%ff", "/x/%+1"] {
        server.get(uri).await.problem(400, "bad_request");
    }
}

#[tokio::test]
async fn nothing_of_the_client_stands_in_the_reason_phrase_and_long_texts_are_cut() {
    let server = Server::front();
    let long = "z".repeat(9000);
    let reply = server.get(&format!("/v2/stream/{long}?q=1")).await;
    assert_eq!(reply.line, "HTTP/1.1 400 Bad Request");
    let problem = reply.problem(400, "not_found");
    assert!(reply.body.len() < 6000, "{} bytes", reply.body.len());
    let uri = problem["uri"].as_str().expect("text");
    assert!(uri.starts_with("/v2/stream/zzz") && uri.ends_with('…'));
    // What would break a line on its way to a terminal or a log is escaped.
    let reply = server.get("/v2/stream/a%0D%0AX-Evil:%201%1B%5B31m").await;
    assert!(reply.has("x-evil").is_none());
    assert!(!reply.text().contains('\u{1b}') && !reply.text().contains('\n'));
    reply.problem(400, "not_found");
}

#[tokio::test]
async fn an_absolute_form_is_told_back_as_path_and_query() {
    let server = Server::front();
    let reply = server.get("http://any.host/v2/stream/x/?a=b").await;
    assert_eq!(reply.problem(400, "not_found")["uri"], "/v2/stream/x/?a=b");
}

// Heads -------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_head_of_30_kb_is_read_and_a_longer_one_is_a_431() {
    let server = Server::front();
    let ask = async |bytes: usize| {
        let id = format!("last-event-id: [\"{}\"]\r\n", "a".repeat(bytes));
        server.request("GET /v2/stream/recentchange", &id).await
    };
    ask(12_000).await.problem(503, "unavailable");
    ask(30_000).await.problem(503, "unavailable");
    ask(40_000).await.problem(431, "request_header_fields_too_large");
    // So long that hyper gives up reading.
    ask(300_000).await.problem(431, "request_header_fields_too_large");
}

#[tokio::test]
async fn a_long_path_is_a_414() {
    let server = Server::front();
    let path = format!("/v2/stream/{}", "a,".repeat(10_000));
    server.get(&path).await.problem(414, "uri_too_long");
}

#[tokio::test]
async fn what_is_no_http_is_a_400_in_the_same_shape() {
    let server = Server::front();
    for nonsense in
        ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "\u{16}\u{3}\u{1}x\r\n"]
    {
        let reply = server.says_to(nonsense).await;
        reply.problem(400, "bad_request");
        assert_eq!(reply.header("connection"), "close");
    }
}

#[tokio::test]
async fn half_a_head_is_a_408_and_no_head_at_all_a_plain_close() {
    let router = front(Settings::default()).0;
    let server = Server::with_head_timeout(router, Duration::from_millis(300));
    let reply = server.says_to("GET /_info HTTP/1.1\r\nhost: ").await;
    reply.problem(408, "request_timeout");
    let mut idle = server.connect().await;
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, idle.read_to_end(&mut bytes)).await.expect("it is closed");
    assert_eq!(read.expect("without a reset"), 0);
}

// CORS --------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_public_answer_may_be_read_by_any_origin() {
    let server = Server::front();
    for line in ["GET /_info", "GET /", "GET /nothing", "HEAD /v2/stream/recentchange"] {
        let reply = server.request(line, "origin: https://a.example\r\n").await;
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{line}");
        let exposed = reply.header("access-control-expose-headers");
        assert!(exposed.contains("retry-after") && exposed.contains("x-stream-gap"));
    }
}

#[tokio::test]
async fn a_preflight_is_answered_anywhere_and_allows_what_clients_send() {
    let server = Server::front();
    let asks = "origin: https://a.example\r\naccess-control-request-method: GET\r\n\
                access-control-request-headers: last-event-id\r\n";
    for uri in ["/v2/stream/recentchange", "/v2/stream/x", "/", "/nothing", "/a%zz"] {
        let reply = server.request(&format!("OPTIONS {uri}"), asks).await;
        assert_eq!((reply.status(), reply.body.len()), (204, 0), "{uri}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        let allowed = reply.header("access-control-allow-headers");
        for name in ["last-event-id", "cache-control", "accept", "content-type"] {
            assert!(allowed.contains(name), "{name} in {allowed}");
        }
    }
}

#[tokio::test]
async fn what_is_not_for_web_pages_has_no_cors() {
    let server = Server::front();
    let origin = "origin: https://a.example\r\ncontent-length: 0\r\n";
    let taken = server.request("POST /v1/events", origin).await;
    assert_eq!((taken.status(), taken.text()), (200, "taken"));
    assert_eq!(taken.has("access-control-allow-origin"), None);
    let preflight = server.request("OPTIONS /v1/events", origin).await;
    assert_eq!(preflight.has("access-control-allow-origin"), None);
    assert_eq!(preflight.status(), 405);
}

// Small routes ------------------------------------------------------------------------------------

#[tokio::test]
async fn redirects_lead_where_the_contract_says() {
    let server = Server::front();
    for (uri, status, to) in [
        ("/", 303, "/v2/ui/"),
        ("/?other", 303, "/v2/ui/"),
        ("/v2/ui", 301, "/v2/ui/"),
        ("/V2/UI?x=1", 301, "/v2/ui/?x=1"),
        ("/rc", 301, "/?doc"),
        ("/_info/home", 301, "/?doc"),
    ] {
        let reply = server.get(uri).await;
        assert_eq!((reply.status(), reply.header("location")), (status, to), "{uri}");
    }
}

#[tokio::test]
async fn without_the_browser_pages_the_root_leads_to_the_documentation() {
    let settings = Settings { ui: false, ..Settings::default() };
    let server = Server::of(front(settings).0);
    assert_eq!(server.get("/").await.header("location"), "/?doc");
    server.get("/v2/ui/").await.problem(404, "not_found");
    let page = server.get("/?doc").await;
    assert!(page.status() == 200 && !page.text().contains("/v2/ui/"));
}

#[tokio::test]
async fn info_and_robots_are_as_programs_expect_them() {
    let server = Server::front();
    let info = server.get("/_info").await.json();
    assert_eq!(info["name"], "tidegate");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["description"].is_string() && info["home"].is_string());
    let name = server.get("/_info/name").await.json();
    assert_eq!(name, serde_json::json!({ "name": "tidegate" }));
    let version = server.get("/_info/version/").await.json();
    assert_eq!(version, serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }));
    let robots = server.get("/robots.txt").await;
    assert_eq!(robots.text(), "User-agent: *\nDisallow: /\n");
    assert!(robots.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn the_openapi_document_lists_every_name_where_uis_look_for_it() {
    let server = Server::front();
    let document = server.get("/?spec").await.json();
    let get = &document["paths"]["/v2/stream/{streams}"]["get"];
    let names = &get["parameters"][0]["schema"]["items"]["enum"];
    let all = ["Page-Create", "recentchange", "mediawiki.page-create", "mediawiki.recentchange"];
    assert_eq!(names, &serde_json::json!(all));
    for name in all {
        let path = format!("/v2/stream/{name}");
        assert!(document["paths"][&path]["get"]["responses"]["200"].is_object(), "{path}");
    }
}

#[tokio::test]
async fn pages_come_whole_from_this_host_and_say_that_nothing_else_may() {
    let server = Server::front();
    for uri in ["/v2/ui/", "/?doc"] {
        let page = server.get(uri).await;
        assert_eq!(page.status(), 200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        for outside in ["src=\"http", "src=\"//", "@import", "url(", "{{"] {
            assert!(!page.text().contains(outside), "{outside} in {uri}");
        }
        // Everything that the page loads is there.
        for attribute in ["src=\"", "href=\""] {
            for rest in page.text().split(attribute).skip(1) {
                let file = rest.split('"').next().expect("an end");
                let file = if file.starts_with('/') { file } else { &format!("{uri}{file}") };
                assert_eq!(server.get(file).await.status(), 200, "{file}");
            }
        }
    }
    let page = server.get("/?doc").await;
    assert!(page.text().contains("All edits &amp; &lt;more&gt;"));
    server.get("/v2/ui/nothing.js").await.problem(404, "not_found");
}

#[tokio::test]
async fn head_of_a_stream_has_the_headers_of_the_stream_at_once_and_no_length() {
    let server = Server::front();
    let reply = server.request("HEAD /V2/stream/recentchange", "").await;
    assert_eq!((reply.status(), reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert_eq!(reply.header("vary"), "accept-encoding");
    assert_eq!(reply.has("content-length"), None);
    let json = server.request("HEAD /v2/stream/recentchange", "accept: application/json\r\n").await;
    assert_eq!(json.header("content-type"), "application/json; charset=utf-8");
    let accept = "accept: application/x-ndjson, */*\r\n";
    let ndjson = server.request("HEAD /v2/stream/recentchange", accept).await;
    assert_eq!(ndjson.header("content-type"), "application/x-ndjson; charset=utf-8");
    let missing = server.request("HEAD /v2/stream/x", "").await;
    assert_eq!((missing.status(), missing.body.len()), (400, 0));
    assert_eq!(server.request("HEAD /_info", "").await.status(), 200);
}

// Connections -------------------------------------------------------------------------------------

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

#[tokio::test]
async fn a_handler_that_panics_is_a_500_and_hurts_nobody_else() {
    let metrics = Arc::new(Metrics::new());
    let gate = Gate::new(1, Arc::clone(&metrics));
    let front = Front {
        catalog: Arc::new(catalog()),
        sessions: sessions_without_source(&gate, &metrics),
        gate,
        settings: Settings::default(),
    };
    async fn breaks() -> &'static str {
        panic!("on purpose")
    }
    let server = Server::of(router(front, Router::new().route("/breaks", get(breaks))));
    let reply = server.get("/breaks").await;
    assert_eq!(reply.status(), 500);
    assert_eq!(reply.json()["type"], "internal_error");
    assert!(!reply.text().contains("on purpose"));
    assert_eq!(server.get("/_info").await.status(), 200);
}
