//! Why a request may not come in: every reason that there is.

use std::sync::Arc;

use super::client::NoClient;

/// Why a request was refused. One word each, the same in log, metric and answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be said who the client is.
    NoClient(NoClient),
    /// The client is blocked; what the operator gave as the reason, if anything.
    Blocked(Option<Arc<str>>),
    /// The client holds its limit.
    ClientLimit {
        /// How many it holds.
        held: u32,
        /// How many it may.
        limit: u32,
    },
    /// The client opens streams too fast.
    Rate {
        /// When the next one is due, in s.
        wait_s: u32,
    },
    /// This host is going down.
    Draining,
    /// This host holds as many streams as it may, and nobody far more than this client.
    Full,
    /// The source cannot be reached, or did not fix the start in time.
    SourceUnavailable,
    /// As many feeds as may exist do.
    Feeds,
    /// The client has started as many feeds as it may.
    ClientFeeds {
        /// How many of them still exist.
        held: u32,
        /// How many may.
        limit: u32,
    },
    /// The client starts feeds too fast.
    FeedRate {
        /// When the next one is due, in s.
        wait_s: u32,
    },
}

impl Refusal {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoClient(NoClient::UnknownToken) => "unknown_token",
            Self::NoClient(_) => "no_client",
            Self::Blocked(_) => "blocked",
            Self::ClientLimit { .. } => "client_limit",
            Self::Rate { .. } => "rate",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::SourceUnavailable => "source_unavailable",
            Self::Feeds => "feeds",
            Self::ClientFeeds { .. } => "client_feeds",
            Self::FeedRate { .. } => "feed_rate",
        }
    }
}
