//! Several gateways over one log that can go away, forget, and be made anew.

use std::sync::Mutex;

use async_trait::async_trait;

use super::super::desk::tests::{desk, order};
use super::*;
use crate::event::{LogTag, Offset, Partition};
use crate::source::control::Heard;

/// A compacted topic in memory.
#[derive(Debug, Default)]
struct Topic(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    records: Vec<Record>,
    incarnation: u32,
    may_read: bool,
    may_write: bool,
    writes: usize,
}

impl Topic {
    fn open() -> Arc<Self> {
        let topic = Arc::new(Self::default());
        topic.lets(true, true);
        topic
    }

    fn lets(&self, read: bool, write: bool) {
        let mut inside = self.0.lock().expect("sound");
        (inside.may_read, inside.may_write) = (read, write);
    }

    fn put(&self, key: &str, value: Option<Bytes>) {
        let records = &mut self.0.lock().expect("sound").records;
        let offset = Offset(i64::try_from(records.len()).expect("few"));
        let key = Some(Bytes::copy_from_slice(key.as_bytes()));
        records.push(Record { offset, time: TimestampMs(0), key, value });
    }

    fn make_anew(&self) {
        let mut inside = self.0.lock().expect("sound");
        inside.records.clear();
        inside.incarnation += 1;
    }

    /// What compaction would keep.
    fn last(&self, key: &str) -> Option<String> {
        let inside = self.0.lock().expect("sound");
        let of_key = |r: &&Record| r.key.as_deref() == Some(key.as_bytes());
        let value = inside.records.iter().rev().find(of_key)?.value.clone()?;
        Some(String::from_utf8(value.to_vec()).expect("UTF-8"))
    }
}

#[async_trait]
impl ControlLog for Topic {
    fn topic(&self) -> &str {
        "control"
    }

    async fn prepare(&self) -> Result<(), ControlError> {
        Ok(())
    }

    async fn read_on(&self, to: &mut ReadTo) -> Result<Heard, ControlError> {
        let inside = self.0.lock().expect("sound");
        if !inside.may_read {
            return Err(ControlError::Unavailable("it is away".into()));
        }
        let log = LogTag::new(&format!("log{:03}", inside.incarnation));
        let anew = to.log != log;
        if anew {
            *to = ReadTo { log, next: Default::default() };
        }
        let from = to.next.get(&Partition(0)).map_or(0, |next| next.0);
        let from = usize::try_from(from).expect("few");
        let end = (from + 2).min(inside.records.len());
        to.next.insert(Partition(0), Offset(i64::try_from(end).expect("few")));
        let records = inside.records[from..end].to_vec();
        Ok(Heard { anew, records, at_end: end == inside.records.len() })
    }

    async fn publish(&self, key: &str, value: Option<Bytes>) -> Result<(), ControlError> {
        if !self.0.lock().expect("sound").may_write {
            return Err(ControlError::Refused("it may only be read".into()));
        }
        self.put(key, value);
        self.0.lock().expect("sound").writes += 1;
        Ok(())
    }
}

struct Gateway {
    desk: Arc<Desk>,
    share: Share,
}

impl Gateway {
    fn new(host: &str, topic: &Arc<Topic>) -> Self {
        let desk = desk(None, host);
        Self { share: Share::new(Arc::clone(&desk), Arc::clone(topic) as _), desk }
    }

    /// One round, as `run` goes; what went wrong.
    async fn turn(&mut self) -> Result<(), ControlError> {
        let outcome = match self.share.read_all().await {
            Ok(()) => self.share.publish_all().await,
            Err(error) => Err(error),
        };
        self.share.report(outcome.clone());
        outcome
    }

    fn blocks(&self, address: &str) -> bool {
        self.desk.gate().admit(address.parse().expect("an address")).is_err()
    }

    fn removes(&self, prefix: &str) {
        let prefix = prefix.parse().expect("a prefix");
        self.desk.remove((prefix, "bob".into(), [127, 0, 0, 1].into()), None).expect("removed");
    }

    fn is_in_step(&self) -> bool {
        self.desk.metrics().render().contains("tidegate_control_in_step 1\n")
    }
}

const NET: &str = "198.51.100.0/24";
const INSIDE: &str = "198.51.100.7";

#[tokio::test(start_paused = true)]
async fn what_one_decides_the_other_learns_and_the_other_way_round() {
    let topic = Topic::open();
    let (mut one, mut two) = (Gateway::new("gw1:1", &topic), Gateway::new("gw2:1", &topic));
    one.desk.add(order(NET, Some(3600))).expect("added");
    one.turn().await.expect("published");
    two.turn().await.expect("read");
    assert!(two.blocks(INSIDE));
    two.removes(NET);
    two.turn().await.expect("published");
    one.turn().await.expect("read");
    assert!(!one.blocks(INSIDE));
    assert!(one.is_in_step() && two.is_in_step());
    for _ in 0..5 {
        one.turn().await.expect("read");
        two.turn().await.expect("read");
    }
    assert_eq!(topic.0.lock().expect("sound").writes, 2, "nothing is said again without need");
}

