//! How many descriptors there are, and who may have them.
//!
//! ```text
//!  0 ─ the process, its source and log, the admin port ─┬─ streams ─┬─ other connections ─┬─ spare
//!                     RESERVED, less the spare          └───── what an operator may say ──┘
//! ```
//! The limit is looked at once, at the start, and raised as far as the system lets us. Nothing that
//! comes from outside can reach it: streams and connections are bounded by it, and when sockets
//! that are being closed come on top, the listener sees it by the number that it is given.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::LimitsConfig;
use crate::limits::{CONNECTIONS_CROWD, CONNECTIONS_MAX};

/// Descriptors that are kept for the source, the log, the admin port and the process itself.
const RESERVED: u64 = 256;
/// Of these, what stays free even while the listener makes room.
const SPARE: u64 = 64;
/// More are not counted on, whatever the system says.
const MOST: u64 = 10_000_000;

/// What may be open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) streams: usize,
    /// What that may be raised to while it runs.
    pub(super) streams_most: u64,
    /// Connections without a stream.
    pub(super) connections: usize,
    /// The first descriptor that no connection may have.
    pub(super) descriptors_max: u64,
}

/// Raises the limit, and shares out what there is: what is configured, and never more than the
/// descriptors allow.
pub(super) fn share_out(limits: &LimitsConfig) -> anyhow::Result<Room> {
    let descriptors = raised();
    let room = shared_out(descriptors, limits.streams, limits.connections);
    let room = room.ok_or_else(|| {
        anyhow::anyhow!("{descriptors} descriptors are too few; {} are needed", RESERVED + 2)
    })?;
    if limits.streams > room.streams as u64 {
        let (configured, room) = (limits.streams, room.streams);
        tracing::warn!(configured, room, "limits.streams is more than the descriptors allow");
    }
    if limits.connections > room.connections as u64 {
        let (configured, room) = (limits.connections, room.connections);
        tracing::warn!(configured, room, "limits.connections is more than the descriptors allow");
    }
    Ok(room)
}

/// The limit, as high as the system lets us have it.
fn raised() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let highest = Rlimit { current: limit.maximum, ..limit };
    let limit = match setrlimit(Resource::Nofile, highest) {
        Ok(()) => highest,
        Err(error) => {
            tracing::warn!(%error, "the limit of descriptors stays as it is");
            limit
        }
    };
    limit.current.unwrap_or(MOST).min(MOST)
}

/// 0 streams: as many as fit; 0 connections: a twelfth, so that nine of ten descriptors are for
/// streams, but enough for a crowd to come where there are few. `None`: there is no room for any.
fn shared_out(descriptors: u64, streams: u64, connections: u64) -> Option<Room> {
    let all = descriptors.saturating_sub(RESERVED);
    let asked = |asked: u64, default: u64, most: u64| match asked {
        0 => default.min(most),
        asked => asked.min(most),
    };
    let connections_most = (all / 4).max(1).min(CONNECTIONS_MAX as u64);
    let connections = asked(connections, (all / 12).max(CONNECTIONS_CROWD), connections_most);
    let streams_most = all.saturating_sub(connections);
    let streams = asked(streams, streams_most, streams_most);
    let size = |n| usize::try_from(n).unwrap_or(usize::MAX);
    (streams > 0).then(|| Room {
        streams: size(streams),
        streams_most,
        connections: size(connections),
        descriptors_max: descriptors - SPARE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(descriptors: u64, streams: u64, connections: u64) -> Option<(usize, usize, u64)> {
        let room = shared_out(descriptors, streams, connections)?;
        let all = (room.streams + room.connections) as u64;
        assert!(all + RESERVED <= descriptors, "{room:?}");
        Some((room.streams, room.connections, room.descriptors_max))
    }

    #[test]
    fn streams_and_connections_share_what_the_process_does_not_need() {
        assert_eq!(room(400, 0, 0), Some((108, 36, 336)));
        assert_eq!(room(400, 0, 10), Some((134, 10, 336)));
        assert_eq!(room(400, 50, 1000), Some((50, 36, 336)));
        assert_eq!(room(20_000, 0, 0), Some((18_099, 1645, 19_936)));
        assert_eq!(room(20_000, 0, 5000), Some((14_808, 4936, 19_936)));
        assert_eq!(room(1_048_576, 0, 0), Some((1_040_128, 8192, 1_048_512)));
        assert_eq!(room(258, 0, 0), Some((1, 1, 194)));
        assert_eq!((room(257, 0, 0), room(0, 0, 0)), (None, None));
    }
}
