//! Every way in which a position can come back, held against what there is.

use super::resolve::{NoStart, Resolver, Start};
use super::*;
use crate::catalog::Catalog;
use crate::catalog::Stream;
use crate::event::{LogTag, Offset, TopicName};
use crate::feed::lines::Lines;
use crate::position::gap::GapReason;
use crate::position::{PositionTime, ResumeAt, ResumeEntry};
use crate::source::TailEvent;
use crate::source::memory::{MemorySource, TailPositions};

const OURS: Option<&str> = Some("oooooo");
const THEIRS: Option<&str> = Some("tttttt");

/// One topic `a` with partition 0; what the tail remembers is up to the test.
struct Bench {
    source: Arc<MemorySource>,
    hub: Arc<Hub>,
    history: Arc<History>,
    catalog: Catalog,
    told: TailPositions,
}

fn a0() -> TopicPartition {
    TopicPartition::new(TopicName::new("a").expect("legal"), 0)
}

fn free() -> Result<Charge, Refusal> {
    Ok(Box::new(()))
}

impl Bench {
    /// Records with these times, the tail at the end of all, nothing of them in memory.
    fn with_times(times: &[i64]) -> Self {
        let source = Arc::new(MemorySource::default());
        source.create("a", OURS, 1);
        for time in times {
            source.append(&a0(), Some((*time, "{}".to_owned())));
        }
        Self::over(source)
    }

    fn over(source: Arc<MemorySource>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let catalog = Catalog::new([Stream {
            name: "s".into(),
            topics: vec![a0().topic],
            aliases: vec!["alias".into()],
            description: String::new(),
            schema: None,
            produce_to: None,
            topics_allowed: Vec::new(),
        }]);
        let lines = Lines::new(&catalog, &[], 1 << 20, Arc::clone(&metrics));
        let hub = Hub::new("m", lines, crate::feed::Settings::default(), Arc::clone(&metrics));
        let history = History::new(Arc::clone(&source) as _, Arc::clone(&hub), (1000, 2), metrics);
        let mut bench = Self { source, hub, history, catalog, told: TailPositions::new() };
        for tp in bench.source.partitions() {
            bench.tell(&tp, true);
        }
        bench.hub.apply(TailEvent::Surveyed);
        bench
    }

    fn tell(&mut self, tp: &TopicPartition, survey: bool) {
        for event in self.source.tell(&mut self.told, tp, 1000, survey) {
            self.hub.apply(event);
        }
    }

    async fn start(&self, id: Option<LastEventId>, since: Option<i64>) -> Result<Start, NoStart> {
        let selection = self.catalog.select(["s"]).expect("known");
        let vector = self.hub.feed(&selection, free).expect("room").now().vector();
        let resolver = Resolver::new(&self.hub, &self.history, &self.catalog);
        let since = since.map(TimestampMs);
        resolver.start(&selection, &vector, id.as_ref(), since).await
    }

    /// Where partition 0 starts, and the gap if one is said.
    async fn at(&self, at: ResumeAt, log: Option<&str>) -> (i64, Option<Gap>) {
        let log = log.map(|tag| LogTag::new(tag).expect("a tag"));
        let id = LastEventId::Positions(vec![ResumeEntry { tp: a0(), at, log }]);
        let (places, mut gaps) = self.start(Some(id), None).await.expect("a start");
        (places[&a0()].at.next.0, gaps.pop())
    }
}

fn offset(next: i64) -> ResumeAt {
    ResumeAt::Offset(Offset(next), None)
}

fn offset_and_time(next: i64, time: i64) -> ResumeAt {
    ResumeAt::Offset(Offset(next), Some(PositionTime::Record(TimestampMs(time))))
}

fn reason(gap: Option<Gap>) -> Option<GapReason> {
    gap.map(|gap| gap.reason)
}

#[tokio::test]
async fn an_offset_of_this_log_counts_also_among_equal_times() {
    let bench = Bench::with_times(&[100, 100, 100, 200]);
    assert_eq!(bench.at(offset_and_time(2, 100), OURS).await, (2, None));
    assert_eq!(bench.at(offset_and_time(4, 200), OURS).await, (4, None));
    assert_eq!(bench.at(offset(1), OURS).await, (1, None));
}

#[tokio::test]
async fn an_offset_that_retention_removed_resumes_at_the_earliest_and_says_the_gap() {
    let bench = Bench::with_times(&[100, 200, 300, 400]);
    bench.source.retain_from(&a0(), 3);
    let (next, gap) = bench.at(offset_and_time(1, 100), OURS).await;
    let gap = gap.expect("said");
    assert_eq!((next, gap.from, gap.to), (3, Offset(1), Some(Offset(3))));
    assert_eq!(gap.reason, GapReason::Retention);
    let (next, gap) = bench.at(offset(0), None).await;
    assert_eq!((next, reason(gap)), (3, Some(GapReason::Retention)));
}

