//! `tidegate reload`: has a gateway read its configuration again, and says what came of it.

use anyhow::Context;
use http::Method;

use super::admin_client::AdminArgs;
use super::say;

/// Have a gateway read its configuration again, as SIGHUP does
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Status 0 when the new configuration is in force, 1 when the old one stays."
)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &ReloadArgs) -> anyhow::Result<()> {
    let answer = args.admin.ask(Method::POST, "/admin/reload", None)?;
    let changed = answer["changed"].as_array().context("read what has changed")?;
    let changed: Vec<_> = changed.iter().filter_map(|key| key.as_str()).collect();
    match changed[..] {
        [] => say("read again; nothing has changed"),
        _ => say(&format!("read again; changed: {}", changed.join(", "))),
    }
}
