//! `tidegate drain`: takes a gateway out of service, and waits until nobody reads from it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Method;

use super::admin_client::{AdminArgs, AdminClient, AdminError};
use super::say;

/// More than it says that it takes, in seconds: readers that take nothing are cut then.
const LATER_S: u64 = 15;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Take a gateway out of service, as SIGTERM does, and wait until its streams have ended
#[derive(Debug, clap::Args)]
#[command(after_help = "Status 0 when no stream is left (the gateway ends then), 1 when some are.")]
pub(super) struct DrainArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// How long to wait, in seconds [default: 15 more than the gateway says it takes]
    #[arg(long, value_name = "SECONDS")]
    wait_s: Option<u64>,
}

pub(super) fn run(args: &DrainArgs) -> anyhow::Result<()> {
    let client = args.admin.client()?;
    super::one_thread()?.block_on(drain(&client, args.wait_s))
}

async fn drain(client: &AdminClient, wait_s: Option<u64>) -> anyhow::Result<()> {
    let answer = client.send(Method::POST, "/admin/drain", None).await?;
    let held = answer["streams"].as_u64().context("read how many streams there are")?;
    say(&format!("{} drains; {held} stream(s) are open", client.url()))?;
    // A gateway that does not say how long it takes is gone in seconds.
    let within_s = answer["within_s"].as_u64().unwrap_or_default();
    let wait = Duration::from_secs(wait_s.unwrap_or(within_s + LATER_S));
    let until = Instant::now() + wait;
    let mut left = held as f64;
    loop {
        left = match client.metrics().await {
            Ok(metrics) => metrics.sum("tidegate_streams_open"),
            // It ends when its last stream has, and sometimes in the middle of an answer.
            Err(AdminError::Unreachable { .. }) => return say("no stream is left, it has ended"),
            Err(AdminError::NoAnswer { .. }) => left,
            Err(error) => return Err(error.into()),
        };
        if left == 0.0 {
            return say("no stream is left");
        }
        if Instant::now() >= until {
            bail!("{left} stream(s) are still open after {} s", wait.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
