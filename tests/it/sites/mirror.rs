//! What writes into one cluster and what copies to the other: in order, with the same times, and
//! late where it is told to be.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::PARTITIONS;
use crate::support::eventually;
use crate::support::kafka::topics::Topics;
use crate::support::kafka::{New, Records};

/// When an event was copied, and which.
type Step = (Instant, i64);

/// By partition: what was copied.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<i32, Vec<Step>>>>);

impl Progress {
    /// Up to which event the copy had come by then.
    #[must_use]
    pub fn at(&self, partition: i32, then: Instant) -> i64 {
        let all = self.0.lock().expect("sound");
        let steps = all.get(&partition).map_or(&[][..], Vec::as_slice);
        let until = steps.partition_point(|(at, _)| *at <= then);
        until.checked_sub(1).map_or(-1, |last| steps[last].1)
    }
}

/// The number of an event.
#[must_use]
pub fn number(value: &[u8]) -> i64 {
    let value: serde_json::Value = serde_json::from_slice(value).expect("JSON");
    value["n"].as_i64().expect("a number")
}

/// Copies a topic as long as it lives.
pub struct Mirror {
    held: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    /// Events that it has read.
    read: Arc<AtomicI64>,
    progress: Progress,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// From one cluster to the other, from this offset on.
    #[must_use]
    pub fn start(
        (from, to): (&str, &str),
        (topic, start): (&str, i64),
        progress: &Progress,
    ) -> Self {
        let held = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let read = Arc::new(AtomicI64::new(0));
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", from)
            .set("group.id", "mirror")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .expect("a client");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Offset(start)).expect("an offset");
        }
        consumer.assign(&list).expect("assigned");
        let records = Topics::of(to.to_owned()).producer(&[]);
        let work = Work {
            consumer,
            records,
            topic: topic.to_owned(),
            held: Arc::clone(&held),
            stop: Arc::clone(&stop),
            read: Arc::clone(&read),
            progress: progress.clone(),
        };
        let thread = Some(std::thread::spawn(move || work.run()));
        Self { held, stop, read, progress: progress.clone(), thread }
    }

    /// It reads on, and writes nothing.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    /// It writes what it has.
    pub fn release(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// Waits until it has read so many events.
    pub fn has_read(&self, events: i64) {
        eventually("the mirror has read all", || self.read.load(Ordering::Acquire) >= events);
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the mirror panicked");
        }
    }
}

struct Work {
    consumer: BaseConsumer,
    records: Records,
    topic: String,
    held: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    read: Arc<AtomicI64>,
    progress: Progress,
}

impl Work {
    fn run(self) {
        let mut waiting: VecDeque<(i32, i64, Vec<u8>)> = VecDeque::new();
        while !self.stop.load(Ordering::Acquire) {
            // A cluster that is away says so again and again.
            if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(20)) {
                let value = message.payload().expect("a value").to_vec();
                if number(&value) >= 0 {
                    let time = message.timestamp().to_millis().expect("a time");
                    waiting.push_back((message.partition(), time, value));
                    self.read.fetch_add(1, Ordering::AcqRel);
                }
            }
            if self.held.load(Ordering::Acquire) {
                continue;
            }
            for (partition, time, value) in waiting.drain(..) {
                // It may be there from now on.
                let mut progress = self.progress.0.lock().expect("sound");
                let step = (Instant::now(), number(&value));
                progress.entry(partition).or_default().push(step);
                drop(progress);
                let value = Some(value.as_slice());
                self.records.send(&self.topic, New { partition, time, value, key: None });
            }
        }
    }
}

/// Writes numbered events into a topic, each a millisecond younger than the one before.
pub struct Writer {
    stop: Arc<AtomicBool>,
    /// Held while one is on its way.
    paused: Arc<Mutex<bool>>,
    written: Arc<AtomicI64>,
    topic: String,
    thread: Option<JoinHandle<()>>,
}

/// What was written: how many events, the n-th in partition `n % PARTITIONS`.
pub struct Written {
    /// Where to.
    pub topic: String,
    /// How many.
    pub events: i64,
}

impl Writer {
    /// Begins.
    #[must_use]
    pub fn start(records: Records, topic: &str, partitions: i32) -> Self {
        let (stop, paused) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(false)));
        let written = Arc::new(AtomicI64::new(0));
        let shared = (Arc::clone(&stop), Arc::clone(&paused), Arc::clone(&written));
        let name = topic.to_owned();
        let thread = std::thread::spawn(move || {
            let (stop, paused, written) = shared;
            let begun = tidegate::event::TimestampMs::now().0;
            while !stop.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(10));
                let paused = paused.lock().expect("sound");
                if *paused {
                    continue;
                }
                let n = written.load(Ordering::Acquire);
                let value = format!("{{\"n\":{n}}}");
                let partition = i32::try_from(n).expect("few") % partitions;
                let (time, value) = (begun + n * 5, Some(value.as_bytes()));
                records.send(&name, New { partition, time, value, key: None });
                records.flush();
                written.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { stop, paused, written, topic: topic.to_owned(), thread: Some(thread) }
    }

    /// Writes nothing for a while; what was on its way is written.
    pub fn pause(&self) {
        *self.paused.lock().expect("sound") = true;
    }

    /// Writes again.
    pub fn go_on(&self) {
        *self.paused.lock().expect("sound") = false;
    }

    /// How many are written.
    #[must_use]
    pub fn acknowledged(&self) -> i64 {
        self.written.load(Ordering::Acquire)
    }

    /// What is written by now.
    #[must_use]
    pub fn so_far(&self) -> Written {
        Written { topic: self.topic.clone(), events: self.acknowledged() }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the writer panicked");
        }
    }
}
