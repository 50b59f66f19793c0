//! The progress bar while a stream catches up: where it is in time, how fast, how long it takes. On
//! the standard error, and only if that is a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// So close to now, a stream is live.
const LIVE_MS: i64 = 5_000;
/// So far from it, it catches up (again).
const BEHIND_MS: i64 = 30_000;
/// The speed is looked at over the last part of the way, and not anew with each event.
const OFTEN: Duration = Duration::from_millis(500);

/// How far a stream has come.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    /// Where the way ends, in ms since 1970; `None`: now.
    until: Option<i64>,
    way: Option<Way>,
    events: u64,
}

/// A way that is being gone.
#[derive(Debug)]
struct Way {
    from: i64,
    looked: Instant,
    /// What was then.
    time: i64,
    events: u64,
    /// Of late: ms of events' time, and events, a second.
    ms_per_s: f64,
    events_per_s: f64,
}

impl Bar {
    /// For a stream that ends there.
    pub(super) fn new(until: Option<i64>) -> Self {
        Self { bar: hidden(), until, way: None, events: 0 }
    }

    /// What steps aside while something else is written where the bar is.
    pub(super) fn aside(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Says something above the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| crate::cli::tell(text));
    }

    /// So many events have come; the last one is of that time. `now` in ms.
    pub(super) fn come(&mut self, events: usize, time: Option<i64>, now: i64) {
        self.events += events as u64;
        let Some(time) = time else { return };
        let to = self.until.map_or(now, |until| until.min(now));
        if to - time < LIVE_MS {
            self.clear();
        } else if self.way.is_some() || to - time > BEHIND_MS {
            self.show(time, to);
        }
    }

    /// It is of no use any more.
    pub(super) fn clear(&mut self) {
        if self.way.take().is_some() {
            self.bar.finish_and_clear();
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    fn show(&mut self, time: i64, to: i64) {
        let (events, now) = (self.events, Instant::now());
        let way = self.way.get_or_insert_with(|| {
            self.bar.reset();
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            let speed = (0.0, 0.0);
            let (ms_per_s, events_per_s) = speed;
            Way { from: time, looked: now, time, events, ms_per_s, events_per_s }
        });
        let passed = now - way.looked;
        if passed >= OFTEN {
            let s = passed.as_secs_f64();
            way.ms_per_s = smooth(way.ms_per_s, (time - way.time) as f64 / s);
            way.events_per_s = smooth(way.events_per_s, (events - way.events) as f64 / s);
            (way.looked, way.time, way.events) = (now, time, events);
        }
        self.bar.set_message(way.says(time, to));
        self.bar.set_length((to - way.from).max(1).unsigned_abs());
        self.bar.set_position((time - way.from).max(0).unsigned_abs());
    }
}

impl Way {
    fn says(&self, time: i64, to: i64) -> String {
        let at = jiff::Timestamp::from_millisecond(time)
            .map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string());
        let left = (to - time) as f64 / self.ms_per_s;
        let left = Duration::try_from_secs_f64(left).ok().filter(|_| self.ms_per_s > 0.0);
        let left = left.map_or_else(String::new, |left| format!(" · {} left", HumanDuration(left)));
        format!("{at} UTC · {:.0} events/s{left}", self.events_per_s)
    }
}

/// The last figure counts as much as all before it.
fn smooth(before: f64, now: f64) -> f64 {
    if before == 0.0 { now } else { f64::midpoint(before, now) }
}

fn hidden() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{bar:30} {percent}% · {msg}");
    bar.set_style(style.expect("the template is a constant"));
    bar
}

/// Whether events and bar come to the same screen.
pub(super) fn share_a_screen() -> bool {
    std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}
