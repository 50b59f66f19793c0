//! A compacted topic as a control log.
//!
//! It is looked at every now and then through the clients that are there anyway, so it costs no
//! client of its own; what is read, is read as history is.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::{KafkaSource, LOOK_TIMEOUT};
use crate::event::{Offset, Partition, TimestampMs, TopicName, TopicPartition};
use crate::source::control::{ControlError, ControlLog, Heard, ReadTo};
use crate::source::{SinkError, Source, SourceError};

/// Bytes that are read of a partition at once.
const PART_BYTES: usize = 1024 * 1024;

/// A topic of this cluster that gateways share.
#[derive(Debug)]
pub struct KafkaControl {
    source: Arc<KafkaSource>,
    topic: TopicName,
}

impl KafkaControl {
    /// Nothing is asked or made yet.
    #[must_use]
    pub fn new(source: Arc<KafkaSource>, topic: TopicName) -> Arc<Self> {
        Arc::new(Self { source, topic })
    }

    fn failed(&self, error: SourceError) -> ControlError {
        match error {
            SourceError::UnknownTopic(_) => self.no_topic("it has gone".to_owned()),
            error => ControlError::Unavailable(error.to_string()),
        }
    }

    fn no_topic(&self, cause: String) -> ControlError {
        let topic = self.topic.to_string();
        let create = format!(
            "kafka-topics.sh --bootstrap-server HOST:PORT --create --topic {topic} --partitions 1 \
             --config cleanup.policy=compact (and allow this principal to describe, read and write \
             it)"
        );
        ControlError::NoTopic { topic, cause, create }
    }

    async fn make(&self) -> Result<(), ControlError> {
        let admin = self.source.admin().map_err(|error| self.failed(error))?;
        // The replication is the brokers' own default: they know what they can bear to lose.
        let new = NewTopic::new(self.topic.as_str(), 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact");
        let options = AdminOptions::new()
            .request_timeout(Some(LOOK_TIMEOUT))
            .operation_timeout(Some(LOOK_TIMEOUT));
        let answer = admin.create_topics([&new], &options).await;
        let answer = answer.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        match answer.into_iter().next() {
            Some(Ok(topic)) => {
                tracing::info!(topic, "the control topic has been made");
                Ok(())
            }
            // Another gateway was quicker.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(()),
            Some(Err((_, code))) => Err(self.no_topic(code.to_string())),
        }
    }

    /// A topic that somebody else has made may forget what it was told.
    async fn warn_if_it_forgets(&self) {
        let Ok(admin) = self.source.admin() else { return };
        let options = AdminOptions::new().request_timeout(Some(LOOK_TIMEOUT));
        let resources = [ResourceSpecifier::Topic(self.topic.as_str())];
        let Ok(answer) = admin.describe_configs(&resources, &options).await else { return };
        let policy = answer.into_iter().flatten().find_map(|resource| {
            resource.get("cleanup.policy").and_then(|entry| entry.value.clone())
        });
        if let Some(policy) = policy.filter(|policy| policy != "compact") {
            tracing::warn!(
                topic = %self.topic,
                policy,
                "the control topic forgets blocks that are in force: its cleanup.policy has to be \
                 compact"
            );
        }
    }

    /// Reads a part of a partition. Returns where to go on, and whether that is the end.
    async fn read_part(
        &self,
        partition: Partition,
        from: Option<Offset>,
        heard: &mut Heard,
    ) -> Result<Part, ControlError> {
        let tp = TopicPartition { topic: self.topic.clone(), partition };
        let marks = self.source.watermarks(&tp).await.map_err(|error| self.failed(error))?;
        // Compaction moves the start, and with it nothing is lost.
        let from = from.map_or(marks.start, |from| from.max(marks.start));
        if from > marks.end {
            return Ok(Part::Shorter);
        }
        if from == marks.end {
            return Ok(Part::Read { next: from, at_end: true });
        }
        let read = self.source.read(&tp, from, marks.end, PART_BYTES).await;
        let fetched = read.map_err(|error| self.failed(error))?;
        heard.records.extend(fetched.records);
        Ok(Part::Read { next: fetched.next, at_end: fetched.next >= marks.end })
    }
}

enum Part {
    Read {
        next: Offset,
        at_end: bool,
    },
    /// The log ends before what was read of it: it is another one.
    Shorter,
}

#[async_trait]
impl ControlLog for KafkaControl {
    fn topic(&self) -> &str {
        self.topic.as_str()
    }

    async fn prepare(&self) -> Result<(), ControlError> {
        let found = self.source.describe(vec![self.topic.clone()]).await;
        let found = found.map_err(|error| self.failed(error))?;
        if found.iter().any(|(_, found)| found.is_some()) {
            self.warn_if_it_forgets().await;
            return Ok(());
        }
        self.make().await
    }

    async fn read_on(&self, to: &mut ReadTo) -> Result<Heard, ControlError> {
        let found = self.source.describe(vec![self.topic.clone()]).await;
        let found = found.map_err(|error| self.failed(error))?.pop().and_then(|(_, found)| found);
        let Some(found) = found else { return Err(self.no_topic("it has gone".to_owned())) };
        let (mut reading, mut heard) = (to.clone(), Heard::default());
        if reading.next.is_empty() || reading.log != found.log {
            heard.anew = true;
            reading = ReadTo { log: found.log, next: Default::default() };
        }
        heard.at_end = true;
        for partition in (0..found.partitions).map(Partition) {
            let from = reading.next.get(&partition).copied();
            match self.read_part(partition, from, &mut heard).await? {
                Part::Read { next, at_end } => {
                    reading.next.insert(partition, next);
                    heard.at_end &= at_end;
                }
                Part::Shorter => {
                    // From the beginning, with the next call.
                    *to = ReadTo::default();
                    return Ok(Heard::default());
                }
            }
        }
        *to = reading;
        Ok(heard)
    }

    async fn publish(&self, key: &str, value: Option<Bytes>) -> Result<(), ControlError> {
        let producer = self.source.producer().map_err(refused)?;
        let key = Some(key.as_bytes());
        let written = producer.write(&self.topic, key, value.as_deref(), TimestampMs::now());
        written.await.map(drop).map_err(refused)
    }
}

fn refused(error: SinkError) -> ControlError {
    match error {
        SinkError::Refused(_) => ControlError::Refused(error.to_string()),
        SinkError::Unavailable(..) | SinkError::Unknown(..) => {
            ControlError::Unavailable(error.to_string())
        }
    }
}