#[tokio::test]
async fn an_offset_above_the_end_goes_by_time_or_to_the_latest_with_a_gap() {
    let bench = Bench::with_times(&[100, 200, 300]);
    assert_eq!(bench.at(offset_and_time(9, 200), OURS).await, (1, None));
    let (next, gap) = bench.at(offset(9), None).await;
    assert_eq!((next, reason(gap)), (3, Some(GapReason::OutOfRange)));
    let (next, gap) = bench.at(offset(9), OURS).await;
    assert_eq!((next, reason(gap)), (3, Some(GapReason::OutOfRange)));
}

#[tokio::test]
async fn an_offset_of_another_log_goes_by_time_inclusively() {
    let bench = Bench::with_times(&[100, 200, 200, 300]);
    assert_eq!(bench.at(offset_and_time(1, 200), THEIRS).await, (1, None));
    assert_eq!(bench.at(offset_and_time(4, 999), THEIRS).await, (4, None));
    let (next, gap) = bench.at(offset(1), THEIRS).await;
    assert_eq!((next, reason(gap)), (4, Some(GapReason::ForeignLog)));
}

#[tokio::test]
async fn a_topic_that_this_host_knows_to_be_made_anew_is_also_a_gap() {
    let mut bench = Bench::with_times(&[100, 200, 300]);
    bench.source.create("a", THEIRS, 1);
    bench.source.append(&a0(), Some((400, "{}".to_owned())));
    for told in [false, true] {
        if told {
            bench.tell(&a0(), false);
        }
        let (next, gap) = bench.at(offset_and_time(2, 200), OURS).await;
        assert_eq!((next, gap.as_ref().map(|g| g.from)), (0, Some(Offset(2))), "told: {told}");
        assert_eq!(reason(gap), Some(GapReason::Recreated));
        // A log that it never followed may be another cluster's.
        assert_eq!(bench.at(offset_and_time(2, 200), Some("xxxxxx")).await, (0, None));
    }
}

#[tokio::test]
async fn a_made_up_time_is_used_less_the_slack() {
    let bench = Bench::with_times(&[100_000, 200_000, 300_000]);
    let made_up = PositionTime::MadeUp(TimestampMs(260_000));
    let at = ResumeAt::Offset(Offset(0), Some(made_up));
    assert_eq!(bench.at(at, THEIRS).await, (1, None));
    assert_eq!(bench.at(ResumeAt::Time(TimestampMs(260_000)), None).await, (2, None));
}

#[tokio::test]
async fn the_times_of_a_log_that_sets_them_are_used_less_the_slack() {
    let source = Arc::new(MemorySource::default());
    let topic = source.create("a", OURS, 1);
    source.topics().get_mut(&topic).expect("there").append_time = true;
    for time in [100_000, 200_000, 300_000] {
        source.append(&a0(), Some((time, "{}".to_owned())));
    }
    let bench = Bench::over(source);
    assert_eq!(bench.at(offset_and_time(3, 260_000), THEIRS).await, (1, None));
}

#[tokio::test]
async fn an_offset_with_a_time_but_no_log_counts_only_where_that_time_is_there_once() {
    let bench = Bench::with_times(&[100, 200, 300, 300, 400]);
    assert_eq!(bench.at(offset_and_time(2, 200), None).await, (2, None), "it fits");
    assert_eq!(bench.at(offset_and_time(2, 100), None).await, (0, None), "shifted by one");
    assert_eq!(bench.at(offset_and_time(3, 300), None).await, (2, None), "a tie follows");
    assert_eq!(bench.at(offset_and_time(4, 300), None).await, (2, None), "a tie is before");
    assert_eq!(bench.at(offset_and_time(5, 400), None).await, (4, None), "nothing follows");
    assert_eq!(bench.at(offset_and_time(1, 100), None).await, (0, None), "nothing is before");
}

#[tokio::test]
async fn the_record_before_is_found_over_holes() {
    let source = Arc::new(MemorySource::default());
    source.create("a", OURS, 1);
    source.append(&a0(), Some((50, "{}".to_owned())));
    source.append(&a0(), Some((100, "{}".to_owned())));
    for _ in 0..300 {
        source.append(&a0(), None);
    }
    source.append(&a0(), Some((200, "{}".to_owned())));
    let bench = Bench::over(source);
    assert_eq!(bench.at(offset_and_time(300, 100), None).await, (300, None));
}

#[tokio::test]
async fn earliest_latest_and_since_are_what_they_say() {
    let bench = Bench::with_times(&[100, 200, 300]);
    assert_eq!(bench.at(ResumeAt::Earliest, None).await, (0, None));
    assert_eq!(bench.at(ResumeAt::Latest, None).await, (3, None));
    for (since, next) in [(0, 0), (101, 1), (300, 2), (301, 3)] {
        let (places, gaps) = bench.start(None, Some(since)).await.expect("a start");
        assert_eq!((places[&a0()].at.next, gaps.len()), (Offset(next), 0), "since {since}");
    }
}

