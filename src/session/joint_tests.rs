//! The joint between history and live, under every interleaving that a generator finds.
//!
//! Two hosts over the same logs, each with a tail of its own that is as far behind as the
//! generator wants; rings and memories that hold a few records; readers that come, stop reading,
//! leave and go on, here or on the other host; partitions added, topics made anew. What must hold:
//! every record from a reader's first position on, exactly once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;
use crate::catalog::Catalog;
use crate::catalog::Stream;
use crate::event::TopicName;
use crate::feed::lines::Lines;
use crate::gate::Settings as GateSettings;
use crate::gate::catchup::Budget;
use crate::position::parse_last_event_id;
use crate::source::TailEvent;
use crate::source::memory::{MemorySource, TailPositions};

struct Host {
    hub: Arc<Hub>,
    sessions: Arc<Sessions>,
    gate: Arc<Gate>,
    told: TailPositions,
}

fn catalog() -> Arc<Catalog> {
    let topic = |name| TopicName::new(name).expect("legal");
    Arc::new(Catalog::new([Stream {
        name: "s".into(),
        topics: vec![topic("a"), topic("b")],
        aliases: vec![],
        description: String::new(),
        schema: None,
        produce_to: None,
        topics_allowed: Vec::new(),
    }]))
}

impl Host {
    fn new(source: &Arc<MemorySource>, ring_bytes: usize, tail_bytes: usize) -> Self {
        let metrics = Arc::new(Metrics::new());
        let catalog = catalog();
        let lines = Lines::new(&catalog, &[], 1 << 20, Arc::clone(&metrics));
        let bounds = crate::feed::Settings::default();
        let settings = crate::feed::Settings { ring_bytes, tail_bytes, feeds_max: 100, ..bounds };
        let hub = Hub::new("memory", lines, settings, Arc::clone(&metrics));
        let history = History::new(
            Arc::clone(source) as _,
            Arc::clone(&hub),
            (4000, 2),
            Arc::clone(&metrics),
        );
        // Turns that readers lose to each other in the middle of what they read.
        let catchups = Budget { all: 2, of_client: 1 };
        let settings = GateSettings { catchups, ..GateSettings::room_for(1000) };
        let gate = Gate::new(settings, Arc::clone(&metrics));
        let settings =
            Settings { keepalive: Duration::from_secs(3600), lifetime: None, retry_ms: 1000 };
        let sessions = Sessions::new(
            (Arc::clone(&hub), history),
            catalog,
            Arc::clone(&gate),
            settings,
            metrics,
            None,
        );
        let mut host = Self { hub, sessions, gate, told: TailPositions::new() };
        for tp in source.partitions() {
            host.tell(source, &tp, 0, true);
        }
        host.hub.apply(TailEvent::Surveyed);
        host
    }

    fn tell(&mut self, source: &MemorySource, tp: &TopicPartition, most: usize, survey: bool) {
        for event in source.tell(&mut self.told, tp, most, survey) {
            self.hub.apply(event);
        }
    }
}

/// A client: it keeps the last id it saw and what it got.
#[derive(Default)]
struct Reader {
    body: Option<SessionBody>,
    id: Option<String>,
    first_id: Option<String>,
    got: Vec<String>,
}

impl Reader {
    async fn open(&mut self, host: &Host, since: Option<TimestampMs>) {
        let selection = catalog().select(["s"]).expect("known");
        let id = self.id.as_ref().map(|id| parse_last_event_id(id.as_bytes()));
        let request = OpenRequest {
            selection,
            last_event_id: id.and_then(|id| id.expect("our own id")),
            since,
            framing: Framing::Sse,
            encoding: None,
            id_first: true,
            gap_events: false,
        };
        let permit = host.gate.admit([127, 0, 0, 1].into()).expect("room");
        let opened = host.sessions.open(request, permit).await;
        self.body = Some(opened.unwrap_or_else(|e| panic!("not opened: {e:?}")).body);
    }

