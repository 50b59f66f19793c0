//! The catalogue from elsewhere: streams come, change and go with it, an outage over there changes
//! nothing here and is said, and schemas come with it.

use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::support::certificate::{Files, Identity};
use crate::support::elsewhere::{Elsewhere, Says};
use crate::support::gateway::Gateway;
use crate::support::sse::{self, End, Events};
use crate::support::{block_on, eventually, kafka};
use serde_json::{Value, json};

/// As MediaWiki's `action=streamconfigs` answers: these streams, in two datacentres, and what is no
/// stream here.
fn catalogue(streams: &[&str]) -> Value {
    let mut all = json!({
        "/^mediawiki\\.job\\..+/": { "topics": ["/^(eqiad|codfw)\\.mediawiki\\.job\\..+/"] },
        "mediawiki.client.error": { "schema_title": "mediawiki/client/error" },
        "secret": { "topics": ["eqiad.secret"] },
    });
    for stream in streams {
        all[stream] = json!({
            "stream": stream, "topic_prefixes": ["eqiad.", "codfw."],
            "topics": [format!("eqiad.{stream}"), format!("codfw.{stream}")],
            "schema_title": stream.replace('.', "/"), "canary_events_enabled": true,
            "consumers": { "analytics_hadoop_ingestion": { "enabled": true, "job_name": "x" } },
        });
    }
    json!({ "streams": all })
}

const RECENTCHANGE: &str = "mediawiki.recentchange";
const CREATE: &str = "mediawiki.page-create";
const MOVE: &str = "mediawiki.page-move";

fn config(elsewhere: &Elsewhere) -> String {
    let uri = elsewhere.url("/w/api.php?format=json&action=streamconfigs");
    format!(
        "[catalogue]\nuri = {uri:?}\nobject_path = \"streams\"\nttl_s = 1\ntimeout_s = 4\n\
         missed_max = 2\nproduce_prefix = \"codfw.\"\n\
         allowed_streams = [{RECENTCHANGE:?}, {CREATE:?}, {MOVE:?}]\n\
         headers = {{ host = \"meta.example.org\", x-own = \"yes\" }}\n\
         [catalogue.defaults.{RECENTCHANGE:?}]\nstream_aliases = [\"recentchange\"]\n\
         description = \"Every change\"\n"
    )
}

const PATH: &str = "/w/api.php?format=json&action=streamconfigs";

fn open(to: SocketAddr, stream: &str) -> Events {
    let response = sse::get(to, &format!("/v2/stream/{stream}"), &[]).expect("an answer");
    assert_eq!(response.status, 200, "{stream}");
    let mut events = response.events();
    events.greet();
    events
}

fn status(to: SocketAddr, stream: &str) -> u16 {
    sse::get(to, &format!("/v2/stream/{stream}"), &[]).expect("an answer").status
}

fn post(to: SocketAddr, event: &Value) -> (u16, String) {
    let (status, answer) =
        sse::post(to, "/v1/events", event.to_string().as_bytes()).expect("an answer");
    (status, String::from_utf8_lossy(&answer).into_owned())
}

/// Writes an event and sees it come.
#[track_caller]
fn passes(to: SocketAddr, stream: &str, n: usize, events: &mut Events) {
    let (status, answer) = post(to, &json!({ "meta": { "stream": stream }, "n": n }));
    assert_eq!(status, 201, "{answer}");
    let event = events.message();
    assert!(event.data.contains(&format!("\"n\":{n}")), "{event:?}");
}

fn missed(gateway: &Gateway) -> f64 {
    gateway.metric_of("tidegate_catalogue_reads_total", "outcome=\"missed\"")
}

