//! Random histories of a log, its disk and its process, held against what was promised.
//!
//! The model keeps, per incarnation of a topic, every record that was acknowledged or seen, under
//! its offset, for ever; what may turn up after a crash, because its append ended with "unknown";
//! and every "not written", which may never turn up.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::event::LogTag;

const AGE_MS: i64 = 3_600_000;
const SIZE: u64 = 9000;

#[derive(Debug, Clone)]
enum Op {
    /// Records of one group: topic, key, size of the value, time.
    Append(Vec<(u8, Option<u8>, u16, i64)>),
    Create(u8, usize),
    Delete(u8),
    /// So many ms pass, and retention is looked at.
    Retain(i64),
    /// So many bytes are free from now on.
    Room(Option<u64>),
    Plan(Plan),
    /// What goes wrong while the log is opened again.
    Crash(Plan),
    Restart(Plan),
    /// A look-up by time, and a read of a range with a limit.
    Look(u8, i64, u8, u8, u16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    key: Option<Bytes>,
    value: Bytes,
    time: i64,
    appended: i64,
}

#[derive(Debug, Default)]
struct Part {
    /// All that was ever acknowledged or seen.
    records: BTreeMap<i64, Written>,
    start: i64,
    end: i64,
    /// Offsets and records that may turn up.
    maybe: Vec<(i64, Written)>,
}

#[derive(Debug)]
struct Topic {
    tag: LogTag,
    parts: Vec<Part>,
    /// Its deletion, or its growth, has failed and may be on the disk.
    may_be_gone: bool,
    may_have: usize,
}

struct Model {
    rig: Rig,
    settings: Settings,
    topics: BTreeMap<TopicName, Topic>,
    may_come: BTreeSet<TopicName>,
    tags: BTreeSet<LogTag>,
    serial: u32,
    is_full: bool,
    /// The power went while retention deleted: it may have been done or not.
    was_retaining: bool,
}

fn name(n: u8) -> TopicName {
    topic(&format!("t{n}"))
}

impl Model {
    /// `plan`: what goes wrong while the log is made.
    fn new(seed: u64, plan: Plan) -> Self {
        let settings = Settings {
            retention_age: Some(std::time::Duration::from_millis(AGE_MS as u64)),
            retention_bytes: Some(SIZE),
            partitions_default: 2,
            ..settings()
        };
        let disk = FaultyDisk::new(seed);
        disk.plan(plan);
        let rig = Rig::open(&disk, settings.clone()).or_else(|_| {
            disk.crash();
            Rig::open(&disk, settings.clone())
        });
        let rig = rig.expect("what is begun is no foreign folder");
        disk.plan(Plan::default());
        let (topics, may_come, tags) = Default::default();
        let (serial, is_full, was_retaining) = Default::default();
        Self { rig, settings, topics, may_come, tags, serial, is_full, was_retaining }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Append(group) => self.append(group),
            Op::Create(n, partitions) => self.create(&name(*n), *partitions),
            Op::Delete(n) => self.delete(&name(*n)),
            Op::Retain(ms) => self.retain(*ms),
            Op::Room(bytes) => {
                self.is_full = bytes.is_some();
                self.rig.disk.set_room(*bytes);
            }
            Op::Plan(plan) => self.rig.disk.plan(*plan),
            Op::Crash(plan) => self.restart(true, *plan),
            Op::Restart(plan) => self.restart(false, *plan),
            Op::Look(n, time, from, len, bytes) => self.look(&name(*n), *time, *from, *len, *bytes),
        }
        if self.rig.log.disk.list().is_err() {
            // The power went in the middle of it.
            self.restart(self.serial.is_multiple_of(2), Plan::default());
        }
        self.compare();
    }

