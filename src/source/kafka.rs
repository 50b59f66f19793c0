//! (being written)
use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;
/// stub
#[derive(Debug)]
pub struct KafkaSource;
/// stub
#[derive(Debug)]
pub struct Settings {
    /** n */
    pub name: String,
    /** b */
    pub bootstrap: Vec<String>,
    /** p */
    pub properties: BTreeMap<String, String>,
}
impl KafkaSource {
    /** stub */
    pub fn new(_: Settings) -> Result<Arc<Self>, std::io::Error> {
        Ok(Arc::new(Self))
    }
}
#[async_trait]
impl Source for KafkaSource {
    fn name(&self) -> &str {
        "kafka"
    }
    async fn topic(&self, _: &TopicName) -> Result<TopicInfo, SourceError> {
        unimplemented!()
    }
    async fn watermarks(&self, _: &TopicPartition) -> Result<Watermarks, SourceError> {
        unimplemented!()
    }
    async fn offset_at(
        &self,
        _: &TopicPartition,
        _: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        unimplemented!()
    }
    async fn read(
        &self,
        _: &TopicPartition,
        _: Offset,
        _: Offset,
        _: usize,
    ) -> Result<Fetched, SourceError> {
        unimplemented!()
    }
    async fn tail(&self, _: Vec<TopicName>, _: mpsc::Sender<TailEvent>) {}
}
#[async_trait]
impl Sink for KafkaSource {
    async fn append(&self, _: NewRecord) -> Result<(Partition, Offset), SinkError> {
        unimplemented!()
    }
}
