//! An answer that is made once in a while, however many ask.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The last answer, and when it was made.
#[derive(Debug)]
pub(super) struct Fresh<T> {
    lasts: Duration,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Fresh<T> {
    /// An answer counts for `lasts`.
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, last: Mutex::default() }
    }

    /// The last answer; a new one if that is too old. Whoever comes meanwhile waits for it.
    pub(super) fn get(&self, make: impl FnOnce() -> T) -> T {
        let mut last = self.last.lock().expect("no holder panics");
        match &*last {
            Some((at, answer)) if at.elapsed() < self.lasts => answer.clone(),
            _ => {
                let answer = make();
                *last = Some((Instant::now(), answer.clone()));
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_again_only_when_it_is_old() {
        let (long, short) = (Fresh::new(Duration::MAX), Fresh::new(Duration::ZERO));
        assert_eq!((long.get(|| 1), long.get(|| 2)), (1, 1));
        assert_eq!((short.get(|| 1), short.get(|| 2)), (1, 2));
    }
}
