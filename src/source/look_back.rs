//! What lies before a place in a log, over holes. Of any source.

use super::{Source, SourceError, Watermarks};
use crate::event::{Offset, TimestampMs, TopicPartition};
use crate::limits;

/// The last record before `next` and its time, if one is near.
///
/// # Errors
/// As `Source::read`.
pub(super) async fn last_before(
    source: &dyn Source,
    tp: &TopicPartition,
    next: Offset,
    marks: Watermarks,
) -> Result<Option<(Offset, TimestampMs)>, SourceError> {
    let (mut until, mut width) = (next, 4);
    while until > marks.start && next.0 - until.0 < limits::LOOK_BACK_OFFSETS_MAX {
        let from = Offset((until.0 - width).max(marks.start.0));
        let read = source.read(tp, from, until, limits::CHUNK_BYTES_MAX).await?;
        if let Some(record) = read.records.last() {
            return Ok(Some((record.offset, record.time)));
        }
        (until, width) = (from, width * 16);
    }
    Ok(None)
}
