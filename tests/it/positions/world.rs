//! Two topics, whatever holds them, a gateway before them, and what was written into them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::kafka::{New, Records, shared, unique};
use crate::support::sse::{self, Event, Events, Response};
use crate::support::{PATIENCE, block_on, eventually};

/// The time of the first records: long past, so that nothing depends on today.
pub const T0: i64 = 1_700_000_000_000;

/// What holds the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A real Kafka.
    Kafka,
    /// The embedded log.
    Embedded,
}

/// Topic (0 or 1), partition, and the record's time after `T0` in ms.
pub type Row = (usize, i32, i64);

/// Topic, partition, offset.
pub type Place = (usize, i32, i64);

enum Writer {
    Kafka(Records),
    /// A key for each partition.
    Embedded(Vec<String>),
}

/// A small world for one test. The stream `both` has both topics; each topic is a stream of its
/// own name; `second` (alias `also-second`) has the second.
pub struct World {
    pub gateway: Gateway,
    pub topics: [String; 2],
    partitions: i32,
    writer: Writer,
    /// The times of each partition's records, by offset.
    written: Mutex<BTreeMap<(usize, i32), Vec<i64>>>,
}

const FOR_EVER: &[(&str, &str)] = &[("retention.ms", "-1")];

impl World {
    /// Both topics, each with one record at `T0` in its partition 0.
    pub fn new(kind: Kind, partitions: i32) -> Self {
        let world = Self::with_topics(kind, partitions, 2);
        world.write(&[(0, 0, 0), (1, 0, 0)]);
        world
    }

    /// The first so many topics exist (in the embedded log: once something is written to them).
    pub fn with_topics(kind: Kind, partitions: i32, made: usize) -> Self {
        let topics = [unique("first-of-two-topics"), unique("second-of-two-topics")];
        for topic in topics.iter().take(if kind == Kind::Kafka { made } else { 0 }) {
            block_on(shared().create_topic(topic, partitions, FOR_EVER));
        }
        let gateway = gateway(kind, partitions, &topics);
        let writer = match kind {
            Kind::Kafka => Writer::Kafka(shared().producer(&[])),
            Kind::Embedded => Writer::Embedded(keys(&gateway, partitions)),
        };
        let world = Self { gateway, topics, partitions, writer, written: Mutex::default() };
        world.ready();
        world
    }

    /// Another gateway before the same Kafka.
    pub fn another_gateway(&self) -> Gateway {
        gateway(Kind::Kafka, self.partitions, &self.topics)
    }

    /// Makes the second topic, where it does not exist yet.
    pub fn make_second(&self) {
        if let Writer::Kafka(_) = self.writer {
            block_on(shared().create_topic(&self.topics[1], self.partitions, FOR_EVER));
        }
    }

    /// Deletes the first topic and makes it anew, with the same partitions.
    pub fn make_first_anew(&mut self) {
        block_on(shared().delete_topic(&self.topics[0]));
        self.make_first_again(self.partitions);
    }

    /// Makes the first topic anew, after it was deleted.
    pub fn make_first_again(&mut self, partitions: i32) {
        block_on(shared().create_topic(&self.topics[0], partitions, FOR_EVER));
        self.writer = Writer::Kafka(shared().producer(&[]));
        self.written.lock().expect("sound").retain(|(topic, _), _| *topic != 0);
    }

    /// The gateway anew: it knows nothing of what was written before.
    pub fn restart(&mut self) {
        self.gateway.kill();
        self.gateway.go();
        self.ready();
    }

    fn ready(&self) {
        eventually("streams are opened", || {
            sse::get(self.gateway.public(), "/v2/stream/both", &[]).is_ok_and(|r| r.status == 200)
        });
    }

    /// Waits until the gateway has seen everything that was written: what is latest for it is
    /// then the end. (What was acknowledged just before a stream is opened may still come in it.)
    pub fn settle(&self) {
        eventually("the gateway has seen everything", || {
            let id = self.open("both?id=first", &[]).events().next().expect("an id").id;
            self.all().iter().all(|(topic, partition, offset)| {
                let entry = self.entry(&id, *topic, *partition);
                entry.is_some_and(|e| e["offset"].as_i64() > Some(*offset))
            })
        });
    }

    /// Writes records and waits until they are acknowledged.
    pub fn write(&self, rows: &[Row]) {
        match &self.writer {
            Writer::Kafka(records) => self.write_to_kafka(records, rows),
            Writer::Embedded(keys) => self.write_to_intake(keys, rows),
        }
        let mut written = self.written.lock().expect("sound");
        for (topic, partition, time) in rows {
            written.entry((*topic, *partition)).or_default().push(*time);
        }
    }

    fn write_to_kafka(&self, records: &Records, rows: &[Row]) {
        for (topic, partition, time) in rows {
            let value = format!("{{\"time\":{time}}}");
            let (value, time) = (Some(value.as_bytes()), T0 + time);
            let new = New { partition: *partition, time, value, key: None };
            records.send(&self.topics[*topic], new);
        }
        records.flush();
    }