#[test]
fn streams_come_and_go_with_it_and_while_it_is_broken_nothing_changes() {
    let elsewhere = Elsewhere::start();
    // By way of another place on the same server.
    elsewhere.says(PATH, Says::GoTo("/there".to_owned()));
    elsewhere.has("/there", catalogue(&[RECENTCHANGE, CREATE]));
    let gateway = Gateway::embedded(&[("own", &["own-topic"])], &config(&elsewhere));
    let to = gateway.public();
    let heads = elsewhere.heads().join("");
    assert!(
        heads.contains("host: meta.example.org\r\n") && heads.contains("x-own: yes"),
        "{heads}"
    );
    let mut recent = open(to, "recentchange");
    let (mut own, goes) = (open(to, "own"), open(to, CREATE));
    passes(to, RECENTCHANGE, 0, &mut recent);
    let event = sse::get(to, "/?spec", &[]).expect("an answer");
    assert_eq!(event.status, 200);
    assert_eq!((status(to, "secret"), status(to, "mediawiki.client.error")), (400, 400));
    assert_eq!(gateway.metric("tidegate_catalogue_streams"), 2.0);
    assert_eq!(gateway.metric("tidegate_catalogue_stale"), 0.0);

    let whole = catalogue(&[RECENTCHANGE, CREATE]).to_string();
    let broken = [
        Says::Status(500),
        Says::Status(404),
        Says::Body(whole[..whole.len() / 2].to_owned()),
        Says::Body("<html>sorry</html>".to_owned()),
        Says::Body("{}".to_owned()),
        Says::Body(json!({ "streams": {} }).to_string()),
        Says::Body(json!({ "streams": { RECENTCHANGE: { "topics": "x" } } }).to_string()),
        Says::Half(whole.clone()),
        Says::Nothing,
        Says::GoTo(PATH.to_owned()),
    ];
    for (n, says) in broken.into_iter().enumerate() {
        let before = missed(&gateway);
        elsewhere.says("/there", says.clone());
        // The one that was under way may have been missed before.
        eventually("it is missed", || missed(&gateway) >= before + 2.0);
        assert_eq!(gateway.metric("tidegate_catalogue_stale"), 1.0, "{says:?}");
        passes(to, RECENTCHANGE, 100 + n, &mut recent);
        assert_eq!(status(to, CREATE), 200, "{says:?}");
    }
    eventually("health says it", || {
        let service = gateway.health()["service"].clone();
        service["cause"] == "catalogue_stale" && service["level"] == "degraded"
    });

    elsewhere.has("/there", catalogue(&[RECENTCHANGE, MOVE]));
    eventually("it is read again", || status(to, MOVE) == 200);
    eventually("it is not stale", || gateway.metric("tidegate_catalogue_stale") == 0.0);
    let mut goes = goes;
    assert!(matches!(goes.next(), Err(End::Whole)), "what is no stream any more ends whole");
    assert_eq!(status(to, CREATE), 400);
    let mut moves = open(to, MOVE);
    passes(to, MOVE, 1000, &mut moves);
    passes(to, RECENTCHANGE, 1001, &mut recent);
    passes(to, "own", 1002, &mut own);
    eventually("health says it", || gateway.health()["service"]["cause"] != "catalogue_stale");
    let log = gateway.log();
    for said in [
        "answered 500",
        "is no JSON: EOF",
        "it has no stream that can be shown",
        "`topics` is a text",
        "no whole answer within 4 s",
        "redirections",
        "the catalogue is read again",
        "\"come\":\"mediawiki.page-move\"",
    ] {
        assert!(log.contains(said), "{said} is not in {log}");
    }
}

#[test]
fn a_start_during_an_outage_goes_by_the_last_good_one_and_without_one_says_why_not() {
    let elsewhere = Elsewhere::start();
    elsewhere.has(PATH, catalogue(&[RECENTCHANGE]));
    let mut gateway = Gateway::embedded(&[], &config(&elsewhere));
    assert!(gateway.terminate().success());
    elsewhere.says(PATH, Says::Status(503));
    gateway.go();
    let to = gateway.public();
    let mut events = open(to, "recentchange");
    passes(to, RECENTCHANGE, 1, &mut events);
    assert_eq!(gateway.metric("tidegate_catalogue_stale"), 1.0, "at once: nobody knows how old");
    assert!(gateway.log().contains("answered 503"));
    // The operator can change something meanwhile.
    gateway.edit_config(|text| text.replace("[\"recentchange\"]", "[\"rc\"]"));
    eventually("it is taken", || status(to, "rc") == 200);
    assert_eq!(status(to, "recentchange"), 400);
    elsewhere.has(PATH, catalogue(&[RECENTCHANGE, MOVE]));
    eventually("it is read", || status(to, MOVE) == 200);
    eventually("it is not stale", || gateway.metric("tidegate_catalogue_stale") == 0.0);
    assert!(gateway.terminate().success());
    // Another place's does not count.
    elsewhere.says("/other", Says::Status(503));
    gateway.edit_config(|text| text.replace(PATH, "/other"));
    let said = gateway.does_not_start();
    assert!(said.contains("/other: answered 503") && said.contains("no last good one"), "{said}");
    assert!(said.contains("catalogue.json: it was read from"), "{said}");
}

/// `config check` of a file.
fn check(config: &str) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("tidegate.toml");
    std::fs::write(&file, format!("[embedded]\ndata_dir = \"/nowhere\"\n{config}"))
        .expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["config", "check", "--config"]).arg(&file).output().expect("it runs")
}

