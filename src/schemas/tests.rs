//! Which schema an event must fit, and what is said of those that do not.

use super::*;
use crate::event::TopicName;

fn stream(name: &str, schema: Option<&str>) -> Stream {
    Stream {
        name: name.into(),
        topics: vec![TopicName::new(name).expect("legal")],
        aliases: Vec::new(),
        description: String::new(),
        schema: schema.map(str::to_owned),
        produce_to: None,
        topics_allowed: Vec::new(),
    }
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    dir
}

fn config(dir: &tempfile::TempDir) -> SchemasConfig {
    SchemasConfig { folder: Some(dir.path().to_owned()), ..SchemasConfig::default() }
}

fn load(dir: &tempfile::TempDir, stream: Stream) -> Result<Arc<Schemas>, String> {
    Schemas::load(&config(dir), &Catalog::new([stream]), &Fetched::new())
        .map_err(|error| error.to_string())
}

const PAGE: &str = r##"{"$id":"/page/1.0.0","$schema":"https://json-schema.org/draft-07/schema#",
    "type":"object","required":["id","meta"],"properties":{"id":{"type":"integer","minimum":1},
    "tags":{"type":"array","items":{"type":["string","null"]}},"kind":{"enum":["a","b"]},
    "dt":{"type":"string","format":"date-time"},"meta":{"$ref":"#/definitions/meta"}},
    "definitions":{"meta":{"$ref":"/common/1.0.0#/definitions/meta"}}}"##;
const COMMON: &str = r#"{"$id":"/common/1.0.0","definitions":{"meta":{"type":"object",
    "required":["dt"],"additionalProperties":false,"properties":{"dt":{"type":"string"}}}}}"#;

