//! The tail of the cluster in use, and how each partition goes on where another one is taken.
//!
//! ```text
//!  old cluster  ──●──●──●┊                      the last that was told has time t
//!  new cluster  ──●──●──[●──●──●]──●──▶         the first from t on … the tail's beginning ──▶
//!                        read, told              told by the tail
//! ```
//! The new cluster's tail begins at the ends of its logs. What lies between the place by time and
//! that end is read and told first, so what is told has no hole. A tail of the cluster that was
//! left is a new one too when it is taken again, also where nothing else was told meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Sites;
use crate::event::{LogTag, Offset, TimestampMs, TopicName, TopicPartition};
use crate::limits;
use crate::position::PositionTime;
use crate::source::look_back::last_before;
use crate::source::{Loss, Source, SourceError, TailEvent};

/// A question that could not be answered is asked again after this.
const RETRY: Duration = Duration::from_millis(500);
/// Answers in a row that there is no such log before that is believed. A broker that has just come
/// up does not know all topics yet.
const MISSING_MAX: u32 = 10;

/// A partition as a cluster's tail opens it.
#[derive(Debug, Clone)]
struct Opened {
    tp: TopicPartition,
    log: Option<LogTag>,
    append_time: bool,
    next: Offset,
    last: Option<TimestampMs>,
    after: Option<Loss>,
}

impl From<Opened> for TailEvent {
    fn from(opened: Opened) -> Self {
        let Opened { tp, log, append_time, next, last, after } = opened;
        Self::Opened { tp, log, append_time, next, last, after }
    }
}

/// Where a partition stands: what was told last of it.
#[derive(Debug, Clone, Copy)]
struct Stood {
    log: Option<LogTag>,
    next: Offset,
    time: PositionTime,
    append_time: bool,
}

impl Stood {
    /// The time to look up. Made-up times, and times that a log sets, differ between clusters.
    fn time_in(&self, append_time: bool) -> TimestampMs {
        match self.time {
            PositionTime::Record(time) if !append_time && !self.append_time => time,
            PositionTime::Record(time) | PositionTime::MadeUp(time) => {
                time.less(limits::TIME_SLACK_MS)
            }
        }
    }
}

/// What is told of some topics, whichever cluster is in use.
pub(super) struct Follower<'a> {
    sites: &'a Sites,
    topics: Vec<TopicName>,
    out: mpsc::Sender<TailEvent>,
    stood: BTreeMap<TopicPartition, Stood>,
    /// What the tail that is followed now has opened.
    opened: BTreeSet<TopicPartition>,
    /// It was told that nobody answers.
    is_down: bool,
}

/// Nobody listens any more.
struct Closed;

impl<'a> Follower<'a> {
    pub(super) fn new(
        sites: &'a Sites,
        topics: Vec<TopicName>,
        out: mpsc::Sender<TailEvent>,
    ) -> Self {
        let (stood, opened) = (BTreeMap::new(), BTreeSet::new());
        Self { sites, topics, out, stood, opened, is_down: false }
    }

    /// Follows a cluster until nobody listens. Can be dropped at any moment: what has been told and
    /// where it stands are always the same.
    pub(super) async fn follow(&mut self, site: usize) {
        self.opened.clear();
        let (out, mut events) = mpsc::channel(64);
        let (source, topics) = (Arc::clone(&self.sites.sites[site]), self.topics.clone());
        // A task of its own: it goes on while what was missed is read.
        let tail = tokio::spawn(async move { source.tail(topics, out).await });
        let _tail = AbortOnDropHandle::new(tail);
        while let Some(event) = events.recv().await {
            if self.take(site, event).await.is_err() {
                return;
            }
        }
        // It has ended by itself, which it never does. Another cluster is taken then.
        self.sites.is_down(site, "its tail has ended");
        std::future::pending().await
    }

    async fn take(&mut self, site: usize, event: TailEvent) -> Result<(), Closed> {
        match event {
            TailEvent::Opened { tp, log, append_time, next, last, after } => {
                if self.is_down {
                    self.tell(TailEvent::Reachable).await?;
                }
                let opened = Opened { tp: tp.clone(), log, append_time, next, last, after };
                let is_first = self.opened.insert(tp.clone());
                match self.stood.get(&tp).copied() {
                    Some(stood) if is_first => self.carry_over(site, opened, stood).await,
                    _ => self.tell(opened.into()).await,
                }
            }
            event => {
                match &event {
                    TailEvent::Unreachable { cause } => self.sites.is_down(site, cause),
                    TailEvent::Reachable | TailEvent::Surveyed => self.sites.is_up(site),
                    _ => {}
                }
                self.tell(event).await
            }
        }
    }

    /// A partition that was followed by another tail goes on in this one.
    async fn carry_over(
        &mut self,
        site: usize,
        opened: Opened,
        stood: Stood,
    ) -> Result<(), Closed> {
        let (source, end) = (Arc::clone(&self.sites.sites[site]), opened.next);
        let mut missing = 0;
        let found = loop {
            match goes_on(&*source, &opened, stood).await {
                Ok(found) => break found,
                // The tail will say next what there is instead.
                Err(_) if missing == MISSING_MAX => {
                    break Opened { after: Some(Loss::Moved), ..opened };
                }
                Err(error) => missing = self.wait(site, &error, missing).await,
            }
        };
        self.sites.is_up(site);
        let (tp, from, to) = (&found.tp, stood.next, found.next);
        tracing::debug!(%tp, source = source.name(), %from, %to, "carried over");
        self.tell(found.clone().into()).await?;
        self.read_up_to(site, found, end).await
    }

