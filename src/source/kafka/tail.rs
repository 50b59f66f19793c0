//! The live end of all topics.
//!
//! ```text
//!  survey (async, every second)          reader (a thread)
//!  which topics, ids, partitions ──Turn──▶ assign, poll ──▶ TailEvent
//!        ▲                                   │  │     ▲
//!        └────────── positions ◀─────────────┘  Seen  Turn
//!                                               ▼     │
//!                                              keeper (a thread)
//! ```
//! The survey finds out where to read and why; the keeper whether the cluster answers; the reader
//! only reads. The positions belong to no client: from them one is made anew, once the survey has
//! held each of them against its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::{Notify, mpsc};

use super::KafkaSource;
use super::client::{Clients, Heard, Status, TailWatch, Watch};
use super::history::record;
use super::keeper::{Keeper, Shown};
use super::survey::{Look, Survey};
use super::watchdog::Seen;
use crate::event::{LogTag, Offset, Record, TimestampMs, TopicName, TopicPartition};
use crate::source::{Loss, TailEvent};

/// How often topics, ids and partitions are looked at.
const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// And how soon after another where somebody waits for it.
const SURVEY_AGAIN: Duration = Duration::from_millis(20);
/// How long the reader waits for a word at a time, while it may not read and while it may not tell.
const HELD_WAIT: Duration = Duration::from_millis(100);
const DOUBT_WAIT: Duration = Duration::from_millis(10);
/// Records told at once, in number and bytes.
const BATCH: (usize, usize) = (500, 1024 * 1024);

/// Where the tail is in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    pub(super) log: Option<LogTag>,
    pub(super) next: Offset,
    /// The last record before `next`, and its time.
    pub(super) last: Option<(Offset, TimestampMs)>,
    /// During which of the reader's holds it was held against its log last.
    pub(super) checked: u64,
}

pub(super) type Positions = Arc<Mutex<BTreeMap<TopicPartition, Followed>>>;

/// How often the reader has let its client go, and up to which time it may read again.
#[derive(Debug, Default)]
pub(super) struct Holds {
    let_go: AtomicU64,
    resumed: AtomicU64,
}

impl Holds {
    /// Which is the present one.
    pub(super) fn now(&self) -> u64 {
        self.let_go.load(Ordering::Acquire)
    }

    /// Whether the reader has no client and waits for word that it may read.
    pub(super) fn is_held(&self) -> bool {
        self.now() != self.resumed.load(Ordering::Acquire)
    }
}

/// What the survey and the keeper tell the reader.
pub(super) enum Turn {
    /// Read this partition from here on, and say why.
    Open {
        tp: TopicPartition,
        at: Followed,
        append_time: bool,
        after: Option<Loss>,
        /// Where it stood when this was found out.
        instead_of: Option<Offset>,
    },
    /// Assign this partition again where it stands.
    Assign(TopicPartition),
    /// Stop reading this topic.
    Close(TopicName),
    /// Pass this on.
    Say(TailEvent),
    /// Let the client go until a later word.
    LetGo,
    /// Read on, if this is still the hold that there is.
    Resume(u64),
}

/// Ends the threads when the tail is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
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
    let _stop = Stop(Arc::clone(&stop));
    let (turns, taken) = std::sync::mpsc::channel();
    let (seen, heard) = std::sync::mpsc::channel();
    let lost = Arc::new(AtomicBool::new(false));
    let (holds, shown) = (Arc::<Holds>::default(), Arc::<Shown>::default());
    let wake = Arc::new(Notify::new());
    let watch = TailWatch { seen, doubt: Arc::default(), wake: Arc::clone(&wake) };
    let keeper = Keeper {
        clients: source.clients.clone(),
        status: Arc::clone(&source.status),
        look: Arc::clone(&source.look),
        positions: Arc::clone(&positions),
        shown: Arc::clone(&shown),
        turns: turns.clone(),
        wake: Arc::clone(&wake),
        stop: Arc::clone(&stop),
    };
    let reader = Reader {
        clients: source.clients.clone(),
        status: Arc::clone(&source.status),
        watch: watch.clone(),
        positions: Arc::clone(&positions),
        turns: taken,
        lost: Arc::clone(&lost),
        holds: Arc::clone(&holds),
        shown,
        out: out.clone(),
        stop,
        age: 0,
        client: None,
        reopened: BTreeSet::new(),
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let begun = thread("kafka-keeper").spawn(move || keeper.run(&heard));
    if let Err(error) = begun.and_then(|_| thread("kafka-tail").spawn(move || reader.run())) {
        tracing::error!(%error, "the tail cannot be started");
        return;
    }
    let mut survey = Survey::new(source, topics, turns, positions, holds);
    while !out.is_closed() {
        let settles = watch.doubt.so_far();
        let Look { found, settles_doubts } = survey.look(lost.swap(false, Ordering::AcqRel)).await;
        if settles_doubts {
            watch.doubt.settle(settles);
        }
        let is_urgent = settles_doubts && (lost.load(Ordering::Acquire) || watch.doubt.is_open());
        let seen = Seen::Looked(found.map_err(|error| error.to_string()));
        let _ = watch.seen.send(Heard::Seen(seen));
        let wait = if is_urgent { SURVEY_AGAIN } else { SURVEY_EVERY };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wake.notified() => tokio::time::sleep(SURVEY_AGAIN).await,
            () = out.closed() => {}
        }
    }
}

