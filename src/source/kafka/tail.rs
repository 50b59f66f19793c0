//! The live end of all topics.
//!
//! ```text
//!  survey (async, every second)          reader (a thread)
//!  which topics, ids, partitions ──Turn──▶ assign, poll ──▶ TailEvent
//!        ▲                                   │  │     ▲
//!        └────────── positions ◀─────────────┘  Seen  Turn
//!                                               ▼     │
//!                                              keeper (a thread)
//! ```
//! The survey finds out where to read and why; the keeper whether the cluster answers; the reader
//! only reads. The positions belong to no client: from them one is made anew, once the survey has
//! held each of them against its log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::KafkaSource;
use super::client::{Heard, TailWatch};
use super::keeper::{Keeper, Shown};
use super::reader::{Got, Reader};
use super::survey::{Look, Survey};
use super::watchdog::Seen;
use crate::event::{LogTag, Offset, TimestampMs, TopicName, TopicPartition};
use crate::source::{Loss, TailEvent};

/// How often topics, ids and partitions are looked at.
const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// And how soon after another where somebody waits for it.
const SURVEY_AGAIN: Duration = Duration::from_millis(20);

/// Where the tail is in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    pub(super) log: Option<LogTag>,
    pub(super) next: Offset,
    /// The last record before `next`, and its time.
    pub(super) last: Option<(Offset, TimestampMs)>,
    /// During which of the reader's holds it was held against its log last.
    pub(super) checked: u64,
}

pub(super) type Positions = Arc<Mutex<BTreeMap<TopicPartition, Followed>>>;

/// How often the reader has let its client go, and up to which time it may read again.
#[derive(Debug, Default)]
pub(super) struct Holds {
    let_go: AtomicU64,
    resumed: AtomicU64,
}

impl Holds {
    /// Which is the present one.
    pub(super) fn now(&self) -> u64 {
        self.let_go.load(Ordering::Acquire)
    }

    /// Whether the reader has no client and waits for word that it may read.
    pub(super) fn is_held(&self) -> bool {
        self.now() != self.resumed.load(Ordering::Acquire)
    }

    /// The reader lets its client go.
    pub(super) fn let_go(&self) {
        self.let_go.fetch_add(1, Ordering::AcqRel);
    }

    /// It may read again, if it has not let its client go once more since.
    pub(super) fn resume(&self, hold: u64) {
        self.resumed.fetch_max(hold, Ordering::AcqRel);
    }
}

/// What the survey and the keeper tell the reader.
pub(super) enum Turn {
    /// Read this partition from here on, and say why.
    Open {
        tp: TopicPartition,
        at: Followed,
        append_time: bool,
        after: Option<Loss>,
        /// Where it stood when this was found out.
        instead_of: Option<Offset>,
    },
    /// Assign this partition again where it stands.
    Assign(TopicPartition),
    /// Stop reading this topic.
    Close(TopicName),
    /// Pass this on.
    Say(TailEvent),
    /// Let the client go until a later word.
    LetGo,
    /// Read on, if this is still the hold that there is.
    Resume(u64),
}

/// Ends the threads when the tail is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Follows `topics` until `out` is closed or this is dropped.
pub(super) async fn run(
    source: &KafkaSource,
    topics: Vec<TopicName>,
    out: mpsc::Sender<TailEvent>,
) {
    let positions = Positions::default();
    let stop = Arc::new(AtomicBool::new(false));
    let _stop = Stop(Arc::clone(&stop));
    let (turns, taken) = std::sync::mpsc::channel();
    let (seen, heard) = std::sync::mpsc::channel();
    let lost = Arc::new(AtomicBool::new(false));
    let (holds, shown) = (Arc::<Holds>::default(), Arc::<Shown>::default());
    let wake = Arc::new(Notify::new());
    let counts = source.clients.counts().clone();
    let watch = TailWatch { seen, doubt: Arc::default(), wake: Arc::clone(&wake), counts };
    let keeper = Keeper {
        clients: source.clients.clone(),
        status: Arc::clone(&source.status),
        look: Arc::clone(&source.look),
        positions: Arc::clone(&positions),
        shown: Arc::clone(&shown),
        turns: turns.clone(),
        wake: Arc::clone(&wake),
        stop: Arc::clone(&stop),
    };
    let reader = Reader {
        clients: source.clients.clone(),
        status: Arc::clone(&source.status),
        watch: watch.clone(),
        positions: Arc::clone(&positions),
        turns: taken,
        lost: Arc::clone(&lost),
        holds: Arc::clone(&holds),
        shown,
        out: out.clone(),
        stop,
        age: 0,
        client: None,
        got: Got::default(),
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let begun = thread("kafka-keeper").spawn(move || keeper.run(&heard));
    if let Err(error) = begun.and_then(|_| thread("kafka-tail").spawn(move || reader.run())) {
        tracing::error!(%error, "the tail cannot be started");
        return;
    }
    let mut survey = Survey::new(source, topics, turns, positions, holds);
    while !out.is_closed() {
        let settles = watch.doubt.so_far();
        let Look { found, settles_doubts } = survey.look(lost.swap(false, Ordering::AcqRel)).await;
        if settles_doubts {
            watch.doubt.settle(settles);
        }
        let is_urgent = settles_doubts && (lost.load(Ordering::Acquire) || watch.doubt.is_open());
        let seen = Seen::Looked(found.map_err(|error| error.to_string()));
        let _ = watch.seen.send(Heard::Seen(seen));
        let wait = if is_urgent { SURVEY_AGAIN } else { SURVEY_EVERY };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wake.notified() => tokio::time::sleep(SURVEY_AGAIN).await,
            () = out.closed() => {}
        }
    }
}
