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

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc;

use super::client::{Clients, Status, Watch};
use super::history::record;
use super::{KafkaSource, ffi};
use crate::event::{LogTag, Offset, Record, TimestampMs, TopicName, TopicPartition};
use crate::limits;
use crate::source::{Loss, Source, SourceError, TailEvent, Watermarks};

/// How often topics, ids and partitions are looked at.
const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// How often the survey fails before the source is said to be out of reach.
const SURVEY_FAILURES_MAX: u32 = 2;
/// Looks in a row that do not find a topic before it is said to be gone. A broker that has just
/// come up does not know all topics yet.
const MISSING_LOOKS_MAX: u32 = 3;
/// How long all brokers may be down before the client is made anew.
const DOWN_MAX: Duration = Duration::from_secs(10);
/// Records told at once, in number and bytes.
const BATCH: (usize, usize) = (500, 1024 * 1024);

/// Where the tail is in a partition.
#[derive(Debug, Clone, Copy)]
struct Followed {
    log: Option<LogTag>,
    next: Offset,
    last: Option<TimestampMs>,
}

type Positions = Arc<Mutex<BTreeMap<TopicPartition, Followed>>>;

/// What the survey tells the reader.
enum Turn {
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
    let mut survey = Survey {
        source,
        topics,
        turns,
        positions,
        surveyed: false,
        failures: 0,
        missing: HashMap::new(),
        former: HashMap::new(),
    };
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

/// Finds out what there is to read.
struct Survey<'a> {
    source: &'a KafkaSource,
    topics: Vec<TopicName>,
    turns: std::sync::mpsc::Sender<Turn>,
    positions: Positions,
    surveyed: bool,
    failures: u32,
    /// Looks in a row that did not find a topic.
    missing: HashMap<TopicName, u32>,
    /// Where partitions of topics that are gone stood: the same log may come again.
    former: HashMap<TopicPartition, Followed>,
}

