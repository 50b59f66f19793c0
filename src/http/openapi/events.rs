//! What the streams' events look like: schemas of the catalogue's, each once among the components,
//! however many streams have it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::catalog::Stream;
use crate::schemas::{Schema, Schemas};

const AT: &str = "#/components/schemas/";

/// The events of streams whose schema is not known, and of several streams.
pub(super) fn any() -> Value {
    json!({ "schema": { "$ref": format!("{AT}Event") }, "example": example() })
}

fn example() -> Value {
    json!({
        "$schema": "/mediawiki/revision/create/2.0.0",
        "meta": {
            "stream": "mediawiki.page-create", "dt": "2026-09-21T14:13:32Z",
            "topic": "eqiad.mediawiki.page-create", "partition": 0, "offset": 1_034_566,
        },
        "page_title": "Tide",
    })
}

/// The schemas that were asked for.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Where the document of a URI stands among the components.
    names: BTreeMap<String, String>,
    schemas: Map<String, Value>,
}

impl Events {
    /// Schema and example of a stream's events.
    pub(super) fn of(&mut self, stream: &Stream, schemas: &Schemas) -> Value {
        let Some(schema) = schemas.of(stream) else { return any() };
        let own = format!("{AT}{}", self.take(schema));
        let delivered = json!({ "allOf": [{ "$ref": own }, { "$ref": format!("{AT}Event") }] });
        let given = schema.document.get("examples").and_then(|all| all.get(0)).cloned();
        json!({ "schema": delivered, "example": given.map_or_else(example, as_delivered) })
    }

    /// All that were asked for, and those that are always there.
    pub(super) fn schemas(self) -> Map<String, Value> {
        let mut all = self.schemas;
        all.insert("Event".into(), event());
        all.insert("Problem".into(), super::parts::problem());
        all
    }

    /// Where the schema stands among the components.
    fn take(&mut self, schema: &Schema) -> String {
        if let Some(name) = self.names.get(&schema.uri) {
            return name.clone();
        }
        let legal = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '.' };
        let mut name: String = schema.uri.trim_start_matches('/').chars().map(legal).collect();
        while self.schemas.contains_key(&name) || matches!(&*name, "" | "Event" | "Problem") {
            name.push_str(".other");
        }
        let mut document = (*schema.document).clone();
        moved(&mut document, &format!("{AT}{name}"));
        self.schemas.insert(name.clone(), document);
        self.names.insert(schema.uri.clone(), name.clone());
        name
    }
}

/// The gateway says in each event where it stood.
fn as_delivered(mut event: Value) -> Value {
    let place = &example()["meta"];
    if let Some(meta) = event.get_mut("meta").and_then(Value::as_object_mut) {
        for field in ["topic", "partition", "offset"] {
            meta.insert(field.to_owned(), place[field].clone());
        }
    }
    event
}

/// What every event has, whatever its stream.
fn event() -> Value {
    json!({
        "description": "A record's value, as it was written, with its place in `meta`.",
        "type": "object", "required": ["meta"],
        "properties": {
            "meta": {
                "type": "object", "required": ["topic", "partition", "offset"],
                "properties": {
                    "topic": { "type": "string", "description": "The topic it stood in." },
                    "partition": { "type": "integer", "minimum": 0 },
                    "offset": { "type": "integer", "minimum": 0 },
                    "key": { "type": "string", "description": "The record's key, if it has one." },
                },
            },
        },
    })
}

/// A document that now stands at `at`: its references to itself go there, those to other documents
/// are kept as words, its dialect is OpenAPI's, and no part of it has a name of its own.
fn moved(schema: &mut Value, at: &str) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(|one| moved(one, at)),
        Value::Object(members) => {
            for (key, instead) in [("$schema", "x-schema"), ("$id", "x-id")] {
                // A text: fields of these names have schemas, which are none.
                if members.get(key).is_some_and(Value::is_string)
                    && let Some(text) = members.remove(key)
                {
                    members.insert(instead.to_owned(), text);
                }
            }
            match members.get("$ref").and_then(Value::as_str) {
                Some(own) if own.starts_with('#') => {
                    let own = format!("{at}{}", &own[1..]);
                    members.insert("$ref".into(), own.into());
                }
                Some(other) => {
                    let other = Value::from(other);
                    members.remove("$ref");
                    members.insert("x-ref".into(), other);
                }
                None => {}
            }
            // Not what merely looks like a schema.
            let inside = |key: &str| !matches!(key, "examples" | "enum" | "const" | "default");
            members.iter_mut().filter(|(key, _)| inside(key)).for_each(|(_, v)| moved(v, at));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_moved_refers_to_itself_where_it_stands_now() {
        let mut schema = json!({
            "$schema": "x", "$id": "/a/1.0.0",
            "properties": {
                "a": { "$ref": "#/definitions/b", "$id": "/b" },
                "$id": { "type": "string" }, "c": { "$ref": "/other/1.0.0#/x" },
                "d": { "enum": [{ "$ref": "#/no" }], "items": [{ "$ref": "#" }] },
            },
        });
        moved(&mut schema, "#/components/schemas/a");
        const AT_A: &str = "#/components/schemas/a";
        let expected = json!({
            "x-schema": "x", "x-id": "/a/1.0.0",
            "properties": {
                "a": { "$ref": "#/components/schemas/a/definitions/b", "x-id": "/b" },
                "$id": { "type": "string" },
                "c": { "x-ref": "/other/1.0.0#/x" },
                "d": { "enum": [{ "$ref": "#/no" }], "items": [{ "$ref": AT_A }] },
            },
        });
        assert_eq!(schema, expected);
    }
}
