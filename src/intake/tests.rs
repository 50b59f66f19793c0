//! The intake as a writer sees it: requests in, answers and records out.

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::memory::MemorySink;
use super::*;
use crate::event::Partition;
use crate::source::SinkError;

fn name(topic: &str) -> TopicName {
    TopicName::new(topic).expect("legal")
}

fn catalog() -> Arc<Catalog> {
    let stream = |stream: &str, topics: &[&str], produce_to: Option<&str>| Stream {
        name: stream.into(),
        topics: topics.iter().map(|t| name(t)).collect(),
        aliases: vec![format!("mediawiki.{stream}").into()],
        description: String::new(),
        schema: None,
        produce_to: produce_to.map(name),
        topics_allowed: Vec::new(),
    };
    Arc::new(Catalog::new([
        stream("a", &["eqiad.a", "codfw.a"], None),
        stream("b", &["eqiad.b", "codfw.b"], Some("codfw.b")),
        stream("none", &[], None),
    ]))
}

struct Rig {
    sink: Arc<MemorySink>,
    state: Arc<IntakeState>,
}

impl Rig {
    fn new() -> Self {
        Self::over(MemorySink::new(1))
    }

    /// A sink that fails for the events whose text names a failure.
    fn failing() -> Self {
        let sink = MemorySink::deciding(1, |record| {
            let value = String::from_utf8_lossy(&record.value).into_owned();
            let (who, why) = ("memory".to_owned(), "as the test wants".to_owned());
            match () {
                () if value.contains("unavailable") => Err(SinkError::Unavailable(who, why)),
                () if value.contains("unknown") => Err(SinkError::Unknown(who, why)),
                () if value.contains("refused") => Err(SinkError::Refused(why)),
                () => Ok(()),
            }
        });
        Self::over(sink)
    }

    fn over(sink: MemorySink) -> Self {
        Self::with(sink, Settings::default())
    }

    fn with(sink: MemorySink, settings: Settings) -> Self {
        let sink = Arc::new(sink);
        let state = IntakeState::new(catalog(), sink.clone(), settings, Arc::new(Metrics::new()));
        Self { sink, state }
    }

    async fn send(&self, request: Request) -> (http::response::Parts, Value) {
        let router = router(Arc::clone(&self.state));
        let (head, body) = router.oneshot(request).await.expect("infallible").into_parts();
        let body = body.collect().await.expect("in memory").to_bytes();
        (head, serde_json::from_slice(&body).expect("every answer is JSON"))
    }

    async fn post(&self, body: &str) -> (http::response::Parts, Value) {
        self.send(post(body)).await
    }
}

fn request(body: impl Into<Body>, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::post("/v1/events?stream=a");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).expect("legal")
}

fn post(body: &str) -> Request {
    let request = Request::post("/v1/events").header("content-type", "application/json");
    request.body(Body::from(body.to_owned())).expect("legal")
}

fn event(stream: &str, note: &str) -> String {
    format!(r#"{{"meta":{{"stream":"{stream}"}},"note":"{note}"}}"#)
}

fn statuses(answer: &Value) -> Vec<u64> {
    let results = answer["results"].as_array().expect("results").iter();
    results.map(|r| r["status"].as_u64().expect("a status")).collect()
}

#[tokio::test]
async fn one_event_is_written_as_it_was_sent_and_its_place_is_told() {
    let rig = Rig::new();
    let sent = r#"{"n": 1.0, "n":1e400, "meta": {"stream":"mediawiki.a", "x":[ ]},
        "s":"\ud800"}"#;
    let (head, answer) = rig.post(sent).await;
    assert_eq!(head.status, StatusCode::CREATED);
    let place = json!({"status": 201, "topic": "eqiad.a", "partition": 0, "offset": 0});
    assert_eq!(answer, json!({"taken": 1, "results": [place]}));
    assert_eq!(rig.sink.values("eqiad.a"), [sent]);
    assert_eq!(rig.state.metrics.intake.events.get(), 1);
}

#[tokio::test]
async fn an_array_and_lines_keep_their_order_in_each_topic() {
    let rig = Rig::new();
    let all: Vec<_> = (0..900).map(|n| event(["a", "b"][n % 2], &n.to_string())).collect();
    let (head, answer) = rig.post(&format!("[{}]", all.join(" , "))).await;
    assert_eq!((head.status, answer["taken"].as_u64()), (StatusCode::CREATED, Some(900)));
    assert_eq!(answer["results"][899]["topic"], "codfw.b");
    let of = |which: usize| all.iter().skip(which).step_by(2).cloned().collect::<Vec<_>>();
    assert_eq!(rig.sink.values("eqiad.a"), of(0));
    assert_eq!(rig.sink.values("codfw.b"), of(1));

    let lines = of(0).join("\r\n\n");
    let (head, _) = rig.send(request(lines, &[("content-type", "application/x-ndjson")])).await;
    assert_eq!(head.status, StatusCode::CREATED);
    assert_eq!(rig.sink.values("eqiad.a")[450..], of(0));
}

