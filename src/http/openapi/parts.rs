//! What the paths of the document share: parameters, headers, and every error with an example that
//! the code for errors itself has written.

use serde_json::{Map, Value, json};

use crate::gate::Refusal;
use crate::gate::client::NoClient;
use crate::http::problem::AppError;
use crate::limits::PARTITIONS_PER_REQUEST_MAX;
use crate::session::OpenError;

/// How a stream is read, in a few words.
pub(super) const HOW: &str = "Events come as Server-Sent Events, or with \
    `Accept: application/json` as one JSON object a line. The first bytes are `:ok`; a comment \
    line comes when nothing else does. Each event's `id` is a position: sent back as \
    `Last-Event-ID` the stream goes on right after that event, without a gap and without a repeat. \
    `HEAD` gives the headers at once.";

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What every stream can be asked with.
pub(super) fn parameters() -> Map<String, Value> {
    let position = r#"[{"topic":"eqiad.mediawiki.page-create","partition":0,"offset":812,"#
        .to_owned()
        + r#""timestamp":1790000000000,"log":"k3Zq9A"}]"#;
    map(json!({
        "LastEventID": {
            "name": "Last-Event-ID", "in": "header",
            "description": "Go on right after the event that had this `id`. An array with an \
                            object for each partition: `offset` is the next to read; `timestamp` \
                            alone, and an array of topics, are taken too. Wins over `since`.",
            "schema": { "type": "string" }, "example": position,
        },
        "since": {
            "name": "since", "in": "query",
            "description": "Begin at this time: ISO 8601, or milliseconds since 1970. Older than \
                            what is kept: at the earliest kept; in the future: now.",
            "schema": { "type": "string" },
            "examples": {
                "iso": { "value": "2026-09-21T14:13:32Z" }, "ms": { "value": "1790000000000" },
            },
        },
        "encoding": {
            "name": "encoding", "in": "query",
            "description": "Compressed, whatever `Accept-Encoding` says. Browsers are by default.",
            "schema": { "type": "string", "enum": ["gzip", "deflate", "zstd", "identity"] },
        },
        "id": {
            "name": "id", "in": "query",
            "description": "Say the position before the first event too. (Browsers get it anyway.)",
            "schema": { "type": "string", "enum": ["first"] },
        },
        "gap": {
            "name": "gap", "in": "query",
            "description": "Tell what cannot be given as `event: gap` too, not only in the header.",
            "schema": { "type": "string", "enum": ["event"] },
        },
    }))
}

pub(super) fn headers() -> Map<String, Value> {
    map(json!({
        "Gap": {
            "description": "What cannot be given any more: a structured field list (RFC 9651).",
            "schema": { "type": "string" },
            "example": "\"eqiad.mediawiki.page-create\";p=0;from=10;to=50;reason=retention",
        },
        "RetryAfter": {
            "description": "Seconds after which asking again makes sense.",
            "schema": { "type": "integer", "minimum": 1 },
        },
    }))
}

/// The body of every error (RFC 9457).
pub(in crate::http) fn problem() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "description": "Why there is no stream (RFC 9457).",
        "type": "object",
        "required": ["status", "type", "title", "detail", "method", "uri"],
        "properties": {
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "type": text("One word for programs."),
            "title": text("The same for people."),
            "detail": text("What was found, and what is accepted."),
            "method": text("Of the request."),
            "uri": text("Of the request."),
        },
    })
}

/// The errors of a stream by status; each is a component.
const ERRORS: [(&str, &str); 9] = [
    ("400", "BadRequest"),
    ("401", "Unauthorized"),
    ("403", "Forbidden"),
    ("404", "NotFound"),
    ("414", "UriTooLong"),
    ("429", "TooManyRequests"),
    ("431", "HeadTooLarge"),
    ("500", "Internal"),
    ("503", "Unavailable"),
];

/// References to the errors that a stream's request may meet.
pub(super) fn of_a_stream() -> Map<String, Value> {
    let refer = |name| json!({ "$ref": format!("#/components/responses/{name}") });
    ERRORS.iter().map(|(status, name)| ((*status).to_owned(), refer(name))).collect()
}

