//! `state_dir` and `[blocks]`: where this gateway keeps what operators decide, and how gateways
//! share it.

use std::path::PathBuf;

use super::reader::{Findings, Section};
use crate::event::TopicName;

/// What operators decide while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// Where it is kept; `None`: beside the embedded log, and with Kafka nowhere on this host.
    pub dir: Option<PathBuf>,
    /// The compacted topic in which gateways over Kafka tell each other of blocks; `None`: they do
    /// not.
    pub blocks_topic: Option<TopicName>,
}

const BLOCKS_TOPIC: &str = "tidegate.control";

impl StateConfig {
    pub(super) fn read(root: &mut Section<'_>, found: &mut Findings) -> Self {
        let dir = root.text("state_dir", found).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let mut section = Section::new("blocks", root.table("blocks", found));
        let topic = TopicName::new(BLOCKS_TOPIC).ok();
        let blocks_topic = section.parsed("topic", topic, found, |text| match text {
            "" => Ok(None),
            text => TopicName::new(text).map(Some),
        });
        section.finish(found);
        Self { dir, blocks_topic }
    }
}
