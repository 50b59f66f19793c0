//! The OpenAPI document: what can be asked for, for programs. UIs read the names of all streams at
//! `paths['/v2/stream/{streams}'].get.parameters[0].schema.items.enum`.

use serde_json::{Map, Value, json};

use super::Settings;
use super::info::VERSION;
use crate::catalog::Catalog;

/// The whole document.
pub(super) fn document(catalog: &Catalog, settings: &Settings) -> Value {
    let mut names = Vec::new();
    let mut paths = Map::new();
    for stream in catalog.streams() {
        names.push(Value::from(&*stream.name));
        let topics = stream.topics.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut get = operation(&stream.description, Vec::new());
        get["x-topics"] = json!(topics);
        paths.insert(format!("/v2/stream/{}", stream.name), json!({ "get": get }));
        for alias in &stream.aliases {
            let mut get = operation(&stream.description, Vec::new());
            get["x-alias-of"] = json!(*stream.name);
            paths.insert(format!("/v2/stream/{alias}"), json!({ "get": get }));
        }
    }
    names.extend(catalog.streams().flat_map(|s| s.aliases.iter().map(|a| Value::from(&**a))));
    let streams = json!({
        "name": "streams", "in": "path", "required": true, "style": "simple", "explode": false,
        "description": "Names or aliases of streams, comma separated.",
        "schema": { "type": "array", "minItems": 1, "items": { "type": "string", "enum": names } },
    });
    let composed = operation("One or more streams as one.", vec![streams]);
    paths.insert("/v2/stream/{streams}".into(), json!({ "get": composed }));
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Tidegate", "version": VERSION, "description": settings.description,
        },
        "paths": paths,
    })
}

fn operation(summary: &str, mut parameters: Vec<Value>) -> Value {
    let text = json!({ "type": "string" });
    let word = |word: &str| json!({ "type": "string", "enum": [word] });
    let mut parameter = |name: &str, place: &str, schema: Value, description: &str| {
        parameters.push(json!({
            "name": name, "in": place, "schema": schema, "description": description,
        }));
    };
    parameter("since", "query", text.clone(), "Start here: ISO 8601, or milliseconds since 1970.");
    parameter("id", "query", word("first"), "Say the position before the first event.");
    parameter("gap", "query", word("event"), "Tell gaps as events too.");
    parameter("Last-Event-ID", "header", text, "Resume here: the `id` of the last event seen.");
    json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "The stream; it does not end by itself.",
                "content": { "text/event-stream": {}, "application/x-ndjson": {} },
            },
            "default": {
                "description": "Why there is no stream (RFC 9457).",
                "content": { "application/problem+json": {} },
            },
        },
    })
}