    fn write_to_intake(&self, keys: &[String], rows: &[Row]) {
        let events = rows.iter().map(|(topic, partition, time)| {
            let (stream, key) =
                (&self.topics[*topic], &keys[usize::try_from(*partition).expect("small")]);
            let dt = iso(T0 + time);
            let meta = format!(r#"{{"stream":"{stream}","dt":"{dt}","key":"{key}"}}"#);
            format!(r#"{{"meta":{meta},"time":{time}}}"#)
        });
        post(&self.gateway, &events.collect::<Vec<_>>());
    }

    /// Everything that was written and not removed, in canonical order.
    pub fn all(&self) -> Vec<Place> {
        let written = self.written.lock().expect("sound");
        let places = written.iter().flat_map(|((topic, partition), times)| {
            (0i64..).zip(times).map(|(offset, _)| (*topic, *partition, offset))
        });
        places.collect()
    }

    /// The time of a record, after `T0`.
    pub fn time(&self, (topic, partition, offset): Place) -> i64 {
        let written = self.written.lock().expect("sound");
        written[&(topic, partition)][usize::try_from(offset).expect("small")]
    }

    /// Opens a stream; `path` is what stands behind `/v2/stream/`. A start that could not be fixed
    /// in time on a busy machine is asked for again, as clients do.
    pub fn open(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        Self::open_at(&self.gateway, path, headers)
    }

    /// The same at another gateway.
    pub fn open_at(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
        let (path, until) = (format!("/v2/stream/{path}"), Instant::now() + PATIENCE);
        loop {
            let response = sse::get(gateway.public(), &path, headers).expect("answered");
            if response.status != 503 || Instant::now() > until {
                return response;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Opens a stream from now on, and waits for `:ok`.
    pub fn listen(&self, path: &str) -> Events {
        let mut events = self.open(path, &[]).events();
        events.greet();
        events
    }

    /// Resumes.
    pub fn resume(&self, path: &str, id: &str) -> Response {
        self.open(path, &[("last-event-id", id)])
    }

    /// What an event says of its place. Its id has to name the place after it.
    pub fn place(&self, event: &Event) -> Place {
        let data: Value = serde_json::from_str(&event.data).expect("JSON");
        let meta = &data["meta"];
        let topic = meta["topic"].as_str().expect("a topic");
        let topic = self.topics.iter().position(|t| t == topic).expect("one of ours");
        let partition =
            i32::try_from(meta["partition"].as_i64().expect("a partition")).expect("small");
        let offset = meta["offset"].as_i64().expect("an offset");
        let entry = self.entry(&event.id, topic, partition).expect("its own place in its id");
        assert_eq!(entry["offset"], offset + 1, "the id names the next to read: {}", event.id);
        (topic, partition, offset)
    }

    /// One partition's entry of an id.
    pub fn entry(&self, id: &str, topic: usize, partition: i32) -> Option<Value> {
        let is_it = |e: &&Value| e["topic"] == self.topics[topic] && e["partition"] == partition;
        entries(id).iter().find(is_it).cloned()
    }

    /// The places of the next so many events, in their order.
    pub fn take(&self, events: &mut Events, how_many: usize) -> Vec<Place> {
        (0..how_many).map(|_| self.place(&events.message())).collect()
    }

    /// The places of the next so many events, sorted.
    pub fn take_sorted(&self, events: &mut Events, how_many: usize) -> Vec<Place> {
        let mut places = self.take(events, how_many);
        places.sort_unstable();
        places
    }

    /// Nothing else is in the stream: what is written now comes next.
    pub fn nothing_else_in(&self, events: &mut Events, topic: usize) {
        self.write(&[(topic, 0, 1_000_000_000)]);
        let written = self.written.lock().expect("sound")[&(topic, 0)].len();
        let last = (topic, 0, i64::try_from(written).expect("small") - 1);
        assert_eq!(self.place(&events.message()), last, "something else came");
    }

    /// The id after the event at this place, as a reader of `path` gets it in a whole replay.
    pub fn id_after(&self, path: &str, place: Place) -> String {
        let mut events = self.open(&format!("{path}?since=0"), &[]).events();
        loop {
            let event = events.message();
            if self.place(&event) == place {
                return event.id;
            }
        }
    }
}

fn gateway(kind: Kind, partitions: i32, topics: &[String; 2]) -> Gateway {
    let [first, second] = [topics[0].as_str(), topics[1].as_str()];
    let streams: &[(&str, &[&str])] = &[
        ("both", &[first, second]),
        (first, &[first]),
        (second, &[second]),
        ("keys", &["eqiad.keys"]),
    ];
    let aliased = format!("[streams.second]\ntopics = [{second:?}]\n");
    let more = aliased + "aliases = [\"also-second\"]\n[session]\nretry_ms = 100\n";
    match kind {
        Kind::Kafka => Gateway::kafka(&shared().bootstrap(), streams, &more),
        Kind::Embedded => {
            Gateway::embedded_with(&format!("partitions = {partitions}"), streams, &more)
        }
    }
}

/// The entries of an id.
pub fn entries(id: &str) -> Vec<Value> {
    serde_json::from_str(id).expect("an id is a JSON array")
}

/// ISO 8601, in UTC.
pub fn iso(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).expect("in range").to_string()
}

/// Writes through the intake; the partition of each event.
fn post(gateway: &Gateway, events: &[String]) -> Vec<i64> {
    let body = format!("[{}]", events.join(","));
    let (status, answer) =
        sse::post(gateway.public(), "/v1/events", body.as_bytes()).expect("answered");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(status, 201, "{answer}");
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|r| r["partition"].as_i64().expect("a partition")).collect()
}

/// A key for each partition, found out by trying.
fn keys(gateway: &Gateway, partitions: i32) -> Vec<String> {
    let events: Vec<_> = (0..partitions * 20)
        .map(|key| format!(r#"{{"meta":{{"stream":"keys","key":"{key}"}}}}"#))
        .collect();
    let found = post(gateway, &events);
    let of = |p| found.iter().position(|f| *f == p).expect("a key for each partition");
    (0..i64::from(partitions)).map(|p| of(p).to_string()).collect()
}
