//! The clients that people have, unchanged: each reads through cuts inside events, and through ends
//! that the gateway makes, and misses nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::checker::{self, Report, Trace};
use crate::support::client::{self, Client};
use crate::support::cutter::Cutter;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::intake::Written;
use crate::support::served::{
    CONFIG, HALF, Refused, STREAM, Served, WHOLE, cuts, drains_and_refuses, sees_all,
};

mod table;

use table::known;

/// The second cut is inside the big event, which the third connection then gets whole: requests-sse
/// and sseclient lose an event that is cut in half twice in a row.
const FIRST_CUTS: [usize; 3] = [20_000, 50_000, 350_000];

/// A client that has read from the first event on, through cuts, in the past and live, and ends that
/// the gateway makes. It reads on.
struct Reading {
    served: Served,
    cutter: Cutter,
    client: Client,
    report: Report,
}

impl Reading {
    /// With the gateway's setting, and cuts right behind `mark`.
    #[track_caller]
    fn through(script: &str, config: &str, (mark, first): (&'static [u8], [usize; 3])) -> Self {
        let mut served = Served::new(config);
        let (calm, plan) = cuts(first);
        let cutter = Cutter::after(mark, served.gateway.public(), plan);
        let mut command = client::script(script);
        command.arg(format!("http://{}{STREAM}?since=0", cutter.address()));
        let mut client = Client::start(command);
        client.wait_for("the first event", |trace| !trace.seen.is_empty());
        served.go_on();
        sees_all(&mut served, &cutter, &calm, &mut client);
        let report = checker::check(&client.seen(), &served.finish());
        println!("{script}: {report:?}, {} cuts", cutter.cuts());
        Self { served, cutter, client, report }
    }

    /// From a gateway that is set as they are.
    #[track_caller]
    fn as_anybody(script: &str, mark: &'static [u8]) -> Self {
        let reading = Self::through(script, CONFIG, (mark, FIRST_CUTS));
        // Node's `fetch` says `Sec-Fetch-Mode`, as browsers do, and reads what they read.
        let like_a_browser = ["eventsource4.cjs", "eventsource_client.cjs"].contains(&script);
        let compressed = compressed_bytes(&reading.served.gateway);
        assert_eq!(compressed > 0.0, like_a_browser, "who is no browser is given plain bytes");
        reading
    }

    /// Goes on through a drain and refusals. What it has seen in all.
    #[track_caller]
    fn through_refusals(mut self, refused: Refused) -> Report {
        drains_and_refuses(&mut self.served, &self.cutter, &mut self.client, refused);
        let report = checker::check(&self.client.end(), &self.served.finish());
        println!("{report:?} through a drain and refusals");
        report
    }
}

/// Bytes that went out compressed.
fn compressed_bytes(gateway: &Gateway) -> f64 {
    let of = |encoding: &str| {
        let label = format!("encoding=\"{encoding}\"");
        gateway.metric_of("tidegate_delivered_bytes_total", &label)
    };
    of("gzip") + of("deflate") + of("zstd")
}

#[track_caller]
fn misses_nothing(script: &str) {
    let reading = Reading::as_anybody(script, HALF);
    let report = &reading.report;
    assert!(report.is_clean() && report.unacknowledged == 0, "{script}: {report:?}");
    let known = known().into_iter().find(|known| known.script == script);
    let report = reading.through_refusals(known.expect("it is in the table").refused);
    assert!(report.is_clean() && report.unacknowledged == 0, "{script}: {report:?}");
}

/// What a client asks for by itself, and what becomes of a gateway that gives it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// It names no encoding, so it is given none.
    Nothing,
    /// It asks for gzip first, and reads it.
    Gzip,
    /// It asks for gzip, and does not read it.
    InVain,
}

/// Reads as everyone may, and, beside that, from a gateway that compresses for everyone who asks.
/// (Both wait more than they work.)
fn misses_nothing_and_with_compression(script: &str, asks: Asks) {
    std::thread::scope(|scope| {
        scope.spawn(|| misses_nothing(script));
        with_compression(script, asks);
    });
}

/// The same cuts; what is compressed is cut at any byte, since no mark can be seen in it.
fn with_compression(script: &str, asks: Asks) {
    let compress = format!("{CONFIG}compress = \"everyone\"\n");
    if asks == Asks::InVain {
        return loses_events(script, Served::new(&compress));
    }
    let through = match asks {
        Asks::Gzip => (&b""[..], [5_000, 12_000, 100_000]),
        _ => (HALF, FIRST_CUTS),
    };
    let Reading { served, report, .. } = &Reading::through(script, &compress, through);
    assert!(report.is_clean() && report.unacknowledged == 0, "{script}: {report:?}");
    let compressed = compressed_bytes(&served.gateway);
    let plain = served.gateway.metric_of("tidegate_delivered_bytes_total", "\"identity\"");
    match asks {
        Asks::Gzip => assert!(compressed > 0.0 && plain == 0.0, "{compressed} {plain}"),
        _ => assert!(compressed == 0.0 && plain > 0.0, "{compressed} {plain}"),
    }
}

