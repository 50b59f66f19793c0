//! What a configuration can take of memory at worst.

use super::Config;
use crate::limits;

impl Config {
    fn heads_bytes(&self) -> u64 {
        let connections = match self.limits.connections {
            0 => limits::CONNECTIONS_MAX as u64,
            connections => connections,
        };
        connections * limits::CONNECTION_BUFFER_BYTES_MAX as u64
    }

    /// The memory that this configuration can take at worst, by part, in bytes.
    #[must_use]
    pub fn worst_case_memory(&self) -> Vec<(&'static str, u64)> {
        let batch = limits::BATCH_BYTES_MAX as u64;
        let encoder = limits::ENCODER_BYTES_MAX;
        let of_http2 = u64::from(limits::H2_STREAMS_MAX)
            * (limits::H2_SEND_BYTES_MAX + 2 * limits::H2_PIECE_BYTES_MAX) as u64;
        vec![
            ("tails (records and their lines)", self.limits.tail_bytes),
            ("history cache", self.limits.history_cache_bytes),
            ("feeds (rings)", self.limits.feeds * self.limits.ring_bytes),
            ("encoders", (limits::ENCODERS_MAX * encoder) as u64),
            ("compressed frames", limits::ENCODERS_MAX as u64 * self.limits.ring_bytes),
            ("range reads under way", (limits::HISTORY_READS_MAX * limits::CHUNK_BYTES_MAX) as u64),
            (
                "streams in catch-up (chunks)",
                self.limits.catchups * limits::CATCHUP_HELD_BYTES_MAX as u64,
            ),
            ("each live stream (its slot)", limits::SLOT_BYTES_MAX as u64),
            ("each stalled stream (the rest of one event)", self.limits.event_bytes),
            ("each stream (unsent, in the kernel)", self.limits.unsent_bytes),
            ("each stream over HTTP/2 or TLS (one batch)", batch),
            ("each HTTP/2 connection (what its streams wait to send)", of_http2),
            ("connections without a stream (heads)", self.heads_bytes()),
        ]
    }
}
