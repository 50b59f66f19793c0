//! A sink in memory, for tests: takes records in the order of their first poll, through a queue
//! that is shorter than what the tests send, and can be told to fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::event::{Offset, Partition};
use crate::source::{NewRecord, Sink, SinkError};

type Queued = (NewRecord, oneshot::Sender<Result<(Partition, Offset), SinkError>>);
type Decide = Box<dyn Fn(&NewRecord) -> Result<(), SinkError> + Send + Sync>;

#[derive(Default)]
struct Logs {
    by_partition: HashMap<(String, Partition), Vec<NewRecord>>,
}

pub(crate) struct MemorySink {
    queue: mpsc::Sender<Queued>,
    logs: Arc<Mutex<Logs>>,
}

impl MemorySink {
    pub(crate) fn new(partitions: i32) -> Self {
        Self::deciding(partitions, |_| Ok(()))
    }

    /// A sink that asks `decide` before it takes a record.
    pub(crate) fn deciding(
        partitions: i32,
        decide: impl Fn(&NewRecord) -> Result<(), SinkError> + Send + Sync + 'static,
    ) -> Self {
        let (queue, queued) = mpsc::channel(16);
        let logs = Arc::<Mutex<Logs>>::default();
        tokio::spawn(take(queued, Arc::clone(&logs), partitions, Box::new(decide)));
        Self { queue, logs }
    }

    pub(crate) fn written(&self, topic: &str, partition: Partition) -> Vec<NewRecord> {
        let logs = self.logs.lock().expect("no holder panics");
        logs.by_partition.get(&(topic.to_owned(), partition)).cloned().unwrap_or_default()
    }

    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        let records = self.written(topic, Partition(0)).into_iter();
        records.map(|r| String::from_utf8(r.value.to_vec()).expect("JSON is UTF-8")).collect()
    }
}

async fn take(
    mut queued: mpsc::Receiver<Queued>,
    logs: Arc<Mutex<Logs>>,
    partitions: i32,
    decide: Decide,
) {
    while let Some((record, answer)) = queued.recv().await {
        let taken = decide(&record).map(|()| {
            let sum: i32 = record.key.iter().flatten().map(|&b| i32::from(b)).sum();
            let partition = Partition(sum % partitions);
            let mut logs = logs.lock().expect("no holder panics");
            let log = logs.by_partition.entry((record.topic.to_string(), partition)).or_default();
            log.push(record);
            (partition, Offset(i64::try_from(log.len() - 1).expect("small")))
        });
        let _ = answer.send(taken);
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn append(&self, record: NewRecord) -> Result<(Partition, Offset), SinkError> {
        let (answer, answered) = oneshot::channel();
        let gone = || SinkError::Unavailable("memory".into(), "its task has ended".into());
        self.queue.send((record, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
