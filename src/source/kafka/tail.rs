//! The live end of all topics.
//!
//! ```text
//!  survey (async, every second)          reader (a thread)
//!  which topics, ids, partitions ──Turn──▶ assign, poll ──▶ TailEvent
//!        ▲                                   │
//!        └────────── positions ◀─────────────┘
//! ```
//! The survey finds out where to read and why; the reader only reads. The positions belong to
//! neither's client: from them a client is made anew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc;

use super::KafkaSource;
use super::client::{Clients, Status, Watch};
use super::history::record;
use super::survey::Survey;
use crate::event::{LogTag, Offset, Record, TimestampMs, TopicName, TopicPartition};
use crate::source::{Loss, TailEvent};

/// How often topics, ids and partitions are looked at.
const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// Records told at once, in number and bytes.
const BATCH: (usize, usize) = (500, 1024 * 1024);

/// Where the tail is in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    pub(super) log: Option<LogTag>,
    pub(super) next: Offset,
    pub(super) last: Option<TimestampMs>,
}

pub(super) type Positions = Arc<Mutex<BTreeMap<TopicPartition, Followed>>>;

/// What the survey tells the reader.
pub(super) enum Turn {
    /// Read this partition from here on, and say why.
    Open { tp: TopicPartition, at: Followed, append_time: bool, after: Option<Loss> },
    /// Stop reading this topic.
    Close(TopicName),
    /// Pass this on.
    Say(TailEvent),
    /// Make the client anew.
    Renew,
}

/// Ends the reader when the tail is dropped.
struct StopReader(Arc<AtomicBool>);

impl Drop for StopReader {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Follows `topics` until `out` is closed or this is dropped.
pub(super) async fn run(
    source: &KafkaSource,
    topics: Vec<TopicName>,
    out: mpsc::Sender<TailEvent>,
) {
    let positions = Positions::default();
    let stop = Arc::new(AtomicBool::new(false));
    let _stop = StopReader(Arc::clone(&stop));
    let (turns, taken) = std::sync::mpsc::channel();
    let lost = Arc::new(AtomicBool::new(false));
    let reader = Reader {
        clients: source.clients.clone(),
        status: Arc::clone(&source.status),
        positions: Arc::clone(&positions),
        turns: taken,
        lost: Arc::clone(&lost),
        out: out.clone(),
        stop,
    };
    let thread = std::thread::Builder::new().name("kafka-tail".into());
    if let Err(error) = thread.spawn(move || reader.run()) {
        tracing::error!(%error, "the tail cannot be started");
        return;
    }
    let mut survey = Survey::new(source, topics, turns, positions);
    let mut down_since: Option<Instant> = None;
    while !out.is_closed() {
        let found = survey.look(lost.swap(false, Ordering::AcqRel)).await;
        survey.report(found.as_ref().err(), &mut down_since);
        let wait = if found.is_ok() && lost.load(Ordering::Acquire) {
            Duration::ZERO
        } else {
            SURVEY_EVERY
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = out.closed() => {}
        }
    }
}

/// Reads what the survey says.
struct Reader {
    clients: Clients,
    status: Arc<Status>,
    positions: Positions,
    turns: std::sync::mpsc::Receiver<Turn>,
    /// A partition cannot be read on: the survey is to find out which and why.
    lost: Arc<AtomicBool>,
    out: mpsc::Sender<TailEvent>,
    stop: Arc<AtomicBool>,
}

/// Nobody listens any more.
struct Closed;

/// Where a partition goes on that the survey wants opened. `None`: nowhere else, that was said
/// already; the survey looks again before the reader has come to what it said.
fn going_on(known: Option<Followed>, at: Followed, after: Option<Loss>) -> Option<Followed> {
    let Some(known) = known else { return Some(at) };
    match after {
        None => Some(known),
        Some(Loss::Recreated) => (known.log != at.log).then_some(at),
        Some(Loss::Retention) => (known.log == at.log && known.next < at.next).then_some(at),
        Some(Loss::Truncated) => (known.log == at.log && known.next > at.next).then_some(at),
    }
}

fn assign(
    consumer: &BaseConsumer<Watch>,
    tp: &TopicPartition,
    next: Offset,
    again: bool,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    let offset = KafkaOffset::Offset(next.0);
    list.add_partition_offset(tp.topic.as_str(), tp.partition.0, offset)?;
    if again {
        consumer.incremental_unassign(&list)?;
    }
    consumer.incremental_assign(&list)
}

impl Reader {
    fn run(self) {
        let mut client = self.client();
        while !self.stop.load(Ordering::Acquire) {
            let Some((consumer, watch)) = &client else {
                std::thread::sleep(Duration::from_millis(500));
                client = self.client();
                continue;
            };
            match self.round(consumer, watch) {
                Ok(false) => {}
                Ok(true) => {
                    // Dropping the old one may take a while.
                    let old = client.take();
                    std::thread::spawn(move || drop(old));
                    client = self.client();
                }
                Err(Closed) => return,
            }
        }
    }

    /// A client that reads on at the positions.
    fn client(&self) -> Option<(BaseConsumer<Watch>, Watch)> {
        let watch = Watch::new(&self.status);
        let made = self.clients.tail(watch.clone()).and_then(|consumer| {
            let mut all = TopicPartitionList::new();
            for (tp, at) in self.positions.lock().expect("no holder panics").iter() {
                let offset = KafkaOffset::Offset(at.next.0);
                all.add_partition_offset(tp.topic.as_str(), tp.partition.0, offset)?;
            }
            consumer.assign(&all)?;
            Ok(consumer)
        });
        match made {
            Ok(consumer) => Some((consumer, watch)),
            Err(error) => {
                tracing::error!(%error, "the tail's client cannot be made");
                None
            }
        }
    }

