//! `GET /v2/stream/{a,b}`: from a request's text to a session, and the head of the answer.
//!
//! The order of the checks is part of the contract: first who the client is, then what the text
//! says, then whether there is room, then whether a start can be had. Of the body it knows only
//! that it is one.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::handover::Takeable;
use super::middleware::STREAMS_AT;
use super::problem::AppError;
use super::witness::Witness;
use super::{Front, encoding};
use crate::feed::encode::Encoding;
use crate::gate::Refusal;
use crate::metrics::ByReason;
use crate::position::gap::{self, Gap};
use crate::position::{parse_last_event_id, parse_since};
use crate::session::{Framing, OpenRequest};

/// What the answer is called on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    EventStream,
    /// NDJSON under the name that the reference gives it.
    Json,
    Ndjson,
}

impl Format {
    /// Only the beginning of `Accept` counts: JSON that is named after `text/event-stream` is what
    /// some SSE clients send.
    fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
        let begins = |with: &str| {
            let head = accept.get(..with.len());
            head.is_some_and(|h| h.eq_ignore_ascii_case(with.as_bytes()))
        };
        if begins("application/json") {
            Self::Json
        } else if begins("application/x-ndjson") {
            Self::Ndjson
        } else {
            Self::EventStream
        }
    }

    fn framing(self) -> Framing {
        match self {
            Self::EventStream => Framing::Sse,
            Self::Json | Self::Ndjson => Framing::Ndjson,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::EventStream => "text/event-stream; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::Ndjson => "application/x-ndjson; charset=utf-8",
        })
    }
}

/// `GET`: opens the stream.
pub(super) async fn open(front: &Front, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let mut witness = Witness::default();
    let opened = start(front, &mut witness, &head).await;
    witness.tell(front, &head, &opened);
    let error = match opened {
        Ok(response) => return response,
        Err(error) => error,
    };
    if let Some(reason) = error.reason_in_the_request() {
        front.metrics.refusals.get_or_create(&ByReason { reason }).inc();
    }
    if front.settings.soft_refusals && error.passes() && is_browser(&head.headers) {
        return error.softly();
    }
    error.into_response()
}

async fn start(front: &Front, witness: &mut Witness, head: &Parts) -> Result<Response, AppError> {
    // First of all what the gate says of the client alone: 400 (a trusted proxy does not say who it
    // is), 403 (blocked), 429 (it holds its limit).
    let client = front.gate.identify(peer(head)?.ip(), &head.headers)?;
    witness.address = Some(client.address);
    let knock = front.gate.knock(client).await?;
    let (request, format) = read(front, head)?;
    let encoding = request.encoding;
    let agent = head.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
    let permit = knock.enter(agent)?;
    let number = permit.number();
    let opened = front.sessions.open(request, permit).await.map_err(AppError::Open)?;
    witness.session = Some(number);
    let (takeable, body) = Takeable::new(opened.body);
    let mut response = answer(format, encoding, &opened.gaps, body);
    response.extensions_mut().insert(takeable);
    // A connection that has carried a stream carries nothing after it.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

/// `HEAD`: the head that `GET` would have, at once. Takes no slot and fixes no start, so what only
/// those can find out (404, gaps, most 503s) is not said.
pub(super) fn describe(front: &Front, request: Request) -> Result<Response, AppError> {
    let (head, _) = request.into_parts();
    front.gate.identify(peer(&head)?.ip(), &head.headers)?;
    let (request, format) = read(front, &head)?;
    if front.gate.is_draining() {
        return Err(front.gate.refused(Refusal::Draining).into());
    }
    // A body of unknown length: nothing must be said about the length of the stream.
    let nothing = futures_util::stream::empty::<Result<bytes::Bytes, std::convert::Infallible>>();
    Ok(answer(format, request.encoding, &[], Body::from_stream(nothing)))
}

/// Whose connection it is.
pub(super) fn peer(head: &Parts) -> Result<SocketAddr, AppError> {
    let known = head.extensions.get::<ConnectInfo<SocketAddr>>();
    known.map(|ConnectInfo(peer)| *peer).ok_or(AppError::Internal)
}

fn answer(format: Format, encoding: Option<Encoding>, gaps: &[Gap], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        let coding = HeaderValue::from_static(encoding.as_str());
        headers.insert(header::CONTENT_ENCODING, coding);
    }
    let gaps = gap::header_value(gaps).map(HeaderValue::try_from);
    if let Some(Ok(gaps)) = gaps {
        headers.insert("x-stream-gap", gaps);
    }
    response
}

/// Everything that the text of a request can be refused for, in the contract's order.
fn read(front: &Front, head: &Parts) -> Result<(OpenRequest, Format), AppError> {
    let Parts { uri, headers, .. } = head;
    let compress = front.settings.compress;
    let names = uri.path().strip_prefix(STREAMS_AT).unwrap_or_default();
    let names = percent_decode_str(names).decode_utf8().map_err(|_| AppError::BadPath)?;
    let catalog = front.catalog.now();
    let selection = catalog
        .select(names.split(','))
        .map_err(|unknown| AppError::UnknownStreams(unknown.to_string()))?;
    let query = Asked::in_query(uri);
    // Empty is absent: clients write `?since=` where they have none.
    let since = match query.since.as_deref() {
        None | Some("") => None,
        Some(text) => Some(parse_since(text).map_err(|e| AppError::BadSince(e.to_string()))?),
    };
    let last_event_id = match last_event_id(headers) {
        None => None,
        Some(bytes) => {
            parse_last_event_id(bytes).map_err(|e| AppError::BadPosition(e.to_string()))?
        }
    };
    let selection = match &last_event_id {
        Some(id) => catalog.widened(selection, id.topics()),
        None => selection,
    };
    let format = Format::accepted(headers);
    let framing = format.framing();
    let id_first = framing == Framing::Sse && (query.id_first || is_browser(headers));
    let gap_events = query.gap_events;
    let encoding = encoding::chosen(compress, query.encoding.as_deref(), headers);
    let request =
        OpenRequest { selection, last_event_id, since, framing, encoding, id_first, gap_events };
    Ok((request, format))
}

