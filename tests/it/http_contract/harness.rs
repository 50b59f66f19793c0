//! A server of its own for each test, and answers taken apart byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use serde_json::Value;
use tidegate::catalog::{Catalog, Stream};
use tidegate::event::{Offset, Record, TimestampMs, TopicName, TopicPartition};
use tidegate::feed::history::History;
use tidegate::feed::lines::Lines;
use tidegate::feed::{self, Hub};
use tidegate::gate::crowd::Crowd;
use tidegate::gate::{Gate, Settings as GateSettings};
use tidegate::health::{Board, Plan};
use tidegate::http::{Front, Settings, listen, router};
use tidegate::limits::STALL_MAX;
use tidegate::metrics::{ByReason, Metrics};
use tidegate::schemas;
use tidegate::session::{self, Pump, Sessions};
use tidegate::source::{Fetched, Source, SourceError, TailEvent, TopicInfo, Watermarks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, on however slow a machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A server of its own for one test.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) shutdown: CancellationToken,
    pub(super) serving: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl Server {
    pub(super) fn of(router: Router) -> Self {
        Self::with(router, |bound| bound.head_timeout(PATIENCE))
    }

    pub(super) fn with(
        router: Router,
        patience: impl FnOnce(listen::Bound) -> listen::Bound,
    ) -> Self {
        let bound = listen::bind(([127, 0, 0, 1], 0).into(), 16 * 1024).expect("a free port");
        let bound = patience(bound);
        let (addr, shutdown) = (bound.addr(), CancellationToken::new());
        let serving = tokio::spawn(listen::serve(bound, router, shutdown.clone()));
        Self { addr, shutdown, serving: Some(serving) }
    }

    /// The whole front before a source that cannot be reached: no stream opens.
    pub(super) fn front() -> Self {
        Self::of(front(Settings::default()).0)
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("connect")
    }

    /// Sends these bytes and reads until the server closes.
    pub(super) async fn says_to(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut socket = self.connect().await;
        // The server may answer, and close, before it has read all.
        let _ = socket.write_all(request.as_ref()).await;
        Reply::read_whole(&mut socket).await
    }

    /// One request with `Connection: close`; `headers` end in CRLF each.
    pub(super) async fn request(&self, line: &str, headers: &str) -> Reply {
        let request = format!("{line} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{headers}\r\n");
        self.says_to(request).await
    }

    pub(super) async fn get(&self, uri: &str) -> Reply {
        self.request(&format!("GET {uri}"), "").await
    }
}

pub(super) fn front(settings: Settings) -> (Router, Arc<Gate>) {
    front_with(&Arc::new(Metrics::new()), settings)
}

pub(super) fn front_with(metrics: &Arc<Metrics>, settings: Settings) -> (Router, Arc<Gate>) {
    let metrics = Arc::clone(metrics);
    let gate = Gate::new(GateSettings::room_for(2), Arc::clone(&metrics));
    let front = Front {
        catalog: Arc::new(catalog()).into(),
        schemas: schemas::Current::default(),
        gate: Arc::clone(&gate),
        sessions: sessions_without_source(&gate, &metrics),
        health: health(&metrics),
        metrics,
        settings,
    };
    async fn breaks() -> &'static str {
        panic!("on purpose")
    }
    let extra =
        Router::new().route("/v1/events", post(async || "taken")).route("/breaks", get(breaks));
    (router(front, extra), gate)
}

/// A board that nobody has put anything on.
pub(super) fn health(metrics: &Arc<Metrics>) -> Arc<Board> {
    Board::new(Plan::of("source", &catalog()), Arc::clone(metrics))
}

/// Sessions over a source that is known to be down.
fn sessions_without_source(gate: &Arc<Gate>, metrics: &Arc<Metrics>) -> Arc<Sessions> {
    let (hub, sessions) = sessions(Still { up: false }, gate, metrics, None);
    hub.apply(TailEvent::Unreachable { cause: "it never was there".into() });
    sessions
}

/// Sessions over a source that is up, whose tail tells what the test lets it tell.
pub(super) struct Live {
    pub(super) server: Server,
    /// For further servers of the same streams.
    pub(super) router: Router,
    pub(super) gate: Arc<Gate>,
    pub(super) hub: Arc<Hub>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) metrics: Arc<Metrics>,
}

impl Live {
    /// One whose streams hyper delivers, one whose streams the pump does.
    ///
    /// Room for two streams. The topic of `recentchange` has one partition; its next offset is 5,
    /// and nothing before it is kept.
    pub(super) fn each_way() -> [Self; 2] {
        Self::each_way_with(&GateSettings::room_for(2))
    }

    /// With a pump and room for this many streams.
    pub(super) fn for_many(streams_max: usize) -> Self {
        Self::new(GateSettings::room_for(streams_max), true)
    }

    /// The same with other limits.
    pub(super) fn each_way_with(settings: &GateSettings) -> [Self; 2] {
        [false, true].map(|pumped| Self::new(settings.clone(), pumped))
    }

    fn new(settings: GateSettings, pumped: bool) -> Self {
        let metrics = Arc::new(Metrics::new());
        let gate = Gate::new(settings, Arc::clone(&metrics));
        let pump = pumped.then(|| Pump::start(1, (STALL_MAX, gate.telling())).expect("a thread"));
        let (hub, sessions) = sessions(Still { up: true }, &gate, &metrics, pump);
        hub.apply(TailEvent::Opened {
            tp: partition(),
            log: None,
            append_time: false,
            next: Offset(5),
            last: Some(TimestampMs(1000)),
            after: None,
        });
        hub.apply(TailEvent::Surveyed);
        let front = Front {
            catalog: Arc::new(catalog()).into(),
            schemas: schemas::Current::default(),
            gate: Arc::clone(&gate),
            sessions: Arc::clone(&sessions),
            health: health(&metrics),
            metrics: Arc::clone(&metrics),
            settings: Settings::default(),
        };
        let router = router(front, Router::new());
        let server = Server::of(router.clone());
        Self { server, router, gate, hub, sessions, metrics }
    }

