//! `produce` end to end: lines in, a real socket or a sink, and what is told.

use std::io::Cursor;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;

use super::*;
use crate::catalog::Stream;
use crate::event::TopicName;
use crate::intake::IntakeState;
use crate::intake::memory::MemorySink;
use crate::metrics::Metrics;
use crate::source::{NewRecord, SinkError};

fn catalog() -> Arc<Catalog> {
    let stream = |name: &str| Stream {
        name: name.into(),
        topics: vec![TopicName::new(&format!("eqiad.{name}")).expect("legal")],
        aliases: vec![format!("mediawiki.{name}").into()],
        description: String::new(),
        schema: None,
        produce_to: None,
        topics_allowed: Vec::new(),
    };
    Arc::new(Catalog::new([stream("a"), stream("b")]))
}

/// Serves an intake over `sink` on a free port.
async fn gateway(sink: Arc<MemorySink>) -> String {
    let router = crate::intake::router(IntakeState::new(
        catalog(),
        sink,
        Default::default(),
        Arc::new(Metrics::new()),
    ));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Told {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no holder panics").clone()).expect("text")
    }
}

impl std::io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no holder panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn sent(input: &str, target: &Target) -> (Tally, String) {
    let told = Told::default();
    let input = Cursor::new(input.as_bytes().to_vec());
    let stop = CancellationToken::new();
    let tally = produce(input, "a", target, Report::into(told.clone()), &stop).await;
    (tally, told.text())
}

