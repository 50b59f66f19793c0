//! Every mistake is told, with its key; the example shows every key with its default.

use super::*;

const EXAMPLE: &str = include_str!("../../config/example.toml");
const LEAST: &str =
    "[embedded]\ndata_dir = \"data\"\n[streams.recentchange]\ntopics = [\"eqiad.recentchange\"]\n";

fn mistakes(text: &str) -> Vec<String> {
    match Config::parse(text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let mut found = Findings::default();
    let example = Config::read(EXAMPLE, &mut found).expect("it can be read");
    assert_eq!(found.mistakes, []);
    assert_eq!(found.left_out, Vec::<String>::new(), "keys that the example leaves out");
    let least = Config::parse(LEAST).expect("it can be read");
    assert_eq!(example.log_level, least.log_level);
    assert_eq!((example.listen, example.admin_listen), (least.listen, least.admin_listen));
    assert_eq!((&example.tls, &least.tls), (&None, &None));
    assert_eq!(example.session, least.session);
    assert_eq!(example.drain, least.drain);
    assert_eq!(example.limits, least.limits);
    assert_eq!(example.intake, least.intake);
    assert_eq!(example.intake_fills_meta, least.intake_fills_meta);
    assert_eq!(example.schemas, least.schemas);
    assert_eq!((&example.health, &example.canary), (&least.health, &least.canary));
    // The other source stands there as a comment, and has to be right as well.
    let (head, kafka) = EXAMPLE.split_once("[kafka.main]").expect("the first source");
    let (_, embedded) = kafka.split_once("#! ").expect("the other source");
    let other = format!("{head}{}", embedded.replace("#! ", ""));
    let mut found = Findings::default();
    let other = Config::read(&other, &mut found).expect("it can be read");
    assert_eq!((found.mistakes, found.left_out), (vec![], vec![]));
    let SourceConfig::Embedded(mut shown) = other.source else { panic!("the embedded log") };
    shown.data_dir = "data".into();
    assert_eq!(SourceConfig::Embedded(shown), least.source);
}

#[test]
fn all_mistakes_are_told_at_once_with_key_and_what_is_accepted() {
    let all = mistakes(
        r#"
        listen = "localhost"
        admin_listn = "127.0.0.1:1"
        [kafka.main]
        bootstrap = ["broker"]
        [session]
        keepalive_s = 0
        compress = "always"
        [limits]
        streams = "many"
        trusted_proxies = ["10.0.0.0/99"]
        [health]
        patience_s = 700
        [health.silence_max_s]
        nowhere = 60
        [canary]
        streams = ["nowhere"]
        [streams.a]
        topics = ["a b"]
        produce_to = "c"
        [streams.b]
        topics = []
        aliases = ["a"]
        "#,
    );
    let expected = [
        "listen: found \"localhost\"; an address and a port",
        "kafka.main.bootstrap: found \"broker\"; host:port",
        "session.keepalive_s: found 0; 1 to 3600",
        "session.compress: found \"always\"; browsers, everyone or nobody",
        "limits.streams: found the text \"many\"; a whole number",
        "limits.trusted_proxies: found \"10.0.0.0/99\"",
        "streams.a.topics: `a b` is no topic name",
        "streams.a.produce_to: found \"c\"; one of the stream's topics",
        "streams.b.topics: names no topic",
        "streams.b: the name \"a\" is streams.a's already",
        "health.patience_s: found 700; 0 to 600",
        "health.silence_max_s.nowhere: there is no such stream",
        "canary.streams: found \"nowhere\"; a stream's name",
        "admin_listn: there is no such key; did you mean `admin_listen`?",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (found, expected) in all.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn mistakes_in_rules_of_redaction_are_told_with_their_keys() {
    let rules = r#"
        [redact.a]
        streams = ["recentchang"]
        match = { "meta.offset" = ["1"], "x..y" = "1", "z" = [1.5] }
        remove = ["meta.topic", ""]
        replace = { t = 2026-01-01 }
        [redact.b]
        matches = {}
        [mediawiki_redacted_pages]
        ruwiki = []
        "#;
    let all = mistakes(&format!("{LEAST}{rules}"));
    let expected = [
        "redact.a.streams: found \"recentchang\"; the name of a stream",
        "redact.a.match.\"meta.offset\": `meta.offset` is set by the gateway",
        "redact.a.match.\"x..y\": found \"x..y\"; names of fields with dots",
        "redact.a.match.\"z\": names nothing; a list of texts",
        "redact.a.remove: found \"\"; names of fields",
        "redact.a.replace.\"t\": a text, a number, true, false",
        "redact.a: `meta.topic` is the event's position",
        "redact.b.remove: takes nothing out",
        "redact.b.matches: there is no such key; did you mean `match`?",
        "mediawiki_redacted_pages.ruwiki: names nothing",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (found, expected) in all.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn one_source_is_accepted_and_no_more() {
    let streams = "[streams.a]\ntopics = [\"a\"]\n";
    assert!(mistakes(streams)[0].starts_with("kafka.NAME: is missing"));
    let both = format!("{LEAST}[kafka.main]\nbootstrap = [\"h:1\"]\n");
    assert!(mistakes(&both)[0].starts_with("kafka, embedded: both"));
    let two =
        format!("[kafka.a]\nbootstrap = [\"h:1\"]\n[kafka.b]\nbootstrap = [\"h:1\"]\n{streams}");
    let named = |order: &str| format!("{two}[failover]\nclusters = {order}\n");
    for wrong in [two.clone(), named("[\"a\"]"), named("[\"a\", \"c\"]")] {
        assert!(mistakes(&wrong)[0].starts_with("failover.clusters: found ["), "{wrong}");
    }
    let config = Config::parse(&named("[\"b\", \"a\"]")).expect("both, in an order");
    let SourceConfig::Kafka(preferred) = config.source else { panic!("Kafka") };
    assert_eq!((&*preferred.name, &*config.failover.others[0].name), ("b", "a"));
}

#[test]
fn a_certificate_needs_its_key_and_a_key_its_certificate() {
    let with = |tls: &str| format!("{LEAST}[tls]\n{tls}\n");
    let both = Config::parse(&with("cert = \"c.pem\"\nkey = \"k.pem\"")).expect("accepted");
    let files = TlsConfig { cert: "c.pem".into(), key: "k.pem".into() };
    assert_eq!(both.tls, Some(files));
    assert!(mistakes(&with("cert = \"c.pem\""))[0].starts_with("tls.key: is missing"));
    assert!(mistakes(&with("key = \"k.pem\""))[0].starts_with("tls.cert: is missing"));
    let near = mistakes(&with("cert = \"c.pem\"\nkey = \"k.pem\"\ncrt = \"\""));
    assert!(near[0].starts_with("tls.crt: there is no such key; did you mean `cert`?"), "{near:?}");
}

#[test]
fn a_budget_is_somebodys_and_proxies_that_speak_first_are_somebody() {
    let with = |more: &str| format!("{LEAST}{more}\n");
    let nobody = mistakes(&with("[budgets.a]\nstreams = 5"));
    assert!(nobody[0].starts_with("budgets.a.prefixes: names no prefix"), "{nobody:?}");
    let tokens = Config::parse(&with("[budgets.a]\ntokens_file = \"t\"")).expect("accepted");
    assert_eq!(tokens.limits.budgets[0].tokens_file, Some("t".into()));
    let proxy = mistakes(&with("[limits]\nclient_from = \"proxy_protocol\""));
    assert!(proxy[0].starts_with("limits.client_from: nobody is trusted"), "{proxy:?}");
    let other = mistakes(&with("[limits]\nclient_from = \"guess\""));
    assert!(other[0].contains("header or proxy_protocol is accepted"), "{other:?}");
}

#[test]
fn what_is_no_toml_is_said_with_its_place() {
    let all = mistakes("listen = \n");
    assert!(all.len() == 1 && all[0].contains("line 1"), "{all:?}");
}
