//! The summary: what was measured, as JSON with keys that stay.

use std::time::Duration;

use serde::Serialize;

use super::measure::{Quantiles, Tally, per_s};
use super::readers::Seen;
use super::server::ServerSummary;
use super::writer::Written;

/// See `load.rs` for what the keys mean.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) url: String,
    pub(super) streams: u32,
    pub(super) sources: u32,
    pub(super) stalled: u32,
    pub(super) seconds: f64,
    pub(super) interrupted: bool,
    pub(super) connects: Connects,
    pub(super) deliveries: Deliveries,
    pub(super) latency_us: Quantiles,
    pub(super) first_latency_us: Quantiles,
    pub(super) bytes: Bytes,
    pub(super) disconnects: Disconnects,
    pub(super) written: Option<WrittenSummary>,
    pub(super) server: Option<ServerSummary>,
    pub(super) cpu: Cpu,
}

#[derive(Debug, Serialize)]
pub(super) struct Connects {
    pub(super) begun: u64,
    pub(super) opened: u64,
    pub(super) seconds: f64,
    pub(super) per_s: f64,
    pub(super) refused: Tally,
    pub(super) failed: Tally,
    pub(super) connect_us: Quantiles,
    pub(super) head_us: Quantiles,
    pub(super) first_byte_us: Quantiles,
    pub(super) first_event_us: Quantiles,
}

#[derive(Debug, Serialize)]
pub(super) struct Deliveries {
    pub(super) count: u64,
    pub(super) seconds: f64,
    pub(super) per_s: f64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) foreign: u64,
    pub(super) blocks: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Bytes {
    pub(super) wire: u64,
    pub(super) payload: u64,
    pub(super) least_per_stream: u64,
    pub(super) most_per_stream: u64,
    pub(super) inflated: u64,
    pub(super) inflated_per_byte: f64,
}

impl Bytes {
    /// Of streams that got from `least` to `most` bytes of payload each.
    pub(super) fn of(seen: &Seen, (least, most): (u64, u64)) -> Self {
        let per_byte = seen.inflated_bytes as f64 / seen.decoded_bytes.max(1) as f64;
        Self {
            wire: seen.wire_bytes,
            payload: seen.payload_bytes,
            least_per_stream: least,
            most_per_stream: most,
            inflated: seen.inflated_bytes,
            inflated_per_byte: rounded(per_byte),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Disconnects {
    pub(super) ended: u64,
    pub(super) cut: u64,
    pub(super) left: u64,
}

impl Disconnects {
    pub(super) fn of(seen: &Seen) -> Self {
        Self { ended: seen.ended, cut: seen.cut, left: seen.left }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct WrittenSummary {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) per_s: f64,
    pub(super) statuses: Tally,
    pub(super) unknown: Tally,
    pub(super) late_us: Quantiles,
    pub(super) answer_us: Quantiles,
}

#[derive(Debug, Serialize)]
pub(super) struct Cpu {
    pub(super) total_s: f64,
    pub(super) measured_s: f64,
    pub(super) us_per_delivery: f64,
}

impl Connects {
    pub(super) fn of(seen: &Seen, seconds: f64) -> Self {
        Self {
            begun: seen.begun,
            opened: seen.opened,
            seconds: rounded(seconds),
            per_s: per_s(seen.opened, seconds),
            refused: seen.refused.clone(),
            failed: seen.failed.clone(),
            connect_us: seen.connect.read(),
            head_us: seen.head.read(),
            first_byte_us: seen.first_byte.read(),
            first_event_us: seen.first_event.read(),
        }
    }
}

impl Cpu {
    /// In all, and for so many deliveries.
    pub(super) fn of(total: Duration, measured: Duration, deliveries: u64) -> Self {
        let us = measured.as_secs_f64() * 1e6 / deliveries.max(1) as f64;
        Self {
            total_s: rounded(total.as_secs_f64()),
            measured_s: rounded(measured.as_secs_f64()),
            us_per_delivery: if deliveries == 0 { 0.0 } else { rounded(us) },
        }
    }
}

impl WrittenSummary {
    pub(super) fn of(written: Written) -> Self {
        Self {
            sent: written.sent,
            acknowledged: written.acknowledged,
            per_s: per_s(written.acknowledged, written.seconds),
            statuses: written.statuses,
            unknown: written.unknown,
            late_us: written.late.read(),
            answer_us: written.answer.read(),
        }
    }
}

impl Summary {
    /// What `--strict` does not let pass; none: all is well.
    pub(super) fn fault(&self) -> Option<String> {
        let Deliveries { lost, repeated, .. } = self.deliveries;
        let over = self.disconnects.ended + self.disconnects.cut;
        let never = u64::from(self.streams).saturating_sub(self.connects.opened);
        let faults = [
            (lost, "events lost"),
            (repeated, "events repeated"),
            (over, "streams ended"),
            (never, "streams never opened"),
        ];
        let faults = faults.iter().filter(|(count, _)| *count > 0);
        let text = faults.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>();
        (!text.is_empty()).then(|| text.join(", "))
    }
}

/// To the millisecond.
pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