impl Survey<'_> {
    /// Looks at all topics. `lost`: the reader could not go on somewhere.
    async fn look(&mut self, lost: bool) -> Result<(), SourceError> {
        let described = self.source.describe(self.topics.clone()).await?;
        for (topic, found) in described {
            if found.is_some() {
                self.missing.remove(&topic);
            }
            match found {
                None => self.not_found(&topic),
                // Fewer than before: it was made anew between two looks, and some are gone for
                // good. The next look takes in what there is.
                Some(found) if self.follows_more(&topic, &found) => self.gone(&topic),
                Some(found) => self.topic(&topic, found, lost).await?,
            }
        }
        if !std::mem::replace(&mut self.surveyed, true) {
            self.turn(Turn::Say(TailEvent::Surveyed));
        }
        Ok(())
    }

    /// Says whether the source answers, and has a client that cannot find back made anew.
    fn report(&mut self, failed: Option<&SourceError>, down_since: &mut Option<Instant>) {
        let Some(error) = failed else {
            self.failures = 0;
            if down_since.take().is_some() || self.source.status.is_down() {
                self.source.status.set_down(false);
                self.turn(Turn::Say(TailEvent::Reachable));
            }
            return;
        };
        self.failures += 1;
        let down = self.source.status.is_down();
        if !down && (self.failures >= SURVEY_FAILURES_MAX || !self.surveyed) {
            self.source.status.set_down(true);
            let cause = error.to_string();
            self.turn(Turn::Say(TailEvent::Unreachable { cause }));
        }
        let since = *down_since.get_or_insert_with(Instant::now);
        if since.elapsed() > DOWN_MAX {
            *down_since = Some(Instant::now());
            self.turn(Turn::Renew);
        }
    }

    fn not_found(&mut self, topic: &TopicName) {
        let looks = self.missing.entry(topic.clone()).or_default();
        *looks = looks.saturating_add(1);
        if *looks >= MISSING_LOOKS_MAX {
            self.gone(topic);
        }
    }

    fn gone(&mut self, topic: &TopicName) {
        let of_topic = |(tp, at): (&TopicPartition, &Followed)| {
            (tp.topic == *topic).then(|| (tp.clone(), *at))
        };
        let known: Vec<_> = self.lock().iter().filter_map(of_topic).collect();
        if !known.is_empty() {
            self.former.extend(known);
            self.turn(Turn::Close(topic.clone()));
        }
    }

    /// In another log only: a broker that has yet to hear of a new partition says fewer too.
    fn follows_more(&self, topic: &TopicName, found: &ffi::Description) -> bool {
        self.lock().iter().any(|(tp, at)| {
            tp.topic == *topic && tp.partition.0 >= found.partitions && at.log != found.log
        })
    }

    async fn topic(
        &mut self,
        topic: &TopicName,
        found: ffi::Description,
        lost: bool,
    ) -> Result<(), SourceError> {
        for partition in 0..found.partitions {
            let tp = TopicPartition::new(topic.clone(), partition);
            let followed = self.lock().get(&tp).copied();
            match followed {
                None if self.is_back(&tp, found.log) => {
                    let at = self.former.remove(&tp).expect("it is back");
                    self.find_again(tp, at).await?;
                }
                None => {
                    let marks = self.source.watermarks(&tp).await?;
                    let next = if self.surveyed { marks.start } else { marks.end };
                    self.open(tp, found.log, (next, marks), None).await?;
                }
                Some(followed) if followed.log != found.log => {
                    let marks = self.source.watermarks(&tp).await?;
                    let from = (marks.start, marks);
                    self.open(tp, found.log, from, Some(Loss::Recreated)).await?;
                }
                Some(followed) if lost => self.find_again(tp, followed).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whether this is the log that was followed before its topic was gone.
    fn is_back(&self, tp: &TopicPartition, log: Option<LogTag>) -> bool {
        log.is_some() && self.former.get(tp).is_some_and(|at| at.log == log)
    }

    /// The reader stopped somewhere: is it here, and where does it go on?
    async fn find_again(&self, tp: TopicPartition, at: Followed) -> Result<(), SourceError> {
        let marks = self.source.watermarks(&tp).await?;
        if at.next < marks.start {
            let from = (marks.start, marks);
            return self.open(tp, at.log, from, Some(Loss::Retention)).await;
        }
        // Above the end of a log, not only of what is stable of it: the reader was told so.
        if at.next > marks.end {
            let found = match at.last {
                Some(last) => self.source.offset_at(&tp, last).await?,
                None => None,
            };
            let from = (found.unwrap_or(marks.end), marks);
            return self.open(tp, at.log, from, Some(Loss::Truncated)).await;
        }
        // Not here; it is assigned again all the same, where it stands, which costs nothing.
        let append_time = self.source.append_time(&tp.topic).await?;
        self.turn(Turn::Open { tp, at, append_time, after: None });
        Ok(())
    }

    async fn open(
        &self,
        tp: TopicPartition,
        log: Option<LogTag>,
        (next, marks): (Offset, Watermarks),
        after: Option<Loss>,
    ) -> Result<(), SourceError> {
        let last = self.last_before(&tp, next, marks).await?;
        let append_time = self.source.append_time(&tp.topic).await?;
        self.turn(Turn::Open { tp, at: Followed { log, next, last }, append_time, after });
        Ok(())
    }

    /// The time of the last record before `next`, looked for over holes.
    async fn last_before(
        &self,
        tp: &TopicPartition,
        next: Offset,
        marks: Watermarks,
    ) -> Result<Option<TimestampMs>, SourceError> {
        let (mut until, mut width) = (next, 4);
        while until > marks.start && next.0 - until.0 < limits::LOOK_BACK_OFFSETS_MAX {
            let from = Offset((until.0 - width).max(marks.start.0));
            let read = self.source.read(tp, from, until, limits::CHUNK_BYTES_MAX).await?;
            if let Some(record) = read.records.last() {
                return Ok(Some(record.time));
            }
            (until, width) = (from, width * 16);
        }
        Ok(None)
    }

    fn turn(&self, turn: Turn) {
        // The reader is gone: so is whoever listens, and the loop ends.
        let _ = self.turns.send(turn);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, Followed>> {
        self.positions.lock().expect("no holder panics")
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
