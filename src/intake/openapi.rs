//! The intake in the OpenAPI document: what it takes and what it answers. Whoever serves the
//! document asks for it, where there is an intake.

use axum::response::Response;
use futures_util::FutureExt;
use http::{Method, Uri};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};

use super::answer::{self, ACCEPTED, Asked, Outcome, Rejection};
use super::event::BadEvent;
use crate::event::{Offset, Partition, TopicName};
use crate::limits;
use crate::schemas::Misfit;
use crate::source::SinkError;

/// The intake's paths.
#[must_use]
pub fn paths() -> Map<String, Value> {
    let several = json!({ "type": "array", "minItems": 1, "items": event() });
    let post = json!({
        "summary": "Events in", "operationId": "sendEvents", "tags": ["intake"],
        "description": format!(
            "One event, an array of events, or one event a line. An event's stream is \
             `meta.stream`, its key `meta.key`, and its time `meta.dt`. `meta.id` and `meta.dt` \
             are put in where they are missing. What is acknowledged is durable. At most {} events \
             in {} bytes; no web page may write, so a request with `Origin` is refused.",
            limits::INTAKE_EVENTS_MAX,
            limits::INTAKE_BODY_BYTES_MAX,
        ),
        "parameters": parameters(),
        "requestBody": {
            "required": true,
            "content": {
                "application/json": {
                    "schema": { "oneOf": [event(), several] },
                    "example": { "meta": { "stream": "page-create" }, "page_title": "Tide" },
                },
                "application/x-ndjson": { "schema": event() },
            },
        },
        "responses": responses(),
    });
    Map::from_iter([("/v1/events".to_owned(), json!({ "post": post }))])
}

fn parameters() -> Value {
    json!([
        {
            "name": "stream", "in": "query", "schema": { "type": "string" },
            "description": "Only events of this stream are taken.",
        },
        {
            "name": "hasty", "in": "query",
            "schema": { "type": "string", "enum": ["true", "false"] },
            "description": "Do not wait until the events are durable.",
        },
        {
            "name": "X-Request-Id", "in": "header", "schema": { "type": "string" },
            "description": "Put into `meta.request_id` where that is missing.",
        },
    ])
}

fn event() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object", "required": ["meta"],
        "properties": {
            "meta": {
                "type": "object", "required": ["stream"],
                "properties": {
                    "stream": text("The name or an alias of a stream."),
                    "key": { "type": ["string", "null"], "description": "Decides the partition." },
                    "dt": text("When it happened (RFC 3339); else now counts."),
                },
            },
        },
    })
}

fn responses() -> Value {
    let mut all = Map::new();
    for (description, response) in answers() {
        let (head, body) = response.into_parts();
        let body = body.collect().now_or_never().and_then(Result::ok);
        let body = body.expect("it is in memory").to_bytes();
        let example: Value = serde_json::from_slice(&body).expect("every answer is JSON");
        let media_type = head.headers[http::header::CONTENT_TYPE].to_str().unwrap_or_default();
        let schema = match example.get("title") {
            Some(_) => json!({ "$ref": "#/components/schemas/Problem" }),
            None => results(),
        };
        let content = json!({ "schema": schema, "examples": { "one": { "value": example } } });
        let mut told = json!({ "description": description, "content": { media_type: content } });
        if head.headers.contains_key(http::header::RETRY_AFTER) {
            let header = json!({ "$ref": "#/components/headers/RetryAfter" });
            told["headers"] = json!({ "Retry-After": header });
        }
        all.insert(head.status.as_str().to_owned(), told);
    }
    Value::Object(all)
}

/// What is answered, by the code that answers, and what it means.
fn answers() -> Vec<(String, Response)> {
    let asked = Asked { method: Method::POST, uri: Uri::from_static("/v1/events") };
    let topic = || TopicName::new("eqiad.mediawiki.page-create").expect("legal");
    let taken = || Outcome::Appended(topic(), Ok((Partition(0), Offset(812))));
    let bad = || Outcome::Bad(BadEvent::NoStream);
    let misfit = || {
        let findings = ["`rev_id` is \"7\"; an integer is accepted", "`page_title` is missing"];
        Outcome::Bad(BadEvent::Misfit(Misfit {
            schema: "/mediawiki/revision/create/2.0.0".to_owned(),
            findings: findings.map(str::to_owned).into(),
            more: false,
        }))
    };
    let full = SinkError::Unavailable("embedded".into(), "the disk is full".into());
    let later = Outcome::Appended(topic(), Err(full));
    let of = |says: &str, outcomes| (says.to_owned(), answer::outcomes(&asked, outcomes));
    let why = |says: &str, why| (says.to_owned(), answer::rejected(&asked, &why));
    vec![
        of("All events are durable.", vec![taken()]),
        of(
            "All events are good (`hasty`): they will be written, and nobody waits for it.",
            vec![Outcome::Hasty],
        ),
        of("Some are; each result says its own.", vec![taken(), bad(), misfit()]),
        of("None is, and none would be if it were sent again.", vec![bad()]),
        why("Web pages may not write.", Rejection::Origin),
        why("Not with this method.", Rejection::Method),
        why("The body did not come in time.", Rejection::Slow),
        why("Too many events, or bytes.", Rejection::TooLarge),
        why(
            &format!("The body is something else; {ACCEPTED} is accepted."),
            Rejection::MediaType("text/plain".to_owned()),
        ),
        of(
            "None is now; later they may be taken. Without `Retry-After`: it is not known whether \
             some are, and sent again they may come twice.",
            vec![later],
        ),
    ]
}

fn results() -> Value {
    let number = json!({ "type": "integer" });
    let text = json!({ "type": "string" });
    json!({
        "type": "object", "required": ["taken", "results"],
        "properties": {
            "taken": number,
            "results": {
                "type": "array", "description": "In the order of the events.",
                "items": {
                    "type": "object", "required": ["status"],
                    "properties": {
                        "status": number, "type": text, "detail": text,
                        "errors": { "type": "array", "items": text },
                        "topic": text, "partition": number, "offset": number,
                    },
                },
            },
        },
    })
}
