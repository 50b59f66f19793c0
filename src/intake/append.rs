//! Many records into a sink: all at once, so that they share a commit, and in their order.

use futures_util::future::{join_all, maybe_done};
use futures_util::poll;

use crate::event::{Offset, Partition};
use crate::source::{NewRecord, Sink, SinkError};

/// Where a record stands, or why it was not (or may not have been) written.
pub type Appended = Result<(Partition, Offset), SinkError>;

/// Appends all records concurrently; the answers stand in the order of the records.
///
/// A sink takes a record when its `append` is polled for the first time. So all are polled once
/// in order before any is waited for, and records of one partition keep their order.
pub async fn append_all(sink: &dyn Sink, records: Vec<NewRecord>) -> Vec<Appended> {
    let mut appends: Vec<_> = records.into_iter().map(|r| maybe_done(sink.append(r))).collect();
    // Unconstrained: past its budget tokio would make a channel look full, and the order of the
    // rest would hang on the order in which they are woken.
    tokio::task::unconstrained(async {
        for append in &mut appends {
            let _ = poll!(append);
        }
    })
    .await;
    join_all(appends.iter_mut()).await;
    let done = appends.iter_mut().map(|append| std::pin::Pin::new(append).take_output());
    done.map(|answer| answer.expect("all were waited for")).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{TimestampMs, TopicName};
    use crate::intake::memory::MemorySink;

    #[tokio::test]
    async fn thousands_of_records_are_written_in_the_order_in_which_they_were_given() {
        let sink = MemorySink::new(3);
        let topic = TopicName::new("t").expect("legal");
        let record = |n: usize| NewRecord {
            topic: topic.clone(),
            key: Some(Bytes::from(vec![u8::try_from(n % 7).expect("small")])),
            value: Bytes::from(n.to_string()),
            time: TimestampMs(0),
        };
        let answers = append_all(&sink, (0..5000).map(record).collect()).await;
        assert_eq!(answers.len(), 5000);
        for (n, answer) in answers.iter().enumerate() {
            let (partition, offset) = answer.as_ref().expect("taken");
            let written = sink.written("t", *partition);
            let at = usize::try_from(offset.0).expect("from 0");
            assert_eq!(written[at].value, n.to_string().as_bytes());
        }
        for partition in 0..3 {
            let written = sink.written("t", Partition(partition));
            let value = |r: &NewRecord| -> usize {
                std::str::from_utf8(&r.value).expect("digits").parse().expect("digits")
            };
            assert!(written.iter().map(value).is_sorted());
        }
    }
}