    fn append(&mut self, group: &[(u8, Option<u8>, u16, i64)]) {
        self.rig.now += 10;
        let records: Vec<_> = group
            .iter()
            .map(|(n, key, size, time)| {
                self.serial += 1;
                let value = format!("{}:{}", self.serial, "x".repeat(usize::from(*size)));
                let key = key.map(|k| Bytes::from(vec![k]));
                New(name(*n), key, Bytes::from(value), *time)
            })
            .collect();
        let is_calm = !self.rig.disk.is_planned() && !self.is_full;
        let outcomes = self.rig.group(&records);
        self.adopt_new_topics();
        let mut next: BTreeMap<(TopicName, usize), i64> = BTreeMap::new();
        for (New(topic, key, value, time), outcome) in records.into_iter().zip(outcomes) {
            let written = Written { key, value, time, appended: self.rig.now };
            match outcome {
                Ok((Partition(p), Offset(offset))) => {
                    let topic = self.topics.get_mut(&topic).expect("it was written to");
                    let part = &mut topic.parts[usize::try_from(p).unwrap()];
                    assert_eq!(offset, part.end, "offsets follow one another");
                    part.records.insert(offset, written);
                    part.end += 1;
                    topic.may_be_gone = false;
                }
                Err(SinkError::Unavailable(..)) => {
                    if !self.topics.contains_key(&topic) {
                        self.may_come.insert(topic);
                    }
                    assert!(!is_calm, "a healthy disk with room takes everything: {outcome:?}");
                }
                Err(SinkError::Unknown(..)) => {
                    assert!(!is_calm, "a healthy disk with room takes everything: {outcome:?}");
                    // Where it may turn up: wherever its key or the round puts it.
                    let topic_parts = &mut self.topics.get_mut(&topic).expect("made").parts;
                    for (p, part) in topic_parts.iter_mut().enumerate() {
                        let offset = next.entry((topic.clone(), p)).or_insert(part.end);
                        for offset in part.end..=*offset {
                            part.maybe.push((offset, written.clone()));
                        }
                        *offset += 1;
                    }
                }
                Err(SinkError::Refused(why)) => panic!("refused: {why}"),
            }
        }
    }

    /// Topics that have come with their first record.
    fn adopt_new_topics(&mut self) {
        for n in 0..3 {
            let Some(info) = self.rig.log.topic(&name(n)) else { continue };
            let tag = info.log.expect("it has one");
            if !self.topics.contains_key(&name(n)) {
                assert!(self.tags.insert(tag), "a topic made anew has a tag of its own");
                let parts = (0..info.partitions).map(|_| Part::default()).collect();
                let topic = Topic { tag, parts, may_be_gone: false, may_have: 0 };
                self.topics.insert(name(n), topic);
            }
        }
    }

    fn create(&mut self, name: &TopicName, partitions: usize) {
        let made = self.rig.create(name, partitions).is_ok();
        self.adopt_new_topics();
        match self.topics.get_mut(name) {
            Some(topic) if made => {
                let parts = topic.parts.len().max(partitions);
                topic.parts.resize_with(parts, Part::default);
            }
            Some(topic) => topic.may_have = topic.may_have.max(partitions),
            None => drop(self.may_come.insert(name.clone())),
        }
    }

    fn delete(&mut self, name: &TopicName) {
        match self.rig.delete(name) {
            Ok(()) => drop(self.topics.remove(name)),
            Err(_) => {
                if let Some(topic) = self.topics.get_mut(name) {
                    topic.may_be_gone = true;
                }
            }
        }
    }

    fn retain(&mut self, ms: i64) {
        self.rig.now += ms;
        let is_small = self.rig.disk.used() <= SIZE;
        self.rig.retain();
        self.was_retaining = self.rig.log.disk.list().is_err();
        if self.was_retaining {
            return;
        }
        let now = self.rig.now;
        self.each(|tp, part, log| {
            let start = log.watermarks(tp).unwrap().start.0;
            assert!(start >= part.start && start <= part.end);
            for (offset, record) in part.records.range(part.start..start) {
                let is_old = record.appended < now - AGE_MS;
                assert!(is_old || !is_small, "{tp} {offset} was young, and there was room");
            }
            part.start = start;
        });
    }

    /// The power fails, or only the process ends; another process opens the log.
    fn restart(&mut self, crash: bool, plan: Plan) {
        let disk = Arc::clone(&self.rig.disk);
        let again = || if crash { disk.crash() } else { disk.restart() };
        again();
        disk.plan(plan);
        let opened = Rig::open(&disk, self.settings.clone()).or_else(|error| {
            assert!(matches!(error, OpenError::Io(_)) && plan != Plan::default(), "{error}");
            again();
            Rig::open(&disk, self.settings.clone())
        });
        disk.plan(Plan::default());
        let now = self.rig.now;
        self.rig = match opened {
            Ok(rig) => Rig { now, ..rig },
            Err(error) => panic!("it does not open: {error}"),
        };
        self.topics_after_restart();
        self.records_after_restart();
    }

