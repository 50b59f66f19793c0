//! `tidegate serve`: from the command line to a configuration.

use std::path::PathBuf;

use anyhow::Context;

use super::ServeArgs;
use crate::app::ConfigFile;
use crate::config::{Config, SourceConfig};
use crate::{app, demo};

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let demo = args.demo;
    let config = load(&args)?;
    let file = args.config.clone().map(|path| {
        let load = Box::new(move || load(&args));
        ConfigFile { path, load }
    });
    app::run(config, demo, file)
}

/// What the file says, or the demo, and what the command line says instead.
fn load(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => {
            let dir = args.data_dir.clone().map_or_else(demo_dir, Ok)?;
            tracing::info!(data_dir = %dir.display(), "the demo's log");
            Config::demo(&dir, demo::streams())
        }
    };
    config.listen = args.listen.unwrap_or(config.listen);
    config.admin_listen = args.admin_listen.unwrap_or(config.admin_listen);
    if let Some(dir) = args.data_dir.clone() {
        match &mut config.source {
            SourceConfig::Embedded(embedded) => embedded.data_dir = dir,
            SourceConfig::Kafka(_) => {
                anyhow::bail!("--data-dir is for the embedded log; the configuration has Kafka")
            }
        }
    }
    Ok(config)
}

/// Where a user's state lives.
fn demo_dir() -> anyhow::Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/state"));
    let base = state.filter(|p| p.is_absolute()).or_else(home);
    let base = base.context("find a folder for the demo: HOME is not set, give --data-dir DIR")?;
    Ok(base.join("tidegate/demo"))
}
