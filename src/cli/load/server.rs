//! What the server's processes use, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::summary::rounded;

/// Ticks of `/proc/PID/stat` in a second: Linux shows this many whatever its own clock is.
const TICKS_PER_S: f64 = 100.0;

/// Processes that belong to the server.
#[derive(Debug)]
pub(super) struct Server {
    pids: Vec<u32>,
    /// What they had used, at each look.
    looks: Vec<Use>,
}

/// What they have used up to a moment, or have at it.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// Processor time, user and system.
    cpu: Duration,
    /// Memory that they share with nobody.
    private_kb: u64,
}

/// What the summary says of it.
#[derive(Debug, Serialize)]
pub(super) struct ServerSummary {
    pub(super) cpu_s: f64,
    pub(super) us_per_delivery: f64,
    pub(super) private_before_kb: u64,
    pub(super) private_begin_kb: u64,
    pub(super) private_open_kb: u64,
    pub(super) private_bytes_per_stream: f64,
}

impl Server {
    /// These processes, which may be none.
    pub(super) fn new(pids: &[u32]) -> Self {
        Self { pids: pids.to_vec(), looks: Vec::new() }
    }

    /// Notes what they have used and have now.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(super) fn look(&mut self) -> anyhow::Result<()> {
        let mut sum = Use::default();
        for pid in &self.pids {
            let read = |file: &str| {
                fs::read_to_string(format!("/proc/{pid}/{file}"))
                    .with_context(|| format!("look at process {pid} (/proc/{pid}/{file})"))
            };
            let ticks = ticks(&read("stat")?).context("read the processor time")?;
            sum.cpu += Duration::from_secs_f64(ticks as f64 / TICKS_PER_S);
            sum.private_kb += private_kb(&read("smaps_rollup")?);
        }
        self.looks.push(sum);
        Ok(())
    }

    /// From four looks: before the first stream, at the begin of the measurement, with so many
    /// streams open, and at the end, so many deliveries after the begin. None: there is no process.
    pub(super) fn summary(&self, streams: u32, deliveries: u64) -> Option<ServerSummary> {
        let (false, [before, begin, open, end]) = (self.pids.is_empty(), &self.looks[..]) else {
            return None;
        };
        let cpu_s = end.cpu.saturating_sub(begin.cpu).as_secs_f64();
        let more_kb = open.private_kb as f64 - before.private_kb as f64;
        let each = |sum: f64, of: f64| if of > 0.0 { rounded(sum / of) } else { 0.0 };
        Some(ServerSummary {
            cpu_s: rounded(cpu_s),
            us_per_delivery: each(cpu_s * 1e6, deliveries as f64),
            private_before_kb: before.private_kb,
            private_begin_kb: begin.private_kb,
            private_open_kb: open.private_kb,
            private_bytes_per_stream: each(more_kb * 1024.0, streams.into()),
        })
    }
}

/// User and system time of a process, all its threads together.
fn ticks(stat: &str) -> Option<u64> {
    // The name before the last parenthesis may hold anything, spaces too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

fn private_kb(rollup: &str) -> u64 {
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_whatever_a_process_is_called() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 120 34 7 8 20 0 3";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("12 (a) S 1"), None);
        let rollup = "55d-7ff ---p 0 00:00 0  [rollup]\nRss:  900 kB\nPrivate_Clean:  12 kB\n\
            Private_Dirty:        300 kB\nPrivate_Hugetlb:        0 kB\n";
        assert_eq!(private_kb(rollup), 312);
    }

    #[test]
    fn this_process_can_be_looked_at_and_one_that_is_not_there_is_named() {
        let mut server = Server::new(&[std::process::id()]);
        server.look().expect("we are here");
        assert!(server.looks[0].private_kb > 0);
        let error = format!("{:#}", Server::new(&[u32::MAX]).look().expect_err("nobody"));
        assert!(error.contains("4294967295"), "{error}");
    }

    #[test]
    fn use_is_told_per_delivery_and_per_stream() {
        let at = |ms, private_kb| Use { cpu: Duration::from_millis(ms), private_kb };
        let looks = vec![at(0, 100), at(500, 200), at(900, 300), at(1500, 0)];
        let server = Server { pids: vec![1], looks };
        let summary = server.summary(1000, 200_000).expect("there is one");
        assert_eq!((summary.cpu_s, summary.us_per_delivery), (1.0, 5.0));
        assert_eq!((summary.private_begin_kb, summary.private_open_kb), (200, 300));
        assert_eq!(summary.private_bytes_per_stream, 204.8);
    }
}
