//! What is told on a terminal while it runs.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::readers::Readers;
use super::writer::Writers;

/// Between two progress lines.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// The line on a terminal.
pub(super) struct Progress {
    pub(super) bar: ProgressBar,
    streams: u32,
    told: Instant,
    /// Deliveries when it was told.
    deliveries: u64,
}

impl Progress {
    pub(super) fn new(streams: u32) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
        bar.set_style(style.expect("the template is a constant"));
        Self { bar, streams, told: Instant::now(), deliveries: 0 }
    }

    pub(super) fn tell(&mut self, readers: &Readers, writers: Option<&Writers>) {
        let passed = self.told.elapsed();
        if passed < TOLD_EVERY || self.bar.is_hidden() {
            return;
        }
        let Readers { account, seen, .. } = readers;
        let came = account.deliveries - self.deliveries;
        let per_s = came as f64 / passed.as_secs_f64();
        (self.told, self.deliveries) = (Instant::now(), account.deliveries);
        let latency = seen.latency.read();
        let ms = |us: u64| us as f64 / 1000.0;
        let written = writers
            .map_or(String::new(), |writers| format!("{} written  ", writers.acknowledged()));
        self.bar.set_message(format!(
            "{}/{} open  {written}{per_s:.0} deliveries/s  p50 {:.1} ms  p99 {:.1} ms  \
             lost {}  repeated {}",
            seen.open,
            self.streams,
            ms(latency.p50),
            ms(latency.p99),
            account.lost,
            account.repeated,
        ));
        self.bar.tick();
    }
}
