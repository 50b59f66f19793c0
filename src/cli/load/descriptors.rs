//! Each stream is a descriptor, and a process may have only so many.

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides those of streams: the standard ones, epoll, writers' connections, signals.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Makes sure that there are enough descriptors, up to the hard limit.
pub(super) fn need(streams: u64, writers: u64) -> anyhow::Result<()> {
    let needed = streams + writers + DESCRIPTORS_RESERVED;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(hard) = maximum.filter(|hard| *hard < needed) {
        bail!(
            "{streams} streams need {needed} descriptors and this process may have {hard} \
             (`ulimit -Hn`): {} missing; at most {} streams can be opened",
            needed - hard,
            hard.saturating_sub(writers + DESCRIPTORS_RESERVED)
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .with_context(|| format!("raise the limit of descriptors to {needed}"))
}
