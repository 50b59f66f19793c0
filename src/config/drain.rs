//! `[drain]`: how this host goes out of service.

use std::time::Duration;

use toml::Table;

use super::reader::{Findings, Section};

/// How long going out of service takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrainConfig {
    /// From "not ready" until no connection is accepted any more: balancers have to look by then.
    pub grace: Duration,
    /// From then on the streams' ends are spread over this.
    pub spread: Duration,
}

impl DrainConfig {
    /// All at once, for who tries it out.
    pub(super) const AT_ONCE: Self = Self { grace: Duration::ZERO, spread: Duration::ZERO };

    pub(super) fn read(table: Option<&Table>, found: &mut Findings) -> Self {
        let mut section = Section::new("drain", table);
        let grace = section.number("grace_s", 3, 0..=3600, found);
        let spread = section.number("spread_s", 10, 0..=86_400, found);
        section.finish(found);
        Self { grace: Duration::from_secs(grace), spread: Duration::from_secs(spread) }
    }
}