    /// Reads one frame, if there is one within a moment.
    async fn read(&mut self) -> bool {
        let Some(body) = self.body.as_mut() else { return false };
        let frame = tokio::time::timeout(Duration::from_millis(1500), body.frame()).await;
        let Ok(Some(frame)) = frame else { return false };
        let bytes = frame.expect("infallible").into_data().expect("data");
        for line in String::from_utf8(bytes.to_vec()).expect("text").lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                self.id = Some(id.to_owned());
                self.first_id.get_or_insert_with(|| id.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                self.got.push(data.to_owned());
            }
        }
        true
    }
}

#[derive(Debug, Clone)]
enum Op {
    Append { place: usize, records: usize },
    Hole { place: usize },
    Tell { host: usize, place: usize, most: usize },
    Open { reader: usize, host: usize },
    Read { reader: usize, frames: usize },
    Cut { reader: usize },
    Recreate,
    AddPartition,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..8usize, 1..6usize).prop_map(|(place, records)| Op::Append { place, records }),
        1 => (0..8usize).prop_map(|place| Op::Hole { place }),
        8 => (0..2usize, 0..8usize, 1..6usize)
            .prop_map(|(host, place, most)| Op::Tell { host, place, most }),
        4 => (0..3usize, 0..2usize).prop_map(|(reader, host)| Op::Open { reader, host }),
        6 => (0..3usize, 1..8usize).prop_map(|(reader, frames)| Op::Read { reader, frames }),
        2 => (0..3usize).prop_map(|reader| Op::Cut { reader }),
        1 => Just(Op::Recreate),
        1 => Just(Op::AddPartition),
    ]
}

/// One run of the world.
struct World {
    source: Arc<MemorySource>,
    hosts: Vec<Host>,
    readers: Vec<Reader>,
    /// Every record ever, with its log: by partition, in order.
    ledger: BTreeMap<(TopicPartition, LogName), Vec<(i64, String)>>,
    clock: i64,
    made: u32,
}

type LogName = String;

impl World {
    fn new(ring_bytes: usize, tail_bytes: usize) -> Self {
        let source = Arc::new(MemorySource::default());
        source.create("a", Some("aaaaaa"), 2);
        source.create("b", Some("bbbbb0"), 1);
        let mut world = Self {
            hosts: Vec::new(),
            readers: (0..3).map(|_| Reader::default()).collect(),
            ledger: BTreeMap::new(),
            clock: TimestampMs::now().0,
            made: 0,
            source,
        };
        for place in 0..3 {
            world.append(place, 3);
        }
        let host = |_| Host::new(&world.source, ring_bytes, tail_bytes);
        world.hosts = (0..2).map(host).collect();
        world
    }

    fn place(&self, place: usize) -> TopicPartition {
        let all = self.source.partitions();
        all[place % all.len()].clone()
    }

    fn log_of(&self, tp: &TopicPartition) -> LogName {
        self.source.topics()[&tp.topic].log.expect("tagged").to_string()
    }

