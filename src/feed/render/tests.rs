//! Every sentence of the contract about `data`, and that no value whatever forges a position.

use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::*;
use crate::event::{Offset, TimestampMs, TopicName};

fn tp() -> TopicPartition {
    TopicPartition::new(TopicName::new("eqiad.t").expect("legal"), 3)
}

fn record(value: &[u8], key: Option<&[u8]>) -> Record {
    let bytes = Bytes::copy_from_slice;
    Record {
        offset: Offset(812),
        time: TimestampMs(5),
        key: key.map(bytes),
        value: Some(bytes(value)),
    }
}

fn rendered_with(value: &[u8], key: Option<&[u8]>) -> Result<String, Skipped> {
    let line = render(&tp(), &record(value, key))?;
    Ok(String::from_utf8(line.to_vec()).expect("a data line is UTF-8"))
}

fn rendered(value: &str) -> String {
    rendered_with(value.as_bytes(), None).unwrap_or_else(|e| panic!("{value}: {e}"))
}

fn skipped(value: &[u8]) -> Skipped {
    rendered_with(value, None).expect_err("skipped")
}

/// `template` with `@` for what every `meta` ends with, and the line break.
fn line(template: &str) -> String {
    template.replace('@', r#""topic":"eqiad.t","partition":3,"offset":812"#) + "\n"
}

#[test]
fn the_position_is_set_at_the_end_of_meta() {
    let value = r#"{"$schema":"/a/1.0.0","meta":{"stream":"a","dt":"2026-09-21T14:13:32Z"},"b":1}"#;
    let expected =
        r#"{"$schema":"/a/1.0.0","meta":{"stream":"a","dt":"2026-09-21T14:13:32Z",@},"b":1}"#;
    assert_eq!(rendered(value), line(expected));
    assert_eq!(rendered(r#"{"meta":{}}"#), line(r#"{"meta":{@}}"#));
    assert_eq!(rendered(r#"{"meta":{ }}"#), line(r#"{"meta":{ @}}"#));
}

#[test]
fn a_position_that_is_there_is_overwritten_wherever_it_stands() {
    for fields in [
        r#""topic":"x","a":1"#,
        r#""a":1,"offset":-1"#,
        r#""topic":"x","a":1,"offset":[{"offset":1}],"partition":null"#,
        r#""topic":"x","topic":"y","a":1,"topic":"z","topic":"u""#,
        r#""t\u006fpic":"x","a":1,"\u006F\u0066fset":{}"#,
    ] {
        let line_of = rendered(&format!(r#"{{"meta":{{{fields}}}}}"#));
        assert_eq!(line_of, line(r#"{"meta":{"a":1,@}}"#), "{fields}");
    }
    assert_eq!(rendered(r#"{"meta":{"topic":1,"offset":2}}"#), line(r#"{"meta":{@}}"#));
}

#[test]
fn positions_elsewhere_are_left_alone() {
    let value = r#"{"topic":1,"offset":2,"a":{"meta":{"offset":3}},"meta":{"b":{"topic":4}}}"#;
    let expected = r#"{"topic":1,"offset":2,"a":{"meta":{"offset":3}},"meta":{"b":{"topic":4},@}}"#;
    assert_eq!(rendered(value), line(expected));
}

#[test]
fn the_key_is_set_if_the_record_has_one() {
    let with = |key: &[u8], value: &[u8]| rendered_with(value, Some(key)).expect("an event");
    let value = br#"{"meta":{"key":"theirs","a":1}}"#;
    assert_eq!(with(b"k", value), line(r#"{"meta":{"a":1,@,"key":"k"}}"#));
    assert_eq!(with(b"", value), line(r#"{"meta":{"a":1,@,"key":""}}"#));
    assert_eq!(with(b"\xff\xc3\xa9", value), line("{\"meta\":{\"a\":1,@,\"key\":\"\u{fffd}é\"}}"));
    let odd = "\"\\\n\r\t\0\u{85}\u{2028}\u{2029}😀".as_bytes();
    let escaped = r#"\"\\\n\r\t\u0000\u0085\u2028\u2029😀"#;
    assert_eq!(with(odd, value), line(&format!(r#"{{"meta":{{"a":1,@,"key":"{escaped}"}}}}"#)));
    let json = br#"{"a":1}"#;
    assert_eq!(with(json, b"{}"), line(r#"{"meta":{@,"key":"{\"a\":1}"}}"#));
}

#[test]
fn a_key_in_the_value_stays_if_the_record_has_none() {
    assert_eq!(rendered(r#"{"meta":{"key":"x"}}"#), line(r#"{"meta":{"key":"x",@}}"#));
}

#[test]
fn numbers_keep_their_digits_and_keys_their_order() {
    let rest =
        r#""z":1.0,"10":9007199254740993,"9":1e400,"a":-0.0,"b":1E+2,"c":0.10000000000000000001"#;
    assert_eq!(
        rendered(&format!("{{{rest},\"meta\":{{}}}}")),
        line(&format!("{{{rest},\"meta\":{{@}}}}"))
    );
}

#[test]
fn unknown_and_duplicate_keys_pass() {
    let value = r#"{"a":1,"a":2,"":3,"__proto__":4,"meta":{"b":1,"b":2,"":{}}}"#;
    let expected = r#"{"a":1,"a":2,"":3,"__proto__":4,"meta":{"b":1,"b":2,"":{},@}}"#;
    assert_eq!(rendered(value), line(expected));
}

#[test]
fn escapes_stay_as_they_are_also_lone_surrogates() {
    let rest = r#""a":"\ud800 \uDC00\n\"\\\/\b\f\r\t\u2028\u0000\u00e9","\ud834":"\ud834\udd1e""#;
    assert_eq!(
        rendered(&format!("{{\"meta\":{{}},{rest}}}")),
        line(&format!("{{\"meta\":{{@}},{rest}}}"))
    );
}

#[test]
fn pretty_printed_json_becomes_one_line() {
    let value = "\r\n {\n  \"a\" : [\r\n    1,\n    { }\n  ],\r  \"meta\":\n{\n\"b\": 2\n}\n}\n\n";
    assert_eq!(rendered(value), line(r#"{"a" : [1,{ }],"meta":{"b": 2,@}}"#));
    let forged =
        "{\n \"meta\" :\n {\n \"topic\" :\n 1 ,\n \"b\":2\n ,\n \"offset\"\n :\n 3\n }\n }";
    assert_eq!(rendered(forged), line(r#"{"meta" :{"b":2,@}}"#));
}

#[test]
fn what_some_clients_take_for_a_line_break_is_escaped() {
    let value =
        "{\"a\u{2028}\":\"x\u{85}y\u{2028}\u{2029}\u{2027}\u{a0}é–\",\"meta\":{\"b\u{85}\":1}}";
    let expected =
        "{\"a\\u2028\":\"x\\u0085y\\u2028\\u2029\u{2027}\u{a0}é–\",\"meta\":{\"b\\u0085\":1,@}}";
    assert_eq!(rendered(value), line(expected));
    for between in ["\u{85}", "\u{2028}", "\u{2029}", "\u{a0}", "\u{b}", "\u{c}", "\0"] {
        assert_eq!(skipped(format!("{{{between}\"a\":1}}").as_bytes()), Skipped::NotJson);
    }
}

#[test]
fn raw_control_characters_in_strings_are_not_json() {
    for control in 0..0x20_u8 {
        let value = [b"{\"a\":\"".as_slice(), &[control], b"\"}"].concat();
        assert_eq!(skipped(&value), Skipped::NotJson, "{control}");
    }
    assert!(rendered("{\"a\":\"\u{7f}\"}").contains('\u{7f}'));
}

#[test]
fn invalid_utf8_becomes_the_replacement_character() {
    let line_of = rendered_with(b"{\"a\":\"x\xffy\xe2\x80\",\"meta\":{}}", None).expect("an event");
    assert_eq!(line_of, line("{\"a\":\"x\u{fffd}y\u{fffd}\",\"meta\":{@}}"));
    let hidden = rendered_with(b"{\"m\xffeta\":{\"offset\":1}}", None).expect("an event");
    assert_eq!(hidden, line("{\"m\u{fffd}eta\":{\"offset\":1},\"meta\":{@}}"));
    assert_eq!(skipped(b"{\xff}"), Skipped::NotJson);
}

#[test]
fn a_meta_that_is_no_object_is_replaced_and_a_missing_one_added() {
    for meta in ["null", "1.5e3", "\"x\"", "true", "[]", r#"[{"offset":1}]"#, "[ [ ] ]"] {
        let value = format!(r#"{{"a":1,"meta":{meta} ,"b":2}}"#);
        assert_eq!(rendered(&value), line(r#"{"a":1,"meta":{@} ,"b":2}"#), "{meta}");
    }
    assert_eq!(rendered("{}"), line(r#"{"meta":{@}}"#));
    assert_eq!(rendered(r#"{"a":{}}"#), line(r#"{"a":{},"meta":{@}}"#));
}

#[test]
fn of_several_meta_exactly_the_last_is_left() {
    for (value, expected) in [
        (r#"{"meta":{"a":1},"meta":{"b":2}}"#, r#"{"meta":{"b":2,@}}"#),
        (
            r#"{"meta":{"offset":1},"x":1,"meta":{"b":2},"y":2}"#,
            r#"{"x":1,"meta":{"b":2,@},"y":2}"#,
        ),
        (
            r#"{"x":1,"meta":{"b":2},"m\u0065ta":{"c":1,"offset":1}}"#,
            r#"{"x":1,"m\u0065ta":{"c":1,@}}"#,
        ),
        (r#"{"\u006D\u0065\u0074\u0061":1,"meta":{},"meta":[]}"#, r#"{"meta":{@}}"#),
        (r#"{"meta":{"topic":1,"a":{}},"meta":7,"x":0}"#, r#"{"meta":{@},"x":0}"#),
    ] {
        assert_eq!(rendered(value), line(expected), "{value}");
    }
}

#[test]
fn names_that_only_look_like_ours_stay() {
    let rest = r#""Meta":1,"meta ":2,"met\u0061\u0061":3,"met":4,"\\u006deta":5,"meta\u0000":6"#;
    let value = format!(r#"{{{rest},"meta":{{"Topic":1,"offset\n":2}}}}"#);
    let expected = format!(r#"{{{rest},"meta":{{"Topic":1,"offset\n":2,@}}}}"#);
    assert_eq!(rendered(&value), line(&expected));
}

#[test]
fn what_is_no_json_object_is_skipped_with_its_reason() {
    let tombstone = Record { value: None, ..record(b"", None) };
    assert_eq!(render(&tp(), &tombstone), Err(Skipped::Tombstone));
    for value in ["[]", "[{\"meta\":{}}]", " 1 ", "-0", "1e400", "\"x\"", "true", "false", "null"] {
        assert_eq!(skipped(value.as_bytes()), Skipped::NotObject, "{value}");
    }
    for value in ["{}{}", "{} x", "{}\n{}", "{\"meta\":{}}]", "{},"] {
        assert_eq!(skipped(value.as_bytes()), Skipped::TrailingText, "{value}");
    }
    for value in [
        "",
        " \n",
        "a: 1\nb: 2\n",
        "- a\n",
        "2026-01-01: x",
        "\u{feff}{}",
        "undefined",
        "nul",
        "truex",
        "{",
        "}",
        "[",
        "]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1]",
        "{\"a\":[1}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":[1 2]}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":0x1}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":tru}",
        "{\"a\":\"x}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u123\"}",
        "{\"a\":\"\\",
        "{\"a\":\"\\u",
        "{\"a\":1//x\n}",
        "{/**/}",
        "{\"a\"::1}",
        "{\"a\":1,,\"b\":2}",
        "{1:2}",
        "{\"a\":{}",
    ] {
        assert_eq!(skipped(value.as_bytes()), Skipped::NotJson, "{value}");
    }
}

#[test]
fn every_prefix_of_an_object_is_skipped() {
    let value = "{\"a\":[1.5e-3,\"\\u00e9\u{2028}\",{\"b\":null}],\n\"meta\":{\"topic\":true}}";
    for end in 0..value.len() {
        assert_eq!(skipped(&value.as_bytes()[..end]), Skipped::NotJson, "{end}");
    }
    assert!(rendered(value).ends_with("}}\n"));
}

#[test]
fn nesting_of_any_depth_neither_exhausts_the_stack_nor_loses_the_event() {
    const DEPTH: usize = 1_000_000;
    for open in ["[", "{\"meta\":", "{\"a\":{\"meta\":["] {
        assert_eq!(skipped(open.repeat(DEPTH).as_bytes()), Skipped::NotJson);
    }
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    assert_eq!(skipped(deep.as_bytes()), Skipped::NotObject);
    let value = format!(r#"{{"a":{deep},"meta":{{"b":{deep}}}}}"#);
    assert_eq!(rendered(&value), line(&format!(r#"{{"a":{deep},"meta":{{"b":{deep},@}}}}"#)));
}

/// JSON with everything that a parser may throw away: order, repetition, digits.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::feed) enum Node {
    Text(String),
    /// A number, `true`, `false` or `null`, as it is written.
    Word(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// Reads JSON with serde_json, to compare with.
pub(in crate::feed) fn read(json: &str) -> serde_json::Result<Node> {
    let raw: &RawValue = serde_json::from_str(json)?;
    let raw = raw.get();
    Ok(match raw.as_bytes()[0] {
        b'{' => {
            let members = serde_json::Deserializer::from_str(raw).deserialize_map(Members)?;
            let member = |(name, value): (String, Box<RawValue>)| Ok((name, read(value.get())?));
            Node::Object(members.into_iter().map(member).collect::<serde_json::Result<_>>()?)
        }
        b'[' => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(raw)?;
            let items = items.iter().map(|i| read(i.get()));
            Node::Array(items.collect::<serde_json::Result<_>>()?)
        }
        b'"' => Node::Text(serde_json::from_str(raw)?),
        _ => Node::Word(raw.to_owned()),
    })
}

/// What the contract makes of an object, said a second time, on the tree.
fn expected(value: Node, key: Option<&str>) -> Option<Node> {
    let Node::Object(mut members) = value else { return None };
    let last = members.iter().rposition(|(name, _)| name == "meta");
    let last = last.unwrap_or_else(|| {
        members.push(("meta".to_owned(), Node::Object(Vec::new())));
        members.len() - 1
    });
    let mut at = 0;
    members.retain(|(name, _)| {
        at += 1;
        name != "meta" || at - 1 == last
    });
    let meta = &mut members.iter_mut().find(|(name, _)| name == "meta").expect("one is left").1;
    let mut fields = match meta {
        Node::Object(fields) => std::mem::take(fields),
        _ => Vec::new(),
    };
    let ours = |name: &str| {
        matches!(name, "topic" | "partition" | "offset") || name == "key" && key.is_some()
    };
    fields.retain(|(name, _)| !ours(name));
    fields.push(("topic".to_owned(), Node::Text("eqiad.t".to_owned())));
    fields.push(("partition".to_owned(), Node::Word("3".to_owned())));
    fields.push(("offset".to_owned(), Node::Word("812".to_owned())));
    fields.extend(key.map(|key| ("key".to_owned(), Node::Text(key.to_owned()))));
    *meta = Node::Object(fields);
    Some(Node::Object(members))
}

/// A string as JSON text, some of its characters escaped that need not be.
fn any_string(inside: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (inside, prop::collection::vec(any::<(bool, bool)>(), 8)).prop_map(|(inside, how)| {
        let mut text = String::from("\"");
        for (c, (escape, upper)) in inside.chars().zip(how.into_iter().cycle()) {
            if escape || matches!(c, '"' | '\\' | '\0'..='\x1f') {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let code =
                        if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                    text.push_str(&code);
                }
            } else {
                text.push(c);
            }
        }
        text + "\""
    })
}

fn any_name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec!["meta", "topic", "partition", "offset", "key"]);
    any_string(prop_oneof![3 => known.prop_map(str::to_owned), 1 => "[ab\u{85}\u{2028}]{0,2}"])
}

fn any_space() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "[ \t\n\r]{1,3}"]
}

/// Texts of JSON values: duplicate and forged names, odd numbers, white space everywhere.
pub(in crate::feed) fn any_json() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?";
    let word = prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned);
    let text = any_string("[a\"\\\\/\n\u{85}\u{a0}\u{2027}-\u{202a}é😀]{0,12}");
    let leaf = prop_oneof![number, word, text, any_string(any::<String>())];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let spaced = (any_space(), inner, any_space()).prop_map(|(a, v, b)| a + &v + &b).boxed();
        let member = (any_space(), any_name(), any_space(), spaced.clone())
            .prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        let braced = |open: &'static str, close: &'static str| {
            move |(items, space): (Vec<String>, String)| match items.is_empty() {
                true => format!("{open}{space}{close}"),
                false => format!("{open}{}{close}", items.join(",")),
            }
        };
        let array = (prop::collection::vec(spaced, 0..4), any_space()).prop_map(braced("[", "]"));
        let object = (prop::collection::vec(member, 0..6), any_space()).prop_map(braced("{", "}"));
        prop_oneof![1 => array, 4 => object]
    })
}

fn assert_is_one_line(line: &str) -> Result<(), TestCaseError> {
    let inside = line.strip_suffix('\n').expect("a line ends");
    prop_assert!(!inside.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "{:?}", line);
    Ok(())
}

/// Whatever comes out is one line with exactly one `meta`, and in it exactly our position.
fn assert_is_not_forged(line: &str, key: Option<&str>) -> Result<(), TestCaseError> {
    assert_is_one_line(line)?;
    let members = serde_json::Deserializer::from_str(line).deserialize_map(Members);
    // serde_json refuses some text that the contract lets pass: lone surrogates.
    let Ok(members) = members else { return Ok(()) };
    let metas: Vec<_> = members.iter().filter(|(name, _)| name == "meta").collect();
    prop_assert_eq!(metas.len(), 1);
    let Ok(Node::Object(fields)) = read(metas[0].1.get()) else { return Ok(()) };
    let only = |name: &str| -> Vec<Node> {
        fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
    };
    for (name, expected) in [
        ("topic", Node::Text("eqiad.t".to_owned())),
        ("partition", Node::Word("3".to_owned())),
        ("offset", Node::Word("812".to_owned())),
    ] {
        prop_assert_eq!(only(name), vec![expected]);
    }
    if let Some(key) = key {
        prop_assert_eq!(only("key"), vec![Node::Text(key.to_owned())]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn all_but_meta_keeps_its_meaning(
        json in any_json(),
        key in prop::option::of("[a\"\\\\\n\u{85}\u{2028}é]{0,4}"),
    ) {
        let input = read(&json).expect("the generator makes JSON");
        let output = rendered_with(json.as_bytes(), key.as_deref().map(str::as_bytes));
        match (output, expected(input, key.as_deref())) {
            (Ok(line), Some(expected)) => {
                assert_is_not_forged(&line, key.as_deref())?;
                prop_assert_eq!(read(&line).expect("a data line is JSON"), expected, "{}", json);
            }
            (Err(reason), None) => prop_assert_eq!(reason, Skipped::NotObject),
            (output, expected) => {
                prop_assert!(false, "{json}: {output:?} instead of {expected:?}");
            }
        }
    }

    #[test]
    fn a_damaged_value_is_skipped_or_still_not_forged(
        json in any_json(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        tokens in any::<bool>(),
    ) {
        let mut bytes = json.into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            let token = b"{}[]:,\"\\u 0\n"[usize::from(byte) % 12];
            bytes[at] = if tokens { token } else { byte };
        }
        let is_json = serde_json::from_slice::<&RawValue>(&bytes).is_ok();
        match rendered_with(&bytes, None) {
            Ok(line) => assert_is_not_forged(&line, None)?,
            Err(Skipped::NotObject) => {}
            Err(reason) => prop_assert!(!is_json, "{:?}: {:?}", reason, bytes),
        }
    }

    #[test]
    fn any_bytes_are_skipped_or_become_one_line(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..10)),
    ) {
        let in_string = [b"{\"a\":\"", bytes.as_slice(), b"\"}"].concat();
        for value in [bytes.as_slice(), &in_string] {
            if let Ok(line) = rendered_with(value, key.as_deref()) {
                let key = key.as_deref().map(String::from_utf8_lossy);
                assert_is_not_forged(&line, key.as_deref())?;
            }
        }
    }
}