    fn topics_after_restart(&mut self) {
        for n in 0..3 {
            let (name, info) = (name(n), self.rig.log.topic(&name(n)));
            let tag = info.as_ref().and_then(|info| info.log);
            if let Some(known) = self.topics.get_mut(&name) {
                if tag == Some(known.tag) {
                    let partitions = usize::try_from(info.unwrap().partitions).unwrap();
                    let most = known.parts.len().max(known.may_have);
                    assert!((known.parts.len()..=most).contains(&partitions), "{name}");
                    known.parts.resize_with(partitions, Part::default);
                    (known.may_have, known.may_be_gone) = (0, false);
                } else {
                    assert!(known.may_be_gone, "{name} is gone");
                    self.topics.remove(&name);
                    assert!(tag.is_none() || self.may_come.contains(&name), "{name} has come");
                }
            } else if tag.is_some() {
                assert!(self.may_come.contains(&name), "{name} has come");
            }
        }
        self.may_come.clear();
        self.adopt_new_topics();
    }

    fn records_after_restart(&mut self) {
        let was_retaining = std::mem::take(&mut self.was_retaining);
        self.each(|tp, part, log| {
            let marks = log.watermarks(tp).unwrap();
            assert!(marks.end.0 >= part.end, "{tp} ended at {} and now at {}", part.end, marks.end);
            // Retention may have been undone by the crash, never anything else.
            let is_kept = marks.start.0 <= part.start || was_retaining;
            assert!(is_kept, "{tp} began at {} and now at {}", part.start, marks.start);
            let mut from = Offset(part.end.max(marks.start.0));
            while from < marks.end {
                let fetched = log.read(tp, from, marks.end, 1000).unwrap();
                for record in fetched.records {
                    let is = |m: &&(i64, Written)| m.0 == record.offset.0 && same(&record, &m.1);
                    let Some((offset, written)) = part.maybe.iter().find(is) else {
                        panic!("{tp}: nobody wrote {record:?}");
                    };
                    part.records.insert(*offset, written.clone());
                }
                from = fetched.next;
            }
            (part.start, part.end) = (marks.start.0, marks.end.0);
            part.maybe.clear();
        });
    }

    fn each(&mut self, mut look: impl FnMut(&TopicPartition, &mut Part, &Log)) {
        for (name, topic) in &mut self.topics {
            for (p, part) in topic.parts.iter_mut().enumerate() {
                look(&TopicPartition::new(name.clone(), p as i32), part, &self.rig.log);
            }
        }
    }

    /// Everything that can be read is what the model says.
    fn compare(&mut self) {
        let mut serials = BTreeSet::new();
        for n in 0..3 {
            let expected = self.topics.get(&name(n)).map(|t| (t.parts.len() as i32, Some(t.tag)));
            let found = self.rig.log.topic(&name(n)).map(|info| (info.partitions, info.log));
            assert_eq!(found, expected, "{}", name(n));
        }
        self.each(|tp, part, log| {
            let marks = log.watermarks(tp).unwrap();
            assert_eq!((marks.start.0, marks.end.0), (part.start, part.end), "{tp}");
            let fetched = log.read(tp, marks.start, marks.end, usize::MAX).unwrap();
            assert_eq!(fetched.next, marks.end);
            let expected = part.records.range(part.start..part.end);
            assert_eq!(fetched.records.len(), expected.clone().count(), "{tp}: a record is lost");
            for (record, (offset, written)) in fetched.records.iter().zip(expected) {
                assert_eq!(record.offset.0, *offset);
                assert!(same(record, written), "{tp}: {record:?} was {written:?}");
                let value = record.value.as_ref().unwrap();
                let serial = value.split(|b| *b == b':').next().unwrap().to_vec();
                assert!(serials.insert(serial), "{tp} {offset} is there twice");
            }
        });
    }

