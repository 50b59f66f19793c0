//! What whoever runs `produce` sees: a bar on a terminal, the lines that were not taken, and a
//! summary at the end.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Lines that are told one by one; the others are only counted.
const TOLD_MAX: usize = 20;

/// Says what happens while it happens. The bar is seen on a terminal only.
pub(super) struct Report {
    bar: ProgressBar,
    errors: Box<dyn Write + Send>,
    told: usize,
}

impl Report {
    /// For an input of so many bytes, if that is known.
    pub(super) fn on_stderr(input_bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(input_bytes, ProgressDrawTarget::stderr());
        let template = match input_bytes {
            Some(_) => "{bar:30} {bytes}/{total_bytes} {msg} ETA {eta}",
            None => "{spinner} {bytes} {msg} {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, errors: Box::new(std::io::stderr()), told: 0 }
    }

    /// Into something else than the standard error, without a bar.
    #[cfg(test)]
    pub(super) fn into(errors: impl Write + Send + 'static) -> Self {
        Self { bar: ProgressBar::hidden(), errors: Box::new(errors), told: 0 }
    }

    /// A line was not taken.
    pub(super) fn line(&mut self, number: u64, why: &str) {
        self.told += 1;
        let text = match self.told {
            ..=TOLD_MAX => format!("line {number}: {why}"),
            n if n == TOLD_MAX + 1 => "further lines are only counted".to_owned(),
            _ => return,
        };
        // Nobody is left to be told when the standard error is closed.
        self.bar.suspend(|| drop(writeln!(self.errors, "{text}")));
    }

    /// So many bytes of the input are done.
    pub(super) fn read(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// So many events have been taken.
    pub(super) fn taken(&mut self, events: u64) {
        self.bar.set_message(format!("{events} events"));
    }

    /// The target takes nothing for now.
    pub(super) fn waiting(&mut self, why: &str) {
        self.bar.set_message(format!("waiting: {why}"));
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// What became of all lines.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) taken: u64,
    /// Lines that are no event of the stream, or that the target does not take.
    pub(super) refused: u64,
    /// Lines of which it is not known whether they were written: the first and how many.
    doubted: Option<(u64, u64)>,
    last_taken: Option<u64>,
    stopped: Option<String>,
    started: Instant,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            taken: 0,
            refused: 0,
            doubted: None,
            last_taken: None,
            stopped: None,
            started: Instant::now(),
        }
    }

    pub(super) fn took(&mut self, line: u64) {
        self.taken += 1;
        self.last_taken = self.last_taken.max(Some(line));
    }

    /// It is not known whether the line was written; nothing more is to be sent.
    pub(super) fn doubted(&mut self, line: u64, why: String) {
        let (first, count) = self.doubted.unwrap_or((line, 0));
        self.doubted = Some((first.min(line), count + 1));
        self.stopped.get_or_insert(why);
    }

    pub(super) fn stopped(&mut self, why: String) {
        self.stopped.get_or_insert(why);
    }

    pub(super) fn stopped_at(&mut self, line: u64, why: String) {
        self.stopped.get_or_insert(format!("line {line} and what follows were not sent: {why}"));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// One line on the standard output.
    ///
    /// # Errors
    /// When it is closed.
    pub(super) fn print_summary(&self) -> anyhow::Result<()> {
        writeln!(std::io::stdout(), "{}", self.summary()).context("write the summary")
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = self.taken as f64 / seconds;
        let mut text = format!("{} events taken in {seconds:.1} s ({rate:.0}/s)", self.taken);
        if let Some(line) = self.last_taken {
            text += &format!(", the last from line {line}");
        }
        if self.refused > 0 {
            text += &format!("; {} refused", self.refused);
        }
        if let Some((first, count)) = self.doubted {
            text += &format!("; {count} in doubt, the first in line {first}");
        }
        text
    }

    /// An error if any event was not taken.
    pub(super) fn into_result(self) -> anyhow::Result<()> {
        match (self.stopped, self.doubted, self.refused) {
            (Some(why), Some((first, _)), _) => Err(anyhow!(
                "it is not known whether line {first} and some after it were written: {why}"
            )),
            (Some(why), None, _) => Err(anyhow!(why)),
            (None, _, 0) => Ok(()),
            (None, _, refused) => Err(anyhow!("{refused} lines were refused")),
        }
    }
}
