//! Apache Kafka as a source and a sink. The only module that names its client, librdkafka.
//!
//! ```text
//!  tail     one consumer for all topics, on its own thread (reader); positions live outside it
//!  survey   what there is to read, and whether positions still mean what they meant
//!  keeper   what is wrong with the cluster (watchdog), and what is done about it
//!  look     one client for questions: topic ids, watermarks, times; the same ones once (rounds)
//!  history  a few consumers, each reading one range at a time
//!  producer one, made at the first append
//! ```
//! Making a client anew from the positions is the universal repair. No position is trusted to a
//! client: `auto.offset.reset` is `error`, since every other value hides a loss.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc;

use super::{
    Fetched, NewRecord, Sink, SinkError, Source, SourceError, TailEvent, TopicInfo, Watermarks,
};
use crate::event::{Offset, Partition, TimestampMs, TopicName, TopicPartition};
use crate::metrics::KafkaMetrics;

mod brokers;
mod client;
mod control;
mod counts;
mod ffi;
mod history;
mod keeper;
mod producer;
mod reader;
mod rounds;
mod survey;
mod tail;
mod watchdog;

use client::{Clients, Kept, Status, Watch};
pub use client::{KafkaConfigError, Settings};
pub use control::KafkaControl;
use counts::{Counts, Why};
use history::Pool;
use producer::Producer;
use rounds::Rounds;

/// How long one question may take.
const LOOK_TIMEOUT: Duration = Duration::from_millis(2500);
/// Questions in a row that nobody answers before their client is made anew.
const UNANSWERED_MAX: u32 = 5;
/// For how long it is believed whether a topic's log sets the times.
const APPEND_TIME_KEPT: Duration = Duration::from_secs(60);

/// A Kafka cluster.
pub struct KafkaSource {
    me: Weak<Self>,
    name: String,
    clients: Clients,
    status: Arc<Status>,
    look: Arc<Kept<BaseConsumer<Watch>>>,
    admin: Kept<AdminClient<Watch>>,
    pool: Pool,
    producer: Kept<Producer>,
    append_times: Mutex<HashMap<TopicName, (Instant, bool)>>,
    topics: Rounds<TopicName, Result<TopicInfo, SourceError>>,
    marks: Rounds<TopicPartition, Result<Watermarks, SourceError>>,
    times: Rounds<(TopicPartition, TimestampMs), Result<Option<Offset>, SourceError>>,
    ranges: Rounds<(TopicPartition, Offset, Offset, usize), Result<Fetched, SourceError>>,
    /// Tails that follow it now.
    tails: AtomicU32,
    /// Questions without an answer, one after another.
    unanswered: AtomicU32,
}

/// A tail follows a source.
struct Follows<'a>(&'a KafkaSource);

impl<'a> Follows<'a> {
    fn new(source: &'a KafkaSource) -> Self {
        source.tails.fetch_add(1, Ordering::AcqRel);
        Self(source)
    }
}

