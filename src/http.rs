//! The HTTP front: what a request asks for, and how it is answered.
//!
//! ```text
//!  listen ─▶ hyper (request head) ─▶ middleware ─▶ router ─┬─ stream ─▶ gate ─▶ session
//!                                        ▲                 └─ info, documents, ui
//!                                        └── problem: every error, one shape
//! ```
//! Only this module knows routes. It knows no source, no feed and nothing of how a stream's bytes
//! come to be: the body of a stream is the session's from the first byte to the last.

use std::sync::Arc;

use crate::config::Compress;
use crate::gate::Gate;
use crate::health::Board;
use crate::metrics::Metrics;
use crate::session::Sessions;
use crate::{catalog, schemas};

mod documentation;
mod encoding;
mod fresh;
mod handover;
mod info;
pub mod listen;
mod middleware;
mod openapi;
pub mod problem;
mod router;
mod stream;
mod ui;
mod witness;

pub use router::router;

/// What the operator may change of the front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who gets a compressed stream without asking for one in the query.
    pub compress: Compress,
    /// Answer a recognised browser's 429 and 503 in a form that its `EventSource` survives.
    pub soft_refusals: bool,
    /// Serve the stream browser at `/v2/ui/`.
    pub ui: bool,
    /// For people, in `/_info` and the documentation.
    pub description: String,
    /// Where `/_info/home` leads.
    pub home: String,
    /// Paths of other parts' routes, as the OpenAPI document has them.
    pub other_paths: serde_json::Map<String, serde_json::Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            compress: Compress::Browsers,
            soft_refusals: true,
            ui: true,
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            home: "/?doc".to_owned(),
            other_paths: serde_json::Map::new(),
        }
    }
}

/// Everything that the routes need.
#[derive(Clone)]
pub struct Front {
    /// Which streams there are.
    pub catalog: catalog::Current,
    /// What their events look like.
    pub schemas: schemas::Current,
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// Opens streams.
    pub sessions: Arc<Sessions>,
    /// Where requests for streams that ask for nothing are counted. (What the gate refuses, it
    /// counts itself; what opens, the session.)
    pub metrics: Arc<Metrics>,
    /// How each stream is.
    pub health: Arc<Board>,
    /// What the operator chose.
    pub settings: Settings,
}
