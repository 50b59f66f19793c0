//! What a reader sees on the wire, byte for byte, on a paused clock.

use http_body_util::BodyExt;

use super::*;
use crate::catalog::Catalog;
use crate::catalog::Stream;
use crate::event::{Offset, TopicName};
use crate::feed::lines::Lines;
use crate::gate::Settings as GateSettings;
use crate::gate::catchup::{Budget, Turn};
use crate::position::{PositionTime, ResumeAt, ResumeEntry};
use crate::source::TailEvent;
use crate::source::memory::{MemorySource, TailPositions};

struct Bench {
    source: Arc<MemorySource>,
    hub: Arc<Hub>,
    gate: Arc<Gate>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    told: TailPositions,
}

fn a0() -> TopicPartition {
    TopicPartition::new(TopicName::new("a").expect("legal"), 0)
}

impl Bench {
    fn new(lifetime_s: Option<u64>) -> Self {
        let source = Arc::new(MemorySource::default());
        source.create("a", Some("aaaaaa"), 1);
        let metrics = Arc::new(Metrics::new());
        let catalog = Arc::new(Catalog::new([Stream {
            name: "s".into(),
            topics: vec![a0().topic],
            aliases: vec![],
            description: String::new(),
            schema: None,
            produce_to: None,
            topics_allowed: Vec::new(),
        }]));
        let lines = Lines::new(&catalog, &[], 1 << 20, Arc::clone(&metrics));
        let bounds = crate::feed::Settings::default();
        let hub = Hub::new("m", lines, bounds, Arc::clone(&metrics));
        let history = History::new(
            Arc::clone(&source) as _,
            Arc::clone(&hub),
            (1000, 2),
            Arc::clone(&metrics),
        );
        let catchups = Budget { all: 1, of_client: 1 };
        let feeds = crate::gate::feeds::Limits { held: 1, starts: None };
        let settings = GateSettings { catchups, feeds, ..GateSettings::room_for(10) };
        let gate = Gate::new(settings, Arc::clone(&metrics));
        let settings = Settings {
            keepalive: Duration::from_secs(15),
            lifetime: lifetime_s.map(Duration::from_secs),
            retry_ms: 2000,
        };
        let both = (Arc::clone(&hub), history);
        let sessions =
            Sessions::new(both, catalog, Arc::clone(&gate), settings, Arc::clone(&metrics), None);
        let mut bench = Self { source, hub, gate, sessions, metrics, told: TailPositions::new() };
        bench.tell(true);
        bench.hub.apply(TailEvent::Surveyed);
        bench
    }

    fn tell(&mut self, survey: bool) {
        for event in self.source.tell(&mut self.told, &a0(), 1000, survey) {
            self.hub.apply(event);
        }
    }

    fn append(&mut self, values: &[&str]) {
        for (n, value) in values.iter().enumerate() {
            let time = 1_790_000_000_000 + i64::try_from(n).expect("few");
            self.source.append(&a0(), Some((time, (*value).to_owned())));
        }
        self.tell(false);
    }

    fn request(&self, framing: Framing) -> OpenRequest {
        let topics = vec![a0().topic];
        OpenRequest {
            selection: Selection { streams: vec!["s".into()], topics },
            last_event_id: None,
            since: None,
            framing,
            encoding: None,
            id_first: false,
            gap_events: false,
        }
    }

    async fn open(&self, request: OpenRequest) -> Opened {
        let permit = self.gate.admit([127, 0, 0, 1].into()).expect("room");
        let opened = self.sessions.open(request, permit).await;
        opened.unwrap_or_else(|e| panic!("not opened: {e:?}"))
    }
}

