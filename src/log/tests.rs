//! The log against a model on a file system that fails as real ones do, and its promises by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::faulty_disk::{FaultyDisk, Plan};
use super::writer::{Appended, Ask, Waiting, Writer};
use super::{Log, OpenError, Settings};
use crate::event::answers::{SinkError, SourceError, Watermarks};
use crate::event::{Offset, Partition, Record, TimestampMs, TopicName, TopicPartition};

mod crash_tests;
mod damage_tests;
mod folder_tests;
mod full_disk_tests;
mod model_tests;
mod retention_tests;
mod time_tests;

/// A log whose writer is called and not run: what is one group, and what time it is, is said.
struct Rig {
    disk: Arc<FaultyDisk>,
    log: Log,
    writer: Writer,
    now: i64,
}

/// A record that is to be written: topic, key, value, time.
#[derive(Debug, Clone)]
struct New(TopicName, Option<Bytes>, Bytes, i64);

/// Small segments, and a reserve that small disks have.
fn settings() -> Settings {
    let dir = std::path::Path::new("");
    Settings { segment_bytes: 2000, reserve_bytes: 500, ..Settings::new(dir) }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn tp(name: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic(name), partition)
}

fn new(name: &str, value: &str, time: i64) -> New {
    New(topic(name), None, Bytes::from(value.to_owned()), time)
}

impl Rig {
    fn empty() -> Self {
        Self::open(&FaultyDisk::new(0), settings()).unwrap()
    }

    fn open(disk: &Arc<FaultyDisk>, settings: Settings) -> Result<Self, OpenError> {
        let (log, writer) = Log::with_writer(Arc::clone(disk) as _, settings)?;
        Ok(Self { disk: Arc::clone(disk), log, writer, now: 1_000_000 })
    }

    /// The process ends and another opens the log.
    fn reopen(self, settings: Settings) -> Result<Self, OpenError> {
        let Self { disk, log, writer, now } = self;
        drop((log, writer));
        disk.restart();
        Ok(Self { now, ..Self::open(&disk, settings)? })
    }

    /// Writes one group.
    fn group(&mut self, records: &[New]) -> Vec<Appended> {
        let (mut group, mut outcomes) = (Vec::new(), Vec::new());
        for New(topic, key, value, time) in records.iter().cloned() {
            let (done, outcome) = oneshot::channel();
            group.push(Waiting { topic, key, value, time: TimestampMs(time), done });
            outcomes.push(outcome);
        }
        self.writer.commit(group, TimestampMs(self.now));
        outcomes.into_iter().map(|mut outcome| outcome.try_recv().unwrap()).collect()
    }

    /// Writes one record as a group of its own.
    #[track_caller]
    fn write(&mut self, name: &str, value: &str, time: i64) -> i64 {
        self.group(&[new(name, value, time)])[0].as_ref().unwrap().1.0
    }

    fn create(&mut self, name: &TopicName, partitions: usize) -> std::io::Result<()> {
        let (done, mut outcome) = oneshot::channel();
        self.writer.other(Ask::Create(name.clone(), partitions, done));
        outcome.try_recv().unwrap()
    }

    fn delete(&mut self, name: &TopicName) -> std::io::Result<()> {
        let (done, mut outcome) = oneshot::channel();
        self.writer.other(Ask::Delete(name.clone(), done));
        outcome.try_recv().unwrap()
    }

    fn retain(&mut self) {
        self.writer.retain(TimestampMs(self.now));
    }

    fn read(&self, tp: &TopicPartition, from: i64) -> Result<Vec<Record>, SourceError> {
        let (mut all, mut from) = (Vec::new(), Offset(from));
        loop {
            let fetched = self.log.read(tp, from, Offset(i64::MAX), 1)?;
            all.extend(fetched.records);
            if fetched.next == from {
                return Ok(all);
            }
            from = fetched.next;
        }
    }

    /// All values of partition 0 from the start on, as text.
    #[track_caller]
    fn values(&self, name: &str) -> Vec<String> {
        let tp = tp(name, 0);
        let start = self.log.watermarks(&tp).unwrap().start.0;
        let text = |record: Record| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        self.read(&tp, start).unwrap().into_iter().map(text).collect()
    }

    fn range(&self, name: &str) -> (i64, i64) {
        let Watermarks { start, end } = self.log.watermarks(&tp(name, 0)).unwrap();
        (start.0, end.0)
    }

    /// How many files there are with this end.
    fn files(&self, end: &str) -> usize {
        self.disk.contents().keys().filter(|name| name.ends_with(end)).count()
    }
}
