//! Two clusters in memory with copies of one log, the one further than the other, and a tail that
//! goes from one to the other at any moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::event::LogTag;
use crate::source::Loss;
use crate::source::memory::{MemorySource, TailPositions};

/// The value of what only one of the two has.
const OLD: &str = "older than all that is copied";

/// A cluster in memory, with a tail.
#[derive(Debug, Default)]
struct Cluster {
    log: MemorySource,
    is_away: AtomicBool,
}

impl Cluster {
    fn new(tag: &str, shift: usize) -> Arc<Self> {
        let this = Self::default();
        this.log.create("a", Some(tag), 1);
        for _ in 0..shift {
            this.log.append(&a0(), Some((0, OLD.to_owned())));
        }
        Arc::new(this)
    }

    fn reach(&self) -> Result<(), SourceError> {
        if self.is_away.load(Ordering::Acquire) {
            let (source_name, cause) = (self.name().to_owned(), "away".to_owned());
            return Err(SourceError::Unreachable { source_name, cause });
        }
        Ok(())
    }

    fn values(&self) -> Vec<String> {
        let topics = self.log.topics();
        let records = topics[&a0().topic].partitions[0].records.iter().flatten();
        let text = |record: &crate::event::Record| {
            String::from_utf8(record.value.clone().expect("a value").to_vec()).expect("text")
        };
        records.map(text).collect()
    }
}

#[async_trait]
impl Source for Cluster {
    fn name(&self) -> &str {
        "memory"
    }

    async fn topic(&self, topic: &TopicName) -> Result<TopicInfo, SourceError> {
        self.reach()?;
        self.log.topic(topic).await
    }

    async fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError> {
        self.reach()?;
        self.log.watermarks(tp).await
    }