    /// Takes what the survey says, then reads for a moment. True: the client is to be made anew.
    fn round(&self, consumer: &BaseConsumer<Watch>, watch: &Watch) -> Result<bool, Closed> {
        while let Ok(turn) = self.turns.try_recv() {
            if matches!(turn, Turn::Renew) {
                tracing::info!("the tail's client is made anew");
                return Ok(true);
            }
            if let Err(error) = self.turn(consumer, turn)? {
                tracing::warn!(%error, "the tail's client does not take a partition");
                return Ok(true);
            }
        }
        if watch.take_all_down() && !self.status.is_down() {
            self.status.set_down(true);
            let cause = self.status.last_error().unwrap_or_else(|| "all brokers are down".into());
            self.tell(TailEvent::Unreachable { cause })?;
        }
        let (mut batch, mut ends) = (Vec::new(), false);
        let (mut bytes, mut wait) = (0, Duration::from_millis(50));
        while batch.len() < BATCH.0 && bytes < BATCH.1 {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let topic = TopicName::new(message.topic()).expect("Kafka's own name");
                    let record = record(&message);
                    bytes += record.size_bytes();
                    batch.push((TopicPartition::new(topic, message.partition()), record));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ends = true,
                Some(Err(error)) => self.heard(&error),
            }
            wait = Duration::ZERO;
        }
        self.tell_records(batch)?;
        if ends {
            self.tell_positions(consumer)?;
        }
        Ok(false)
    }

    fn heard(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.lost.store(true, Ordering::Release);
            }
            // The survey sees what these mean; the consumer is never finished by an error.
            _ => tracing::debug!(%error, "the tail heard"),
        }
    }

    fn turn(
        &self,
        consumer: &BaseConsumer<Watch>,
        turn: Turn,
    ) -> Result<Result<(), KafkaError>, Closed> {
        match turn {
            Turn::Open { tp, at, append_time, after } => {
                let known = self.positions.lock().expect("no holder panics").get(&tp).copied();
                let Some(at) = going_on(known, at, after) else { return Ok(Ok(())) };
                self.positions.lock().expect("no holder panics").insert(tp.clone(), at);
                if known.is_none() || after.is_some() {
                    let Followed { log, next, last } = at;
                    let tp = tp.clone();
                    self.tell(TailEvent::Opened { tp, log, append_time, next, last, after })?;
                }
                Ok(assign(consumer, &tp, at.next, known.is_some()))
            }
            Turn::Close(topic) => {
                let mut list = TopicPartitionList::new();
                self.positions.lock().expect("no holder panics").retain(|tp, _| {
                    let stays = tp.topic != topic;
                    if !stays {
                        list.add_partition(tp.topic.as_str(), tp.partition.0);
                    }
                    stays
                });
                self.tell(TailEvent::Gone { topic })?;
                Ok(consumer.incremental_unassign(&list))
            }
            Turn::Say(event) => self.tell(event).map(Ok),
            Turn::Renew => Ok(Ok(())),
        }
    }

    /// Tells records in runs of one partition, in the order in which they came.
    fn tell_records(&self, batch: Vec<(TopicPartition, Record)>) -> Result<(), Closed> {
        let mut run: Option<(TopicPartition, Vec<Record>)> = None;
        for (tp, record) in batch {
            match &mut run {
                Some((at, records)) if *at == tp => records.push(record),
                _ => {
                    if let Some(done) = run.replace((tp, vec![record])) {
                        self.tell_run(done)?;
                    }
                }
            }
        }
        run.map_or(Ok(()), |done| self.tell_run(done))
    }

    fn tell_run(&self, (tp, mut records): (TopicPartition, Vec<Record>)) -> Result<(), Closed> {
        let next = {
            let mut positions = self.positions.lock().expect("no holder panics");
            // Not followed any more, or from before it was assigned anew.
            let Some(at) = positions.get_mut(&tp) else { return Ok(()) };
            records.retain(|r| r.offset >= at.next);
            let Some(last) = records.last() else { return Ok(()) };
            (at.next, at.last) = (last.offset.next(), Some(last.time));
            at.next
        };
        self.tell(TailEvent::Records { tp, records, next })
    }

    /// At the end of a partition its position may lie behind holes.
    fn tell_positions(&self, consumer: &BaseConsumer<Watch>) -> Result<(), Closed> {
        let Ok(list) = consumer.position() else { return Ok(()) };
        for element in list.elements() {
            let KafkaOffset::Offset(now) = element.offset() else { continue };
            let topic = TopicName::new(element.topic()).expect("Kafka's own name");
            let (tp, now) = (TopicPartition::new(topic, element.partition()), Offset(now));
            let mut positions = self.positions.lock().expect("no holder panics");
            let moved = positions.get_mut(&tp).filter(|at| at.next < now);
            if moved.map(|at| at.next = now).is_some() {
                drop(positions);
                self.tell(TailEvent::Records { tp, records: Vec::new(), next: now })?;
            }
        }
        Ok(())
    }

    fn tell(&self, event: TailEvent) -> Result<(), Closed> {
        self.out.blocking_send(event).map_err(|_| Closed)
    }
}
