//! The hub at work: it follows tails of its source, and lets go of what nobody reads.
//!
//! Topics that come later have a tail of their own: those that are followed are not disturbed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Hub;
use crate::event::TopicName;
use crate::limits;
use crate::source::{Source, TailEvent};

impl Hub {
    /// Follows the source until the task is dropped.
    pub async fn run(&self, source: Arc<dyn Source>, topics: Vec<TopicName>) {
        let sweep = async {
            let mut turns = tokio::time::interval(limits::FEED_IDLE.min(Duration::from_secs(5)));
            loop {
                turns.tick().await;
                self.sweep(Instant::now());
            }
        };
        let (surveyed, _) = oneshot::channel();
        tokio::join!(sweep, self.follow_topics(source, topics, surveyed));
    }

    /// Follows topics until the task is dropped. `surveyed` is told when those that exist are.
    pub async fn follow_topics(
        &self,
        source: Arc<dyn Source>,
        topics: Vec<TopicName>,
        surveyed: oneshot::Sender<()>,
    ) {
        let (out, mut events) = mpsc::channel(64);
        let tail = source.tail(topics, out);
        tokio::pin!(tail);
        let mut surveyed = Some(surveyed);
        loop {
            tokio::select! {
                () = &mut tail => return self.unreachable("its tail has ended"),
                event = events.recv() => match event {
                    Some(event) => {
                        let is_survey = matches!(event, TailEvent::Surveyed);
                        self.follow(event).await;
                        if let Some(surveyed) = surveyed.take_if(|_| is_survey) {
                            let _ = surveyed.send(());
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// Forgets topics that are followed no more.
    pub fn forget(&self, topics: &[TopicName]) {
        topics.iter().for_each(|topic| self.gone(topic));
    }
}
