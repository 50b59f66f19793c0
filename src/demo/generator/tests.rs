//! What the demo's events must look like: the real schemas, and the figures of the real streams.

use std::collections::HashMap;

use serde_json::Value;

use super::*;

const START: TimestampMs = TimestampMs(1_790_000_000_000);

/// The parts of JSON Schema that the schemas of the events use; any other is an error here, so
/// nothing is passed over unseen.
mod schema {
    use serde_json::{Map, Value};

    pub(super) fn check(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let rules = schema.as_object().expect("a schema is an object");
        for (keyword, rule) in rules {
            let holds = match keyword.as_str() {
                "title" | "description" | "$id" | "$schema" | "examples" => true,
                // Looked at as part of `additionalProperties` and below.
                "properties" => true,
                "type" => is(rule, value),
                "required" => texts(rule).all(|name| fields(value).contains_key(name)),
                "enum" => rule.as_array().expect("an array").contains(value),
                "minLength" => length(value).is_none_or(|n| n >= number(rule) as usize),
                "maxLength" => length(value).is_none_or(|n| n <= number(rule) as usize),
                "minimum" => value.as_i64().is_none_or(|n| n >= number(rule)),
                "maximum" => value.as_i64().is_none_or(|n| n <= number(rule)),
                "format" => formatted(rule.as_str().expect("text"), value),
                "items" => {
                    let items = value.as_array().into_iter().flatten();
                    items.for_each(|item| check(rule, item, &format!("{at}[]"), wrong));
                    true
                }
                "additionalProperties" => others(rules, rule, value, at, wrong),
                other => panic!("the schema has `{other}`, which is not checked"),
            };
            if !holds {
                wrong.push(format!("{at}: {keyword} {rule}, found {value}"));
            }
        }
        for (name, rule) in rules.get("properties").map(fields).into_iter().flatten() {
            if let Some(field) = value.get(name) {
                check(rule, field, &format!("{at}.{name}"), wrong);
            }
        }
    }

    fn others(
        rules: &Map<String, Value>,
        rule: &Value,
        value: &Value,
        at: &str,
        wrong: &mut Vec<String>,
    ) -> bool {
        let known = rules.get("properties").map(fields);
        let is_known = |name: &str| known.is_some_and(|known| known.contains_key(name));
        let mut others =
            value.as_object().into_iter().flatten().filter(|(name, _)| !is_known(name));
        match rule {
            Value::Bool(true) => true,
            Value::Bool(false) => others.next().is_none(),
            rule => {
                others.for_each(|(name, field)| check(rule, field, &format!("{at}.{name}"), wrong));
                true
            }
        }
    }

    fn is(rule: &Value, value: &Value) -> bool {
        if let Some(any) = rule.as_array() {
            return any.iter().any(|rule| is(rule, value));
        }
        match rule.as_str().expect("a type's name") {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "null" => value.is_null(),
            other => panic!("the schema has the type `{other}`, which is not checked"),
        }
    }

    fn formatted(format: &str, value: &Value) -> bool {
        let Some(text) = value.as_str() else { return true };
        match format {
            "date-time" => text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'),
            "uri-reference" => text.parse::<http::Uri>().is_ok(),
            other => panic!("the schema has the format `{other}`, which is not checked"),
        }
    }

    fn texts(rule: &Value) -> impl Iterator<Item = &str> {
        rule.as_array().expect("an array").iter().map(|t| t.as_str().expect("text"))
    }

    fn fields(value: &Value) -> &Map<String, Value> {
        value.as_object().expect("an object")
    }

    fn length(value: &Value) -> Option<usize> {
        value.as_str().map(|text| text.chars().count())
    }

    fn number(rule: &Value) -> i64 {
        rule.as_i64().expect("a whole number")
    }
}

fn schema_of(stream: &str) -> Value {
    // page-create has the schema of revision-create.
    let file = if stream == "recentchange" { stream } else { "revision-create" };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/schemas");
    let text = std::fs::read(format!("{folder}/{file}.json")).expect("a fixture");
    serde_json::from_slice(&text).expect("JSON")
}

fn mistakes(schema: &Value, event: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    schema::check(schema, event, "", &mut wrong);
    wrong
}

struct Made {
    site: String,
    stream: String,
    event: Value,
    record: NewRecord,
}

/// What is made in so many seconds.
fn made(seed: u64, seconds: i64) -> Vec<Made> {
    let mut generator = Generator::new(seed);
    let (mut now, mut all) = (START.0 as f64, Vec::new());
    while now < (START.0 + seconds * 1000) as f64 {
        let at = TimestampMs(now as i64);
        for record in generator.next(at) {
            let (site, stream) = record.topic.as_str().split_once(".mediawiki.").expect("named so");
            let (site, stream) = (site.to_owned(), stream.to_owned());
            let event = serde_json::from_slice(&record.value).expect("JSON");
            all.push(Made { site, stream, event, record });
        }
        now += generator.pause(at).as_secs_f64() * 1000.0;
    }
    all
}