/// Reads what the survey says.
struct Reader {
    clients: Clients,
    status: Arc<Status>,
    watch: TailWatch,
    positions: Positions,
    turns: Receiver<Turn>,
    /// A partition cannot be read on: the survey is to find out which and why.
    lost: Arc<AtomicBool>,
    holds: Arc<Holds>,
    shown: Arc<Shown>,
    out: mpsc::Sender<TailEvent>,
    stop: Arc<AtomicBool>,
    /// Of the clients when this one was made.
    age: u64,
    client: Option<Arc<BaseConsumer<Watch>>>,
    /// Partitions that go on elsewhere since the last poll.
    reopened: BTreeSet<TopicPartition>,
}

/// Nobody listens any more.
struct Closed;

/// Where a partition goes on that the survey wants opened. `None`: nowhere else, that was said
/// already; the survey looks again before the reader has come to what it said.
fn going_on(
    known: Option<Followed>,
    at: Followed,
    after: Option<Loss>,
    instead_of: Option<Offset>,
) -> Option<Followed> {
    let Some(known) = known else { return Some(at) };
    match after {
        None => Some(Followed { checked: known.checked.max(at.checked), ..known }),
        Some(Loss::Recreated) => (known.log != at.log).then_some(at),
        Some(Loss::Retention) => (known.log == at.log && known.next < at.next).then_some(at),
        Some(Loss::Truncated) => {
            (known.log == at.log && Some(known.next) == instead_of).then_some(at)
        }
    }
}

