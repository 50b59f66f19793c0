//! What becomes of a stream config: the reference's own rules, and what it does not refuse.

use serde_json::json;

use super::*;

fn terms(more: Value) -> Terms {
    let object = |key: &str| more[key].as_object().cloned().unwrap_or_default();
    let allowed = more["allowed"].as_array().cloned().unwrap_or_default();
    Terms {
        object_path: more["path"].as_str().unwrap_or_default().to_owned(),
        defaults: object("defaults"),
        overrides: object("overrides"),
        allowed: allowed.iter().map(|a| a.as_str().expect("a text").to_owned()).collect(),
        produce_prefix: more["prefix"].as_str().unwrap_or_default().to_owned(),
    }
}

/// As MediaWiki answers `action=streamconfigs`.
fn document() -> Value {
    json!({ "streams": {
        "mediawiki.recentchange": {
            "stream": "mediawiki.recentchange", "schema_title": "mediawiki/recentchange",
            "topic_prefixes": ["eqiad.", "codfw."], "canary_events_enabled": false,
            "topics": ["eqiad.mediawiki.recentchange", "codfw.mediawiki.recentchange"],
            "consumers": { "analytics_hadoop_ingestion": { "enabled": true } },
        },
        "mediawiki.page-create": {
            "schema_title": "mediawiki/revision/create",
            "topics": ["eqiad.mediawiki.page-create", "codfw.mediawiki.page-create"],
        },
        "/^mediawiki\\.job\\..+/": { "topics": ["/^(eqiad|codfw)\\.mediawiki\\.job\\..+/"] },
        "eventlogging_Test": { "schema_title": "analytics/legacy/test" },
    }})
}

