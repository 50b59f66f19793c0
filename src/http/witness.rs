//! The line that a request for a stream leaves in the log, while an operator wants to see them.
//!
//! What clients send is hostile: it is cut here, and escaped by the log.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use super::Front;
use super::middleware::STREAMS_AT;
use super::problem::AppError;
use super::stream::peer;
use crate::gate::{SeatNumber, cut};
use crate::telemetry::CONNECTIONS;

/// What has come out about a request so far.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// Whose it is; a proxy's peer says nothing of it.
    pub(super) address: Option<IpAddr>,
    /// The stream that it has opened.
    pub(super) session: Option<SeatNumber>,
}

impl Witness {
    /// Says how the request was answered, if connections are logged now.
    pub(super) fn tell(&self, front: &Front, head: &Parts, outcome: &Result<Response, AppError>) {
        if !front.gate.connection_log().takes_a_line() {
            return;
        }
        let (status, reason) = match outcome {
            Ok(response) => (response.status(), "opened"),
            Err(error) => (error.status(), error.reason()),
        };
        let peer = peer(head).ok();
        let names = head.uri.path().strip_prefix(STREAMS_AT).unwrap_or_default();
        let names: Vec<u8> = percent_decode_str(names).collect();
        let agent = head.headers.get(header::USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
        tracing::info!(
            target: CONNECTIONS,
            session = self.session,
            address = self.address.or(peer.map(|peer| peer.ip())).map(tracing::field::display),
            peer = peer.map(tracing::field::display),
            agent = cut(agent),
            streams = cut(&names),
            status = status.as_u16(),
            reason,
            "stream asked for"
        );
    }
}
