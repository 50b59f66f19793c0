//! A decision as it is written: in the local file and in the control topic alike.

use serde::{Deserialize, Serialize};

use crate::config;
use crate::event::TimestampMs;
use crate::gate::blocks::{Change, Verdict, canonical};

/// The form that this version writes. Fields that it does not know are passed over.
pub(super) const VERSION: u32 = 1;

/// Text that is longer was not written by a gateway.
const TEXT_BYTES_MAX: usize = 4096;

/// One decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    version: u32,
    prefix: String,
    state: State,
    at_ms: i64,
    host: String,
    by: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    until_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Blocked,
    Removed,
}

impl From<&Change> for Written {
    fn from(change: &Change) -> Self {
        let (state, until_ms) = match change.verdict {
            Verdict::Blocked { until } => (State::Blocked, until.map(|until| until.0)),
            Verdict::Removed => (State::Removed, None),
        };
        Self {
            version: VERSION,
            prefix: change.prefix.to_string(),
            state,
            at_ms: change.at.0,
            host: change.host.to_string(),
            by: change.by.to_string(),
            reason: change.reason.as_deref().map(str::to_owned),
            until_ms,
        }
    }
}

impl Written {
    /// The decision.
    ///
    /// # Errors
    /// What was found and what is accepted.
    pub(super) fn read(self) -> Result<Change, String> {
        let Self { version, prefix, state, at_ms, host, by, reason, until_ms } = self;
        if version != VERSION {
            return Err(format!("has the version {version}; {VERSION} is accepted"));
        }
        let net = config::prefix(&prefix)
            .ok_or_else(|| format!("has the prefix \"{prefix:.100}\", which is none"))?;
        if canonical(net) != net {
            return Err(format!("has the prefix {net}; it has to be written {}", canonical(net)));
        }
        let texts = [Some(&host), Some(&by), reason.as_ref()];
        if texts.into_iter().flatten().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(format!("has a text of more than {TEXT_BYTES_MAX} bytes"));
        }
        let verdict = match state {
            State::Blocked => Verdict::Blocked { until: until_ms.map(TimestampMs) },
            State::Removed => Verdict::Removed,
        };
        Ok(Change {
            at: TimestampMs(at_ms),
            host: host.into(),
            verdict,
            prefix: net,
            by: by.into(),
            reason: reason.map(Into::into),
        })
    }
}
