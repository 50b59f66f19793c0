//! `tidegate log-connections`: every connection in a gateway's log, for a time.

use anyhow::Context;
use http::Method;
use serde_json::json;

use super::admin_client::AdminArgs;
use super::say;

const PATH: &str = "/admin/connection-log";

/// Have a gateway log every connection for a time: address, agent, streams, outcome, and the end
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The lines go to the gateway's own log. Off by itself when the time is over."
)]
pub(super) struct LogConnectionsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// For how long: a number with s, m or h
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, default_value = "10m")]
    time: u64,
    /// No more, at once
    #[arg(long, conflicts_with = "time")]
    off: bool,
}

pub(super) fn run(args: &LogConnectionsArgs) -> anyhow::Result<()> {
    let client = args.admin.client()?;
    let body = json!({ "for_s": args.time });
    let (method, body) =
        if args.off { (Method::DELETE, None) } else { (Method::POST, Some(&body)) };
    let answer = super::one_thread()?.block_on(client.send(method, PATH, body))?;
    let left = answer["left_s"].as_u64().context("read for how long")?;
    let url = client.url();
    say(&match left {
        0 => format!("{url} logs no connections"),
        left => format!("{url} logs every connection for {left} s"),
    })
}

fn seconds(text: &str) -> Result<u64, String> {
    let split = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).unwrap_or(0);
    if seconds > 0 { Ok(seconds) } else { Err("a time such as 90s, 10m or 2h is accepted".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!((seconds("90s"), seconds("10m"), seconds("2h")), (Ok(90), Ok(600), Ok(7200)));
        for bad in ["", "10", "m", "0s", "-1s", "1d", "1ä", "99999999999999999999h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
