//! Producers: they write at the rate that the schedule says, over whatever happens, and enter into
//! the book what was acknowledged and what they do not know of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::Message;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};

use crate::clock::Clock;
use crate::event;
use crate::reader::Shared;
use crate::schedule::Schedule;
use crate::support::intake::{Written, written};
use crate::support::{PATIENCE, sse};

/// How often a batch is written.
const TICK_MS: u64 = 50;

/// What all writers share.
#[derive(Clone)]
pub struct Pen {
    /// The run's time.
    pub clock: Clock,
    /// The book is in it.
    pub shared: Arc<Shared>,
    /// How much is written when.
    pub schedule: Arc<Schedule>,
    /// Events a second, where the load is 1.
    pub rate: f64,
    /// The next event's number.
    pub next: Arc<AtomicU64>,
    /// Nothing more is to be written.
    pub stop: Arc<AtomicBool>,
}

/// Writers at work.
pub struct Writers(Vec<JoinHandle<()>>);

impl Writers {
    /// Waits until they have stopped and know of everything what became of it.
    pub fn finish(self, pen: &Pen) {
        pen.stop.store(true, Ordering::Release);
        for thread in self.0 {
            if thread.join().is_err() {
                pen.shared.is_odd("a writer panicked".to_owned());
            }
        }
    }
}

impl Pen {
    /// Calls `write` at every tick with how many events are due.
    fn ticks(&self, mut write: impl FnMut(usize)) {
        let (mut at_ms, mut due) = (self.clock.ms(), 0.0);
        while !self.stop.load(Ordering::Acquire) {
            // Who was held up does not make up for it: the rate is an offer, not a debt.
            at_ms = (at_ms + TICK_MS).max(self.clock.ms());
            self.clock.wait_until(at_ms);
            due += self.rate * self.schedule.load_at(at_ms) * 0.001 * TICK_MS as f64;
            write(due as usize);
            due -= due.floor();
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::AcqRel)
    }

    fn acknowledged(&self, topic: &str, partition: i32, offset: i64, n: u64) {
        match self.shared.book.place(topic, partition) {
            Some(place) => self.shared.book.acknowledged(place, offset, n),
            None => self.shared.is_odd(format!("written to {topic} {partition}")),
        }
    }

    /// Through a gateway's intake; `streams` in turn.
    #[must_use]
    pub fn intake(&self, to: SocketAddr, streams: &'static [&'static str]) -> Writers {
        let pen = self.clone();
        Writers(vec![std::thread::spawn(move || {
            pen.ticks(|due| {
                // More would be refused as too much at once.
                for batch in (0..due).collect::<Vec<_>>().chunks(500) {
                    let batch: Vec<u64> = batch.iter().map(|_| pen.number()).collect();
                    pen.post(to, streams, &batch);
                }
            });
        })])
    }

    fn post(&self, to: SocketAddr, streams: &[&str], batch: &[u64]) {
        let events = batch.iter().map(|n| {
            let stream = streams[usize::try_from(*n).expect("few") % streams.len()];
            event::render(stream, *n, self.clock.ms())
        });
        let body = format!("[{}]", events.collect::<Vec<_>>().join(","));
        let Ok((201, answer)) = sse::post(to, "/v1/events", body.as_bytes()) else {
            batch.iter().for_each(|n| self.shared.book.unknown(*n));
            return std::thread::sleep(Duration::from_millis(TICK_MS));
        };
        for (n, Written { topic, partition, offset }) in batch.iter().zip(written(&answer)) {
            self.acknowledged(&topic, partition, offset, *n);
        }
    }

    /// Into Kafka.
    #[must_use]
    pub fn kafka(&self, bootstrap: &str) -> Writers {
        let producer: ThreadedProducer<Acknowledge> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("socket.timeout.ms", "3000")
            .set("reconnect.backoff.max.ms", "1000")
            .set("linger.ms", "5")
            .create_with_context(Acknowledge(self.clone()))
            .expect("a producer");
        let pen = self.clone();
        Writers(vec![std::thread::spawn(move || {
            let places: Vec<_> = pen.shared.book.names().cloned().collect();
            pen.ticks(|due| {
                for _ in 0..due {
                    let n = pen.number();
                    let (topic, partition) =
                        &places[usize::try_from(n).expect("few") % places.len()];
                    let value = event::render("any", n, pen.clock.ms());
                    let record =
                        BaseRecord::<(), [u8], Box<u64>>::with_opaque_to(topic, Box::new(n));
                    // A full queue is not waited for: this one is not written.
                    let _ = producer.send(record.partition(*partition).payload(value.as_bytes()));
                }
            });
            if producer.flush(PATIENCE).is_err() {
                pen.shared.is_odd("the producer does not come to its end".to_owned());
            }
        })])
    }
}

/// Enters into the book what Kafka says.
struct Acknowledge(Pen);

impl ClientContext for Acknowledge {}

impl ProducerContext for Acknowledge {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, n: Box<u64>) {
        match result {
            Ok(message) => {
                self.0.acknowledged(message.topic(), message.partition(), message.offset(), *n);
            }
            Err(_) => self.0.shared.book.unknown(*n),
        }
    }
}