fn numbered(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

fn stored(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!(r#"{{"meta":{{"stream":"a"}},"n":{n}}}"#)).collect()
}

async fn over_http(sink: &Arc<MemorySink>) -> Target {
    let url = gateway(Arc::clone(sink)).await;
    Target::Gateway(Box::new(Gateway::new(&url, "a").expect("a good URL")))
}

fn direct(sink: &Arc<MemorySink>) -> Target {
    let sink: Arc<dyn Sink> = sink.clone();
    Target::Direct(Direct::new(catalog(), "mediawiki.a", sink).expect("a known stream"))
}

#[tokio::test]
async fn thousands_of_lines_arrive_once_and_in_their_order_either_way() {
    let sink = Arc::new(MemorySink::new(1));
    let (tally, told) = sent(&numbered(0..5000), &over_http(&sink).await).await;
    assert_eq!((tally.taken, told.as_str()), (5000, ""));
    let (tally, told) = sent(&numbered(5000..9000), &direct(&sink)).await;
    assert_eq!((tally.taken, told.as_str()), (4000, ""));
    assert_eq!(sink.values("eqiad.a"), stored(0..9000));
    tally.into_result().expect("all were taken");
}

#[tokio::test]
async fn lines_that_are_not_taken_are_named_and_the_others_taken() {
    let sink = Arc::new(MemorySink::new(1));
    let input = "{\"n\":0}\n7\n\n{\"meta\":{\"stream\":\"b\"}}\n{\"n\":1}\nnonsense\n";
    for target in [over_http(&sink).await, direct(&sink)] {
        let (tally, told) = sent(input, &target).await;
        assert_eq!((tally.taken, tally.refused), (2, 3));
        for expected in [
            "line 2: found a number; a JSON object is accepted",
            "line 4: `meta.stream` is `b`; `a` or an alias of it is accepted",
            "line 6: this is no JSON: ",
        ] {
            assert!(told.contains(expected), "{told}");
        }
        assert_eq!(told.lines().count(), 3);
        tally.into_result().expect_err("some were refused");
    }
    assert_eq!(sink.values("eqiad.a"), [stored(0..2), stored(0..2)].concat());
}

#[tokio::test]
async fn many_bad_lines_are_counted_but_not_all_told() {
    let sink = Arc::new(MemorySink::new(1));
    let (tally, told) = sent(&"7\n".repeat(5000), &direct(&sink)).await;
    assert_eq!(tally.refused, 5000);
    assert_eq!(told.lines().count(), 21);
}

/// A sink that takes a record only when it is asked for the so-manieth time.
fn stubborn(refusals: usize) -> Arc<MemorySink> {
    let asked = AtomicUsize::new(0);
    Arc::new(MemorySink::deciding(1, move |record: &NewRecord| {
        let is_first = &record.value[..] == stored(0..1)[0].as_bytes();
        if is_first || asked.fetch_add(1, Ordering::Relaxed) >= refusals {
            return Ok(());
        }
        Err(SinkError::Unavailable("memory".into(), "not yet".into()))
    }))
}

#[tokio::test]
async fn events_that_can_be_taken_later_are_sent_again() {
    for over_network in [false, true] {
        let sink = stubborn(25);
        let target = if over_network { over_http(&sink).await } else { direct(&sink) };
        let (tally, told) = sent(&numbered(0..11), &target).await;
        assert_eq!((tally.taken, told.as_str()), (11, ""));
        let mut values = sink.values("eqiad.a");
        values.sort_unstable();
        let mut expected = stored(0..11);
        expected.sort_unstable();
        assert_eq!(values, expected, "each once");
        tally.into_result().expect("all were taken");
    }
}

#[tokio::test]
async fn in_doubt_nothing_more_is_sent_and_the_line_is_named() {
    let sink = MemorySink::deciding(1, |record| match record.value.ends_with(b":3}") {
        true => Err(SinkError::Unknown("memory".into(), "a deadline passed".into())),
        false => Ok(()),
    });
    let sink = Arc::new(sink);
    for target in [direct(&sink), over_http(&sink).await] {
        let (tally, _) = sent(&numbered(0..5000), &target).await;
        assert!(tally.taken < 2000, "the first chunk, not the others: {}", tally.taken);
        let error = tally.into_result().expect_err("in doubt").to_string();
        assert!(error.contains("line 4 ") && error.contains("a deadline passed"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_leaves_the_events_in_doubt() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        let (mut socket, _) = listener.accept().await.expect("a client");
        let _ = socket.read(&mut [0; 1024]).await;
    });
    let target = Target::Gateway(Box::new(Gateway::new(&url, "a").expect("a good URL")));
    let (tally, _) = sent(&numbered(0..10), &target).await;
    let error = tally.into_result().expect_err("in doubt").to_string();
    assert!(error.contains("not known whether line 1 "), "{error}");
}

#[tokio::test]
async fn a_gateway_that_is_not_there_or_has_no_intake_is_said_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let target = Target::Gateway(Box::new(Gateway::new(&url, "a").expect("a good URL")));
    let (tally, _) = sent(&numbered(0..10), &target).await;
    let error = tally.into_result().expect_err("nobody is there").to_string();
    assert!(error.contains("line 1 and what follows were not sent"), "{error}");
    assert!(error.contains("refused"), "{error}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await });
    let target = Target::Gateway(Box::new(Gateway::new(&url, "a").expect("a good URL")));
    let (tally, _) = sent(&numbered(0..10), &target).await;
    let error = tally.into_result().expect_err("no intake").to_string();
    assert!(error.contains("there is no intake"), "{error}");
}

#[tokio::test]
async fn an_unknown_stream_is_said_with_the_streams_there_are() {
    let sink = Arc::new(MemorySink::new(1));
    let url = gateway(Arc::clone(&sink)).await;
    let target = Target::Gateway(Box::new(Gateway::new(&url, "zzz").expect("a good URL")));
    let (tally, _) = sent(&numbered(0..10), &target).await;
    let error = tally.into_result().expect_err("no such stream").to_string();
    assert!(error.contains("Invalid streams: zzz"), "{error}");
    let error = Direct::new(catalog(), "zzz", sink).err().expect("no such stream").to_string();
    assert!(error.contains("there are: a, b"), "{error}");
}

#[tokio::test]
async fn an_interrupt_ends_the_work_after_what_is_on_its_way() {
    let sink = Arc::new(MemorySink::new(1));
    let target = direct(&sink);
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let (stop, told) = (CancellationToken::new(), Told::default());
    let ended = {
        let stop = stop.clone();
        tokio::spawn(async move { produce(reader, "a", &target, Report::into(told), &stop).await })
    };
    std::io::Write::write_all(&mut writer, numbered(0..3).as_bytes()).expect("it reads");
    while sink.values("eqiad.a").len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    let tally = ended.await.expect("ends though the input is open");
    assert_eq!(tally.taken, 3);
    let error = tally.into_result().expect_err("broken off").to_string();
    assert_eq!(error, "it was interrupted");
}

#[test]
fn only_a_url_of_plain_http_is_accepted() {
    for bad in ["https://x", "127.0.0.1:8092", "ftp://x", "", "http://x?y", "/v1"] {
        assert!(Gateway::new(bad, "a").is_err(), "{bad}");
    }
    for good in ["http://127.0.0.1:8092", "http://[::1]:80/", "http://x/prefix/"] {
        assert!(Gateway::new(good, "é /?").is_ok(), "{good}");
    }
}

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    produce: ProduceArgs,
}

#[test]
fn arguments_have_their_defaults_and_one_target() {
    let parsed = Command::try_parse_from(["x", "a"]).expect("enough").produce;
    assert_eq!(
        (parsed.url.as_str(), parsed.file.as_os_str()),
        ("http://127.0.0.1:8092", "-".as_ref())
    );
    assert!(Command::try_parse_from(["x", "a", "--config", "f"]).is_ok());
    assert!(Command::try_parse_from(["x", "a", "--config", "f", "--url", "u"]).is_err());
    assert!(Command::try_parse_from(["x"]).is_err());
}
