//! Who sees what becomes of the cluster and has done about it what the watchdog orders: a thread of
//! its own, never inside the reader's poll, so that no state of the client keeps it from acting.
//!
//! Decides nothing (`watchdog`) and reads nothing: it asks a few questions, with short patience.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::Notify;

use super::client::{Clients, Heard, Kept, Status, Watch};
use super::counts::Why;
use super::tail::{Positions, Turn};
use super::watchdog::{Order, Reading, Seen, Watchdog};
use crate::event::{Offset, TopicPartition};
use crate::source::TailEvent;

/// How long it waits for something to see.
const TICK: Duration = Duration::from_millis(200);
/// How often it looks at the list of brokers and at partitions that are quiet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Quiet partitions that are looked at each time, and how long one may take.
const MARKS: (usize, Duration) = (16, Duration::from_millis(800));
/// Longer than a live broker takes for metadata.
const METADATA_TIMEOUT: Duration = Duration::from_millis(800);

/// What the reader shows of itself.
#[derive(Default)]
pub(super) struct Shown {
    /// It waits for somebody to take what it has, or for an answer.
    pub(super) waits: AtomicBool,
    /// Its client.
    pub(super) client: Mutex<Option<Arc<BaseConsumer<Watch>>>>,
}

impl Shown {
    pub(super) fn show(&self, client: Option<Arc<BaseConsumer<Watch>>>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn client(&self) -> Option<Arc<BaseConsumer<Watch>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The keeper.
pub(super) struct Keeper {
    pub(super) clients: Clients,
    pub(super) status: Arc<Status>,
    pub(super) look: Arc<Kept<BaseConsumer<Watch>>>,
    pub(super) positions: Positions,
    pub(super) shown: Arc<Shown>,
    pub(super) turns: Sender<Turn>,
    pub(super) wake: Arc<Notify>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Keeper {
    /// Sees and acts until it is stopped.
    pub(super) fn run(self, seen: &Receiver<Heard>) {
        let begun = Instant::now();
        let mut dog = Watchdog::default();
        let (mut looked, mut quiet) = (Instant::now(), Quiet::default());
        let mut silent = self.clients.counts().silent();
        while !self.stop.load(Ordering::Acquire) {
            let heard = match seen.recv_timeout(TICK) {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout) => Heard::Seen(Seen::Tick),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let seen = match heard {
                Heard::Seen(seen) => {
                    if seen == Seen::LetGo {
                        silent.are(0);
                    }
                    seen
                }
                Heard::Stats(leaders, brokers) => {
                    self.clients.counts().brokers(brokers.len());
                    silent.are(leaders.iter().filter(|leader| !leader.answers()).count());
                    self.clients.brokers().saw(brokers);
                    Seen::Stats(leaders)
                }
            };
            self.see(&mut dog, begun.elapsed(), seen);
            if looked.elapsed() < LOOK_EVERY {
                continue;
            }
            looked = Instant::now();
            if self.clients.brokers().look() {
                self.clients.renew(Why::Brokers);
                self.wake.notify_one();
            }
            for seen in self.marks(&dog, &mut quiet) {
                self.see(&mut dog, begun.elapsed(), seen);
            }
        }
    }

    fn see(&self, dog: &mut Watchdog, now: Duration, seen: Seen) {
        let follows = !self.positions.lock().expect("no holder panics").is_empty();
        let waits = self.shown.waits.load(Ordering::Acquire);
        for order in dog.see(now, Reading { follows, waits }, seen) {
            self.obey(order);
        }
    }

    fn obey(&self, order: Order) {
        match order {
            Order::LetGo(why) => {
                self.clients.counts().renewed(why);
                self.turn(Turn::LetGo);
                self.wake.notify_one();
            }
            Order::Unreachable(cause) => {
                self.status.set_down(!self.stop.load(Ordering::Acquire));
                let cause = self.status.last_error().unwrap_or(cause);
                self.turn(Turn::Say(TailEvent::Unreachable { cause }));
            }
            Order::Reachable => {
                self.status.set_down(false);
                self.turn(Turn::Say(TailEvent::Reachable));
            }
            Order::AskMetadata => {
                // Asked by the client that reads: it learns who leads now.
                if let Some(client) = self.shown.client() {
                    let _ = client.fetch_metadata(None, METADATA_TIMEOUT);
                }
            }
            Order::Assign(tp) => {
                tracing::warn!(%tp, "records do not come: the partition is assigned again");
                self.turn(Turn::Assign(tp));
            }
            Order::RenewAll => self.renew_all(),
        }
    }

    fn renew_all(&self) {
        if self.clients.may_renew() {
            tracing::info!("all clients are made anew, from the present list of brokers");
            self.clients.renew(Why::Unreachable);
        }
        if let Some(cause) = self.status.last_error() {
            // Whoever shows the cause shows the present one.
            self.turn(Turn::Say(TailEvent::Unreachable { cause }));
        }
    }

    /// Where the logs of some partitions end that have brought nothing since they were looked at
    /// last. The questions' client also says here what it has to report.
    fn marks(&self, dog: &Watchdog, quiet: &mut Quiet) -> Vec<Seen> {
        let look = self.look.get(&self.clients, || self.clients.history(Watch::new(&self.status)));
        let Ok(look) = look else { return Vec::new() };
        while look.poll(Duration::ZERO).is_some() {}
        if !dog.is_calm() {
            return Vec::new();
        }
        let mut seen = Vec::new();
        for (tp, next) in quiet.next(&self.positions, dog.behind().cloned().collect()) {
            let (topic, partition) = (tp.topic.as_str(), tp.partition.0);
            let marks = look.client().fetch_watermarks(topic, partition, MARKS.1);
            // What does not answer is somebody else's concern, and the others wait.
            let Ok((_, end)) = marks else { break };
            seen.push(Seen::Marks { tp, next, end: Offset(end) });
        }
        seen
    }

    fn turn(&self, turn: Turn) {
        // The reader is gone, and this ends too.
        let _ = self.turns.send(turn);
    }
}

/// Which partitions have brought nothing since they were looked at last, in turns.
#[derive(Default)]
struct Quiet {
    stood: BTreeMap<TopicPartition, Offset>,
    /// The last one that was looked at.
    last: Option<TopicPartition>,
}

impl Quiet {
    fn next(
        &mut self,
        positions: &Positions,
        first: Vec<TopicPartition>,
    ) -> Vec<(TopicPartition, Offset)> {
        let now: BTreeMap<_, _> = {
            let positions = positions.lock().expect("no holder panics");
            positions.iter().map(|(tp, at)| (tp.clone(), at.next)).collect()
        };
        let before = std::mem::replace(&mut self.stood, now);
        let stands = |(tp, at): &(&TopicPartition, &Offset)| before.get(*tp) == Some(*at);
        let quiet: Vec<_> = self.stood.iter().filter(stands).map(|(tp, _)| tp.clone()).collect();
        let from = match &self.last {
            Some(last) => quiet.partition_point(|tp| tp <= last),
            None => 0,
        };
        let turn = quiet[from..].iter().chain(&quiet[..from]);
        let turn: Vec<_> = turn.filter(|tp| !first.contains(tp)).take(MARKS.0).cloned().collect();
        self.last = turn.last().cloned().or(self.last.take());
        let all = first.into_iter().take(MARKS.0).chain(turn);
        all.filter_map(|tp| Some((tp.clone(), *self.stood.get(&tp)?))).collect()
    }
}