/// Everything that comes within this time, as text; `true`: it ended.
async fn read(body: &mut SessionBody, within_s: u64) -> (String, bool) {
    let until = Instant::now() + Duration::from_secs(within_s);
    let mut text = String::new();
    loop {
        match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return (text, false),
            Ok(None) => return (text, true),
            Ok(Some(frame)) => {
                let data = frame.expect("infallible").into_data().expect("data");
                text.push_str(std::str::from_utf8(&data).expect("text"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_ok_then_events_and_retry_after_the_first() {
    let mut bench = Bench::new(None);
    let mut opened = bench.open(bench.request(Framing::Sse)).await;
    assert_eq!(read(&mut opened.body, 9).await, (":ok\n\n".to_owned(), false));
    bench.append(&[r#"{"n":1}"#, "no json", r#"{"n":2}"#]);
    let (text, _) = read(&mut opened.body, 1).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "event: message");
    assert!(lines[1].starts_with(r#"id: [{"topic":"a","partition":0,"offset":1,"#), "{text}");
    assert!(lines[2].starts_with("data: {\"n\":1"), "{text}");
    assert!(lines[4].starts_with("retry: "), "{text}");
    assert_eq!(lines[5], "event: message");
    // The record that is no event has been passed: the position says so.
    assert!(lines[6].contains(r#""offset":3,"#), "{text}");
    assert_eq!(text.matches("retry:").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_one_line() {
    let bench = Bench::new(None);
    let mut sse = bench.open(bench.request(Framing::Sse)).await.body;
    assert_eq!(read(&mut sse, 14).await.0, ":ok\n\n");
    assert_eq!(read(&mut sse, 16).await.0, ":\n:\n");
    let mut ndjson = bench.open(bench.request(Framing::Ndjson)).await.body;
    assert_eq!(read(&mut ndjson, 16).await.0, "\n\n");
}

#[tokio::test(start_paused = true)]
async fn ndjson_is_one_object_a_line() {
    let mut bench = Bench::new(None);
    let mut body = bench.open(bench.request(Framing::Ndjson)).await.body;
    bench.append(&[r#"{"n":1}"#, r#"{"n":2}"#]);
    let (text, _) = read(&mut body, 1).await;
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!((lines[0], lines[3], lines.len()), ("", "", 4), "{text:?}");
    assert!(lines[1].starts_with("{\"n\":1") && lines[2].starts_with("{\"n\":2"), "{text:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_gets_an_id_before_any_event_and_loses_nothing_by_a_cut() {
    let mut bench = Bench::new(None);
    let request = OpenRequest { id_first: true, ..bench.request(Framing::Sse) };
    let mut body = bench.open(request).await.body;
    let (text, _) = read(&mut body, 1).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[1], lines.len()), (":ok", "", 5), "{text:?}");
    assert!(lines[2].starts_with("retry: ") && lines[3].starts_with("id: [{"), "{text:?}");
    drop(body);
    bench.append(&[r#"{"n":1}"#]);
    let id = crate::position::parse_last_event_id(&lines[3].as_bytes()[4..]).expect("our own");
    let request = OpenRequest { last_event_id: id, ..bench.request(Framing::Sse) };
    let mut body = bench.open(request).await.body;
    assert!(read(&mut body, 1).await.0.contains("data: {\"n\":1"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_a_whole_event_by_lifetime_and_by_drain() {
    let mut bench = Bench::new(Some(100));
    let mut body = bench.open(bench.request(Framing::Sse)).await.body;
    let (text, ended) = read(&mut body, 101).await;
    assert!(ended && text.ends_with(":\n"), "{text:?}");
    drop(body);
    let mut body = bench.open(bench.request(Framing::Sse)).await.body;
    bench.append(&[r#"{"n":1}"#]);
    assert!(!read(&mut body, 1).await.1);
    bench.sessions.drain(Duration::ZERO);
    assert_eq!(read(&mut body, 1).await, (String::new(), true));
    drop(body);
    let by = |reason| bench.metrics.streams_ended.get_or_create(&ByReason { reason }).get();
    assert_eq!((by("lifetime"), by("draining"), by("client_closed")), (1, 1, 0));
    assert_eq!(bench.gate.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_in_the_stream_only_to_who_asks() {
    let mut bench = Bench::new(None);
    bench.append(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    bench.source.retain_from(&a0(), 2);
    let time = Some(PositionTime::MadeUp(TimestampMs(0)));
    let entry = ResumeEntry { tp: a0(), at: ResumeAt::Offset(Offset(0), time), log: None };
    let id = LastEventId::Positions(vec![ResumeEntry {
        at: ResumeAt::Offset(Offset(0), None),
        ..entry
    }]);
    for asks in [false, true] {
        let request = OpenRequest {
            last_event_id: Some(id.clone()),
            gap_events: asks,
            ..bench.request(Framing::Sse)
        };
        let mut opened = bench.open(request).await;
        assert_eq!(opened.gaps.len(), 1);
        let (text, _) = read(&mut opened.body, 1).await;
        assert_eq!(text.starts_with(":ok\n\nevent: gap\ndata: {"), asks, "{text:?}");
        assert!(text.contains("data: {\"n\":3") && !text.contains("{\"n\":2"), "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_or_silent_is_refused_in_time() {
    let bench = Bench::new(None);
    bench.hub.apply(TailEvent::Unreachable { cause: "gone".to_owned() });
    let before = Instant::now();
    let permit = bench.gate.admit([127, 0, 0, 1].into()).expect("room");
    let refused = bench.sessions.open(bench.request(Framing::Sse), permit).await;
    assert!(matches!(refused, Err(OpenError::Refused(Refusal::SourceUnavailable))));
    assert_eq!(before.elapsed(), Duration::ZERO, "known to be down: at once");
    bench.hub.apply(TailEvent::Reachable);
    assert!(!read(&mut bench.open(bench.request(Framing::Sse)).await.body, 1).await.1);
    assert_eq!(bench.gate.held(), 0, "no permit is left over");
}

/// Reads history, and does not end.
async fn busy(permit: &Permit) -> Turn {
    let mut turn = permit.turn(Errand::Replay);
    std::future::poll_fn(|cx| turn.poll_read(cx)).await;
    turn
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_turn_is_greeted_kept_alive_and_served_as_soon_as_there_is_one() {
    let mut bench = Bench::new(None);
    bench.append(&[r#"{"n":1}"#, r#"{"n":2}"#]);
    let permit = bench.gate.admit([127, 0, 0, 2].into()).expect("room");
    let turn = busy(&permit).await;
    let request = OpenRequest { since: Some(TimestampMs(0)), ..bench.request(Framing::Sse) };
    let mut body = bench.open(request).await.body;
    assert_eq!(read(&mut body, 31).await, (":ok\n\n:\n:\n".to_owned(), false));
    let counted = |metrics: &Metrics| {
        let (readers, gate) = (&metrics.catchup_readers, &metrics.gate);
        (readers.get(), gate.catchups_running.get(), gate.catchups_waiting.get())
    };
    assert_eq!(counted(&bench.metrics), (1, 1, 1));
    // Those that are live need none.
    let mut live = bench.open(bench.request(Framing::Sse)).await.body;
    bench.append(&[r#"{"n":3}"#]);
    assert!(read(&mut live, 1).await.0.contains("data: {\"n\":3"));
    drop(turn);
    let (text, _) = read(&mut body, 1).await;
    assert!((1..=3).all(|n| text.contains(&format!("data: {{\"n\":{n}"))), "{text}");
    assert_eq!(counted(&bench.metrics), (0, 0, 0), "it has joined");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_ends_as_others_do_and_leaves_nothing() {
    let mut bench = Bench::new(Some(100));
    bench.append(&[r#"{"n":1}"#]);
    let permit = bench.gate.admit([127, 0, 0, 2].into()).expect("room");
    let _turn = busy(&permit).await;
    let request = || OpenRequest { since: Some(TimestampMs(0)), ..bench.request(Framing::Sse) };
    let mut bodies = [bench.open(request()).await.body, bench.open(request()).await.body];
    let (text, ended) = read(&mut bodies[0], 101).await;
    assert!(ended && text.starts_with(":ok\n\n:\n"), "its lifetime: {text:?}");
    let mut drained = bench.open(request()).await.body;
    assert!(!read(&mut drained, 1).await.1);
    bench.sessions.drain(Duration::ZERO);
    let (text, ended) = read(&mut drained, 1).await;
    assert!(ended && text.starts_with("retry: ") && text.lines().count() == 1, "{text:?}");
    drop((bodies, drained));
    assert_eq!(bench.gate.held(), 1);
    let (readers, gate) = (&bench.metrics.catchup_readers, &bench.metrics.gate);
    let left = (readers.get(), gate.catchups_running.get(), gate.catchups_waiting.get());
    assert_eq!(left, (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_feed_counts_for_who_started_it_until_it_goes_and_may_be_joined_by_all() {
    let bench = Bench::new(None);
    let other = || {
        let selection = Selection { streams: vec!["s".into(), "t".into()], topics: vec![] };
        OpenRequest { selection, ..bench.request(Framing::Sse) }
    };
    let permit = |host| bench.gate.admit([127, 0, 0, host].into()).expect("room");
    let open = |request, host| bench.sessions.open(request, permit(host));
    let mine = open(bench.request(Framing::Sse), 1).await.map_err(|_| "not mine").expect("a feed");
    let refused = |opened: Result<Opened, OpenError>| match opened {
        Err(OpenError::Refused(Refusal::ClientFeeds { held, limit })) => (held, limit) == (1, 1),
        _ => false,
    };
    assert!(refused(open(other(), 1).await), "a second one");
    let joined = open(bench.request(Framing::Sse), 1).await;
    let theirs = open(bench.request(Framing::Sse), 2).await;
    assert!(joined.is_ok() && theirs.is_ok(), "those that are there are free");
    drop((mine, joined));
    tokio::time::advance(limits::FEED_IDLE * 2).await;
    bench.hub.sweep(Instant::now());
    assert!(refused(open(other(), 1).await), "others read it on");
    drop(theirs);
    bench.hub.sweep(Instant::now());
    assert!(refused(open(other(), 1).await), "it stays for a while");
    tokio::time::advance(limits::FEED_IDLE).await;
    bench.hub.sweep(Instant::now());
    assert!(open(other(), 1).await.is_ok(), "it is gone");
    let counted = bench.metrics.refusals.get_or_create(&ByReason { reason: "client_feeds" }).get();
    assert_eq!(counted, 3);
}