#[tokio::test]
async fn the_key_decides_the_partition_and_the_time_comes_from_the_event() {
    let rig = Rig::over(MemorySink::new(8));
    let sent = r#"{"meta":{"stream":"a","key":"\u0003","dt":"2020-07-01T00:00:00.007Z"},"n":1}"#;
    let (_, answer) = rig.post(sent).await;
    assert_eq!(answer["results"][0]["partition"], 3);
    let written = rig.sink.written("eqiad.a", Partition(3));
    assert_eq!(written[0].time, TimestampMs(1_593_561_600_007));
    assert_eq!(written[0].key.as_deref(), Some(&[3][..]));

    let before = TimestampMs::now();
    rig.post(&event("a", "no time")).await;
    let written = rig.sink.written("eqiad.a", Partition(0));
    assert!(written[0].time >= before && written[0].key.is_none());
}

#[tokio::test]
async fn good_events_are_taken_beside_bad_ones_and_each_is_told() {
    let rig = Rig::failing();
    let batch = [
        event("a", "good"),
        "7".to_owned(),
        event("zzz", ""),
        event("a", "refused"),
        event("a", "unavailable"),
        event("a", "unknown"),
        event("b", "good"),
        event("none", ""),
    ];
    let (head, answer) = rig.post(&format!("[{}]", batch.join(","))).await;
    assert_eq!(head.status, StatusCode::MULTI_STATUS);
    assert_eq!(head.headers["content-type"], "application/json");
    assert_eq!(statuses(&answer), [201, 400, 400, 400, 503, 503, 201, 400]);
    let words = answer["results"].as_array().expect("results").iter();
    let words: Vec<_> = words.map(|r| r["type"].as_str().unwrap_or("-")).collect();
    let (bad, not_found) = ("bad_request", "not_found");
    assert_eq!(words, ["-", bad, not_found, "refused", "unavailable", "unknown", "-", not_found]);
    assert_eq!(answer["results"][1]["detail"], "found a number; a JSON object is accepted");
    assert_eq!(answer["taken"], 2);
    assert_eq!(rig.sink.values("eqiad.a"), [event("a", "good")]);
}

#[tokio::test]
async fn when_nothing_is_taken_the_status_says_whether_sending_again_helps() {
    let rig = Rig::failing();
    let (head, answer) = rig.post(&event("a", "refused")).await;
    assert_eq!(head.status, StatusCode::BAD_REQUEST);
    assert_eq!(head.headers["content-type"], "application/problem+json");
    assert_eq!(answer["status"], 400);
    assert_eq!(
        (answer["method"].as_str(), answer["uri"].as_str()),
        (Some("POST"), Some("/v1/events"))
    );

    let some = format!("[{},{}]", event("a", "unavailable"), event("zzz", ""));
    let (head, answer) = rig.post(&some).await;
    assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["type"], "unavailable");
    assert!(head.headers.contains_key("retry-after"));

    let some = format!("[{},{}]", event("a", "unavailable"), event("a", "unknown"));
    let (head, answer) = rig.post(&some).await;
    assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["type"], "unknown");
    assert!(!head.headers.contains_key("retry-after"), "a blind retry would write twice");
    assert_eq!(statuses(&answer), [503, 503]);
    assert_eq!(rig.state.metrics.intake.events.get(), 0);
}

#[tokio::test]
async fn a_web_page_may_not_write_whatever_it_sends() {
    let rig = Rig::new();
    for (method, origin) in [("POST", "https://x.example"), ("POST", "null"), ("OPTIONS", "")] {
        let request = Request::builder().method(method).uri("/v1/events").header("origin", origin);
        let request = request.body(Body::from(event("a", ""))).expect("legal");
        let (head, answer) = rig.send(request).await;
        assert_eq!(head.status, StatusCode::FORBIDDEN, "{method}");
        assert_eq!(answer["type"], "forbidden");
        assert!(!head.headers.keys().any(|k| k.as_str().starts_with("access-control")));
    }
    assert!(rig.sink.values("eqiad.a").is_empty());
}