/// It is given what it asks for and takes it for text, so events are lost to it (what is stored in
/// it as it is, such as a replay, it may find); `?encoding=identity` helps.
#[track_caller]
fn loses_events(script: &str, mut served: Served) {
    let url = format!("http://{}{STREAM}?since=0", served.gateway.public());
    let mut command = client::script(script);
    command.arg(&url);
    let mut client = Client::start(command);
    served.go_on();
    // It may also find an id that it cannot send back, and end with that.
    eventually("it was given much", || {
        compressed_bytes(&served.gateway) > 500_000.0 || client.has_ended()
    });
    let report = checker::check(&client.end(), &served.finish());
    println!("{script}, with compression: {report:?}");
    assert!(report.lost > 0, "it can read it now: say so in docs/clients.md: {report:?}");
    let mut command = client::script(script);
    command.arg(format!("{url}&encoding=identity"));
    let mut client = Client::start(command);
    let goal = checker::goal(&served.finish());
    client.wait_for("with ?encoding=identity it reads all", |trace| {
        goal.iter().all(|(place, last)| trace.seen.get(place).is_some_and(|s| s.contains(last)))
    });
    let report = checker::check(&client.end(), &served.finish());
    assert!(report.is_clean(), "{report:?}");
}

/// One test for each client: its name, its script, what it asks for.
macro_rules! clients {
    ($($name:ident, $script:literal, $asks:ident;)*) => {$(
        #[test]
        fn $name() {
            misses_nothing_and_with_compression($script, Asks::$asks);
        }
    )*};
}

clients! {
    curl_misses_nothing, "curl.sh", Nothing;
    tail_misses_nothing, "tail.sh", Nothing;
    requests_sse_misses_nothing, "requests_client.py", Gzip;
    sseclient_misses_nothing, "sseclient_client.py", InVain;
    sseclient_py_misses_nothing, "sseclient_py_client.py", Gzip;
    httpx_sse_misses_nothing, "httpx_client.py", Gzip;
    aiohttp_sse_client_misses_nothing, "aiohttp_client.py", Gzip;
    pywikibot_misses_nothing, "pywikibot_client.py", Gzip;
    eventsource_4_misses_nothing, "eventsource4.cjs", Gzip;
    eventsource_client_misses_nothing, "eventsource_client.cjs", Gzip;
    // Those of crates.io; a package of its own, since one needs an older hyper than ours.
    the_rust_eventsource_client_misses_nothing, "eventsource-client-reader.rs", Nothing;
    reqwest_eventsource_misses_nothing, "reqwest-eventsource-reader.rs", Nothing;
    wikimedia_streams_misses_nothing, "wikimedia_streams.cjs", Nothing;
    eventsource_2_misses_nothing_when_its_user_keeps_the_id, "eventsource2_exact.cjs", Nothing;
}

#[test]
fn eventsource_2_misses_nothing_where_whole_events_reach_it() {
    let report = Reading::as_anybody("eventsource2.cjs", WHOLE).report;
    assert!(report.is_clean() && report.unacknowledged == 0, "{report:?}");
}

/// A fault of its own: it takes an id for seen when the id's line is there, before the event is.
/// (That it is told here shows that these tests can tell.)
#[test]
fn eventsource_2_loses_exactly_the_events_that_are_cut_in_half() {
    let Reading { report, cutter, .. } = Reading::as_anybody("eventsource2.cjs", HALF);
    assert_eq!(report.lost, cutter.cuts(), "{report:?}");
    assert_eq!((report.repeated, report.disordered), (0, 0), "{report:?}");
}

/// It loses nothing and steps back by one event with each connection.
#[test]
fn the_way_of_ircstream_loses_nothing_and_repeats_its_last_event() {
    let one = CONFIG.replace("partitions = 2", "partitions = 1");
    let one = one.replace(r#", "codfw.mediawiki.recentchange""#, "");
    let mut reading = Reading::through("ircstream_way.py", &one, (HALF, FIRST_CUTS));
    let Reading { served, cutter, client, .. } = &mut reading;
    drains_and_refuses(served, cutter, client, Refused::ComesAgain);
    let (report, connections) =
        (checker::check(&client.seen(), &served.finish()), cutter.connections());
    assert_eq!((report.lost, report.unacknowledged), (0, 0), "{report:?}");
    assert!((1..connections).contains(&report.repeated), "{connections}: {report:?}");
}

/// The check that a fleet of monitors makes of the public service.
#[test]
fn the_public_check_passes() {
    let served = Served::new(CONFIG);
    let url = format!("http://{}{STREAM}?since=0", served.gateway.public());
    let check = r#"curl -s --max-time 10 "$0" | head -n 5 | grep -qE '^data:'"#;
    let status = Command::new("sh").args(["-c", check, &url]).status().expect("a shell");
    assert!(status.success());
}

#[test]
fn curl_reads_json_lines_where_it_asks_for_them() {
    let served = Served::new(&CONFIG.replace("lifetime_s = 1", ""));
    let url = format!("http://{}{STREAM}?since=0", served.gateway.public());
    let mut curl = Command::new("curl");
    curl.args(["-sN", "--max-time", "60", "-H", "Accept: application/json", &url]);
    let mut curl = curl.stdout(Stdio::piped()).spawn().expect("curl");
    let lines = BufReader::new(curl.stdout.take().expect("a pipe")).lines();
    let lines = lines.map_while(Result::ok).filter(|line| !line.is_empty());
    let mut trace = Trace::default();
    for line in lines.take(100) {
        let event: serde_json::Value = serde_json::from_str(&line).expect("an object a line");
        let meta: Written = serde_json::from_value(event["meta"].clone()).expect("a place");
        trace.seen.entry((meta.topic, meta.partition)).or_default().push(meta.offset);
    }
    curl.kill().and_then(|()| curl.wait()).expect("it is ours");
    let report = checker::check(&trace, &served.ledger.lock().expect("sound"));
    assert!(report.is_clean() && report.deliveries == 100, "{report:?}");
}