    fn append(&mut self, place: usize, records: usize) {
        let tp = self.place(place);
        for _ in 0..records {
            self.clock += 1;
            let log = self.log_of(&tp);
            let value = format!(r#"{{"log":"{log}","tp":"{tp}","n":{}}}"#, self.clock);
            let offset = self.source.append(&tp, Some((self.clock, value)));
            let key = (tp.clone(), log);
            self.ledger.entry(key).or_default().push((offset.0, self.clock.to_string()));
        }
    }

    async fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append { place, records } => self.append(place, records),
            Op::Hole { place } => {
                let tp = self.place(place);
                self.source.append(&tp, None);
            }
            Op::Tell { host, place, most } => {
                let tp = self.place(place);
                self.hosts[host].tell(&self.source, &tp, most, false);
            }
            Op::Open { reader, host } => {
                self.readers[reader].body = None;
                self.readers[reader].open(&self.hosts[host], None).await;
                // A client that saw no id starts at its next connection: count from here.
                self.readers[reader].read().await;
                while self.readers[reader].first_id.is_none() {
                    assert!(self.readers[reader].read().await, "the first id is said at once");
                }
            }
            Op::Read { reader, frames } => {
                for _ in 0..frames {
                    self.readers[reader].read().await;
                }
            }
            Op::Cut { reader } => self.readers[reader].body = None,
            Op::Recreate => {
                self.made += 1;
                let tag = format!("bbbb{:02}", self.made % 100);
                self.source.create("b", Some(&tag), 1);
            }
            Op::AddPartition => {
                let mut topics = self.source.topics();
                let a = topics.get_mut(&TopicName::new("a").expect("legal")).expect("exists");
                if a.partitions.len() < 4 {
                    a.partitions.push(crate::source::memory::MemoryLog::default());
                }
            }
        }
    }

    /// Lets everything come to rest and holds what the readers got against the ledger.
    async fn settle(&mut self) -> Result<(), TestCaseError> {
        for host in &mut self.hosts {
            for tp in self.source.partitions() {
                host.tell(&self.source, &tp, usize::MAX >> 2, false);
            }
        }
        for (i, reader) in self.readers.iter_mut().enumerate() {
            if reader.first_id.is_none() {
                continue;
            }
            reader.body = None;
            reader.open(&self.hosts[i % 2], None).await;
            let mut quiet = 0;
            while quiet < 3 {
                if reader.read().await { quiet = 0 } else { quiet += 1 }
            }
        }
        for reader in self.readers.iter().filter(|r| r.first_id.is_some()) {
            self.check(reader)?;
        }
        Ok(())
    }

    fn check(&self, reader: &Reader) -> Result<(), TestCaseError> {
        let mut got: BTreeMap<(String, LogName), Vec<String>> = BTreeMap::new();
        for data in &reader.got {
            let event: serde_json::Value = serde_json::from_str(data).expect("JSON");
            let text = |k: &str| event[k].as_str().expect("text").to_owned();
            let n = event["n"].to_string();
            got.entry((text("tp"), text("log"))).or_default().push(n);
        }
        let first: serde_json::Value =
            serde_json::from_str(reader.first_id.as_ref().expect("said")).expect("JSON");
        let first: BTreeMap<(String, String), i64> = first
            .as_array()
            .expect("array")
            .iter()
            .map(|e| {
                let tp = format!("{}/{}", e["topic"].as_str().expect("text"), e["partition"]);
                (
                    (tp, e["log"].as_str().expect("text").to_owned()),
                    e["offset"].as_i64().expect("n"),
                )
            })
            .collect();
        let begun: BTreeSet<String> = first.keys().map(|(_, log)| log.clone()).collect();
        for ((tp, log), records) in &self.ledger {
            let key = (tp.to_string(), log.clone());
            let got = got.remove(&key).unwrap_or_default();
            let from = first.get(&key).copied().unwrap_or(0);
            let all: Vec<String> =
                records.iter().filter(|(o, _)| *o >= from).map(|(_, n)| n.clone()).collect();
            if *log == self.log_of(tp) {
                prop_assert_eq!(&got, &all, "{} of {} from {}, begun {:?}", tp, log, from, begun);
            } else {
                // A log that is gone: a run of it, nothing twice, nothing left out between.
                prop_assert!(
                    got.is_empty() || all.windows(got.len()).any(|w| w == got),
                    "{tp} of {log}: got {got:?} of {all:?}"
                );
            }
        }
        prop_assert!(got.is_empty(), "records that nobody wrote: {got:?}");
        Ok(())
    }
}

fn run(ring: usize, tail: usize, ops: &[Op]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(ring, tail);
        for op in ops {
            world.apply(op).await;
        }
        world.settle().await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn every_record_comes_exactly_once_whatever_happens_between(
        ring in 300usize..4000,
        tail in 200usize..3000,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        run(ring, tail, &ops)?;
    }
}