#[tokio::test]
async fn a_partition_younger_than_the_id_starts_at_its_beginning() {
    let mut bench = Bench::with_times(&[100_000, 200_000]);
    let named = LastEventId::Positions(vec![ResumeEntry {
        tp: a0(),
        at: offset_and_time(2, 200_000),
        log: LogTag::new("oooooo"),
    }]);
    let a1 = TopicPartition::new(a0().topic, 1);
    let add = |bench: &Bench| {
        let mut topics = bench.source.topics();
        let topic = topics.get_mut(&a0().topic).expect("there");
        topic.partitions.push(crate::source::memory::MemoryLog::default());
    };
    add(&bench);
    for time in [210_000, 220_000] {
        bench.source.append(&a1, Some((time, "{}".to_owned())));
    }
    bench.tell(&a1, true);
    let (places, _) = bench.start(Some(named.clone()), None).await.expect("a start");
    assert_eq!(places[&a1].at.next, Offset(0), "younger: from its beginning");
    // One that is older than the id: latest, or by `since`.
    let a2 = TopicPartition::new(a0().topic, 2);
    add(&bench);
    for time in [50_000, 220_000] {
        bench.source.append(&a2, Some((time, "{}".to_owned())));
    }
    bench.tell(&a2, true);
    let (places, _) = bench.start(Some(named.clone()), None).await.expect("a start");
    assert_eq!(places[&a2].at.next, Offset(2));
    let (places, _) = bench.start(Some(named), Some(60_000)).await.expect("a start");
    assert_eq!(places[&a2].at.next, Offset(1));
}

#[tokio::test]
async fn a_partition_that_does_not_exist_is_passed_over_and_said() {
    let bench = Bench::with_times(&[100]);
    let other = TopicPartition::new(a0().topic, 7);
    let entry = ResumeEntry { tp: other.clone(), at: offset(5), log: None };
    let id = LastEventId::Positions(vec![entry]);
    let (places, gaps) = bench.start(Some(id), None).await.expect("a start");
    assert!(!places.contains_key(&other) && places.contains_key(&a0()));
    assert_eq!((gaps[0].from, gaps[0].reason), (Offset(5), GapReason::NoPartition));
}

#[tokio::test]
async fn a_topic_or_name_outside_the_request_is_not_available() {
    let bench = Bench::with_times(&[100]);
    let outside = TopicPartition::new(TopicName::new("secret").expect("legal"), 0);
    let entry = ResumeEntry { tp: outside, at: offset(0), log: None };
    let positions = LastEventId::Positions(vec![entry]);
    let names = LastEventId::Names(vec!["secret".to_owned()]);
    for id in [positions, names] {
        let error = bench.start(Some(id), None).await.expect_err("refused");
        assert!(matches!(error, NoStart::TopicNotAvailable(t) if t == "secret"));
    }
    for name in ["a", "s", "alias"] {
        let names = LastEventId::Names(vec![name.to_owned()]);
        assert!(bench.start(Some(names), None).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn an_unclean_truncation_is_seen_where_the_record_before_is_in_memory() {
    let mut bench = Bench::with_times(&[100]);
    for time in [200, 250, 300] {
        bench.source.append(&a0(), Some((time, "{}".to_owned())));
    }
    bench.tell(&a0(), false);
    // The reader passed a record of time 220 at offset 2; the log has one of 250 there now.
    assert_eq!(bench.at(offset_and_time(3, 220), OURS).await, (2, None));
    assert_eq!(bench.at(offset_and_time(3, 250), OURS).await, (3, None));
}

#[tokio::test]
async fn what_is_in_memory_is_verified_without_asking() {
    let mut bench = Bench::with_times(&[100]);
    bench.source.append(&a0(), Some((200, "{}".to_owned())));
    bench.tell(&a0(), false);
    // The source has lost the topic: whoever asks it now gets no answer.
    bench.source.topics().clear();
    assert_eq!(bench.at(offset_and_time(1, 100), OURS).await, (1, None));
    assert_eq!(bench.at(offset_and_time(2, 200), OURS).await, (2, None));
}

#[tokio::test]
async fn a_log_that_this_host_does_not_know_yet_is_waited_for_not_read() {
    let bench = Bench::with_times(&[100, 200]);
    bench.source.create("a", THEIRS, 1);
    bench.source.append(&a0(), Some((300, "{}".to_owned())));
    let id = LastEventId::Positions(vec![ResumeEntry {
        tp: a0(),
        at: offset_and_time(1, 300),
        log: LogTag::new("tttttt"),
    }]);
    let (places, gaps) = bench.start(Some(id), None).await.expect("a start");
    assert!(matches!(places[&a0()].era, catchup::Era::Coming { instead_of: Some(_) }));
    assert_eq!((places[&a0()].at.next, gaps.len()), (Offset(1), 0));
}