fn read(more: Value) -> Result<Described, String> {
    described(&document(), &terms(more)).map_err(|error| error.to_string())
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn the_reference_s_streams_are_streams_and_patterns_and_those_without_topics_are_none() {
    let found = read(json!({ "path": "streams" })).expect("it can be read");
    let names: Vec<_> = found.streams.iter().map(|stream| &*stream.name).collect();
    assert_eq!(names, ["mediawiki.page-create", "mediawiki.recentchange"]);
    let stream = &found.streams[1];
    assert_eq!(
        texts(&stream.topics),
        ["eqiad.mediawiki.recentchange", "codfw.mediawiki.recentchange"]
    );
    assert_eq!(stream.schema.as_deref(), Some("mediawiki/recentchange"));
    assert_eq!(stream.description, "mediawiki.recentchange events.");
    assert_eq!(stream.produce_to, Some(stream.topics[0].clone()));
    let over = PassedOver { patterns: 1, without_topics: 1, ..PassedOver::default() };
    assert_eq!(found.passed_over, over);
}

#[test]
fn defaults_fill_in_what_is_missing_and_may_add_a_stream() {
    let found = read(json!({ "path": "streams", "defaults": {
        "mediawiki.recentchange": {
            "stream_aliases": ["recentchange", "mediawiki.recentchange", "recentchange"],
            "description": "Every change", "schema_title": "other", "topics": ["never"],
            "$schema": "/mediawiki/recentchange/1.0.1",
            "consumers": { "analytics_hadoop_ingestion": { "job_name": "x" } },
        },
        "eventlogging_Test": { "topics": ["eventlogging_Test"] },
        "nowhere": { "description": "It has no topics." },
        "added": { "topics": ["added"] },
    }}));
    let found = found.expect("it can be read");
    let names: Vec<_> = found.streams.iter().map(|stream| &*stream.name).collect();
    let expected =
        ["added", "eventlogging_Test", "mediawiki.page-create", "mediawiki.recentchange"];
    assert_eq!(names, expected);
    let stream = &found.streams[3];
    assert_eq!(texts(&stream.aliases), ["recentchange"]);
    assert_eq!(stream.description, "Every change");
    assert_eq!(stream.topics.len(), 2, "a list that is there stays as it is");
    assert_eq!(stream.schema.as_deref(), Some("/mediawiki/recentchange/1.0.1"));
    assert_eq!(found.streams[1].schema.as_deref(), Some("analytics/legacy/test"));
    assert_eq!(found.passed_over.without_topics, 1);
}

#[test]
fn overrides_count_whatever_is_there_and_after_the_defaults() {
    let found = read(json!({ "path": "streams",
        "defaults": { "mediawiki.recentchange": { "description": "a default" } },
        "overrides": {
            "mediawiki.recentchange": {
                "description": "told", "topics": ["codfw.mediawiki.recentchange"],
                "topics_allowed":
                    ["eqiad.mediawiki.recentchange", "codfw.mediawiki.recentchange"],
            },
            "mediawiki.page-create": { "topics": null },
        },
    }));
    let found = found.expect("it can be read");
    assert_eq!(found.streams.len(), 1, "one has lost its topics");
    let stream = &found.streams[0];
    assert_eq!(stream.description, "told");
    assert_eq!(texts(&stream.topics), ["codfw.mediawiki.recentchange"]);
    assert_eq!(texts(&stream.topics_allowed), ["eqiad.mediawiki.recentchange"]);
    assert_eq!(stream.schema.as_deref(), Some("mediawiki/recentchange"), "not replaced whole");
}

#[test]
fn only_what_is_allowed_is_shown_and_what_is_not_there_is_said() {
    let all = json!({ "path": "streams", "prefix": "codfw.",
        "allowed": ["mediawiki.recentchange", "gone", "eventlogging_Test"] });
    let found = read(all).expect("it can be read");
    assert_eq!(found.streams.len(), 1);
    let produce_to = found.streams[0].produce_to.as_ref().map(ToString::to_string);
    assert_eq!(produce_to.as_deref(), Some("codfw.mediawiki.recentchange"));
    assert_eq!(found.passed_over.not_allowed, 1);
    assert_eq!(found.passed_over.allowed_and_missing, ["gone", "eventlogging_Test"]);
    // What is not allowed may be as wrong as it likes.
    let broken = json!({ "a": { "topics": ["a"] }, "b": { "topics": 7 } });
    let terms = terms(json!({ "allowed": ["a"] }));
    assert_eq!(described(&broken, &terms).expect("it can be read").streams.len(), 1);
}

#[test]
fn a_document_that_cannot_be_meant_is_refused_whole_with_the_place() {
    let says = |document: Value, path: &str| {
        let terms = Terms { object_path: path.to_owned(), ..Terms::default() };
        described(&document, &terms).expect_err("refused").to_string()
    };
    let of = |config: Value| says(json!({ "ok": { "topics": ["t"] }, "s": config }), "");
    let accepted = "an object of streams by name is accepted";
    assert_eq!(says(json!("<html>"), ""), format!("at `the document` is a text; {accepted}"));
    assert_eq!(says(json!({ "a": {} }), "a.b"), format!("at `a.b` is nothing; {accepted}"));
    assert_eq!(says(json!({ "a": [] }), "a"), format!("at `a` is a list; {accepted}"));
    assert!(says(json!({}), "").starts_with("it has no stream that can be shown (0 pattern(s)"));
    assert_eq!(of(json!([])), "the stream s: `the config` is a list; an object is accepted");
    let topics = of(json!({ "topics": "t" }));
    assert_eq!(topics, "the stream s: `topics` is a text; a list of texts is accepted");
    let topics = of(json!({ "topics": ["t", null] }));
    assert_eq!(topics, "the stream s: `topics[1]` is null; a list of texts is accepted");
    assert!(of(json!({ "topics": ["/t/"] })).contains("`topics` is [\"/t/\"]; a list of names"));
    let name = "a name without , / % ? # is accepted";
    let alias = of(json!({ "topics": ["t"], "stream_aliases": ["x", "a,b"] }));
    assert_eq!(alias, format!("the stream s: `stream_aliases` is \"a,b\"; {name}"));
    let twice = of(json!({ "topics": ["t"], "stream_aliases": ["ok"] }));
    assert_eq!(twice, "the name ok is of two streams, ok and s");
    let schema = of(json!({ "topics": ["t"], "$schema": { "type": "object" } }));
    assert_eq!(schema, "the stream s: `$schema` is an object; a text is accepted");
}