fn changes(all: &[Made]) -> Vec<&Made> {
    all.iter().filter(|m| m.stream == "recentchange" && m.site == "eqiad").collect()
}

#[test]
fn every_event_fits_the_schema_of_its_stream() {
    let schemas: HashMap<_, _> = STREAMS.map(|stream| (stream, schema_of(stream))).into();
    for made in made(1, 120) {
        let schema = &schemas[made.stream.as_str()];
        assert_eq!(made.event["$schema"], schema["$id"]);
        let wrong = mistakes(schema, &made.event);
        assert!(wrong.is_empty(), "{wrong:#?}\n{:#}", made.event);
    }
}

#[test]
fn the_check_of_schemas_finds_what_is_wrong() {
    let schema = schema_of("revision-create");
    let good = made(1, 20).into_iter().find(|m| m.stream == "revision-create");
    let good = good.expect("some revision").event;
    assert!(mistakes(&schema, &good).is_empty());
    type Spoil = fn(&mut Value);
    let spoilt: [(&str, Spoil); 9] = [
        ("required", |e| drop(e.as_object_mut().expect("object").remove("rev_id"))),
        ("required", |e| drop(e["meta"].as_object_mut().expect("object").remove("stream"))),
        ("type", |e| e["rev_len"] = "7".into()),
        ("minimum", |e| e["page_id"] = 0.into()),
        ("minLength", |e| e["page_title"] = "".into()),
        ("format", |e| e["meta"]["dt"] = "yesterday".into()),
        ("additionalProperties", |e| e["rev_unheard_of"] = 1.into()),
        ("additionalProperties", |e| e["rev_slots"]["main"]["unheard_of"] = 1.into()),
        ("type", |e| e["performer"]["user_groups"] = serde_json::json!([7])),
    ];
    for (keyword, spoil) in spoilt {
        let mut event = good.clone();
        spoil(&mut event);
        let wrong = mistakes(&schema, &event);
        assert!(wrong.iter().any(|w| w.contains(keyword)), "{keyword}: {wrong:?}");
    }
}

#[test]
fn one_seed_makes_one_sequence_and_another_seed_another() {
    let values = |seed| made(seed, 20).into_iter().map(|m| m.record.value).collect::<Vec<_>>();
    assert_eq!(values(7), values(7));
    assert_ne!(values(7), values(8));
}

#[test]
fn rates_and_shares_are_those_of_the_real_streams() {
    let minutes = 20;
    let all = made(2, minutes * 60);
    let changes = changes(&all);
    let per_s = |n: usize| n as f64 / (minutes * 60) as f64;
    for minute in 0..minutes {
        let from = START.0 + minute * 60_000;
        let within = |m: &&&Made| (from..from + 60_000).contains(&m.record.time.0);
        let rate = changes.iter().filter(within).count() as f64 / 60.0;
        assert!((24.0..=38.0).contains(&rate), "minute {minute}: {rate}");
    }
    let busy = |stream: &str| {
        per_s(all.iter().filter(|m| m.stream == stream && m.site == "eqiad").count())
    };
    assert!((26.0..=36.0).contains(&busy("recentchange")), "{}", busy("recentchange"));
    assert!((10.0..=20.0).contains(&busy("revision-create")), "{}", busy("revision-create"));
    assert!((0.8..=2.0).contains(&busy("page-create")), "{}", busy("page-create"));

    let share = |test: &dyn Fn(&Value) -> bool| {
        changes.iter().filter(|m| test(&m.event)).count() as f64 / changes.len() as f64
    };
    let bots = share(&|e| e["bot"] == true);
    assert!((0.35..=0.45).contains(&bots), "{bots}");
    for (kind, least) in
        [("edit", 0.4), ("categorize", 0.25), ("log", 0.03), ("new", 0.02), ("external", 0.005)]
    {
        let found = share(&|e| e["type"] == kind);
        assert!(found >= least, "{kind}: {found}");
    }
    let mut by_wiki = HashMap::<_, usize>::new();
    for made in &changes {
        *by_wiki.entry(made.event["wiki"].as_str().expect("text").to_owned()).or_default() += 1;
    }
    let mut by_wiki: Vec<_> = by_wiki.into_iter().collect();
    by_wiki.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let first: Vec<_> = by_wiki.iter().take(3).map(|(wiki, _)| wiki.as_str()).collect();
    assert_eq!(first, ["wikidatawiki", "commonswiki", "enwiki"]);
    assert!(by_wiki.len() >= 25, "{by_wiki:?}");
}