impl Drop for Follows<'_> {
    fn drop(&mut self) {
        if self.0.tails.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody would see it come back.
            self.0.status.set_down(false);
        }
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("name", &self.name).finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// The client of a cluster. Does not wait for it: a cluster that is out of reach is no error.
    ///
    /// # Errors
    /// A property that is not known, not accepted, or has a bad value.
    pub fn new(settings: Settings) -> Result<Arc<Self>, KafkaConfigError> {
        Self::counted(settings, KafkaMetrics::default())
    }

    /// The same; what becomes of its clients is counted.
    ///
    /// # Errors
    /// See `new`.
    pub fn counted(
        settings: Settings,
        metrics: KafkaMetrics,
    ) -> Result<Arc<Self>, KafkaConfigError> {
        let name = format!("kafka.{}", settings.name);
        let clients = Clients::new(settings, Counts::new(metrics, &name))?;
        let status = Arc::new(Status::default());
        let make = |error: KafkaError| KafkaConfigError::Client(error.to_string());
        let look = Arc::new(Kept::default());
        look.get(&clients, || clients.history(Watch::new(&status))).map_err(make)?;
        let pool = Pool::start(&clients, &status).map_err(make)?;
        Ok(Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            name,
            clients,
            status,
            look,
            admin: Kept::default(),
            pool,
            producer: Kept::default(),
            append_times: Mutex::default(),
            topics: Rounds::default(),
            marks: Rounds::default(),
            times: Rounds::default(),
            ranges: Rounds::default(),
            tails: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
        }))
    }

    /// What a question that outlives who began it holds on to.
    fn me(&self) -> Arc<Self> {
        self.me.upgrade().expect("who asks holds it")
    }

    /// The client for questions.
    fn look(&self) -> Result<Arc<BaseConsumer<Watch>>, KafkaError> {
        self.look.get(&self.clients, || self.clients.history(Watch::new(&self.status)))
    }

    /// Runs a question that waits for an answer.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Watch>) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let look = self.look().map_err(|error| self.unreachable(&error.to_string()))?;
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question(&look);
            // What the client has to report is heard only so.
            while look.poll(Duration::ZERO).is_some() {}
            answer
        });
        let answer = asked.await;
        let answer = answer.unwrap_or_else(|error| Err(self.unreachable(&error.to_string())));
        self.note(answer.as_ref().is_err_and(SourceError::is_retryable));
        answer
    }

    /// Where no tail watches over them, clients that have found nobody for long are made anew here.
    fn note(&self, is_unanswered: bool) {
        if !is_unanswered || self.tails.load(Ordering::Acquire) > 0 {
            return self.unanswered.store(0, Ordering::Release);
        }
        if self.unanswered.fetch_add(1, Ordering::AcqRel) >= UNANSWERED_MAX {
            self.unanswered.store(0, Ordering::Release);
            self.clients.brokers().look();
            if self.clients.may_renew() {
                self.clients.renew(Why::Unreachable);
            }
        }
    }

    fn unreachable(&self, cause: &str) -> SourceError {
        let cause = self.status.last_error().unwrap_or_else(|| cause.to_owned());
        SourceError::Unreachable { source_name: self.name.clone(), cause }
    }

    /// What these topics are now; one that does not exist is `None`.
    async fn describe(
        &self,
        topics: Vec<TopicName>,
    ) -> Result<Vec<(TopicName, Option<ffi::Description>)>, SourceError> {
        let name = self.name.clone();
        let status = Arc::clone(&self.status);
        self.ask(move |look| {
            let names: Vec<&str> = topics.iter().map(TopicName::as_str).collect();
            match ffi::describe_topics(look.client(), &names, LOOK_TIMEOUT) {
                Ok(found) => Ok(topics.iter().cloned().zip(found).collect()),
                Err(error) => {
                    let cause = status.last_error().unwrap_or(error);
                    Err(SourceError::Unreachable { source_name: name, cause })
                }
            }
        })
        .await
    }

    /// Remembers which brokers there are, before those that were given go.
    async fn learn_brokers(&self, topic: &TopicName) {
        let (clients, topic) = (self.clients.clone(), topic.clone());
        let asked = self.ask(move |look| {
            // Else the first statistics say them, half a second later.
            if let Ok(found) = look.fetch_metadata(Some(topic.as_str()), LOOK_TIMEOUT) {
                let brokers = found.brokers().iter().map(|b| format!("{}:{}", b.host(), b.port()));
                clients.brokers().saw(brokers);
            }
            Ok(())
        });
        drop(asked.await);
    }

    /// The client for questions about settings, made at the first one.
    fn admin(&self) -> Result<Arc<AdminClient<Watch>>, SourceError> {
        let make = || self.clients.admin(Watch::new(&self.status));
        let made = self.admin.get(&self.clients, make);
        made.map_err(|error| self.unreachable(&error.to_string()))
    }

    /// The producer, made at the first record; not while it is known that nobody would take it.
    fn producer(&self) -> Result<Arc<Producer>, SinkError> {
        if self.status.is_down() {
            let cause = self.status.last_error().unwrap_or_else(|| "all brokers are down".into());
            return Err(SinkError::Unavailable(self.name.clone(), cause));
        }
        let producer = self.producer.get(&self.clients, || {
            Producer::new(&self.name, self.clients.producer(Watch::new(&self.status))?)
        });
        producer.map_err(|error| SinkError::Unavailable(self.name.clone(), error.to_string()))
    }

    /// Whether the log sets the times of a topic's records.
    async fn append_time(&self, topic: &TopicName) -> Result<bool, SourceError> {
        let known = self.append_times.lock().expect("no holder panics").get(topic).copied();
        if let Some((at, is)) = known
            && at.elapsed() < APPEND_TIME_KEPT
        {
            return Ok(is);
        }
        let admin = self.admin()?;
        let options = AdminOptions::new().request_timeout(Some(LOOK_TIMEOUT));
        let resources = [ResourceSpecifier::Topic(topic.as_str())];
        let answer = admin.describe_configs(&resources, &options).await;
        self.note(answer.is_err());
        let answer = answer.map_err(|error| self.unreachable(&error.to_string()))?;
        let is = answer.into_iter().flatten().any(|resource| {
            let kind = resource.get("message.timestamp.type").and_then(|e| e.value.as_deref());
            kind == Some("LogAppendTime")
        });
        let mut known = self.append_times.lock().expect("no holder panics");
        known.insert(topic.clone(), (Instant::now(), is));
        Ok(is)
    }

    async fn look_up(&self, topic: &TopicName) -> Result<TopicInfo, SourceError> {
        let found = self.describe(vec![topic.clone()]).await?.pop().and_then(|(_, found)| found);
        let found = found.ok_or_else(|| SourceError::UnknownTopic(topic.clone()))?;
        let append_time = self.append_time(topic).await?;
        Ok(TopicInfo { partitions: found.partitions, log: found.log, append_time })
    }

    async fn look_up_marks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError> {
        let (name, tp) = (self.name.clone(), tp.clone());
        self.ask(move |look| watermarks(&name, look, &tp)).await
    }

    async fn look_up_time(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        let (name, tp) = (self.name.clone(), tp.clone());
        self.ask(move |look| {
            let mut asked = TopicPartitionList::new();
            let at = KafkaOffset::Offset(time.0.max(0));
            let failed = |error: KafkaError| source_error(&name, &tp, &error);
            asked.add_partition_offset(tp.topic.as_str(), tp.partition.0, at).map_err(failed)?;
            let found = look.offsets_for_times(asked, LOOK_TIMEOUT).map_err(failed)?;
            let found = found.elements();
            let Some(element) = found.first() else { return Ok(None) };
            // On an error the offset still holds the time that was asked for.
            element.error().map_err(failed)?;
            match element.offset() {
                KafkaOffset::Offset(offset) => Ok(Some(Offset(offset))),
                _ => Ok(None),
            }
        })
        .await
    }

    async fn read_range(
        &self,
        tp: &TopicPartition,
        (from, until): (Offset, Offset),
        max_bytes: usize,
    ) -> Result<Fetched, SourceError> {
        let read = self.pool.read(tp, (from, until), max_bytes).await;
        match read {
            Ok(fetched) => Ok(fetched),
            Err(history::ReadError::OutOfRange) => {
                let kept = self.watermarks(tp).await?;
                Err(SourceError::OutOfRange { tp: tp.clone(), wanted: from, kept })
            }
            Err(history::ReadError::Kafka(error)) => Err(source_error(&self.name, tp, &error)),
            Err(history::ReadError::TimedOut) => {
                Err(self.unreachable("a range read was not answered in time"))
            }
        }
    }
}