#[test]
fn over_tls_it_comes_only_from_whom_the_system_or_the_file_believes() {
    let identity = Identity::new();
    let files = Files::of(&identity);
    let elsewhere = Elsewhere::secured(&identity);
    elsewhere.has(PATH, catalogue(&[RECENTCHANGE]));
    let config = config(&elsewhere);
    let output = check(&config);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("https://localhost"), "{said}");
    assert!(said.contains("TLS: invalid peer certificate"), "{said}");
    let believed = format!("[catalogue]\nca_file = {:?}\n", files.cert());
    let gateway = Gateway::embedded(&[], &config.replace("[catalogue]\n", &believed));
    let to = gateway.public();
    let mut recent = open(to, "recentchange");
    passes(to, RECENTCHANGE, 1, &mut recent);
    elsewhere.has(PATH, catalogue(&[RECENTCHANGE, MOVE]));
    eventually("it is read again", || status(to, MOVE) == 200);
}

/// The streams of topics that a real Kafka has.
#[test]
fn a_stream_that_comes_has_the_past_of_its_topics_and_the_others_go_on() {
    let kafka = kafka::shared();
    let topics = ["first", "second"].map(kafka::unique);
    let records = kafka.producer(&[]);
    for topic in &topics {
        let copy = topic.replace("eqiad.", "codfw.");
        block_on(kafka.create_topic(topic, 2, &[("retention.ms", "-1")]));
        block_on(kafka.create_topic(&copy, 2, &[("retention.ms", "-1")]));
        records.times(topic, &[1_000, 2_000]);
    }
    let [first, second] = topics.each_ref().map(|topic| topic.strip_prefix("eqiad.").expect("so"));
    let elsewhere = Elsewhere::start();
    elsewhere.has(PATH, catalogue(&[first]));
    let config = format!(
        "[catalogue]\nuri = {:?}\nobject_path = \"streams\"\nttl_s = 1\n\
         allowed_streams = [{first:?}, {second:?}]\n",
        elsewhere.url(PATH)
    );
    let gateway = Gateway::kafka(&kafka.bootstrap(), &[], &config);
    let to = gateway.public();
    let since = |stream: &str| {
        let path = format!("/v2/stream/{stream}?since=1000");
        sse::get(to, &path, &[]).expect("an answer").events()
    };
    let next = |events: &mut Events| {
        serde_json::from_str::<Value>(&events.message().data).expect("JSON")["n"].clone()
    };
    let mut goes_on = since(first);
    assert_eq!([next(&mut goes_on), next(&mut goes_on)], [1000, 2000]);
    elsewhere.has(PATH, catalogue(&[first, second]));
    eventually("it is read", || status(to, second) == 200);
    let mut comes = since(second);
    assert_eq!([next(&mut comes), next(&mut comes)], [1000, 2000]);
    records.times(&topics[0], &[3_000]);
    records.times(&topics[1], &[3_001]);
    assert_eq!([next(&mut goes_on), next(&mut comes)], [3000, 3001]);
    elsewhere.has(PATH, catalogue(&[second]));
    assert!(matches!(goes_on.next(), Err(End::Whole)), "it is no stream any more");
    records.times(&topics[1], &[4_000]);
    assert_eq!(next(&mut comes), 4000);
}

