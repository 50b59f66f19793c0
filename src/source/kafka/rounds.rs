//! The same question, asked once for all who wait for its answer.
//!
//! ```text
//!  first ──▶ round 1 ──────────────────▶ answer 1
//!  second ─── gathers ──▶ round 2 ──────────▶ answer 2
//!  third ─────── gathers ─┘                   answer 2
//! ```
//! Who comes when a round has begun is not answered by it: an answer that may be older than its
//! question is nobody's. While one is under way, the next gathers those who come for `GATHER`. So a
//! thousand readers who come back at once cost a few questions and not a thousand, each knows what
//! it would know if it had asked alone, and nobody waits for a round that a slow cluster does not
//! answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use tokio::time::Instant;

/// Between the begins of two rounds that overlap.
const GATHER: Duration = Duration::from_millis(10);

type Answer<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// Rounds of the questions of one kind; `K` is what is asked for.
#[derive(Debug)]
pub(super) struct Rounds<K, V> {
    /// The last round of each question that somebody waits for.
    last: Mutex<HashMap<K, Round<V>>>,
}

#[derive(Debug)]
struct Round<V> {
    /// When it begins: not before, and maybe a little later.
    due: Instant,
    has_begun: Arc<AtomicBool>,
    /// Gone with the last one who waits for it.
    answer: WeakShared<Answer<V>>,
}

/// One who waits; the last one that goes takes the round with it.
struct Waits<'a, K: Hash + Eq, V> {
    rounds: &'a Rounds<K, V>,
    key: &'a K,
}

impl<K: Hash + Eq, V> Drop for Waits<'_, K, V> {
    fn drop(&mut self) {
        let mut last = self.rounds.last.lock().expect("no holder panics");
        if last.get(self.key).is_some_and(|round| round.answer.upgrade().is_none()) {
            last.remove(self.key);
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone + Send + 'static> Rounds<K, V> {
    /// An answer of a round that began after this was called: `question`'s own, or that of another
    /// one who waited too. Who leaves meanwhile leaves the round to the others.
    pub(super) async fn ask(
        &self,
        key: K,
        question: impl Future<Output = V> + Send + 'static,
    ) -> V {
        // Goes after the answer has gone, and whoever is the only one takes that and no copy.
        let _waits = Waits { rounds: self, key: &key };
        self.round(&key, question).await
    }

    fn round(
        &self,
        key: &K,
        question: impl Future<Output = V> + Send + 'static,
    ) -> Shared<Answer<V>> {
        let mut last = self.last.lock().expect("no holder panics");
        let (now, round) = (Instant::now(), last.get(key));
        let mut due = now;
        if let Some(round) = round
            && let Some(answer) = round.answer.upgrade()
        {
            if !round.has_begun.load(Ordering::Acquire) {
                return answer;
            }
            if answer.peek().is_none() {
                due = now.max(round.due + GATHER);
            }
        }
        let has_begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&has_begun);
        let answer: Answer<V> = Box::pin(async move {
            if due > now {
                tokio::time::sleep_until(due).await;
            }
            // From here on whoever comes is too late for it.
            begins.store(true, Ordering::Release);
            question.await
        });
        let answer = answer.shared();
        let weak = answer.downgrade().expect("it has not been polled");
        last.insert(key.clone(), Round { due, has_begun, answer: weak });
        answer
    }
}

impl<K, V> Default for Rounds<K, V> {
    fn default() -> Self {
        Self { last: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use futures_util::future::join_all;

    use super::*;

    fn nobody_waits<V>(rounds: &Rounds<&str, V>) {
        assert!(rounds.last.lock().expect("nobody else").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_costs_a_few_rounds_and_leaves_nothing_behind() {
        let (rounds, begun) = (Rounds::default(), Arc::new(AtomicU64::new(0)));
        let ask = async |ms| {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let begun = Arc::clone(&begun);
            let asked = rounds.ask("topic", async move {
                let round = begun.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(200)).await;
                round
            });
            (asked.await, Instant::now())
        };
        let came = Instant::now();
        // Ten each millisecond, for 100 ms.
        let answers = join_all((0..1000).map(|n| ask(n / 10))).await;
        assert!(answers.is_sorted_by_key(|(round, _)| *round));
        assert!(begun.load(Ordering::Relaxed) <= 11, "{begun:?}");
        for (n, (round, at)) in answers.iter().enumerate() {
            // At once, or when those have gathered who come within 10 ms.
            let waited = *at - came - Duration::from_millis(n as u64 / 10);
            assert!(waited <= Duration::from_millis(215), "{n}: {round} after {waited:?}");
        }
        nobody_waits(&rounds);
    }

    #[tokio::test(start_paused = true)]
    async fn other_questions_do_not_wait() {
        let rounds = Rounds::default();
        let waits = rounds.ask(1, std::future::pending::<u8>());
        let waits = tokio::time::timeout(Duration::from_secs(1), waits);
        let (waits, other) = tokio::join!(waits, rounds.ask(2, async { 2 }));
        assert!(waits.is_err());
        assert_eq!(other, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_it_asks_leaves_the_round_to_the_others() {
        let rounds = Rounds::default();
        let ask = |answer| {
            rounds.ask("topic", async move {
                tokio::time::sleep(Duration::from_secs(10)).await;
                answer
            })
        };
        let leaves = |answer| tokio::time::timeout(Duration::from_secs(1), ask(answer));
        let (first, second, third) = tokio::join!(leaves(1), leaves(2), ask(3));
        assert!(first.is_err() && second.is_err());
        assert_eq!(third, 2, "the second's, which gathered when the third came");
        nobody_waits(&rounds);
        assert!(leaves(4).await.is_err());
        nobody_waits(&rounds);
    }

    /// What is asked for only grows; nobody is told less than there was before it asked.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_answer_is_older_than_its_question() {
        let (rounds, log) = (Arc::new(Rounds::default()), Arc::new(AtomicU64::new(0)));
        let readers = (0..8).map(|_| {
            let (rounds, log) = (Arc::clone(&rounds), Arc::clone(&log));
            tokio::spawn(async move {
                for _ in 0..200 {
                    let before = log.fetch_add(1, Ordering::SeqCst) + 1;
                    let now = Arc::clone(&log);
                    let end = rounds.ask("topic", async move {
                        let end = now.load(Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        end
                    });
                    assert!(end.await >= before);
                }
            })
        });
        for reader in join_all(readers).await {
            reader.expect("no answer was older");
        }
        nobody_waits(&rounds);
    }
}
