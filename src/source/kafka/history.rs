//! Range reads: a few consumers, each on a thread of its own, each reading one range at a time.
//!
//! A range is assigned, read and let go; there is no seek and no pause (each costs a second). A
//! consumer that fails again and again is made anew.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::oneshot;

use super::client::{Clients, Status, Watch};
use crate::event::{Offset, Record, TimestampMs, TopicPartition};
use crate::source::Fetched;

/// Consumers in the pool. Each is 6 threads and some 9 MB.
const CONSUMERS: usize = 3;
/// How long a read may take that brings nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(4);
/// Reads in a row that fail before the consumer is made anew.
const FAILURES_MAX: u32 = 3;

/// Why a range could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It begins below the start or above the end.
    OutOfRange,
    /// The client says so.
    Kafka(KafkaError),
    /// Nobody answered.
    TimedOut,
}

struct Job {
    tp: TopicPartition,
    from: Offset,
    until: Offset,
    max_bytes: usize,
    done: oneshot::Sender<Result<Fetched, ReadError>>,
}

/// The pool; its threads end when it is dropped.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: mpsc::Sender<Job>,
}

impl Pool {
    pub(super) fn start(clients: &Clients, status: &Arc<Status>) -> Result<Self, KafkaError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..CONSUMERS {
            let (clients, status, queue) =
                (clients.clone(), Arc::clone(status), Arc::clone(&queue));
            let made = std::thread::Builder::new()
                .name(format!("kafka-history-{n}"))
                .spawn(move || work(&clients, &status, &queue));
            made.map_err(|e| KafkaError::ClientCreation(e.to_string()))?;
        }
        Ok(Self { jobs })
    }

    /// See `Source::read`.
    pub(super) async fn read(
        &self,
        tp: &TopicPartition,
        (from, until): (Offset, Offset),
        max_bytes: usize,
    ) -> Result<Fetched, ReadError> {
        let (done, outcome) = oneshot::channel();
        let tp = tp.clone();
        let job = Job { tp, from, until, max_bytes, done };
        self.jobs.send(job).map_err(|_| ReadError::TimedOut)?;
        outcome.await.unwrap_or(Err(ReadError::TimedOut))
    }
}

fn work(clients: &Clients, status: &Arc<Status>, queue: &Mutex<mpsc::Receiver<Job>>) {
    let mut consumer: Option<BaseConsumer<Watch>> = None;
    let (mut failures, mut age) = (0, clients.age());
    loop {
        let job = queue.lock().expect("no holder panics").recv();
        let Ok(job) = job else { return };
        if job.done.is_closed() {
            continue;
        }
        if failures >= FAILURES_MAX || age != clients.age() {
            (failures, age) = (0, clients.age());
            if let Some(old) = consumer.take() {
                clients.bury(Arc::new(old));
            }
        }
        let client = match consumer.take().map_or_else(|| clients.history(Watch::new(status)), Ok) {
            Ok(client) => client,
            Err(error) => {
                let _ = job.done.send(Err(ReadError::Kafka(error)));
                continue;
            }
        };
        let outcome = read(&client, &job);
        // Idle assigned consumers go on fetching.
        let let_go = client.unassign();
        match &outcome {
            Ok(_) | Err(ReadError::OutOfRange) if let_go.is_ok() => failures = 0,
            _ => failures += 1,
        }
        consumer = Some(client);
        let _ = job.done.send(outcome);
    }
}

fn read(consumer: &BaseConsumer<Watch>, job: &Job) -> Result<Fetched, ReadError> {
    let (topic, partition) = (job.tp.topic.as_str(), job.tp.partition.0);
    let mut range = TopicPartitionList::new();
    range
        .add_partition_offset(topic, partition, KafkaOffset::Offset(job.from.0))
        .map_err(ReadError::Kafka)?;
    consumer.assign(&range).map_err(ReadError::Kafka)?;
    let (mut records, mut bytes, mut next) = (Vec::new(), 0, job.from);
    let mut deadline = Instant::now() + READ_TIMEOUT;
    while next < job.until && bytes < job.max_bytes {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                // Left over from the range before: its queue is gone, but be sure.
                if message.topic() != topic || message.partition() != partition {
                    continue;
                }
                let record = record(&message);
                if record.offset >= job.until {
                    return Ok(Fetched { records, next: job.until });
                }
                next = record.offset.next();
                bytes += record.size_bytes();
                records.push(record);
                deadline = Instant::now() + READ_TIMEOUT;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let next = position(consumer, topic, partition).map_or(next, |p| p.max(next));
                return Ok(Fetched { records, next: next.min(job.until) });
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                    return Err(ReadError::OutOfRange);
                }
                Some(
                    RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition,
                )
                | Some(RDKafkaErrorCode::UnknownPartition) => return Err(ReadError::Kafka(error)),
                // Passing faults of single brokers come here too; the client goes on by itself.
                _ => {}
            },
            None => {}
        }
        if Instant::now() > deadline || job.done.is_closed() {
            return Err(ReadError::TimedOut);
        }
    }
    Ok(Fetched { records, next })
}

/// Where a consumer stands in a partition.
pub(super) fn position(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    partition: i32,
) -> Option<Offset> {
    let positions = consumer.position().ok()?;
    match positions.find_partition(topic, partition)?.offset() {
        KafkaOffset::Offset(offset) => Some(Offset(offset)),
        _ => None,
    }
}

/// A message as a record; its bytes are copied.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        offset: Offset(message.offset()),
        time: TimestampMs(message.timestamp().to_millis().unwrap_or(-1)),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
    }
}