#[tokio::test(start_paused = true)]
async fn a_removal_while_the_topic_was_away_wins_over_the_block_that_is_in_it() {
    let topic = Topic::open();
    let (mut one, mut two) = (Gateway::new("gw1:1", &topic), Gateway::new("gw2:1", &topic));
    one.desk.add(order(NET, None)).expect("added");
    one.turn().await.expect("published");
    two.turn().await.expect("read");
    topic.lets(false, false);
    two.removes(NET);
    assert!(two.turn().await.is_err() && !two.is_in_step());
    assert!(!two.blocks(INSIDE), "here at once");
    let problem = two.desk.standing.lock().expect("sound").clone().expect("shared").problem;
    assert_eq!(problem.as_deref(), Some("it is away"));
    // As after a restart: everything is read from the beginning.
    two.share = Share::new(Arc::clone(&two.desk), Arc::clone(&topic) as _);
    topic.lets(true, true);
    two.turn().await.expect("published");
    assert!(!two.blocks(INSIDE) && two.is_in_step());
    one.turn().await.expect("read");
    assert!(!one.blocks(INSIDE));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_may_only_be_read_is_read_and_written_when_it_may_be() {
    let topic = Topic::open();
    let (mut one, mut two) = (Gateway::new("gw1:1", &topic), Gateway::new("gw2:1", &topic));
    topic.lets(true, false);
    one.desk.add(order(NET, None)).expect("added");
    assert!(one.turn().await.is_err() && one.blocks(INSIDE) && !one.is_in_step());
    assert!(one.desk.metrics().render().contains("tidegate_blocks_unshared 1\n"));
    let record = Bytes::from(topic.last(NET).unwrap_or_default());
    assert!(record.is_empty());
    // What others write is heard meanwhile.
    two.desk.add(order("203.0.113.0/24", None)).expect("added");
    topic.lets(true, true);
    two.turn().await.expect("published");
    topic.lets(true, false);
    assert!(one.turn().await.is_err() && one.blocks("203.0.113.7"));
    topic.lets(true, true);
    tokio::time::sleep(PAUSE_MAX).await;
    one.turn().await.expect("published");
    two.turn().await.expect("read");
    assert!(two.blocks(INSIDE) && one.is_in_step());
}

#[tokio::test(start_paused = true)]
async fn a_topic_made_anew_is_told_everything_by_who_decided_it_or_else_by_another() {
    let topic = Topic::open();
    let (mut one, mut two) = (Gateway::new("gw1:1", &topic), Gateway::new("gw2:1", &topic));
    one.desk.add(order(NET, None)).expect("added");
    one.turn().await.expect("published");
    two.turn().await.expect("read");
    topic.make_anew();
    two.turn().await.expect("read");
    assert_eq!(topic.last(NET), None, "who decided it is first");
    assert!(!two.is_in_step());
    tokio::time::sleep(OTHERS_FIRST).await;
    two.turn().await.expect("published");
    assert!(topic.last(NET).is_some_and(|text| text.contains("gw1:1")), "as it was decided");
    topic.make_anew();
    one.turn().await.expect("published");
    assert!(topic.last(NET).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_older_record_that_comes_after_a_newer_one_does_not_stay() {
    let topic = Topic::open();
    let mut one = Gateway::new("gw1:1", &topic);
    one.desk.add(order(NET, Some(60))).expect("added");
    one.turn().await.expect("published");
    let older = topic.last(NET).expect("there");
    one.removes(NET);
    one.turn().await.expect("published");
    topic.put(NET, Some(older.into()));
    one.turn().await.expect("read and published");
    assert!(!one.blocks(INSIDE));
    assert!(topic.last(NET).is_some_and(|text| text.contains("removed")));
    // A tombstone that somebody has written by hand does not lift a block either.
    one.desk.add(order(NET, None)).expect("added");
    one.turn().await.expect("published");
    topic.put(NET, None);
    one.turn().await.expect("read and published");
    assert!(one.blocks(INSIDE) && topic.last(NET).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_block_is_passed_over_and_left_alone() {
    let topic = Topic::open();
    let mut one = Gateway::new("gw1:1", &topic);
    let later = r#"{"version":2,"prefix":"198.51.100.0/24","state":"throttled"}"#;
    topic.put(NET, Some(later.into()));
    topic.put("no prefix", Some("{}".into()));
    topic.put("203.0.113.0/24", Some("not JSON".into()));
    one.turn().await.expect("read");
    assert!(!one.blocks(INSIDE) && one.is_in_step());
    assert_eq!(topic.0.lock().expect("sound").writes, 0);
    one.desk.add(order(NET, None)).expect("added");
    one.turn().await.expect("published");
    topic.put(NET, Some(later.into()));
    tokio::time::sleep(OTHERS_FIRST * 2).await;
    one.turn().await.expect("read");
    assert_eq!(topic.last(NET).as_deref(), Some(later), "a later version may know better");
    assert!(one.blocks(INSIDE));
    one.removes(NET);
    one.turn().await.expect("published");
    assert!(topic.last(NET).is_some_and(|text| text.contains("removed")));
}
