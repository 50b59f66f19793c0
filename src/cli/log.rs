//! `tidegate log check`, `repair` and `export`.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

pub(super) mod export;

/// Fails when something is damaged, so that a script sees it by the status.
pub(super) fn check(dir: &Path) -> anyhow::Result<()> {
    let report = crate::log::check(dir).with_context(|| format!("check {}", dir.display()))?;
    writeln!(std::io::stdout().lock(), "{report}")?;
    anyhow::ensure!(
        report.damages.is_empty(),
        "{} damage(s); `tidegate log repair {}` makes the log open again",
        report.damages.len(),
        dir.display()
    );
    Ok(())
}

pub(super) fn repair(dir: &Path) -> anyhow::Result<()> {
    let report = crate::log::repair(dir).with_context(|| format!("repair {}", dir.display()))?;
    writeln!(std::io::stdout().lock(), "{report}")?;
    Ok(())
}