    async fn offset_at(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        self.reach()?;
        self.log.offset_at(tp, time).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, SourceError> {
        self.reach()?;
        self.log.read(tp, from, until, max_bytes.min(64)).await
    }

    async fn tail(&self, _topics: Vec<TopicName>, out: mpsc::Sender<TailEvent>) {
        let (mut told, mut is_away) = (TailPositions::new(), false);
        loop {
            let mut events = Vec::new();
            if self.reach().is_err() != is_away {
                is_away = !is_away;
                let cause = "away".to_owned();
                events.push(match is_away {
                    true => TailEvent::Unreachable { cause },
                    false => TailEvent::Reachable,
                });
            }
            if !is_away {
                let is_first = told.is_empty();
                events.extend(self.log.tell(&mut told, &a0(), 2, is_first));
                events.extend(is_first.then_some(TailEvent::Surveyed));
            }
            for event in events {
                if out.send(event).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn a0() -> TopicPartition {
    TopicPartition::new(TopicName::new("a").expect("legal"), 0)
}

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A record is written, so much older or younger than the one before.
    Write { step_ms: i64 },
    /// The mirror copies some more.
    Copy { most: usize },
    /// The other cluster is taken.
    Take,
    /// Time passes.
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (-2_i64..4).prop_map(|step_ms| Step::Write { step_ms }),
        3 => (1_usize..6).prop_map(|most| Step::Copy { most }),
        1 => Just(Step::Take),
        3 => (0_u64..60).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Takes what is told, as a reader that is live has it.
#[derive(Debug, Default)]
struct Live {
    /// Where it stands: in which log, at which offset.
    at: Option<(Option<LogTag>, i64)>,
    seen: Vec<String>,
}

impl Live {
    /// `logs`: what each log has now, by its tag.
    fn take(&mut self, event: TailEvent, logs: &BTreeMap<Option<LogTag>, Vec<String>>) {
        match event {
            TailEvent::Opened { log, next, after, .. } => {
                if let Some((from, stood)) = self.at {
                    assert_eq!(after, Some(Loss::Moved), "nothing is lost");
                    let before =
                        |log, until: i64| &logs[&log][..usize::try_from(until).expect("an offset")];
                    let passed = before(from, stood);
                    let left_out = before(log, next.0)
                        .iter()
                        .find(|value| *value != OLD && !passed.contains(value));
                    assert_eq!(left_out, None, "not passed at {stood} in {from:?}, nor at {next}");
                }
                self.at = Some((log, next.0));
            }
            TailEvent::Records { records, next, .. } => {
                let (log, at) = self.at.expect("opened first");
                let upto = usize::try_from(next.0).expect("an offset");
                let here = &logs[&log][usize::try_from(at).expect("an offset")..upto];
                let told = records.iter().map(|r| r.value.clone().expect("a value"));
                let told: Vec<_> =
                    told.map(|v| String::from_utf8(v.to_vec()).expect("text")).collect();
                assert_eq!(told, here, "told in order, none twice and none left out");
                self.seen.extend(told);
                self.at = Some((log, next.0));
            }
            _ => {}
        }
    }
}

async fn play(steps: Vec<Step>, shifts: (usize, usize)) {
    let clusters = [Cluster::new("aaaaaa", shifts.0), Cluster::new("bbbbbb", shifts.1)];
    let [origin, copy] = &clusters;
    let settings = Settings { after: LOOK_EVERY, back_after: LOOK_EVERY };
    let all: Vec<Arc<dyn Source>> = vec![Arc::clone(origin) as _, Arc::clone(copy) as _];
    let sites = Sites::new(all, settings, Arc::new(Metrics::new()));
    let (out, mut events) = mpsc::channel(1);
    let tail = {
        let sites = Arc::clone(&sites);
        async move { sites.tail(vec![a0().topic], out).await }
    };
    let task = tokio::spawn(tail);
    let tags = ["aaaaaa", "bbbbbb"].map(LogTag::new);
    let (mut live, mut time, mut copied, mut written) =
        (Live::default(), TimestampMs::now().0, 0, 0);
    let logs = || tags.iter().copied().zip(clusters.iter().map(|c| c.values())).collect();
    let steps = steps.into_iter().chain([Step::Copy { most: 1000 }, Step::Wait { ms: 5000 }]);
    for step in [Step::Wait { ms: 50 }].into_iter().chain(steps) {
        match step {
            Step::Write { step_ms } => {
                time += step_ms;
                origin.log.append(&a0(), Some((time, format!("{written}"))));
                written += 1;
            }
            Step::Copy { most } => {
                let records = origin.log.topics()[&a0().topic].partitions[0].records.clone();
                let new = records.into_iter().flatten().skip(shifts.0 + copied).take(most);
                for record in new {
                    let value = String::from_utf8(record.value.expect("a value").to_vec());
                    copy.log.append(&a0(), Some((record.time.0, value.expect("text"))));
                    copied += 1;
                }
            }
            Step::Take => {
                let in_use = *sites.in_use.borrow();
                sites.take(1 - in_use);
            }
            Step::Wait { ms } => {
                let end = tokio::time::Instant::now() + Duration::from_millis(ms);
                while let Ok(Some(event)) = tokio::time::timeout_at(end, events.recv()).await {
                    live.take(event, &logs());
                }
            }
        }
    }
    let missed = (0..written).map(|n| n.to_string()).find(|n| !live.seen.contains(n));
    assert_eq!(missed, None, "written and never told");
    task.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn wherever_it_goes_on_nothing_is_left_out_that_was_not_passed_before(
        steps in prop::collection::vec(step(), 0..60),
        shifts in (0_usize..4, 0_usize..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(play(steps, shifts));
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_cluster_is_taken_when_the_first_is_away_and_the_first_when_it_has_come_back() {
    let [first, second] = ["aaaaaa", "bbbbbb"].map(|tag| Cluster::new(tag, 1));
    let seconds = Duration::from_secs;
    let settings = Settings { after: seconds(5), back_after: seconds(30) };
    let all: Vec<Arc<dyn Source>> = vec![Arc::clone(&first) as _, Arc::clone(&second) as _];
    let sites = Sites::new(all, settings, Arc::new(Metrics::new()));
    let judging = tokio::spawn(Arc::clone(&sites).run());
    let (out, mut events) = mpsc::channel(64);
    let tail = {
        let sites = Arc::clone(&sites);
        async move { sites.tail(vec![a0().topic], out).await }
    };
    let tail = tokio::spawn(tail);
    let in_use = || sites.states().iter().position(|state| state.in_use);
    tokio::time::sleep(seconds(10)).await;
    assert_eq!(in_use(), Some(0));
    first.is_away.store(true, Ordering::Release);
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(in_use(), Some(0), "not for a short while");
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(in_use(), Some(1));
    assert!(sites.states()[0].unreachable.is_some() && sites.states()[1].unreachable.is_none());
    let told = std::iter::from_fn(|| events.try_recv().ok()).collect::<Vec<_>>();
    assert!(matches!(told.last(), Some(TailEvent::Surveyed)), "{told:?}");
    assert!(told.iter().any(|event| matches!(event, TailEvent::Unreachable { .. })), "{told:?}");
    first.is_away.store(false, Ordering::Release);
    tokio::time::sleep(seconds(20)).await;
    assert_eq!(in_use(), Some(1), "not at once");
    tokio::time::sleep(seconds(15)).await;
    assert_eq!(in_use(), Some(0));
    judging.abort();
    tail.abort();
}