#[test]
fn config_check_says_what_it_has_fetched_and_what_names_no_stream() {
    let elsewhere = Elsewhere::start();
    elsewhere.has(PATH, catalogue(&[RECENTCHANGE, CREATE]));
    let config = config(&elsewhere);
    let output = check(&config);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "is fine: 2 stream(s) from the embedded log",
        "  mediawiki.recentchange: eqiad.mediawiki.recentchange, codfw.mediawiki.recentchange; also \
         recentchange; schema mediawiki/recentchange",
        "  passed over: 1 pattern(s), 0 without topics, 2 not allowed",
        "  allowed, and not there: mediawiki.page-move",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    let wrong = |config: &str| {
        let output = check(config);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = wrong(&format!("{config}[canary]\nstreams = [\"recentchang\"]\n"));
    assert!(
        said.contains("canary.streams: found \"recentchang\"; there is no such stream"),
        "{said}"
    );
    elsewhere.says(PATH, Says::Status(500));
    assert!(wrong(&config).contains("answered 500"));
    let said = wrong("[catalogue]\nallowed_streams = [\"a\"]\n");
    assert!(said.contains("catalogue.uri: is missing; a file or a URL is accepted"), "{said}");
    let said = wrong("[catalogue]\nuri = \"ftp://a/b\"\n");
    assert!(said.contains("catalogue.uri: found \"ftp://a/b\"; a file, or an http://"), "{said}");
}

#[test]
fn schemas_come_from_base_uris_for_the_intake_and_the_documents_alike() {
    let elsewhere = Elsewhere::start();
    elsewhere.has(PATH, catalogue(&[RECENTCHANGE]));
    let schema = |version: &str, field: &str| {
        format!(
            "$id: /mediawiki/recentchange/{version}\n$schema: https://json-schema.org/draft-07/schema#\n\
             type: object\nallOf:\n- $ref: /fragment/common/2.0.0#\nrequired: [{field}]\n\
             examples:\n- {{{field}: 7}}\n"
        )
    };
    elsewhere.has("/first/fragment/common/2.0.0.json", json!({ "required": ["common"] }));
    let bases = [elsewhere.url("/first/"), elsewhere.url("/second")];
    let config = format!("{}[schemas]\nbase_uris = {bases:?}\n", config(&elsewhere));
    let mut gateway = Gateway::embedded(&[], &config);
    let to = gateway.public();
    let answer = |version: &str, field: &str| {
        let uri = format!("/mediawiki/recentchange/{version}");
        let meta = json!({ "stream": RECENTCHANGE });
        post(to, &json!({ "$schema": uri, "meta": meta, field: 1, "common": true }))
    };
    let (status, says) = answer("1.0.1", "old");
    assert!(status == 400 && says.contains("accepted are none"), "not unchecked: {says}");
    assert_eq!(gateway.metric("tidegate_schemas_missing"), 1.0);
    elsewhere.has("/second/mediawiki/recentchange/latest", schema("1.0.1", "old"));
    eventually("it is known", || answer("1.0.1", "old").0 == 201);
    let (status, says) = answer("1.0.1", "new");
    assert!(status == 400 && says.contains("`old` is missing"), "{says}");
    let (status, says) = answer("1.1.0", "new");
    assert!(status == 400 && says.contains("not known here"), "{says}");
    let spec = || {
        let answer = sse::get(to, "/?spec", &[]).expect("an answer");
        String::from_utf8_lossy(&answer.text().expect("whole")).into_owned()
    };
    assert!(spec().contains("mediawiki.recentchange.1.0.1"), "{}", spec());
    elsewhere.has("/second/mediawiki/recentchange/latest", schema("1.1.0", "new"));
    eventually("the newest is known", || answer("1.1.0", "new").0 == 201);
    eventually("it is shown", || spec().contains("mediawiki.recentchange.1.1.0"));
    assert_eq!(elsewhere.asked("/first/fragment/common/2.0.0.json"), 1, "a version never changes");
    assert_eq!(answer("1.0.1", "old").0, 201, "who still names the one before is not refused");
    // A server that keeps silent is waited for once, not once for each schema.
    elsewhere.says("/first/mediawiki/recentchange/latest", Says::Nothing);
    let other = "/fragment/other/1.0.0";
    elsewhere.has(&format!("/second{other}"), json!({ "required": ["newer"] }));
    let newer = json!({ "$id": "/mediawiki/recentchange/1.2.0", "allOf": [{ "$ref": other }] });
    elsewhere.has("/second/mediawiki/recentchange/latest", newer);
    eventually("the newest is known", || answer("1.2.0", "newer").0 == 201);
    assert_eq!(elsewhere.asked(&format!("/first{other}")), 0);
    // The server of the schemas away: what was fetched last is known after a restart, too.
    elsewhere.says("/second/mediawiki/recentchange/latest", Says::Status(500));
    eventually("it is said", || gateway.metric("tidegate_schemas_missing") == 1.0);
    assert!(gateway.terminate().success());
    gateway.go();
    assert_eq!(answer("1.1.0", "new").0, 201);
    assert_eq!(answer("1.1.0", "old").0, 400);
    assert_eq!(gateway.metric("tidegate_schemas_missing"), 1.0);
}

#[test]
fn it_may_be_a_file_and_who_comes_back_may_name_topics_that_are_allowed_besides() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("streams.yaml");
    let write = |allowed: &str| {
        let new = dir.path().join("new");
        let text = format!("main:\n  topics: [codfw.x]\n{allowed}other: {{topics: [eqiad.x]}}\n");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &file).expect("renamed");
    };
    write("  topics_allowed: [codfw.x, eqiad.x]\n");
    let gateway = Gateway::embedded(&[], &format!("[catalogue]\nuri = {file:?}\nttl_s = 0\n"));
    let to = gateway.public();
    let mut other = open(to, "other");
    passes(to, "other", 1, &mut other);
    let id = r#"[{"topic":"eqiad.x","partition":0,"offset":0}]"#;
    let again = |stream: &str| {
        let headers = [("last-event-id", id)];
        sse::get(to, &format!("/v2/stream/{stream}"), &headers).expect("an answer")
    };
    let (mut main, mut wide) = (open(to, "main"), again("main").events());
    wide.greet();
    assert!(wide.message().data.contains("\"n\":1"), "of the topic that it has named");
    passes(to, "main", 2, &mut main);
    assert!(wide.message().data.contains("\"n\":2"), "and of the stream's own");
    write("");
    eventually("it is read", || again("main").status == 404);
    assert!(matches!(wide.next(), Err(End::Whole)), "it is not allowed any more");
    passes(to, "main", 3, &mut main);
}
