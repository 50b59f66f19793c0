//! The thread that reads the live end: it assigns what it is told, polls, and tells what comes.
//!
//! Decides nothing about where to read: that is the survey's. It keeps back what it has read while
//! there is doubt whether the topics are still those that they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc;

use super::client::{Clients, Heard, Status, TailWatch, Watch};
use super::counts::Why;
use super::history::record;
use super::keeper::Shown;
use super::tail::{Followed, Holds, Positions, Turn};
use super::watchdog::Seen;
use crate::event::{Offset, Record, TopicName, TopicPartition};
use crate::source::{Loss, TailEvent};

/// How long the reader waits for a record at a time.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How long it waits for a word at a time, while it may not read and while it may not tell.
const HELD_WAIT: Duration = Duration::from_millis(100);
const DOUBT_WAIT: Duration = Duration::from_millis(10);
/// Records told at once, in number and bytes.
const BATCH: (usize, usize) = (500, 1024 * 1024);

/// Reads what the survey says.
pub(super) struct Reader {
    pub(super) clients: Clients,
    pub(super) status: Arc<Status>,
    pub(super) watch: TailWatch,
    pub(super) positions: Positions,
    pub(super) turns: Receiver<Turn>,
    /// A partition cannot be read on: the survey is to find out which and why.
    pub(super) lost: Arc<AtomicBool>,
    pub(super) holds: Arc<Holds>,
    pub(super) shown: Arc<Shown>,
    pub(super) out: mpsc::Sender<TailEvent>,
    pub(super) stop: Arc<AtomicBool>,
    /// Of the clients when this one was made.
    pub(super) age: u64,
    pub(super) client: Option<Arc<BaseConsumer<Watch>>>,
    pub(super) got: Got,
}

/// What was read and is not told yet. What goes on elsewhere meanwhile is taken out again.
#[derive(Default)]
pub(super) struct Got {
    records: Vec<(TopicPartition, Record)>,
    bytes: usize,
    /// A partition was read to its end.
    ends: bool,
    /// A partition stops.
    is_lost: bool,
}

impl Got {
    fn is_full(&self) -> bool {
        self.records.len() >= BATCH.0 || self.bytes >= BATCH.1
    }
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
        // Of this cluster's own: it never says `Moved`.
        Some(Loss::Truncated | Loss::Moved) => {
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
    /// Reads until it is stopped, or nobody listens.
    pub(super) fn run(mut self) {
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
        self.holds.let_go();
        self.shown.show(None);
        self.see(Seen::LetGo);
        if let Some(old) = self.client.take() {
            tracing::info!("the tail's client is made anew");
            old.context().end();
            self.clients.bury(old);
        }
        self.got = Got::default();
        self.watch.wake.notify_one();
    }

    fn see(&self, seen: Seen) {
        // The keeper ends when the reader does, or before.
        let _ = self.watch.seen.send(Heard::Seen(seen));
    }

    /// Takes what it is told, then reads for a moment.
    fn round(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), Closed> {
        self.next_turn(Duration::ZERO)?;
        if self.client.is_none() {
            return Ok(());
        }
        self.poll(consumer, POLL_WAIT);
        if !self.settled(consumer)? {
            return Ok(());
        }
        let Got { records, ends, is_lost, .. } = std::mem::take(&mut self.got);
        self.tell_records(records)?;
        if is_lost {
            // Only now: it stands where it has stopped.
            self.find_out();
        }
        if ends {
            self.tell_positions(consumer)?;
        }
        Ok(())
    }

    /// Takes what the client has; waits for the first for so long.
    fn poll(&mut self, consumer: &BaseConsumer<Watch>, mut wait: Duration) {
        let got = &mut self.got;
        while !got.is_full() {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let topic = TopicName::new(message.topic()).expect("Kafka's own name");
                    let record = record(&message);
                    got.bytes += record.size_bytes();
                    got.records.push((TopicPartition::new(topic, message.partition()), record));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => got.ends = true,
                Some(Err(error)) => got.is_lost |= stops(&error),
            }
            wait = Duration::ZERO;
        }
    }

    /// Waits until it is known that the topics are still those that they were. False: the client is
    /// gone meanwhile, and what it gave is read again.
    fn settled(&mut self, consumer: &BaseConsumer<Watch>) -> Result<bool, Closed> {
        let doubt = Arc::clone(&self.watch.doubt);
        while doubt.is_open() {
            // As long as there is room the client is asked, or it could not say that it is lost.
            let is_full = self.got.is_full();
            self.shown.waits.store(is_full, Ordering::Release);
            self.poll(consumer, DOUBT_WAIT);
            self.next_turn(if is_full { DOUBT_WAIT } else { Duration::ZERO })?;
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
                self.clients.counts().renewed(Why::Refused);
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
                    if !stays && at.checked == holds {
                        list.add_partition(tp.topic.as_str(), tp.partition.0);
                    }
                    stays
                });
                self.got.records.retain(|(tp, _)| tp.topic != topic);
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
                self.holds.resume(hold);
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
        self.got.records.retain(|(of, _)| *of != tp);
        match &self.client {
            Some(client) if at.checked == self.holds.now() => {
                assign(client, &tp, at.next, is_assigned)
            }
            _ => Ok(()),
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
