//! The OpenAPI document (3.1): everything that can be asked for, for programs; `documentation`
//! shows it to people. UIs read the names of all streams at
//! `paths['/v2/stream/{streams}'].get.parameters[0].schema.items.enum`.
//!
//! Here: the paths. `parts` has what they share, `events` what the streams' events look like.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::Front;
use super::info::VERSION;
use crate::catalog::Stream;

mod events;
mod parts;

use events::Events;

/// What a name in a path cannot have as it is, or not where people copy it from (HTML, a shell);
/// braces would be a part that varies.
const NAME: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'&')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The whole document.
pub(super) fn document(front: &Front) -> Value {
    let (mut events, schemas) = (Events::default(), front.schemas.now());
    let mut paths = Map::new();
    paths.insert("/v2/stream/{streams}".into(), json!({ "get": composed(front) }));
    for stream in front.catalog.now().streams() {
        let event = events.of(stream, &schemas);
        for name in [&stream.name].into_iter().chain(&stream.aliases) {
            let path = format!("/v2/stream/{}", utf8_percent_encode(name, NAME));
            paths.insert(path, json!({ "get": of_stream(name, stream, &event) }));
        }
    }
    paths.insert("/_info".into(), json!({ "get": parts::info() }));
    paths.extend(front.settings.other_paths.clone());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate", "version": VERSION, "description": front.settings.description,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "streams", "description": "Events as they happen, and those of the past." },
            { "name": "intake", "description": "Events in, where the operator allows it." },
            { "name": "service", "description": "About this service." },
        ],
        // A token is nobody's duty: it gives a client a budget of its own.
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "From the operator; it counts by itself, whatever the address.",
                },
            },
            "parameters": parts::parameters(),
            "headers": parts::headers(),
            "responses": parts::errors(),
            "schemas": events.schemas(),
        },
    })
}

/// Several streams as one.
fn composed(front: &Front) -> Value {
    let catalog = front.catalog.now();
    let aliases = catalog.streams().flat_map(|s| &s.aliases);
    let names = catalog.streams().map(|s| &s.name).chain(aliases);
    let names: Vec<Value> = names.map(|name| Value::from(&**name)).collect();
    let first = catalog.streams().next();
    let streams = json!({
        "name": "streams", "in": "path", "required": true, "style": "simple", "explode": false,
        "description": "Names or aliases of streams, comma separated; exact, in any order. A name \
                        given twice, or with its alias, gives each event once.",
        "schema": { "type": "array", "minItems": 1, "items": { "type": "string", "enum": names } },
        "example": first.map_or_else(Vec::new, |stream| vec![&*stream.name]),
    });
    let mut get = operation("One or more streams as one", "readStreams", &events::any());
    get["description"] = parts::HOW.into();
    if let Some(parameters) = get["parameters"].as_array_mut() {
        parameters.insert(0, streams);
    }
    get
}

fn of_stream(name: &str, stream: &Stream, event: &Value) -> Value {
    let mut description = stream.description.clone();
    let mut get = operation(&format!("{name} events"), &format!("read:{name}"), event);
    if name != &*stream.name {
        description += &format!("\n\n(Another name of the stream {}.)", stream.name);
        get["x-alias-of"] = json!(*stream.name);
    }
    get["description"] = description.trim_start().into();
    get["x-topics"] = stream.topics.iter().map(ToString::to_string).collect();
    if let Some(schema) = &stream.schema {
        get["x-schema"] = json!(schema);
    }
    get
}

/// `GET` of a stream. `event`: schema and example of its events.
fn operation(summary: &str, id: &str, event: &Value) -> Value {
    let mut responses = parts::of_a_stream();
    let parsed = json!({ "schema": event["schema"], "example": event["example"] });
    let content = json!({
        "text/event-stream": parsed, "application/json": parsed, "application/x-ndjson": parsed,
    });
    responses.insert(
        "200".into(),
        json!({
            "description": "The stream; it ends where the server or you end it. As Server-Sent \
                            Events each event's `data` is what the schema says; as JSON each line.",
            "headers": { "x-stream-gap": { "$ref": "#/components/headers/Gap" } },
            "content": content,
        }),
    );
    let parameters: Vec<Value> = parts::parameters()
        .keys()
        .map(|p| json!({ "$ref": format!("#/components/parameters/{p}") }))
        .collect();
    json!({
        "summary": summary, "operationId": id, "tags": ["streams"],
        "parameters": parameters, "responses": responses,
    })
}
