//! Writes ids. Once per event and partition, so without formatting machinery.

use super::{PartitionPosition, PositionTime};
use crate::event::TopicPartition;

/// Appends one partition's entry:
/// `{"topic":"…","partition":0,"offset":812,"timestamp":1790000000000,"log":"k3Zq9A"}`.
///
/// `log` is left out where there is no tag, and `timestamp` where the time is negative (Kafka's
/// word for a record without one), which would not be accepted back. A made-up time is marked by
/// `"assumed":true`; at offset 0 it needs no mark, since no record is before it.
pub fn write_fragment(out: &mut Vec<u8>, tp: &TopicPartition, p: &PartitionPosition) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"{\"topic\":\"");
    // A topic's name holds no character that JSON would have to escape.
    out.extend_from_slice(tp.topic.as_str().as_bytes());
    out.extend_from_slice(b"\",\"partition\":");
    out.extend_from_slice(digits.format(tp.partition.0).as_bytes());
    out.extend_from_slice(b",\"offset\":");
    out.extend_from_slice(digits.format(p.next.0).as_bytes());
    let ms = p.time.ms().0;
    if ms >= 0 {
        out.extend_from_slice(b",\"timestamp\":");
        out.extend_from_slice(digits.format(ms).as_bytes());
    }
    if let Some(log) = p.log {
        out.extend_from_slice(b",\"log\":\"");
        out.extend_from_slice(log.as_str().as_bytes());
        out.push(b'"');
    }
    if ms >= 0 && p.next.0 > 0 && matches!(p.time, PositionTime::MadeUp(_)) {
        out.extend_from_slice(b",\"assumed\":true");
    }
    out.push(b'}');
}

/// Appends a whole id: the entries in the order given, which should be the canonical one (topics
/// by name, then partitions), without any space.
pub fn write_id<'a>(
    out: &mut Vec<u8>,
    positions: impl IntoIterator<Item = (&'a TopicPartition, &'a PartitionPosition)>,
) {
    out.push(b'[');
    for (n, (tp, position)) in positions.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_fragment(out, tp, position);
    }
    out.push(b']');
}