/// The errors themselves.
pub(super) fn errors() -> Map<String, Value> {
    let stream = "/v2/stream/recentchange";
    ERRORS
        .iter()
        .map(|(_, name)| {
            let (description, of) = cases(name);
            let mut examples = Map::new();
            for (error, uri) in of {
                let mut key = error.reason().to_owned();
                while examples.contains_key(&key) {
                    key.push('+');
                }
                let value = error.example(uri.unwrap_or(stream));
                examples.insert(key, json!({ "value": value }));
            }
            let mut response = json!({
                "description": description,
                "content": {
                    "application/problem+json": {
                        "schema": { "$ref": "#/components/schemas/Problem" },
                        "examples": examples,
                    },
                },
            });
            if matches!(*name, "TooManyRequests" | "Unavailable") {
                response["headers"] =
                    json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
            }
            ((*name).to_owned(), response)
        })
        .collect()
}

type Case = (AppError, Option<&'static str>);

/// What is said of a status, and the errors that have it, with the request where it shows.
fn cases(name: &str) -> (&'static str, Vec<Case>) {
    let error = |error: AppError| (error, None);
    let refused = |refusal: Refusal| (AppError::Refused(refusal), None);
    match name {
        "BadRequest" => (
            "A stream that there is not, a time or a position that cannot be read. Asking again \
             for the same is of no use.",
            vec![
                (AppError::UnknownStreams("Invalid streams: x".into()), Some("/v2/stream/x")),
                (
                    AppError::BadSince(
                        crate::position::parse_since("x")
                            .err()
                            .map_or_else(String::new, |error| error.to_string()),
                    ),
                    Some("/v2/stream/recentchange?since=x"),
                ),
                error(AppError::BadPosition(
                    crate::position::parse_last_event_id(b"x")
                        .err()
                        .map_or_else(String::new, |error| error.to_string()),
                )),
                error(AppError::Open(OpenError::TooManyPartitions {
                    found: PARTITIONS_PER_REQUEST_MAX + 1,
                })),
                error(AppError::BadPath),
            ],
        ),
        "Unauthorized" => (
            "A token that is not known here.",
            vec![refused(Refusal::NoClient(NoClient::UnknownToken))],
        ),
        "Forbidden" => ("Your address has been blocked.", vec![refused(Refusal::Blocked(None))]),
        "NotFound" => (
            "The position names a topic that these streams do not have; or there is no such path.",
            vec![
                error(AppError::Open(OpenError::TopicNotAvailable("eqiad.other".into()))),
                (AppError::NoSuchRoute, Some("/v3")),
            ],
        ),
        "UriTooLong" => ("Path and query are too long.", vec![error(AppError::UriTooLong)]),
        "TooManyRequests" => (
            "You hold as many streams as you may, or open them too fast. (A recognised browser is \
             told by a stream with `event: refused`, which it survives.)",
            vec![
                refused(Refusal::ClientLimit { held: 64, limit: 64 }),
                refused(Refusal::Rate { wait_s: 1 }),
                refused(Refusal::ClientFeeds { held: 32, limit: 32 }),
                refused(Refusal::FeedRate { wait_s: 1 }),
            ],
        ),
        "HeadTooLarge" => ("The head is too large.", vec![error(AppError::HeadTooLarge)]),
        "Internal" => ("The server made a mistake.", vec![error(AppError::Internal)]),
        _ => (
            "The host is full or goes down, or its source cannot be reached: said within a second.",
            vec![
                refused(Refusal::Full),
                refused(Refusal::Draining),
                refused(Refusal::SourceUnavailable),
                refused(Refusal::Feeds),
            ],
        ),
    }
}

pub(super) fn info() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "summary": "Name and version", "operationId": "info", "tags": ["service"],
        "responses": {
            "200": {
                "description": "What serves here.",
                "content": { "application/json": { "schema": {
                    "type": "object",
                    "properties": {
                        "name": text, "version": text, "description": text, "home": text,
                    },
                } } },
            },
        },
    })
}
