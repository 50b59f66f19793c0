//! Whether every connection is logged, and until when: an operator turns it on for a time to see
//! who the clients are.
//!
//! The lines themselves are written where their parts are known: how a request was answered by
//! `http`, how a stream ended by `session`. This is asked for each of them, and costs a load of one
//! number while it is off. A crowd cannot fill the log: of more lines in a second than
//! `limits::CONNECTION_LINES_PER_S_MAX` it is only said how many there were.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::CONNECTION_LINES_PER_S_MAX;

/// The switch.
#[derive(Debug)]
pub struct ConnectionLog {
    start: Instant,
    /// In ms after `start`; 0: it is off.
    until_ms: AtomicU64,
    written: Mutex<Written>,
}

/// Lines of one second.
#[derive(Debug, Default)]
struct Written {
    /// After `start`.
    second: u64,
    lines: u32,
    left_out: u64,
}

impl ConnectionLog {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), until_ms: AtomicU64::new(0), written: Mutex::default() }
    }

    /// Whether connections are logged now.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.left().is_some()
    }

    /// Whether a line is to be written now; it counts as written then.
    #[must_use]
    pub fn takes_a_line(&self) -> bool {
        if !self.is_on() {
            return false;
        }
        let second = self.start.elapsed().as_secs();
        let mut written = self.written.lock().expect("no holder panics");
        let mut left_out = 0;
        if written.second != second {
            left_out = std::mem::take(&mut *written).left_out;
            written.second = second;
        }
        let takes = written.lines < CONNECTION_LINES_PER_S_MAX;
        match takes {
            true => written.lines += 1,
            false => written.left_out += 1,
        }
        drop(written);
        if left_out > 0 {
            tracing::warn!(left_out, "too many connections in a second to log all of them");
        }
        takes
    }

    /// For how long they still are, if they are.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        if until_ms == 0 {
            return None;
        }
        let until = self.start + Duration::from_millis(until_ms);
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Whether its time was over and nobody has said so yet; it counts as said now.
    #[must_use]
    pub fn ran_out(&self) -> bool {
        let until_ms = self.until_ms.load(Ordering::Relaxed);
        let over = until_ms != 0 && self.left().is_none();
        let off = (Ordering::Relaxed, Ordering::Relaxed);
        over && self.until_ms.compare_exchange(until_ms, 0, off.0, off.1).is_ok()
    }

    /// On from now on, for this long.
    pub fn turn_on(&self, time: Duration) {
        let until = self.start.elapsed() + time;
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.store(until_ms.max(1), Ordering::Relaxed);
    }

    /// Off at once.
    pub fn turn_off(&self) {
        self.until_ms.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_on_for_a_time_and_off_by_itself() {
        let log = ConnectionLog::new();
        assert!(!log.is_on());
        log.turn_on(Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(log.left(), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!log.is_on());
        log.turn_on(Duration::from_secs(10));
        log.turn_off();
        assert!(!log.is_on());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_cannot_fill_the_log() {
        let log = ConnectionLog::new();
        assert!(!log.takes_a_line());
        log.turn_on(Duration::from_secs(10));
        for _ in 0..3 {
            let lines = (0..5000).filter(|_| log.takes_a_line()).count();
            assert_eq!(lines, CONNECTION_LINES_PER_S_MAX as usize);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