/// The first `Last-Event-ID` that is not empty. Nobody sends two on purpose; where a proxy has
/// doubled the line or a client library has added its own empty one, the first with a text is
/// what was meant. (Joined with a comma, as lists are, they could never be read.)
fn last_event_id(headers: &HeaderMap) -> Option<&[u8]> {
    let all = headers.get_all("last-event-id").iter().map(HeaderValue::as_bytes);
    all.map(<[u8]>::trim_ascii).find(|text| !text.is_empty())
}

/// What `?…` asks for; unknown keys are passed over, of a repeated one the first counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    since: Option<String>,
    encoding: Option<String>,
    id_first: bool,
    gap_events: bool,
}

impl Asked {
    fn in_query(uri: &Uri) -> Self {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        // Any text is a list of pairs: a broken `%` stays as it is.
        let Query(pairs) = pairs.unwrap_or_default();
        let first = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        Self {
            since: first("since").map(str::to_owned),
            encoding: first("encoding").map(str::to_owned),
            id_first: first("id") == Some("first"),
            gap_events: first("gap") == Some("event"),
        }
    }
}

/// Whether the client is a browser's `EventSource`, which gets its id before the first event. Over
/// plain HTTP to another host Chromium sends neither `Origin` nor `Sec-Fetch-Mode`.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let is = |name, test: fn(&[u8]) -> bool| {
        headers.get(name).is_some_and(|value| test(value.as_bytes().trim_ascii()))
    };
    is(header::ACCEPT, |accept| accept.eq_ignore_ascii_case(b"text/event-stream"))
        && (headers.contains_key("sec-fetch-mode")
            || headers.contains_key(header::ORIGIN)
            || is(header::USER_AGENT, |agent| agent.starts_with(b"Mozilla/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Offset, TopicName, TopicPartition};
    use crate::position::gap::GapReason;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (name.parse().expect("a name"), HeaderValue::from_str(value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_stream_says_what_it_is_and_what_it_could_not_give() {
        let gap = Gap {
            tp: TopicPartition::new(TopicName::new("eqiad.a").expect("legal"), 0),
            from: Offset(10),
            to: Some(Offset(50)),
            reason: GapReason::Retention,
        };
        let response = answer(Format::EventStream, None, &[gap], Body::empty());
        let said = |name: &str| response.headers().get(name).map(|v| v.to_str().expect("ASCII"));
        assert_eq!(said("x-stream-gap"), Some(r#""eqiad.a";p=0;from=10;to=50;reason=retention"#));
        assert_eq!(said("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(said("cache-control"), Some("no-cache"));
        let whole = answer(Format::Json, None, &[], Body::empty());
        assert!(!whole.headers().contains_key("x-stream-gap"));
    }

    #[test]
    fn only_the_beginning_of_accept_chooses_the_format() {
        let of = |accept: &str| Format::accepted(&headers(&[("accept", accept)]));
        assert_eq!(of("application/json"), Format::Json);
        assert_eq!(of("Application/JSON; q=0.9, text/event-stream"), Format::Json);
        assert_eq!(of("application/x-ndjson"), Format::Ndjson);
        assert_eq!(of("text/event-stream, application/json"), Format::EventStream);
        assert_eq!(of("*/*"), Format::EventStream);
        assert_eq!(of(""), Format::EventStream);
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::EventStream);
    }

    #[test]
    fn a_browser_is_known_by_accept_and_one_more_sign() {
        let sse = ("accept", "text/event-stream");
        assert!(is_browser(&headers(&[sse, ("sec-fetch-mode", "cors")])));
        assert!(is_browser(&headers(&[sse, ("origin", "https://a.example")])));
        assert!(is_browser(&headers(&[sse, ("user-agent", "Mozilla/5.0 (X11)")])));
        assert!(!is_browser(&headers(&[sse, ("user-agent", "curl/8.5.0")])));
        assert!(!is_browser(&headers(&[sse])));
        assert!(!is_browser(&headers(&[("accept", "*/*"), ("user-agent", "Mozilla/5.0")])));
        assert!(!is_browser(&headers(&[("user-agent", "Mozilla/5.0")])));
    }

    #[test]
    fn the_first_id_that_says_something_counts() {
        let mut two = headers(&[("last-event-id", " ")]);
        assert_eq!(last_event_id(&two), None);
        two.append("last-event-id", HeaderValue::from_static("[1]"));
        two.append("last-event-id", HeaderValue::from_static("[2]"));
        assert_eq!(last_event_id(&two), Some(&b"[1]"[..]));
    }

    #[test]
    fn a_query_is_read_whatever_it_says() {
        let of = |uri: &'static str| Asked::in_query(&Uri::from_static(uri));
        let asked = of("/x?a&since=2026-01-01T00:00:00+00:00&gap=event&id=first&since=2");
        let since = Some("2026-01-01T00:00:00 00:00".to_owned());
        assert_eq!(asked, Asked { since, encoding: None, id_first: true, gap_events: true });
        assert_eq!(of("/x?since=%zz%ff").since.as_deref(), Some("%zz\u{fffd}"));
        assert_eq!(of("/x?id=last&gap"), Asked::default());
        assert_eq!(of("/x"), Asked::default());
    }
}