#[test]
fn sizes_are_those_of_the_real_streams() {
    let all = made(3, 300);
    for stream in STREAMS {
        let mut sizes: Vec<_> = all
            .iter()
            .filter(|m| m.stream == stream && m.site == "eqiad")
            .map(|m| m.record.value.len())
            .collect();
        sizes.sort_unstable();
        let at = |share: usize| sizes[(sizes.len() - 1) * share / 100];
        assert!(at(5) >= 700, "{stream}: {} {} {}", at(5), at(50), at(95));
        assert!((850..=1500).contains(&at(50)), "{stream}: {}", at(50));
        assert!(at(95) <= 1900, "{stream}: {}", at(95));
    }
}

#[test]
fn times_meet_and_step_back_as_often_as_real_ones() {
    let all = made(4, 1200);
    let times: Vec<_> = changes(&all).iter().map(|m| m.record.time.0).collect();
    let pairs = times.windows(2);
    let share = |n: usize| n as f64 / times.len() as f64;
    let meet = share(pairs.clone().filter(|p| p[0] == p[1]).count());
    let back: Vec<_> = pairs.filter(|p| p[1] < p[0]).map(|p| p[0] - p[1]).collect();
    assert!((0.01..=0.04).contains(&meet), "{meet}");
    assert!((0.003..=0.04).contains(&share(back.len())), "{}", share(back.len()));
    assert!(back.iter().all(|ms| *ms <= 5), "{back:?}");
    for made in &all {
        let dt = made.event["meta"]["dt"].as_str().expect("text");
        let dt: jiff::Timestamp = dt.parse().expect("a time");
        assert_eq!(dt.as_millisecond(), made.record.time.0);
    }
}

#[test]
fn revisions_and_pages_belong_to_recent_changes() {
    let all = made(5, 300);
    let key = |wiki: &Value, rev: &Value| (wiki.to_string(), rev.to_string());
    let mut known = HashMap::new();
    for made in changes(&all) {
        let event = &made.event;
        if let "edit" | "new" = event["type"].as_str().expect("text") {
            known.insert(key(&event["wiki"], &event["revision"]["new"]), event);
        } else {
            assert!(event.get("revision").is_none(), "{event:#}");
        }
    }
    let (mut revisions, mut pages) = (0, 0);
    for made in all.iter().filter(|m| m.stream != "recentchange" && m.site == "eqiad") {
        let event = &made.event;
        let change = known[&key(&event["database"], &event["rev_id"])];
        let title = change["title"].as_str().expect("text").replace(' ', "_");
        assert_eq!(event["page_title"], title);
        assert_eq!(event["page_namespace"], change["namespace"]);
        assert_eq!(event["rev_len"], change["length"]["new"]);
        assert_eq!(event.get("rev_parent_id"), change["revision"].get("old"));
        assert_eq!(event["performer"]["user_text"], change["user"]);
        assert_eq!(event["performer"]["user_is_bot"], change["bot"]);
        assert_eq!(event["meta"]["request_id"], change["meta"]["request_id"]);
        assert_ne!(event["meta"]["id"], change["meta"]["id"]);
        if made.stream == "page-create" {
            assert_eq!(change["type"], "new");
            pages += 1;
        } else {
            revisions += 1;
        }
    }
    assert_eq!(revisions, known.len(), "each edit and each new page has one revision");
    let new = known.values().filter(|change| change["type"] == "new").count();
    assert_eq!(pages, new);
}

#[test]
fn the_next_edit_of_a_page_goes_on_where_the_last_one_left_it() {
    let all = made(6, 300);
    let mut last = HashMap::<(String, String), (Value, Value)>::new();
    let mut again = 0;
    for made in changes(&all) {
        let e = &made.event;
        if e.get("revision").is_none() {
            continue;
        }
        let page = (e["wiki"].to_string(), e["title"].to_string());
        let now = (e["revision"]["new"].clone(), e["length"]["new"].clone());
        if let Some((rev, len)) = last.insert(page, now)
            && rev == e["revision"]["old"]
        {
            assert_eq!(len, e["length"]["old"]);
            again += 1;
        }
    }
    assert!(again > 500, "{again} edits of a page seen before");
}

#[test]
fn the_quiet_topics_carry_a_canary_a_minute_and_nothing_else() {
    let all = made(7, 301);
    for stream in STREAMS {
        let quiet: Vec<_> =
            all.iter().filter(|m| m.stream == stream && m.site == "codfw").collect();
        assert_eq!(quiet.len(), 6, "{stream}");
        for made in quiet {
            assert_eq!(made.event["meta"]["domain"], "canary");
            assert_eq!(made.event["meta"]["stream"], format!("mediawiki.{stream}"));
        }
    }
    assert!(changes(&all).iter().all(|m| m.event["meta"]["domain"] != "canary"));
}

#[test]
fn ids_are_uuids_and_none_comes_twice() {
    let mut seen = std::collections::HashSet::new();
    for made in made(8, 60) {
        let id = made.event["meta"]["id"].as_str().expect("text").to_owned();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert!(seen.insert(id));
    }
}
