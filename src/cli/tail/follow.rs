//! The way of a stream through all its connections: opens, reads, waits, goes on where it was.
//!
//! ```text
//!  open ─▶ events … ─▶ end, cut or silence ─▶ pause ─▶ open with the last id ─▶ …
//!    └▶ refusal: 408, 429, 5xx or `event: refused` ─▶ a longer pause
//!              └▶ anything else: it is over
//! ```

use std::time::Duration;

use http::StatusCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::pause::Pause;
use crate::visit::{Answer, Event, Refusal, Target, Visit, VisitError, Way};

/// A connection that is not open by then counts as failed.
const OPEN_MAX: Duration = Duration::from_secs(30);

/// What happens to a stream.
#[derive(Debug)]
pub(super) enum Step {
    /// It is open.
    Open,
    /// The server says the position before the next event.
    At(String),
    /// Events, in their order.
    Events(Vec<Event>),
    /// What the server says besides.
    Said(String),
    /// It is not open, and why.
    Trouble(String),
    /// There will be no more.
    Over(anyhow::Error),
}

/// What is followed.
#[derive(Debug)]
pub(super) struct Follow {
    /// The server and the path of the stream, with what is always asked for.
    pub(super) target: Target,
    /// How to get there.
    pub(super) way: Way,
    /// Where to begin when there is no id.
    pub(super) since: Option<String>,
    /// The id to go on from.
    pub(super) last_id: Option<String>,
    /// A connection without a byte for so long is given up.
    pub(super) silence_max: Duration,
    /// It is over when no connection could be opened for so long.
    pub(super) give_up: Option<Duration>,
}

/// How a connection ended.
enum End {
    /// Nobody wants any more.
    Left,
    /// A pause, of at least so long, and then the next.
    Again(String, Option<Duration>),
    Over(anyhow::Error),
}

impl Follow {
    /// Follows until nobody listens, or until it is over.
    pub(super) async fn run(mut self, out: mpsc::Sender<Step>) {
        let mut pause = Pause::default();
        let mut last_open = Instant::now();
        loop {
            let end = self.connection(&out, &mut pause, &mut last_open).await;
            let (why, asked) = match end {
                End::Left => return,
                End::Again(why, asked) => (why, asked),
                End::Over(error) => return drop(out.send(Step::Over(error)).await),
            };
            if self.give_up.is_some_and(|most| last_open.elapsed() >= most) {
                let error = anyhow::anyhow!("no stream for too long: {why}");
                return drop(out.send(Step::Over(error)).await);
            }
            let wait = pause.next(asked, rand::random());
            let why = format!("{why}; again in {:.1} s", wait.as_secs_f64());
            if out.send(Step::Trouble(why)).await.is_err() {
                return;
            }
            sleep(wait).await;
        }
    }

    async fn connection(
        &mut self,
        out: &mpsc::Sender<Step>,
        pause: &mut Pause,
        last_open: &mut Instant,
    ) -> End {
        let target = self.asked();
        let opened = Visit::ask(&target, &self.way, self.last_id.as_deref());
        let mut visit = match timeout(OPEN_MAX, opened).await {
            Err(_) => return End::Again("no answer in time".to_owned(), None),
            Ok(Err(error)) => return End::Again(error.to_string(), None),
            Ok(Ok(Answer::Refusal(refusal))) => return refused(refusal),
            Ok(Ok(Answer::Stream(visit))) => visit,
        };
        let gap = visit.gap.take().map(|gap| Step::Said(gone(&gap)));
        for step in [Step::Open].into_iter().chain(gap) {
            if out.send(step).await.is_err() {
                return End::Left;
            }
        }
        let mut end = None;
        loop {
            pause.server_says(visit.retry());
            *last_open = Instant::now();
            for step in self.come(&mut visit) {
                match step {
                    Come::Refused(why) => return End::Again(why, None),
                    Come::Step(step) => {
                        if matches!(step, Step::Events(_)) {
                            pause.all_is_well();
                        }
                        if out.send(step).await.is_err() {
                            return End::Left;
                        }
                    }
                }
            }
            if let Some(why) = end {
                return End::Again(why, None);
            }
            end = match timeout(self.silence_max, visit.more()).await {
                Ok(Ok(true)) => None,
                Ok(Ok(false)) => Some("the server ended the stream".to_owned()),
                Ok(Err(VisitError::Broken(_))) => Some("the connection broke".to_owned()),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no byte for {} s", self.silence_max.as_secs())),
            };
        }
    }

    /// What has come whole.
    fn come(&mut self, visit: &mut Visit) -> Vec<Come> {
        let (mut come, mut events) = (Vec::new(), Vec::new());
        while let Some(event) = visit.ready() {
            match &*event.kind {
                "" | "message" => events.push(event),
                _ => come.extend(said(&event)),
            }
        }
        let id = visit.last_id();
        let news = !id.is_empty() && self.last_id.as_deref() != Some(id);
        if news {
            self.last_id = Some(id.to_owned());
        }
        if !events.is_empty() {
            come.push(Come::Step(Step::Events(events)));
        } else if news {
            come.push(Come::Step(Step::At(id.to_owned())));
        }
        come
    }

    /// With where it begins, as long as no id says it.
    fn asked(&self) -> Target {
        let mut target = self.target.clone();
        if let (None, Some(since)) = (&self.last_id, &self.since) {
            target.path += &format!("&since={since}");
        }
        target
    }
}

/// What a piece of a stream was.
enum Come {
    Step(Step),
    /// It is refused in the way that browsers bear.
    Refused(String),
}

/// What the server says besides events.
fn said(event: &Event) -> Option<Come> {
    match &*event.kind {
        "refused" => {
            let problem: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
            let says = problem["detail"].as_str().unwrap_or(&event.data);
            Some(Come::Refused(format!("refused: {says}")))
        }
        "gap" => Some(Come::Step(Step::Said(gone(&event.data)))),
        "error" => Some(Come::Step(Step::Said(format!("the server says: {}", event.data)))),
        _ => None,
    }
}

fn gone(gap: &str) -> String {
    format!("events are gone that could not be given: {gap}")
}

fn refused(Refusal { status, says, retry_after, location }: Refusal) -> End {
    let mut why = format!("answered {status}");
    if let Some(says) = says {
        why = format!("{why}: {says}");
    }
    if let Some(to) = location {
        why = format!("{why}; it is at {to}");
    }
    if status == StatusCode::OK {
        why = "what it answers is no event stream".to_owned();
    }
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if later.contains(&status) || status.is_server_error() {
        End::Again(why, retry_after)
    } else {
        End::Over(anyhow::anyhow!(why))
    }
}
