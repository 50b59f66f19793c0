//! No way of writing an event gets what is to be hidden past a rule, and what no rule means stays
//! byte for byte.

use proptest::prelude::*;

use super::render::tests::{Node, any_json, read};
use super::*;
use crate::catalog::Stream;
use crate::config::Condition;
use crate::event::{Offset, TimestampMs};

fn topic() -> TopicName {
    TopicName::new("eqiad.t").expect("legal")
}

fn path(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn rule(conditions: &[(&str, &str)], redactions: &[(&str, Option<&str>)]) -> RedactRule {
    let condition = |(field, value): &(&str, &str)| Condition {
        fields: vec![path(field)],
        values: [(*value).to_owned()].into(),
        as_titles: false,
    };
    let redaction = |(field, instead): &(&str, Option<&str>)| Redaction {
        path: path(field),
        instead: instead.map(Arc::from),
    };
    RedactRule {
        name: "r".to_owned(),
        streams: Default::default(),
        conditions: conditions.iter().map(condition).collect(),
        redactions: redactions.iter().map(redaction).collect(),
    }
}

fn redactor(rules: impl IntoIterator<Item = RedactRule>) -> Redactor {
    let stream = Stream {
        name: "t".into(),
        topics: vec![topic()],
        aliases: Vec::new(),
        description: String::new(),
        schema: None,
        produce_to: None,
        topics_allowed: Vec::new(),
    };
    let rules: Vec<_> = rules.into_iter().map(Arc::new).collect();
    Redactor::new(&rules, &Catalog::new([stream]), None, Arc::new(Metrics::new())).expect("rules")
}

fn record(value: &[u8], key: Option<&str>) -> Record {
    let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let value = Some(Bytes::copy_from_slice(value));
    Record { offset: Offset(1), time: TimestampMs(5), key, value }
}

#[test]
fn a_rule_is_for_the_streams_that_it_names_and_for_all_when_one_of_them_is_not_there() {
    let stream = |name: &str, alias: &str| Stream {
        name: name.into(),
        topics: vec![TopicName::new(name).expect("legal")],
        topics_allowed: vec![TopicName::new(&format!("{name}.besides")).expect("legal")],
        aliases: vec![alias.into()],
        ..Stream::default()
    };
    let catalog = Catalog::new([stream("a", "alias-of-a"), stream("b", "alias-of-b")]);
    let topics = |names: &[&str]| {
        let streams = names.iter().map(|name| (*name).to_owned()).collect();
        let rule = Arc::new(RedactRule { streams, ..rule(&[], &[("x", None)]) });
        let redactor = Redactor::new(&[rule], &catalog, None, Arc::new(Metrics::new()));
        let plans = redactor.expect("a rule").plans;
        let topics: std::collections::BTreeSet<_> = plans.keys().map(ToString::to_string).collect();
        topics.into_iter().collect::<Vec<_>>()
    };
    let all = ["a", "a.besides", "b", "b.besides"];
    assert_eq!(topics(&["a"]), all[..2]);
    assert_eq!(topics(&["alias-of-b"]), all[2..]);
    assert_eq!(topics(&[]), all);
    assert_eq!(topics(&["a", "called otherwise now"]), all);
}

/// The event as it is shown; `None`: as it was.
fn shown(redactor: &Redactor, event: &str) -> Option<String> {
    let record = redactor.redact(&topic(), &record(event.as_bytes(), None))?;
    Some(String::from_utf8(record.value.expect("a value").to_vec()).expect("UTF-8"))
}

#[test]
fn a_member_goes_with_its_comma_wherever_it_stands() {
    let all = redactor([rule(&[], &[("a", None), ("o.b", None)])]);
    for (event, expected) in [
        (r#"{"a":1}"#, "{}"),
        (r#"{ "a" : 1 }"#, "{  }"),
        (r#"{"a":1,"x":2}"#, r#"{"x":2}"#),
        (r#"{"x":1.0,"a":[{}],"y":2}"#, r#"{"x":1.0,"y":2}"#),
        (r#"{"x":1e400 , "a":"}{" }"#, r#"{"x":1e400 }"#),
        (r#"{"a":1,"a":2,"x":3,"a":4,"a":5}"#, r#"{"x":3}"#),
        (r#"{"a":1,"a":2}"#, "{}"),
        (r#"{"o":{"b":1,"c":2},"x":{"b":3}}"#, r#"{"o":{"c":2},"x":{"b":3}}"#),
        (r#"{"o":{"b":1},"a":1,"o":{"c":1,"b":1}}"#, r#"{"o":{},"o":{"c":1}}"#),
        (r#"{"o":[{"b":1},[[{"b":2,"d":[]}]],7],"z":1}"#, r#"{"o":[{},[[{"d":[]}]],7],"z":1}"#),
        (r#"{"\u0061":1,"o":{"\u0062":"\"","x":0}}"#, r#"{"o":{"x":0}}"#),
        (r#"{"x":{"a":1},"ab":2,"":3}"#, r#"{"x":{"a":1},"ab":2,"":3}"#),
    ] {
        assert_eq!(shown(&all, event).as_deref(), Some(expected), "{event}");
    }
}

#[test]
fn a_value_is_replaced_and_what_is_taken_out_is_not_put_in() {
    let all = redactor([
        rule(&[], &[("a", Some("{}")), ("b", Some("\"x\"")), ("c.d", Some("0"))]),
        rule(&[], &[("b", None), ("c", Some("[]"))]),
    ]);
    let event = r#"{"b":1,"a":{"b":[1]},"c":{"d":1},"b":2,"a" : null}"#;
    assert_eq!(shown(&all, event).as_deref(), Some(r#"{"a":{},"c":[],"a" : {}}"#));
}

#[test]
fn a_rule_matches_whatever_way_its_fields_are_written() {
    let all = redactor([rule(&[("meta.d", "ru é"), ("title", "T")], &[("user", None)])]);
    for event in [
        r#"{"user":"U","title":"T","meta":{"d":"ru é"}}"#,
        r#"{"title":"\u0054","meta":{"d":"x"},"user":"U","meta":{"d":"\u0072u\u0020\u00E9"}}"#,
        r#"{"user":"U","t\u0069tle":"T","title":"other","meta":[{"d":["ru é"]}]}"#,
        "{\"title\"\n:\r\n\"T\",\"user\":{\"x\":1},\"meta\"\t:{\"d\":\"ru é\"}}",
        r#"{"title":[[["T"]]],"us\u0065r":"U","meta":[[[{"d":"ru é"}]]]}"#,
    ] {
        let shown = shown(&all, event).unwrap_or_else(|| panic!("passed: {event}"));
        assert!(!shown.contains("U\"") && !shown.contains("us"), "{shown}");
    }
    for event in [
        r#"{"user":"U","title":"T"}"#,
        r#"{"user":"U","title":"T","meta":{"d":"ru"}}"#,
        r#"{"user":"U","title":"T ","meta":{"d":"ru é"}}"#,
        r#"{"user":"U","title":{"T":"T"},"meta":{"d":"ru é"}}"#,
        r#"{"user":"U","Title":"T","meta":{"d":"ru é"}}"#,
        r#"{"user":"U","x":{"title":"T","meta":{"d":"ru é"}}}"#,
    ] {
        assert_eq!(shown(&all, event), None, "{event}");
    }
}

#[test]
fn numbers_and_words_are_matched_as_they_are_written() {
    let all = redactor([rule(&[("n", "0"), ("b", "true")], &[("u", None)])]);
    assert_eq!(shown(&all, r#"{"n":0,"b":true,"u":1}"#).as_deref(), Some(r#"{"n":0,"b":true}"#));
    assert_eq!(shown(&all, r#"{"n":0.0,"b":true,"u":1}"#), None);
}

#[test]
fn what_is_no_event_does_not_become_one_by_what_is_taken_out() {
    let all = redactor([rule(&[], &[("a", None)])]);
    for broken in [r#"{"a":01,"x":1}"#, r#"{"x":1,"a":[}"#, r#"{"a":"\x"}"#, r#"{"a":1}}"#, "{", ""]
    {
        assert_eq!(shown(&all, broken), None, "{broken}");
    }
    assert!(
        redactor([rule(&[], &[("a", None)])])
            .redact(&topic(), &Record { value: None, ..record(b"", None) })
            .is_none()
    );
}

#[test]
fn nesting_of_any_depth_neither_exhausts_the_stack_nor_hides_a_field() {
    const DEPTH: usize = 1_000_000;
    let all = redactor([rule(&[("t", "T")], &[("u.n", None)])]);
    let (open, close) = ("[".repeat(DEPTH), "]".repeat(DEPTH));
    let objects = format!("{}1{}", "{\"t\":".repeat(DEPTH), "}".repeat(DEPTH));
    let event = format!(
        r#"{{"x":{open}{close},"t":{open}"T"{close},"y":{objects},"u":{open}{{"n":"SECRET"}}{close}}}"#
    );
    let shown = shown(&all, &event).expect("it matches");
    assert_eq!(shown, event.replace(r#""n":"SECRET""#, ""));
    for broken in ["[", "{\"t\":", "{\"u\":[{\"n\":"] {
        assert!(all.redact(&topic(), &record(broken.repeat(DEPTH).as_bytes(), None)).is_none());
    }
}

#[test]
fn a_key_that_readers_would_see_is_hidden_with_its_field() {
    for (field, hidden) in [("meta.key", true), ("meta", true), ("meta.key.x", false), ("k", false)]
    {
        let all = redactor([rule(&[], &[(field, None)])]);
        let shown = all.redact(&topic(), &record(b"{\"k\":1}", Some("SECRET"))).expect("matches");
        assert_eq!(shown.key.is_none(), hidden, "{field}");
    }
}

#[test]
fn a_rule_is_for_its_streams_and_is_counted() {
    let mut other = rule(&[], &[("a", None)]);
    other.streams.insert("other".to_owned());
    let metrics = Arc::new(Metrics::new());
    assert!(Redactor::new(&[Arc::new(other)], &Catalog::default(), None, metrics).is_none());
    let all = redactor([rule(&[("t", "T")], &[("a", None)]), rule(&[("t", "T")], &[("b", None)])]);
    for event in [r#"{"t":"T"}"#, r#"{"t":"X","a":1}"#, r#"{"t":"T","a":1}"#] {
        let _ = all.redact(&topic(), &record(event.as_bytes(), None));
    }
    let label = ByRule { rule: "r".to_owned() };
    assert_eq!(all.metrics.events_redacted.get_or_create(&label).get(), 2);
}

#[test]
fn the_references_form_hides_who_changed_a_page() {
    let text = "[embedded]\ndata_dir = \"d\"\n[streams.t]\ntopics = [\"eqiad.t\"]\n\
                [mediawiki_redacted_pages]\nruwiki = [\"Some Page\"]\n";
    let config = crate::config::Config::parse(text).expect("legal");
    let metrics = Arc::new(Metrics::new());
    let all = Redactor::new(&config.redact, &config.catalog(), None, metrics).expect("rules");
    for (event, expected) in [
        (
            r#"{"wiki_id":"ruwiki","page":{"page_title":"Some_page"},"performer":{"user_id":1},"revision":{"editor":{"user_text":"U"},"rev_id":7},"prior_state":{"revision":{"editor":{}}}}"#,
            r#"{"wiki_id":"ruwiki","page":{"page_title":"Some_page"},"performer":{},"revision":{"rev_id":7},"prior_state":{"revision":{}}}"#,
        ),
        (
            r#"{"title":"some page","user":"U","wiki":"ruwiki"}"#,
            r#"{"title":"some page","wiki":"ruwiki"}"#,
        ),
        (
            r#"{"performer":{"user_text":"U"},"page_title":"Some_Page","database":"ruwiki"}"#,
            r#"{"page_title":"Some_Page","database":"ruwiki"}"#,
        ),
    ] {
        assert_eq!(shown(&all, event).as_deref(), Some(expected));
        assert_eq!(shown(&all, &event.replace("ruwiki", "jawiki")), None);
        assert_eq!(shown(&all, &event.replace("age", "agE2")), None);
    }
}

/// The same said a second time, on the tree: does any value at the path have this text?
fn any_is(node: &Node, path: &[&str], value: &str) -> bool {
    match node {
        Node::Array(items) => items.iter().any(|item| any_is(item, path, value)),
        Node::Object(members) => match path {
            [] => false,
            [first, rest @ ..] => {
                members.iter().any(|(name, inside)| name == first && any_is(inside, rest, value))
            }
        },
        Node::Text(text) | Node::Word(text) => path.is_empty() && text == value,
    }
}

fn without(node: Node, path: &[&str]) -> Node {
    match (node, path) {
        (Node::Array(items), _) => {
            Node::Array(items.into_iter().map(|item| without(item, path)).collect())
        }
        (Node::Object(members), [last]) => {
            Node::Object(members.into_iter().filter(|(name, _)| name != last).collect())
        }
        (Node::Object(members), [first, rest @ ..]) => {
            let inside = |(name, value): (String, Node)| match name == *first {
                true => (name, without(value, rest)),
                false => (name, value),
            };
            Node::Object(members.into_iter().map(inside).collect())
        }
        (node, _) => node,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_rule_does_to_the_text_what_it_says_and_else_nothing(
        json in any_json(),
        field in prop::sample::select(vec!["meta", "topic.key", "a", "offset", "meta.meta"]),
        value in prop::sample::select(vec!["true", "null", "a", "0", ""]),
        out in prop::sample::select(vec!["meta", "key", "topic.partition", "a", "b.meta.key"]),
    ) {
        let split = |path: &'static str| path.split('.').collect::<Vec<_>>();
        let before = read(&json).expect("the generator makes JSON");
        let all = redactor([rule(&[(field, value)], &[(out, None)])]);
        let always = redactor([rule(&[], &[(out, None)])]);
        match shown(&all, &json) {
            None => prop_assert!(!any_is(&before, &split(field), value), "{}", json),
            Some(after) => {
                prop_assert!(any_is(&before, &split(field), value), "{}", json);
                let after = read(&after).expect("what is left is JSON");
                prop_assert_eq!(after, without(before.clone(), &split(out)), "{}", json);
            }
        }
        let after = shown(&always, &json).expect("it matches");
        let expected = without(before.clone(), &split(out));
        if expected == before {
            prop_assert_eq!(&after, json.trim_matches([' ', '\t', '\n', '\r']));
        }
        prop_assert_eq!(read(&after).expect("what is left is JSON"), expected, "{}", json);
    }

    #[test]
    fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let all = redactor([rule(&[("a", "b")], &[("a.b", None)])]);
        for head in ["", "{\"a\":\"b\",", "{\"a\":[{\"b\":"] {
            let text = [head.as_bytes(), &bytes].concat();
            let _ = all.redact(&topic(), &record(&text, None));
        }
    }
}