    /// Tells what lies before the place from which the cluster's own tail tells.
    async fn read_up_to(&mut self, site: usize, mut at: Opened, end: Offset) -> Result<(), Closed> {
        let source = Arc::clone(&self.sites.sites[site]);
        let mut missing = 0;
        while at.next < end && missing < MISSING_MAX {
            match read(&*source, &at, end).await {
                Ok((records, next)) if next > at.next => {
                    (at.next, missing) = (next, 0);
                    let tp = at.tp.clone();
                    self.tell(TailEvent::Records { tp, records, next }).await?;
                }
                Err(SourceError::OutOfRange { kept, .. }) if kept.start > at.next => {
                    (at.next, at.last) = (kept.start.min(end), None);
                    at.after = Some(Loss::Retention);
                    self.tell(at.clone().into()).await?;
                }
                // The log has become shorter: the tail will say so.
                Err(SourceError::OutOfRange { .. }) => return Ok(()),
                Ok(_) => {
                    missing += 1;
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => missing = self.wait(site, &error, missing).await,
            }
        }
        Ok(())
    }

    /// Waits before something is asked again. How often in a row it was not there is returned.
    async fn wait(&self, site: usize, error: &SourceError, missing: u32) -> u32 {
        tracing::debug!(%error, "cannot go on in another cluster yet");
        if error.is_retryable() {
            self.sites.is_down(site, &error.to_string());
        }
        tokio::time::sleep(RETRY).await;
        if error.is_retryable() { 0 } else { missing + 1 }
    }

    /// Tells it, and stands where it says; both or neither.
    async fn tell(&mut self, event: TailEvent) -> Result<(), Closed> {
        let place = self.out.reserve().await.map_err(|_| Closed)?;
        match &event {
            TailEvent::Opened { tp, log, append_time, next, last, .. } => {
                let made_up = || PositionTime::MadeUp(TimestampMs::now());
                let time = last.map_or_else(made_up, PositionTime::Record);
                let (log, next, append_time) = (*log, *next, *append_time);
                self.stood.insert(tp.clone(), Stood { log, next, time, append_time });
            }
            TailEvent::Records { tp, records, next } => {
                if let Some(stood) = self.stood.get_mut(tp) {
                    stood.next = *next;
                    let last = records.last().map(|last| PositionTime::Record(last.time));
                    stood.time = last.unwrap_or(stood.time);
                }
            }
            TailEvent::Unreachable { .. } => self.is_down = true,
            TailEvent::Reachable | TailEvent::Surveyed => self.is_down = false,
            // Where it stood counts: it may only be this copy of it that is gone.
            TailEvent::Gone { .. } => {}
        }
        place.send(event);
        Ok(())
    }
}

/// Where a partition that stood there goes on, in the log that a tail has opened.
async fn goes_on(
    source: &dyn Source,
    opened: &Opened,
    stood: Stood,
) -> Result<Opened, SourceError> {
    let (tp, end) = (&opened.tp, opened.next);
    let marks = source.watermarks(tp).await?;
    let at = |next, last, after| Ok(Opened { next, last, after: Some(after), ..opened.clone() });
    let is_same = stood.log.is_some() && stood.log == opened.log;
    if is_same && stood.next < marks.start {
        return at(marks.start.min(end), None, Loss::Retention);
    }
    if is_same && stood.next <= end {
        let last = last_before(source, tp, stood.next, marks).await?.map(|(_, time)| time);
        let is_cut = match (last, stood.time) {
            (Some(is), PositionTime::Record(was)) => is != was,
            _ => false,
        };
        if !is_cut {
            check(source, opened).await?;
            return at(stood.next, last, Loss::Moved);
        }
    }
    let found = source.offset_at(tp, stood.time_in(opened.append_time)).await?;
    let next = found.unwrap_or(end).min(end).max(marks.start.min(end));
    let last = if next == end {
        opened.last
    } else {
        last_before(source, tp, next, marks).await?.map(|(_, time)| time)
    };
    check(source, opened).await?;
    // A copy that has nothing before: the time is made up, and an older one than is true is safe.
    let made_up = stood.time.ms().less(limits::TIME_SLACK_MS);
    at(next, last.or(Some(made_up)), Loss::Moved)
}

/// Records of the log that a tail has opened and of no other, and where to go on.
async fn read(
    source: &dyn Source,
    at: &Opened,
    end: Offset,
) -> Result<(Vec<crate::event::Record>, Offset), SourceError> {
    let read = source.read(&at.tp, at.next, end, limits::CHUNK_BYTES_MAX).await?;
    check(source, at).await?;
    Ok((read.records, read.next))
}

/// Asked last: what was found is of this log if it is still the one.
async fn check(source: &dyn Source, opened: &Opened) -> Result<(), SourceError> {
    if source.topic(&opened.tp.topic).await?.log == opened.log {
        return Ok(());
    }
    Err(SourceError::UnknownTopic(opened.tp.topic.clone()))
}
