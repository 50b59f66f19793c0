//! Who may come in. The only place that refuses a request for the sake of the others.
//!
//! Today it knows two refusals (draining, full); addresses, limits per client, fairness and
//! blocks have their place here. A `Permit` is the right to one open stream: the session owns it,
//! and its `Drop` gives the slot back, whatever way the session ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::metrics::{ByReason, Metrics};

/// Why a request was refused. One word each, the same in log, metric and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This host is going down.
    Draining,
    /// This host holds as many streams as it may.
    Full,
    /// The source cannot be reached, or did not fix the start in time.
    SourceUnavailable,
    /// As many feeds as may exist do.
    Feeds,
}

impl Refusal {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Full => "full",
            Self::SourceUnavailable => "source_unavailable",
            Self::Feeds => "feeds",
        }
    }
}

/// The gate of this host.
#[derive(Debug)]
pub struct Gate {
    held: AtomicUsize,
    streams_max: usize,
    draining: AtomicBool,
    metrics: Arc<Metrics>,
}

/// The right to one open stream.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.held.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    /// A gate that lets `streams_max` streams be open at once.
    #[must_use]
    pub fn new(streams_max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let (held, draining) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { held, streams_max, draining, metrics })
    }

    /// Lets one stream in.
    ///
    /// # Errors
    /// The one reason why not; it has been counted.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Refusal> {
        if self.draining.load(Ordering::Acquire) {
            return Err(self.refused(Refusal::Draining));
        }
        let take = |held: usize| (held < self.streams_max).then_some(held + 1);
        match self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(Permit { gate: Arc::clone(self) }),
            Err(_) => Err(self.refused(Refusal::Full)),
        }
    }

    /// Counts a refusal that another part had to make, so that all are in one place.
    pub fn refused(&self, why: Refusal) -> Refusal {
        self.metrics.refusals.get_or_create(&ByReason { reason: why.as_str() }).inc();
        why
    }

    /// From now on nobody is let in.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether `drain` was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Streams open now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}