    fn look(&self, name: &TopicName, time: i64, from: u8, len: u8, bytes: u16) {
        let (time, from) = (TimestampMs(time), Offset(i64::from(from)));
        let until = Offset(from.0 + i64::from(len));
        for p in 0..5 {
            let tp = TopicPartition::new(name.clone(), p);
            let (found, read) = (
                self.rig.log.offset_at(&tp, time),
                self.rig.log.read(&tp, from, until, usize::from(bytes)),
            );
            let topic = self.topics.get(name);
            let Some(part) = topic.and_then(|t| t.parts.get(usize::try_from(p).unwrap())) else {
                let unknown = |error: &SourceError| match error {
                    SourceError::UnknownTopic(_) => topic.is_none(),
                    SourceError::UnknownPartition(_) => topic.is_some(),
                    _ => false,
                };
                assert!(unknown(&found.unwrap_err()) && unknown(&read.unwrap_err()));
                continue;
            };
            let mut kept = part.records.range(part.start..part.end);
            let expected = kept.clone().find(|(_, w)| w.time >= time.0).map(|(o, _)| Offset(*o));
            assert_eq!(found.unwrap(), expected, "{tp} at {time}");
            if from.0 < part.start || from.0 > part.end {
                assert!(
                    matches!(read, Err(SourceError::OutOfRange { .. })),
                    "{tp} {from} {read:?}"
                );
                continue;
            }
            let fetched = read.unwrap();
            let until = until.0.min(part.end);
            let is_short = fetched.next.0 < until;
            assert!(fetched.next.0 <= until && (fetched.next > from || from.0 == until));
            let size: usize = fetched.records.iter().map(Record::size_bytes).sum();
            assert!(!is_short || size >= usize::from(bytes), "it stops before its limit");
            let offsets: Vec<_> = fetched.records.iter().map(|r| r.offset.0).collect();
            let within = kept.by_ref().map(|(o, _)| *o);
            let within = within.filter(|o| (from.0..fetched.next.0).contains(o));
            assert_eq!(offsets, within.collect::<Vec<_>>(), "{tp}");
        }
    }
}

fn same(record: &Record, written: &Written) -> bool {
    record.key == written.key
        && record.value.as_ref() == Some(&written.value)
        && record.time.0 == written.time
}

fn plan() -> impl Strategy<Value = Plan> {
    let after = |n: u32| prop_oneof![2 => 0..3u32, 1 => 0..n];
    prop_oneof![
        after(6).prop_map(|n| Plan { write_fails: Some(n), ..Plan::default() }),
        after(8).prop_map(|n| Plan { sync_fails: Some(n), ..Plan::default() }),
        after(20).prop_map(|n| Plan { power_off: Some(n), ..Plan::default() }),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = prop_oneof![4 => 0..40u16, 2 => 40..600u16, 1 => 600..3000u16];
    let record = (0..3u8, prop::option::of(0..6u8), size, 0..60i64);
    let often_nothing = prop_oneof![Just(Plan::default()), plan()];
    let room = prop_oneof![
        2 => Just(None),
        1 => (0..2500u64).prop_map(Some),
    ];
    let op = prop_oneof![
        14 => prop::collection::vec(record, 1..8).prop_map(Op::Append),
        1 => (0..3u8, 1..4usize).prop_map(|(n, p)| Op::Create(n, p)),
        1 => (0..3u8).prop_map(Op::Delete),
        2 => prop_oneof![Just(0), 0..AGE_MS].prop_map(Op::Retain),
        2 => room.prop_map(Op::Room),
        4 => plan().prop_map(Op::Plan),
        2 => often_nothing.clone().prop_map(Op::Crash),
        2 => often_nothing.prop_map(Op::Restart),
        3 => (0..3u8, -1..65i64, 0..40u8, 0..40u8, 0..3000u16)
            .prop_map(|(n, t, f, l, b)| Op::Look(n, t, f, l, b)),
    ];
    prop::collection::vec(op, 1..70)
}

/// How many histories are tried; many more on request.
fn cases() -> u32 {
    let asked = std::env::var("TIDEGATE_LOG_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_fails_what_was_acknowledged_or_seen_is_there_and_nothing_else(
        seed in any::<u64>(),
        plan in plan(),
        ops in ops(),
    ) {
        let mut model = Model::new(seed, plan);
        for op in &ops {
            model.run(op);
        }
        model.run(&Op::Crash(Plan::default()));
    }
}