#[tokio::test]
async fn a_body_that_is_no_batch_of_events_is_refused_with_its_reason() {
    let rig = Rig::new();
    let json = ("content-type", "application/json");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let cases = [
        (request("{}", &[form]), 415, "x-www-form-urlencoded"),
        (request("{}", &[("content-type", "text/plain")]), 415, "text/plain"),
        (request("{}", &[json, ("content-encoding", "gzip")]), 415, "gzip"),
        (request("", &[json]), 400, "no event"),
        (request("[]", &[json]), 400, "no event"),
        (request("[{},", &[json]), 400, "line 1 column 4"),
        (request(vec![b'"', 0xff, b'"'], &[json]), 400, "no UTF-8 from byte 1"),
        (request("{}", &[json, ("content-length", "16777217")]), 413, "16777216 bytes"),
        (request(vec![b' '; limits::INTAKE_BODY_BYTES_MAX + 1], &[json]), 413, "16777216 bytes"),
        (request(format!("[{}0]", "0,".repeat(10_000)), &[json]), 413, "10000 in one body"),
    ];
    for (request, status, detail) in cases {
        let (head, answer) = rig.send(request).await;
        assert_eq!(head.status.as_u16(), status, "{answer}");
        assert_eq!(answer["status"], status);
        assert!(answer["detail"].as_str().expect("text").contains(detail), "{answer}");
        assert_eq!(head.headers["content-type"], "application/problem+json");
        assert_eq!(head.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn other_methods_are_told_which_one_is_accepted() {
    let rig = Rig::new();
    let request = Request::get("/v1/events").body(Body::empty()).expect("legal");
    let (head, answer) = rig.send(request).await;
    assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(head.headers["allow"], "POST");
    assert_eq!(answer["type"], "method_not_allowed");
}

#[tokio::test]
async fn with_a_stream_in_the_query_only_its_events_are_taken() {
    let rig = Rig::new();
    let to = |query: &str, body: String| {
        Request::post(format!("/v1/events{query}")).body(Body::from(body)).expect("legal")
    };
    let all = format!("[{},{}]", event("mediawiki.a", ""), event("b", ""));
    let (head, answer) = rig.send(to("?stream=a", all)).await;
    assert_eq!(head.status, StatusCode::MULTI_STATUS);
    assert_eq!(statuses(&answer), [201, 400]);
    let detail = "`meta.stream` is `b`; `a` or an alias of it is accepted";
    assert_eq!(answer["results"][1]["detail"], detail);

    let (head, answer) = rig.send(to("?stream=zzz", event("a", ""))).await;
    assert_eq!((head.status.as_u16(), &answer["type"]), (400, &json!("not_found")));
    assert_eq!(answer["detail"], "Invalid streams: zzz");
    let (head, _) = rig.send(to("?key=a", event("a", ""))).await;
    assert_eq!(head.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let rig = Rig::new();
    let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let (head, answer) = rig.send(request(Body::from_stream(never), &[])).await;
    assert_eq!(head.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer["type"], "request_timeout");
}

#[tokio::test(start_paused = true)]
async fn bodies_beyond_the_budget_wait_and_are_then_refused_for_now() {
    let rig = Rig::new();
    let held = rig.state.room_for(limits::INTAKE_BODIES_BYTES_MAX).await.expect("all is free");
    let (head, answer) = rig.post(&event("a", "")).await;
    assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["type"], "unavailable");
    assert!(head.headers.contains_key("retry-after"));
    let waits = event("a", "");
    let (waiting, ()) = tokio::join!(rig.post(&waits), async { drop(held) });
    assert_eq!(waiting.0.status, StatusCode::CREATED);
}

/// A rig whose streams' events have to fit: of `a` a schema by its URI, of `b` any.
fn strict() -> Rig {
    let schema = json!({
        "type": "object", "required": ["$schema", "n", "meta"],
        "properties": {
            "n": { "type": "integer" },
            "meta": {
                "type": "object", "required": ["id", "dt"],
                "properties": {
                    "dt": { "type": "string", "format": "date-time" },
                    "id": { "type": "string", "format": "uuid" },
                },
            },
        },
    });
    let schemas = schemas::Schemas::of_documents([("/thing/1.0.0".to_owned(), schema)].into());
    let settings = Settings { schemas: Arc::new(schemas).into(), fill_meta: true };
    let mut rig = Rig::with(MemorySink::new(1), settings.clone());
    let mut streams: Vec<Stream> = catalog().streams().map(|s| (**s).clone()).collect();
    let of_a = streams.iter_mut().find(|s| &*s.name == "a").expect("it is there");
    of_a.schema = Some("/thing/1.0.0".to_owned());
    let catalog = Arc::new(Catalog::new(streams));
    rig.state = IntakeState::new(catalog, rig.sink.clone(), settings, Arc::new(Metrics::new()));
    rig
}

fn thing(n: &str) -> String {
    format!(r#"{{"$schema":"/thing/1.0.0","n":{n},"meta":{{"stream":"a"}}}}"#)
}

#[tokio::test]
async fn what_is_missing_in_meta_is_filled_in_and_the_rest_stays_byte_for_byte() {
    let rig = strict();
    let sent = r#"{ "meta" : {"stream":"b", "x": 1e400}, "s":"\ud800", "n":1.0,"n":2 }"#;
    let mut request = post(sent);
    request.headers_mut().insert("x-request-id", "req-7".parse().expect("legal"));
    assert_eq!(rig.send(request).await.0.status, StatusCode::CREATED);
    let written = rig.sink.values("codfw.b").remove(0);
    let (head, rest) = written.split_once(r#""meta" : {"#).expect("it begins as it was");
    let (filled, rest) = rest.split_at(rest.find(r#""stream""#).expect("it goes on as it was"));
    assert_eq!(format!(r#"{head}"meta" : {{{rest}"#), sent);
    let filled: Value =
        serde_json::from_str(&format!("{{{}}}", filled.trim_end_matches(','))).expect("members");
    assert_eq!(filled.as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(filled["request_id"], "req-7");
    let dt = filled["dt"].as_str().expect("a time");
    let time = rig.sink.written("codfw.b", Partition(0))[0].time;
    assert_eq!(event::record_time(Some(dt), TimestampMs(0)), TimestampMs(0), "it is now");
    assert_eq!(event::record_time(Some(dt), TimestampMs::now()), time);
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_told_why_and_the_others_are_written() {
    let rig = strict();
    let no_schema = event("a", "x");
    let all = [thing("1"), thing("\"x\""), no_schema, event("b", "y"), thing("2.5")].join(",");
    let (head, answer) = rig.post(&format!("[{all}]")).await;
    assert_eq!((head.status, answer["taken"].as_u64()), (StatusCode::MULTI_STATUS, Some(2)));
    assert_eq!(statuses(&answer), [201, 400, 400, 201, 400]);
    let misfit = "the event does not fit /thing/1.0.0: `n` is \"x\"; an integer is accepted";
    assert_eq!(answer["results"][1]["detail"], misfit);
    assert_eq!(answer["results"][1]["type"], "invalid");
    let missing = "`$schema` is missing; a version of `/thing` is accepted";
    assert_eq!(answer["results"][2]["detail"], missing);
    assert_eq!(rig.sink.values("eqiad.a").len(), 1);
    let (head, answer) =
        rig.post(r#"{"$schema":"/thing/1.0.0","meta":{"stream":"a","dt":"x"}}"#).await;
    assert_eq!(head.status, StatusCode::BAD_REQUEST);
    let errors = answer["results"][0]["errors"].as_array().expect("each by itself");
    let expected =
        ["`meta.dt` is \"x\"; a text of the format date-time is accepted", "`n` is missing"];
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(expected.iter().all(|e| errors.iter().any(|found| found == e)), "{errors:?}");
}

#[tokio::test]
async fn of_very_many_that_do_not_fit_only_the_first_are_told_why() {
    let rig = strict();
    let long = thing(&format!("\"{}\"", "x".repeat(500)));
    let all = vec![long; 5000].join(",");
    let (head, answer) = rig.post(&format!("[{all}]")).await;
    assert_eq!(head.status, StatusCode::BAD_REQUEST);
    assert_eq!(statuses(&answer).len(), 5000);
    assert!(
        answer["results"][0]["detail"].is_string() && answer["results"][4999]["detail"].is_null()
    );
    assert!(answer.to_string().len() < 1024 * 1024);
}

fn hasty(body: &str) -> Request {
    let request = Request::post("/v1/events?hasty=true");
    request.body(Body::from(body.to_owned())).expect("legal")
}

#[tokio::test]
async fn who_is_in_haste_is_answered_when_the_events_are_good_and_not_when_they_are_written() {
    let rig = Rig::failing();
    let (head, answer) = rig.send(hasty(&event("a", "1"))).await;
    assert_eq!(head.status, StatusCode::ACCEPTED);
    assert_eq!(answer, json!({"taken": 1, "results": [{"status": 202}]}));
    let (head, answer) = rig.send(hasty(&format!("[{},7]", event("a", "unavailable")))).await;
    assert_eq!((head.status, statuses(&answer)), (StatusCode::MULTI_STATUS, vec![202, 400]));
    assert_eq!(rig.send(hasty("7")).await.0.status, StatusCode::BAD_REQUEST);
    rig.state.settled().await;
    assert_eq!(rig.sink.values("eqiad.a"), [event("a", "1")]);
    let metrics = &rig.state.metrics;
    assert_eq!((metrics.intake.events.get(), metrics.intake.lost.get()), (1, 1));
    let wrong = Request::post("/v1/events?hasty=perhaps").body(Body::from("{}")).expect("legal");
    assert_eq!(rig.send(wrong).await.0.status, StatusCode::BAD_REQUEST);
}