/// Whether a partition stops by this. What else it may be, the survey sees and the keeper hears of;
/// the consumer is never finished by an error.
fn stops(error: &KafkaError) -> bool {
    tracing::debug!(%error, "the tail heard");
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))
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
    fn run(mut self) {
        self.age = self.clients.age();
        while !self.stop.load(Ordering::Acquire) {
            if self.age != self.clients.age() {
                self.age = self.clients.age();
                self.let_go();
            }
            let outcome = match self.client.clone() {
                Some(client) => self.round(&client),
                None if self.holds.is_held() => self.next_turn(HELD_WAIT),
                None => {
                    self.begin();
                    Ok(())
                }
            };
            if outcome.is_err() {
                break;
            }
        }
        self.let_go();
    }

    /// Makes a client that reads on at the positions.
    fn begin(&mut self) {
        let holds = self.holds.now();
        let watch = Watch::of_tail(&self.status, self.watch.clone());
        let made = self.clients.tail(watch).and_then(|consumer| {
            let mut all = TopicPartitionList::new();
            let positions = self.positions.lock().expect("no holder panics");
            for (tp, at) in positions.iter().filter(|(_, at)| at.checked == holds) {
                let offset = KafkaOffset::Offset(at.next.0);
                all.add_partition_offset(tp.topic.as_str(), tp.partition.0, offset)?;
            }
            consumer.assign(&all)?;
            Ok(consumer)
        });
        match made {
            Ok(consumer) => {
                self.client = Some(Arc::new(consumer));
                self.shown.show(self.client.clone());
                self.see(Seen::Began);
            }
            Err(error) => {
                tracing::error!(%error, "the tail's client cannot be made");
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }

    /// Lets the client go. Every position is held against its log before it is read on from.
    fn let_go(&mut self) {
        self.holds.let_go.fetch_add(1, Ordering::AcqRel);
        self.shown.show(None);
        self.see(Seen::LetGo);
        if let Some(old) = self.client.take() {
            tracing::info!("the tail's client is made anew");
            old.context().end();
            self.clients.bury(old);
        }
        self.watch.wake.notify_one();
    }

    fn see(&self, seen: Seen) {
        // The keeper ends when the reader does, or before.
        let _ = self.watch.seen.send(Heard::Seen(seen));
    }

    /// Takes what it is told, then reads for a moment.
    fn round(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), Closed> {
        self.reopened.clear();
        self.next_turn(Duration::ZERO)?;
        if self.client.is_none() {
            return Ok(());
        }
        let (mut batch, mut ends, mut is_lost) = (Vec::new(), false, false);
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
                Some(Err(error)) => is_lost |= stops(&error),
            }
            wait = Duration::ZERO;
        }
        self.reopened.clear();
        if !self.settled()? {
            return Ok(());
        }
        batch.retain(|(tp, _)| !self.reopened.contains(tp));
        self.tell_records(batch)?;
        if is_lost {
            // Only now: it stands where it has stopped.
            self.find_out();
        }
        if ends {
            self.tell_positions(consumer)?;
        }
        Ok(())
    }

    /// Waits until it is known that the topics are still those that they were. False: the client is
    /// gone meanwhile, and what it gave is read again.
    fn settled(&mut self) -> Result<bool, Closed> {
        let doubt = Arc::clone(&self.watch.doubt);
        while doubt.is_open() {
            self.shown.waits.store(true, Ordering::Release);
            self.next_turn(DOUBT_WAIT)?;
            let is_over = self.stop.load(Ordering::Acquire) || self.age != self.clients.age();
            if self.client.is_none() || is_over {
                break;
            }
        }
        self.shown.waits.store(false, Ordering::Release);
        if doubt.is_open() {
            return Ok(false);
        }
        // What was found out meanwhile comes before what was read.
        self.next_turn(Duration::ZERO)?;
        Ok(self.client.is_some())
    }

    /// Takes all that it is told; waits for the first for so long.
    fn next_turn(&mut self, wait: Duration) -> Result<(), Closed> {
        let mut next = match self.turns.recv_timeout(wait) {
            Err(RecvTimeoutError::Disconnected) => return Err(Closed),
            turn => turn.ok(),
        };
        while let Some(turn) = next {
            if let Err(error) = self.turn(turn)? {
                tracing::warn!(%error, "the tail's client does not take a partition");
                self.let_go();
            }
            next = self.turns.try_recv().ok();
        }
        Ok(())
    }

    /// Has it found out where partitions go on.
    fn find_out(&self) {
        self.lost.store(true, Ordering::Release);
        self.watch.wake.notify_one();
    }

    fn turn(&mut self, turn: Turn) -> Result<Result<(), KafkaError>, Closed> {
        match turn {
            Turn::Open { tp, at, append_time, after, instead_of } => {
                let known = self.positions.lock().expect("no holder panics").get(&tp).copied();
                let Some(at) = going_on(known, at, after, instead_of) else {
                    if after == Some(Loss::Truncated) {
                        // It has moved since, or went on already.
                        self.find_out();
                    }
                    return Ok(Ok(()));
                };
                self.positions.lock().expect("no holder panics").insert(tp.clone(), at);
                if known.is_none() || after.is_some() {
                    let (Followed { log, next, last, .. }, tp) = (at, tp.clone());
                    let last = last.map(|(_, time)| time);
                    self.tell(TailEvent::Opened { tp, log, append_time, next, last, after })?;
                }
                let is_assigned = known.is_some_and(|known| known.checked == self.holds.now());
                Ok(self.assign(tp, at, is_assigned))
            }
            Turn::Assign(tp) => {
                let known = self.positions.lock().expect("no holder panics").get(&tp).copied();
                let known = known.filter(|known| known.checked == self.holds.now());
                Ok(known.map_or(Ok(()), |at| self.assign(tp, at, true)))
            }
            Turn::Close(topic) => {
                let mut list = TopicPartitionList::new();
                let holds = self.holds.now();
                self.positions.lock().expect("no holder panics").retain(|tp, at| {
                    let stays = tp.topic != topic;
                    if !stays {
                        self.reopened.insert(tp.clone());
                    }
                    if !stays && at.checked == holds {
                        list.add_partition(tp.topic.as_str(), tp.partition.0);
                    }
                    stays
                });
                self.tell(TailEvent::Gone { topic })?;
                Ok(self.client.as_ref().map_or(Ok(()), |c| c.incremental_unassign(&list)))
            }
            Turn::Say(event) => self.tell(event).map(Ok),
            Turn::LetGo => {
                if self.client.is_some() {
                    self.let_go();
                }
                Ok(Ok(()))
            }
            Turn::Resume(hold) => {
                self.holds.resumed.fetch_max(hold, Ordering::AcqRel);
                Ok(Ok(()))
            }
        }
    }

    /// Has the client read a partition from here on, if there is one and it may.
    fn assign(
        &mut self,
        tp: TopicPartition,
        at: Followed,
        is_assigned: bool,
    ) -> Result<(), KafkaError> {
        let outcome = match &self.client {
            Some(client) if at.checked == self.holds.now() => {
                assign(client, &tp, at.next, is_assigned)
            }
            _ => Ok(()),
        };
        self.reopened.insert(tp);
        outcome
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
            (at.next, at.last) = (last.offset.next(), Some((last.offset, last.time)));
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
        let event = match self.out.try_send(event) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Closed),
            Err(mpsc::error::TrySendError::Full(event)) => event,
        };
        self.shown.waits.store(true, Ordering::Release);
        let told = self.out.blocking_send(event).map_err(|_| Closed);
        self.shown.waits.store(false, Ordering::Release);
        told
    }
}
