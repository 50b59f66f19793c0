//! Several clusters with copies of the same topics, as one source: the preferred one while it
//! answers, else the next.
//!
//! ```text
//!  main  ─┐            judge: who answers, who is to be in use
//!  other ─┴─ Sites ────── follow: the tail of who is in use; where it is another, each partition
//!                                 goes on by time, and what lies before its end is read
//! ```
//! Offsets mean nothing from one cluster to another, times do: a partition goes on at the first
//! record that is not older than the last one before where it stands. What a copy does not have yet
//! comes when it has it. A few records come twice, none is lost.
//!
//! Only reads: what is written goes to one cluster, or its copies would differ for good. Knows
//! nothing of Kafka; the sources in it need not be of one kind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Fetched, Source, SourceError, TailEvent, TopicInfo, Watermarks};
use crate::event::{Offset, TimestampMs, TopicName, TopicPartition};
use crate::metrics::{BySource, Metrics};

mod follow;
mod judge;

use follow::Follower;
use judge::{Judge, Sight};

/// How often it is asked who answers, and how long an answer may take.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_TIMEOUT: Duration = Duration::from_millis(2500);

/// When another cluster is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The one in use is out of reach for so long.
    pub after: Duration,
    /// A preferred one has answered for so long without a break.
    pub back_after: Duration,
}

/// How a cluster is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteState {
    /// Its source's name.
    pub name: String,
    /// It is the one in use.
    pub in_use: bool,
    /// Since when it has not answered, and what it said last.
    pub unreachable: Option<(Instant, String)>,
}

/// The clusters, in the order of preference.
#[derive(Debug)]
pub struct Sites {
    sites: Vec<Arc<dyn Source>>,
    settings: Settings,
    in_use: watch::Sender<usize>,
    /// Of each: since when it has not answered.
    down: Mutex<Vec<Option<(Instant, String)>>>,
    /// What is followed, to ask after.
    topics: Mutex<BTreeSet<TopicName>>,
    metrics: Arc<Metrics>,
}

impl Sites {
    /// At least one; the first is preferred.
    #[must_use]
    pub fn new(
        sites: Vec<Arc<dyn Source>>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        assert!(!sites.is_empty(), "there is a cluster");
        let down = Mutex::new(vec![None; sites.len()]);
        let (in_use, topics) = (watch::Sender::new(0), Mutex::default());
        let this = Arc::new(Self { sites, settings, in_use, down, topics, metrics });
        this.show();
        this
    }

    /// How long one may be out of reach before that counts.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.settings.after
    }

    /// How each is, the preferred one first.
    #[must_use]
    pub fn states(&self) -> Vec<SiteState> {
        let (in_use, down) = (*self.in_use.borrow(), self.down().clone());
        let each = self.sites.iter().zip(down).enumerate();
        let state = |(n, (site, unreachable)): (usize, (&Arc<dyn Source>, _))| SiteState {
            name: site.name().to_owned(),
            in_use: n == in_use,
            unreachable,
        };
        each.map(state).collect()
    }

    /// Looks who answers, and takes another where that is due, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let begun = Instant::now();
        let mut judge = Judge::new(self.settings, self.sites.len());
        let mut turns = tokio::time::interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for look in 0usize.. {
            turns.tick().await;
            let in_use = *self.in_use.borrow();
            let others = (0..self.sites.len()).filter(|n| *n != in_use);
            let answers = others.map(|n| self.look(n, look));
            futures_util::future::join_all(answers).await;
            let sight: Vec<Sight> = self.down().iter().map(|down| down.is_none()).collect();
            if let Some(next) = judge.see(begun.elapsed(), in_use, &sight) {
                self.take(next);
            }
        }
    }

    /// Takes another cluster.
    fn take(&self, next: usize) {
        let before = self.in_use.send_replace(next);
        let (from, to) = (self.sites[before].name(), self.sites[next].name());
        if next < before {
            tracing::info!(from, to, "a preferred cluster answers again and is taken");
        } else {
            tracing::error!(from, to, "the cluster in use cannot be reached: another is taken");
        }
        let label = BySource { source: to.to_owned() };
        self.metrics.source.failovers.get_or_create_owned(&label).inc();
        self.show();
    }

    fn show(&self) {
        for (n, site) in self.sites.iter().enumerate() {
            let label = BySource { source: site.name().to_owned() };
            let is_in_use = i64::from(n == *self.in_use.borrow());
            self.metrics.source.cluster_in_use.get_or_create_owned(&label).set(is_in_use);
        }
    }

    /// Whether a cluster that is not in use answers, asked about one topic after another.
    async fn look(&self, n: usize, look: usize) {
        let topic = {
            let topics = self.topics.lock().expect("no holder panics");
            topics.iter().nth(look % topics.len().max(1)).cloned()
        };
        let Some(topic) = topic else { return };
        let source = &self.sites[n];
        let tp = TopicPartition::new(topic.clone(), 0);
        let asked = async {
            source.topic(&topic).await?;
            source.watermarks(&tp).await
        };
        let asked = tokio::time::timeout(LOOK_TIMEOUT, asked).await;
        match asked {
            Ok(Ok(_) | Err(SourceError::UnknownTopic(_) | SourceError::UnknownPartition(_))) => {
                self.is_up(n);
            }
            Ok(Err(error)) => self.is_down(n, &error.to_string()),
            Err(_) => self.is_down(n, "no answer in time"),
        }
    }

    fn is_down(&self, n: usize, cause: &str) {
        let down = &mut self.down()[n];
        let since = down.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *down = Some((since, cause.to_owned()));
    }

    fn is_up(&self, n: usize) {
        self.down()[n] = None;
    }

    fn down(&self) -> MutexGuard<'_, Vec<Option<(Instant, String)>>> {
        self.down.lock().expect("no holder panics")
    }

    fn now(&self) -> &Arc<dyn Source> {
        &self.sites[*self.in_use.borrow()]
    }
}

#[async_trait]
impl Source for Sites {
    /// Of the one that is preferred, whichever is in use: series and log lines go on.
    fn name(&self) -> &str {
        self.sites[0].name()
    }

    async fn topic(&self, topic: &TopicName) -> Result<TopicInfo, SourceError> {
        self.now().topic(topic).await
    }

    async fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks, SourceError> {
        self.now().watermarks(tp).await
    }

    async fn offset_at(
        &self,
        tp: &TopicPartition,
        time: TimestampMs,
    ) -> Result<Option<Offset>, SourceError> {
        self.now().offset_at(tp, time).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, SourceError> {
        self.now().read(tp, from, until, max_bytes).await
    }

    fn in_use(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::clone(self.now()))
    }

    /// Of the preferred one.
    fn rebootstrap(&self, brokers: &[String]) -> bool {
        self.sites[0].rebootstrap(brokers)
    }

    async fn tail(&self, topics: Vec<TopicName>, out: mpsc::Sender<TailEvent>) {
        self.topics.lock().expect("no holder panics").extend(topics.iter().cloned());
        let mut in_use = self.in_use.subscribe();
        let mut follower = Follower::new(self, topics, out.clone());
        loop {
            let n = *in_use.borrow_and_update();
            tokio::select! {
                () = follower.follow(n) => return,
                changed = in_use.changed() => if changed.is_err() { return },
                () = out.closed() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
