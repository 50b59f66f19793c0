//! The same question, asked once for all who wait for its answer.
//!
//! ```text
//!  first ──▶ round 1 ───────────▶ answer 1
//!  second ─────── waits ─────────▶ round 2 ──▶ answer 2
//!  third ──────────── waits ─────▶              answer 2
//! ```
//! Who comes while a round is under way waits for the next one: an answer that may be older than
//! its question is nobody's. So a thousand readers who come back at once cost two rounds, and each
//! knows what it would know if it had asked alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Rounds of the questions of one kind; `K` is what is asked for.
#[derive(Debug)]
pub(super) struct Rounds<K, V> {
    /// Only what somebody waits for.
    asked: Mutex<HashMap<K, Waiting<V>>>,
}

/// How many wait, and for what.
type Waiting<V> = (usize, Arc<Asked<V>>);

#[derive(Debug)]
struct Asked<V> {
    /// Counts arrivals and begins of rounds.
    clock: AtomicU64,
    /// Held while a round is under way: when the last one began, and its answer.
    last: tokio::sync::Mutex<Option<(u64, V)>>,
}

impl<V> Asked<V> {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }
}

/// One who waits; the last one that goes takes what was asked with it.
struct Waits<'a, K: Hash + Eq, V> {
    rounds: &'a Rounds<K, V>,
    key: &'a K,
}

impl<K: Hash + Eq, V> Drop for Waits<'_, K, V> {
    fn drop(&mut self) {
        let mut asked = self.rounds.asked.lock().expect("no holder panics");
        if let Some((waiting, _)) = asked.get_mut(self.key) {
            *waiting -= 1;
            if *waiting == 0 {
                asked.remove(self.key);
            }
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Rounds<K, V> {
    /// An answer of a round that began after this was called: `question`'s own, or that of another
    /// one who waited too. Who is dropped while it asks leaves the round to the next.
    pub(super) async fn ask(&self, key: K, question: impl AsyncFnOnce() -> V) -> V {
        let asked = self.come(&key);
        let _waits = Waits { rounds: self, key: &key };
        let came = asked.tick();
        let mut last = asked.last.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(began, _)| *began > came) {
            return answer.clone();
        }
        let began = asked.tick();
        let answer = question().await;
        *last = Some((began, answer.clone()));
        answer
    }

    fn come(&self, key: &K) -> Arc<Asked<V>> {
        let mut asked = self.asked.lock().expect("no holder panics");
        let (waiting, asked) = asked.entry(key.clone()).or_default();
        *waiting += 1;
        Arc::clone(asked)
    }
}

impl<V> Default for Asked<V> {
    fn default() -> Self {
        Self { clock: AtomicU64::new(0), last: tokio::sync::Mutex::new(None) }
    }
}

impl<K, V> Default for Rounds<K, V> {
    fn default() -> Self {
        Self { asked: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_crowd_costs_two_rounds_and_leaves_nothing_behind() {
        let (rounds, begun) = (Rounds::default(), AtomicU64::new(0));
        let ask = || {
            rounds.ask("topic", async || {
                let round = begun.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                round
            })
        };
        let answers = join_all((0..1000).map(|_| ask())).await;
        assert_eq!(answers[0], 0);
        assert!(answers[1..].iter().all(|round| *round == 1), "who came later waited");
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        assert!(rounds.asked.lock().expect("nobody else").is_empty());
    }

    #[tokio::test]
    async fn other_questions_do_not_wait() {
        let (rounds, done) = (Rounds::default(), Notify::new());
        let waits = rounds.ask(1, async || {
            done.notified().await;
            1
        });
        let other = rounds.ask(2, async || {
            done.notify_one();
            2
        });
        assert_eq!(tokio::join!(waits, other), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_it_asks_leaves_the_round_to_the_next() {
        let rounds = Rounds::default();
        let ask = |answer| {
            rounds.ask("topic", async move || {
                tokio::time::sleep(Duration::from_secs(10)).await;
                answer
            })
        };
        let leaves = tokio::time::timeout(Duration::from_secs(1), ask(1));
        let (left, stayed) = tokio::join!(leaves, ask(2));
        assert!(left.is_err());
        assert_eq!(stayed, 2);
        assert!(rounds.asked.lock().expect("nobody else").is_empty());
    }

    /// What is asked for only grows; nobody is told less than there was before it asked.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_answer_is_older_than_its_question() {
        let (rounds, log) = (Arc::new(Rounds::default()), Arc::new(AtomicU64::new(0)));
        let readers = (0..8).map(|_| {
            let (rounds, log) = (Arc::clone(&rounds), Arc::clone(&log));
            tokio::spawn(async move {
                for _ in 0..500 {
                    let before = log.fetch_add(1, Ordering::SeqCst) + 1;
                    let end = rounds.ask("topic", async || {
                        let end = log.load(Ordering::SeqCst);
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
        assert!(rounds.asked.lock().expect("nobody else").is_empty());
    }
}