    /// The same on another port, whose connections are counted.
    pub(super) fn counting(mut self, crowd: &Arc<Crowd>) -> Self {
        let crowd = Arc::clone(crowd);
        let patient = |bound: listen::Bound| bound.head_timeout(PATIENCE).crowd(crowd);
        self.server = Server::with(self.router.clone(), patient);
        self
    }

    /// Waits until as many streams are open.
    pub(super) async fn holds(&self, streams: usize) {
        eventually("as many streams are open", || self.gate.held() == streams).await;
    }

    /// Waits until as many events have been given to readers.
    pub(super) async fn has_delivered(&self, events: u64) {
        let given = || self.metrics.events_delivered.get() == events;
        eventually("all events have been given to their readers", given).await;
    }

    /// How many streams have ended for this reason.
    pub(super) fn ended(&self, reason: &'static str) -> u64 {
        self.metrics.streams_ended.get_or_create(&ByReason { reason }).get()
    }

    /// Begins the end of all streams.
    pub(super) fn drains(&self) {
        self.gate.drain();
        self.sessions.drain(Duration::ZERO);
    }

    /// The source's next event: `{"n":<offset>,"more":""}`.
    pub(super) fn tells(&self, offset: i64) {
        self.tells_of(offset, 0);
    }

    /// The same, and so many bytes more.
    pub(super) fn tells_of(&self, offset: i64, bytes: usize) {
        let more = "x".repeat(bytes);
        let value = Some(format!("{{\"n\":{offset},\"more\":\"{more}\"}}").into());
        let (offset, time) = (Offset(offset), TimestampMs(2000 + offset));
        let records = vec![Record { offset, time, key: None, value }];
        self.hub.apply(TailEvent::Records { tp: partition(), records, next: offset.next() });
    }
}

/// Waits until `is` is true.
pub(super) async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::new("eqiad.recentchange").expect("legal"), 0)
}

fn sessions(
    source: Still,
    gate: &Arc<Gate>,
    metrics: &Arc<Metrics>,
    pump: Option<Arc<Pump>>,
) -> (Arc<Hub>, Arc<Sessions>) {
    let catalog = Arc::new(catalog());
    let lines = Lines::new(&catalog, &[], 1 << 20, Arc::clone(metrics));
    let hub = Hub::new("still", lines, feed::Settings::default(), Arc::clone(metrics));
    let source = Arc::new(source) as Arc<dyn Source>;
    let history = History::new(source, Arc::clone(&hub), (0, 1), Arc::clone(metrics));
    let settings =
        session::Settings { keepalive: Duration::from_secs(15), lifetime: None, retry_ms: 2000 };
    let all = (Arc::clone(&hub), history);
    (hub, Sessions::new(all, catalog, Arc::clone(gate), settings, Arc::clone(metrics), pump))
}

/// A source that has nothing to read: down, or up with one partition a topic and no records left.
#[derive(Debug)]
struct Still {
    up: bool,
}

impl Still {
    fn says<T>(&self, answer: T) -> Result<T, SourceError> {
        let (source_name, cause) = ("still".to_owned(), "it is down".to_owned());
        if self.up { Ok(answer) } else { Err(SourceError::Unreachable { source_name, cause }) }
    }
}

#[async_trait::async_trait]
impl Source for Still {
    fn name(&self) -> &str {
        "still"
    }

    async fn topic(&self, _: &TopicName) -> Result<TopicInfo, SourceError> {
        self.says(TopicInfo { partitions: 1, log: None, append_time: false })
    }

    async fn watermarks(&self, _: &TopicPartition) -> Result<Watermarks, SourceError> {
        self.says(Watermarks { start: Offset(5), end: Offset(5) })
    }

    async fn offset_at(
        &self,
        _: &TopicPartition,
        _: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        self.says(None)
    }

    async fn read(
        &self,
        _: &TopicPartition,
        from: Offset,
        _: Offset,
        _: usize,
    ) -> Result<Fetched, SourceError> {
        self.says(Fetched { records: Vec::new(), next: from })
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
        topics_allowed: Vec::new(),
    };
    Catalog::new([
        stream("recentchange", "mediawiki.recentchange", "All edits & <more>"),
        stream("Page-Create", "mediawiki.page-create", ""),
    ])
}

/// One answer, taken apart.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) async fn read_whole(socket: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
        read.expect("the server closes").expect("and without a reset");
        Self::parse(&bytes)
    }

    /// Reads one answer with a `content-length` from a connection that stays open.
    pub(super) async fn read_one(socket: &mut TcpStream) -> Self {
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

    pub(super) fn parse(bytes: &[u8]) -> Self {
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

    pub(super) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).expect("a status").parse().expect("a number")
    }

    /// The header's value; it must be there once.
    pub(super) fn header(&self, name: &str) -> &str {
        self.has(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub(super) fn has(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = all.next();
        assert_eq!(all.next(), None, "{name} twice in {self:?}");
        first
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Checks everything that errors have in common; gives the JSON.
    pub(super) fn problem(&self, status: u16, kind: &str) -> Value {
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