fn pages() -> tempfile::TempDir {
    folder(&[
        ("page/1.0.0.json", PAGE),
        ("page/1.0.0", "not: json"),
        ("page/1.10.0.json", r#"{"type":"object","required":["new"]}"#),
        ("page/1.9.0", r#"{"type":"object","required":["old"]}"#),
        ("page/current.yaml", "a: b"),
        ("page/1.8.0.yaml", "type: object\nrequired: [older]\n"),
        ("page/1.9.0.yaml", "type: object\nrequired: [not this]\n"),
        ("common/1.0.0.json", COMMON),
        ("package.json", "{}"),
        (".git/x.json", "broken"),
    ])
}

#[test]
fn a_stream_has_the_schema_that_it_names_or_the_newest_of_its_title() {
    let dir = pages();
    let uri = |schema| {
        let stream = stream("a", Some(schema));
        let all = load(&dir, stream.clone()).expect("they can be read");
        all.of(&stream).map(|schema| schema.uri.clone())
    };
    assert_eq!(uri("/page/1.0.0").as_deref(), Some("/page/1.0.0"));
    assert_eq!(uri("page").as_deref(), Some("/page/1.10.0"));
    assert_eq!(uri("/page/7.0.0").as_deref(), Some("/page/1.10.0"));
    assert_eq!(uri("/page/1.8.0").as_deref(), Some("/page/1.8.0"));
    assert_eq!(uri("other"), None);
    assert_eq!(uri("/package"), None);
}

#[test]
fn an_event_must_name_a_version_of_its_streams_schema_that_is_here() {
    let dir = pages();
    let (named, free) = (stream("a", Some("/page/1.0.0")), stream("b", None));
    let all = load(&dir, named.clone()).expect("they can be read");
    let uri = |named: &Stream, schema| {
        all.for_event(named, schema).map(|found| found.map(|schema| schema.uri.clone()))
    };
    assert_eq!(uri(&free, None), Ok(None));
    let old = all.for_event(&named, Some("/page/1.9.0")).expect("known").expect("there is one");
    assert_eq!(all.check(old, r#"{"old":1}"#), Ok(()), "JSON before YAML");
    for of in ["/page/1.0.0", "/page/1.0.0#", "/page/1.0.0.json", "/page/1.0.0.yaml"] {
        assert_eq!(uri(&named, Some(of)), Ok(Some("/page/1.0.0".into())));
    }
    let says = |schema| uri(&named, schema).expect_err("refused").to_string();
    assert_eq!(says(None), "`$schema` is missing; a version of `/page` is accepted");
    let other = "`$schema` is `/common/1.0.0`; a version of `/page` is accepted";
    assert_eq!(says(Some("/common/1.0.0")), other);
    let unknown = "`$schema` is `/page/2.0.0`, which is not known here; accepted are /page/1.10.0, \
                   /page/1.9.0, /page/1.8.0";
    assert_eq!(says(Some("/page/2.0.0")), unknown);
    for hostile in ["/page/../../etc/passwd", "http://127.0.0.1/page/1.0.0", "", "/"] {
        assert!(uri(&named, Some(hostile)).is_err(), "{hostile}");
    }
    assert!(says(Some(&"x".repeat(100_000))).len() < 400);
}

#[test]
fn without_a_folder_anything_is_taken_and_a_file_of_its_own_is_a_streams_schema() {
    let none = Schemas::default();
    assert!(matches!(none.for_event(&stream("a", Some("/page/1.0.0")), None), Ok(None)));
    let dir = folder(&[("own", r#"{"type":"object","required":["x"]}"#)]);
    let file = dir.path().join("own");
    let of_streams = [("a".to_owned(), file.clone())].into();
    let config = SchemasConfig { of_streams, ..SchemasConfig::default() };
    let a = stream("a", None);
    let all = Schemas::load(&config, &Catalog::new([a.clone()]), &Fetched::new())
        .expect("it can be read");
    let schema = all.for_event(&a, Some("/any/1.0.0")).expect("found").expect("there is one");
    assert_eq!(all.check(schema, r#"{"x":1}"#), Ok(()));
    let says = all.check(schema, "{}").expect_err("x is missing").to_string();
    assert_eq!(says, format!("the event does not fit {}: `x` is missing", file.display()));
}

fn misfit(event: &str) -> String {
    let (dir, stream) = (pages(), stream("a", Some("/page/1.0.0")));
    let all = load(&dir, stream.clone()).expect("they can be read");
    let schema = all.of(&stream).expect("there is one");
    let says = all.check(schema, event).expect_err(event).to_string();
    says.strip_prefix("the event does not fit /page/1.0.0: ").expect("its schema").to_owned()
}

#[test]
fn what_does_not_fit_is_told_with_its_place_what_was_found_and_what_is_accepted() {
    for (event, says) in [
        (r#"{"meta":{"dt":"x"}}"#, "`id` is missing"),
        (r#"{"id":"7","meta":{"dt":""}}"#, "`id` is \"7\"; an integer is accepted"),
        (r#"{"id":0,"meta":{"dt":""}}"#, "`id` is 0; 1 or more is accepted"),
        (r#"{"id":1,"meta":{}}"#, "`meta.dt` is missing"),
        (r#"{"id":1,"meta":{"dt":"","x":1}}"#, "`meta.x` is no field that the schema has"),
        (
            r#"{"id":1,"meta":{"dt":""},"tags":["a",7]}"#,
            "`tags[1]` is 7; null or a string is accepted",
        ),
        (
            r#"{"id":1,"meta":{"dt":""},"kind":{"a":1}}"#,
            r#"`kind` is an object; one of ["a","b"] is accepted"#,
        ),
        (
            r#"{"id":1,"meta":{"dt":""},"dt":"yesterday"}"#,
            "`dt` is \"yesterday\"; a text of the format date-time is accepted",
        ),
        ("[]", "`the event` is an array; an object is accepted"),
        (
            r#"{"id":null,"meta":[]}"#,
            "`id` is null; an integer is accepted; `meta` is an array; an object is accepted",
        ),
    ] {
        assert_eq!(misfit(event), says, "{event}");
    }
    assert!(misfit(r#"{"id":1e999}"#).starts_with("it cannot be checked: number out of range"));
    assert!(misfit(&"[".repeat(100_000)).starts_with("it cannot be checked: recursion limit"));
}

#[test]
fn however_much_does_not_fit_little_is_said() {
    let with = |n: usize| {
        let long = "x".repeat(1000);
        let tags = vec!["7"; n].join(",");
        format!(r#"{{"id":"{long}","meta":{{"dt":"","{long}":1}},"tags":[{tags}]}}"#)
    };
    for n in [10, 100_000] {
        let says = misfit(&with(n));
        assert!(says.len() < 1500 && says.ends_with("; and more"), "{says}");
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_file() {
    let says = |files: &[(&str, &str)]| {
        let dir = folder(files);
        let wrong = load(&dir, stream("a", Some("/page/1.0.0"))).expect_err("refused");
        wrong.replace(&dir.path().display().to_string(), "DIR")
    };
    assert!(says(&[("page/1.0.0.json", "{")]).starts_with("DIR/page/1.0.0.json: is no JSON: EOF"));
    let array = says(&[("page/1.0.0.json", "[]")]);
    assert_eq!(array, "DIR/page/1.0.0.json: is no schema; an object is accepted");
    let yaml = says(&[("page/1.0.0.yaml", "a: [")]);
    assert!(yaml.starts_with("DIR/page/1.0.0.yaml: is neither JSON nor YAML: "), "{yaml}");
    assert!(says(&[]).starts_with("DIR: holds no schema"));
    let bad = says(&[("page/1.0.0.json", r#"{"type":"object","required":7}"#)]);
    assert!(bad.starts_with("the schema /page/1.0.0: "), "{bad}");
    let gone = says(&[("page/1.0.0.json", r#"{"$ref":"/gone/1.0.0"}"#)]);
    assert!(gone.starts_with("the schema /page/1.0.0: Resource '/gone/1.0.0' is not"), "{gone}");
    let outside = r#"{"$ref":"http://127.0.0.1:9/gone/1.0.0"}"#;
    let outside = says(&[("page/1.0.0.json", outside)]);
    assert!(outside.contains("is not among the schemas"), "{outside}");
}