/// What the client says of a question, in the words of a source.
fn source_error(source: &str, tp: &TopicPartition, error: &KafkaError) -> SourceError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            SourceError::UnknownTopic(tp.topic.clone())
        }
        Some(RDKafkaErrorCode::UnknownPartition) => SourceError::UnknownPartition(tp.clone()),
        _ => SourceError::Unreachable { source_name: source.to_owned(), cause: error.to_string() },
    }
}

/// Blocking: the readable range; the end is the last stable offset.
fn watermarks(
    source: &str,
    consumer: &BaseConsumer<Watch>,
    tp: &TopicPartition,
) -> Result<Watermarks, SourceError> {
    let (topic, partition) = (tp.topic.as_str(), tp.partition.0);
    let marks = consumer.client().fetch_watermarks(topic, partition, LOOK_TIMEOUT);
    let (start, end) = marks.map_err(|error| source_error(source, tp, &error))?;
    Ok(Watermarks { start: Offset(start), end: Offset(end.max(start)) })
}

#[async_trait]
impl Source for KafkaSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn topic(&self, topic: &TopicName) -> Result<TopicInfo, SourceError> {
        let (me, asked) = (self.me(), topic.clone());
        self.topics.ask(topic.clone(), async move { me.look_up(&asked).await }).await
    }

    async fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError> {
        let (me, asked) = (self.me(), tp.clone());
        self.marks.ask(tp.clone(), async move { me.look_up_marks(&asked).await }).await
    }

    async fn offset_at(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        let (me, asked) = (self.me(), tp.clone());
        self.times.ask((tp.clone(), time), async move { me.look_up_time(&asked, time).await }).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, SourceError> {
        let (me, asked) = (self.me(), tp.clone());
        let read = async move { me.read_range(&asked, (from, until), max_bytes).await };
        self.ranges.ask((tp.clone(), from, until, max_bytes), read).await
    }

    /// All clients are made anew from it; nothing is lost by that.
    fn rebootstrap(&self, brokers: &[String]) -> bool {
        if self.clients.brokers().give(brokers.to_vec()) {
            self.clients.renew(Why::Brokers);
        }
        !brokers.is_empty()
    }

    async fn tail(&self, topics: Vec<TopicName>, out: mpsc::Sender<TailEvent>) {
        let _follows = Follows::new(self);
        tail::run(self, topics, out).await;
    }
}

#[async_trait]
impl Sink for KafkaSource {
    async fn append(&self, record: NewRecord) -> Result<(Partition, Offset), SinkError> {
        self.producer()?.append(record).await
    }
}
