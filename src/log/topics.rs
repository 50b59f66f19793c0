//! `topics.json`: which topics there are, under which number, tag and partition count.

use std::collections::BTreeMap;
use std::io;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, read_whole, replace};
use super::segment::PartitionId;
use crate::event::{LogTag, TopicName};

/// The file.
pub const FILE: &str = "topics.json";

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its number in batches. Never used again for another topic.
    pub id: u32,
    /// Its incarnation's tag.
    pub log: String,
    /// Per partition: offsets below were given out, also where no record is left to show it.
    pub next: Vec<i64>,
}

impl Topic {
    /// Its tag; a text that is none (the file was edited) counts as no tag.
    #[must_use]
    pub fn tag(&self) -> Option<LogTag> {
        LogTag::new(&self.log)
    }
}

/// All topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// The number that the next topic gets.
    next_id: u32,
    /// By name.
    pub topics: BTreeMap<String, Topic>,
}

impl Topics {
    /// Reads the file.
    pub fn load(disk: &dyn Disk) -> io::Result<Self> {
        let bytes = read_whole(disk, FILE)?;
        serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// Writes the file, durable.
    pub fn save(&self, disk: &dyn Disk) -> io::Result<()> {
        replace(disk, FILE, &serde_json::to_vec_pretty(self).expect("texts and numbers"))
    }

    /// The topic of a name.
    #[must_use]
    pub fn get(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(name.as_str())
    }

    /// Adds a topic with a tag of its own.
    pub fn create(&mut self, name: &TopicName, partitions: usize) -> &mut Topic {
        let id = self.next_id;
        self.next_id += 1;
        let topic = Topic { id, log: random_tag(), next: vec![0; partitions] };
        self.topics.entry(name.to_string()).or_insert(topic)
    }

    /// Remembers that the offsets of a partition below `end` were given out.
    pub fn give_out(&mut self, id: PartitionId, end: i64) {
        let topic = self.topics.values_mut().find(|topic| topic.id == id.0);
        if let Some(next) = topic.and_then(|topic| topic.next.get_mut(id.1 as usize)) {
            *next = end.max(*next);
        }
    }
}

fn random_tag() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let mut rng = rand::rng();
    (0..6).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
