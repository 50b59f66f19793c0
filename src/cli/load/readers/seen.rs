//! What was seen of all streams together.

use std::time::Instant;

use super::super::measure::{Tally, Times};

/// What was seen.
pub(in crate::cli::load) struct Seen {
    pub(in crate::cli::load) connect: Times,
    pub(in crate::cli::load) head: Times,
    pub(in crate::cli::load) first_byte: Times,
    pub(in crate::cli::load) first_event: Times,
    pub(in crate::cli::load) latency: Times,
    /// Of streams' first events only.
    pub(in crate::cli::load) first_latency: Times,
    pub(in crate::cli::load) wire_bytes: u64,
    pub(in crate::cli::load) payload_bytes: u64,
    /// Payload that was decoded (all, unless it is compressed), and what it is then.
    pub(in crate::cli::load) decoded_bytes: u64,
    pub(in crate::cli::load) inflated_bytes: u64,
    pub(in crate::cli::load) blocks: u64,
    /// Streams that were answered with another status than 200, by status.
    pub(in crate::cli::load) refused: Tally,
    /// Streams that never had a whole head, by reason.
    pub(in crate::cli::load) failed: Tally,
    /// Streams that the server ended with the last chunk.
    pub(in crate::cli::load) ended: u64,
    /// Streams that ended in another way.
    pub(in crate::cli::load) cut: u64,
    /// Streams that left by themselves.
    pub(in crate::cli::load) left: u64,
    /// Streams that are open.
    pub(in crate::cli::load) open: u32,
    /// Streams that have been open, each time counted.
    pub(in crate::cli::load) opened: u64,
    /// Connects that were begun.
    pub(in crate::cli::load) begun: u64,
    pub(in crate::cli::load) last_delivery: Option<Instant>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            connect: Times::new(),
            head: Times::new(),
            first_byte: Times::new(),
            first_event: Times::new(),
            latency: Times::new(),
            first_latency: Times::new(),
            wire_bytes: 0,
            payload_bytes: 0,
            decoded_bytes: 0,
            inflated_bytes: 0,
            blocks: 0,
            refused: Tally::new(),
            failed: Tally::new(),
            ended: 0,
            cut: 0,
            left: 0,
            open: 0,
            opened: 0,
            begun: 0,
            last_delivery: None,
        }
    }
}
