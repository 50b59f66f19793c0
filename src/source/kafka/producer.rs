//! Records into Kafka, acknowledged by all in-sync replicas.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::client::Watch;
use crate::event::{Offset, Partition, TimestampMs, TopicName};
use crate::source::{NewRecord, SinkError};

/// Longer than the client itself waits; it answers before.
const WAIT: Duration = Duration::from_secs(15);

/// The producer of a cluster.
pub(super) struct Producer {
    source: String,
    producer: FutureProducer<Watch>,
}

impl Producer {
    pub(super) fn new(source: &str, producer: FutureProducer<Watch>) -> Result<Self, KafkaError> {
        Ok(Self { source: source.to_owned(), producer })
    }

    /// Writes a record. It is queued at the first poll, so concurrent calls keep their order.
    pub(super) async fn append(&self, new: NewRecord) -> Result<(Partition, Offset), SinkError> {
        self.write(&new.topic, new.key.as_deref(), Some(&new.value), new.time).await
    }

    /// The same for any record; without a value it is a tombstone.
    pub(super) async fn write(
        &self,
        topic: &TopicName,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        time: TimestampMs,
    ) -> Result<(Partition, Offset), SinkError> {
        let mut record = FutureRecord::<[u8], [u8]>::to(topic.as_str()).timestamp(time.0);
        record.key = key;
        record.payload = value;
        let queued = self.producer.send_result(record).map_err(|(error, _)| match error {
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                SinkError::Unavailable(self.source.clone(), "its queue is full".to_owned())
            }
            error => self.refused(&error),
        })?;
        let unknown = |says: String| SinkError::Unknown(self.source.clone(), says);
        match tokio::time::timeout(WAIT, queued).await {
            Ok(Ok(Ok(delivered))) => Ok((Partition(delivered.partition), Offset(delivered.offset))),
            Ok(Ok(Err((error, _)))) => Err(self.refused(&error)),
            Ok(Err(_)) => Err(unknown("the producer was closed".to_owned())),
            Err(_) => Err(unknown("no answer".to_owned())),
        }
    }

    /// Only what is certain is said to be refused: a record that timed out may have been written.
    fn refused(&self, error: &KafkaError) -> SinkError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::TopicAuthorizationFailed,
            ) => SinkError::Refused(error.to_string()),
            _ => SinkError::Unknown(self.source.clone(), error.to_string()),
        }
    }
}
