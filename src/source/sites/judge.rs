//! Which cluster is to be in use, from who answers.
//!
//! Pure: no I/O, no clock. Time is what has passed since some beginning.

use std::time::Duration;

use super::Settings;

/// Whether a cluster answers.
pub(super) type Sight = bool;

/// The judge.
#[derive(Debug)]
pub(super) struct Judge {
    settings: Settings,
    /// Of each: since when it has answered without a break.
    good: Vec<Option<Duration>>,
    /// The one that the next counts for, and since when it has not answered.
    bad: Option<(usize, Duration)>,
}

impl Judge {
    pub(super) fn new(settings: Settings, how_many: usize) -> Self {
        Self { settings, good: vec![None; how_many], bad: None }
    }

    /// Which cluster is to be taken instead of the one in use, if one is.
    pub(super) fn see(&mut self, now: Duration, in_use: usize, sight: &[Sight]) -> Option<usize> {
        for (good, answers) in self.good.iter_mut().zip(sight) {
            *good = answers.then(|| good.unwrap_or(now));
        }
        let since = match self.bad {
            Some((of, since)) if of == in_use => since,
            _ => now,
        };
        let bad = (!sight[in_use]).then_some((in_use, since));
        self.bad = bad;
        if let Some((_, since)) = bad
            && now.saturating_sub(since) >= self.settings.after
        {
            return sight.iter().position(|answers| *answers);
        }
        let stable = |good: &Option<Duration>| {
            good.is_some_and(|since| now.saturating_sub(since) >= self.settings.back_after)
        };
        self.good[..in_use].iter().position(stable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn judge() -> Judge {
        Judge::new(Settings { after: s(10), back_after: s(60) }, 3)
    }

    #[test]
    fn the_next_that_answers_is_taken_when_the_one_in_use_has_not_for_long() {
        let mut judge = judge();
        assert_eq!(judge.see(s(0), 0, &[true, true, true]), None);
        assert_eq!(judge.see(s(5), 0, &[false, false, true]), None);
        assert_eq!(judge.see(s(14), 0, &[false, false, true]), None);
        assert_eq!(judge.see(s(15), 0, &[false, false, true]), Some(2));
        assert_eq!(judge.see(s(16), 2, &[false, false, true]), None);
    }

    #[test]
    fn nobody_is_taken_while_nobody_answers_and_a_short_break_counts_for_nothing() {
        let mut judge = judge();
        for at in 0..100 {
            assert_eq!(judge.see(s(at), 0, &[false, false, false]), None);
        }
        assert_eq!(judge.see(s(100), 0, &[true, true, false]), None);
        for at in 101..110 {
            assert_eq!(judge.see(s(at), 0, &[false, true, false]), None);
        }
        assert_eq!(judge.see(s(110), 0, &[true, true, false]), None);
        assert_eq!(judge.see(s(119), 0, &[false, true, false]), None);
    }

    #[test]
    fn a_preferred_one_is_taken_again_when_it_has_answered_for_long_without_a_break() {
        let mut judge = judge();
        assert_eq!(judge.see(s(0), 2, &[false, false, true]), None);
        assert_eq!(judge.see(s(10), 2, &[true, false, true]), None);
        assert_eq!(judge.see(s(60), 2, &[false, true, true]), None, "it broke off");
        assert_eq!(judge.see(s(119), 2, &[true, true, true]), None);
        assert_eq!(judge.see(s(120), 2, &[true, true, true]), Some(1));
        assert_eq!(judge.see(s(121), 1, &[true, true, true]), None);
        assert_eq!(judge.see(s(179), 1, &[true, true, true]), Some(0));
    }

    #[test]
    fn the_one_in_use_gone_any_that_answers_is_taken_also_one_that_came_just_now() {
        let mut judge = judge();
        for at in 0..10 {
            assert_eq!(judge.see(s(at), 1, &[false, false, true]), None);
        }
        assert_eq!(judge.see(s(10), 1, &[true, false, true]), Some(0));
    }
}
