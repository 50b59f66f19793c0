//! `tidegate block add|rm|ls`.

use std::ffi::OsString;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::admin_client::AdminArgs;
use super::say;
use crate::admin::blocks::order;

/// `tidegate block`.
#[derive(Debug, Subcommand)]
pub(super) enum BlockCommand {
    /// Block an address or a prefix: its streams end, and it gets no others
    Add(AddArgs),
    /// End the block of a prefix
    Rm(RmArgs),
    /// Show who is blocked, by whom, why and until when
    Ls(LsArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// 198.51.100.0/24, 2001:db8:1:2::/64, or an address
    #[arg(value_parser = prefix)]
    prefix: String,
    /// How long: 30m, 12h, 2d, 4w, or ever
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: String,
    /// Why; those who are blocked are told
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason)]
    reason: String,
    /// Who decides it [default: your login name]
    #[arg(long, value_name = "NAME", value_parser = order::read_name)]
    by: Option<String>,
    /// Also where it hits a large part of all addresses, a trusted proxy, or yourself
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// The very prefix that is blocked
    #[arg(value_parser = prefix)]
    prefix: String,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason)]
    reason: String,
    /// Who decides it [default: your login name]
    #[arg(long, value_name = "NAME", value_parser = order::read_name)]
    by: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// As JSON, with where it is kept and how far it is shared
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

// As they were typed: the gateway reads them again, and says what it makes of them.

fn prefix(text: &str) -> Result<String, String> {
    order::read_prefix(text).map(|_| text.to_owned())
}

fn duration(text: &str) -> Result<String, String> {
    order::read_duration(text).map(|_| text.to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    order::read_reason(text).map(Option::unwrap_or_default)
}

const PATH: &str = "/admin/blocks";

pub(super) fn run(command: BlockCommand) -> anyhow::Result<()> {
    match command {
        BlockCommand::Add(args) => add(&args),
        BlockCommand::Rm(args) => remove(&args),
        BlockCommand::Ls(args) => list(&args),
    }
}

fn add(args: &AddArgs) -> anyhow::Result<()> {
    let asked = json!({
        "prefix": args.prefix,
        "for": args.lasts,
        "reason": args.reason,
        "by": args.by.clone().unwrap_or_else(login_name),
        "force": args.force,
        "operator": over_ssh_from(std::env::var_os("SSH_CONNECTION")),
    });
    let answer = args.admin.ask(Method::POST, PATH, Some(&asked))?;
    let block = &answer["block"];
    let until = block["until"].as_str().map_or("it is removed".to_owned(), str::to_owned);
    let ended = &answer["streams_ended"];
    say(&format!("{} is blocked until {until}; {ended} stream(s) end", text(&block["prefix"])))?;
    remarks(&answer)
}

fn remove(args: &RmArgs) -> anyhow::Result<()> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let by = args.by.clone().unwrap_or_else(login_name);
    let path = format!(
        "{PATH}?prefix={}&by={}&reason={}",
        encoded(&args.prefix),
        encoded(&by),
        encoded(&args.reason)
    );
    let answer = args.admin.ask(Method::DELETE, &path, None)?;
    say(&format!("{} is no longer blocked", text(&answer["block"]["prefix"])))?;
    remarks(&answer)
}

/// What the operator should know besides; fails when it would not outlast the gateway though it
/// should.
fn remarks(answer: &Value) -> anyhow::Result<()> {
    for note in answer["notes"].as_array().into_iter().flatten() {
        say(&format!("note: {}", text(note)))?;
    }
    match answer["unsaved"].as_str() {
        Some(error) => anyhow::bail!(
            "it holds now, but could not be written to the disk and would not survive a restart: \
             {error}"
        ),
        None => Ok(()),
    }
}

fn list(args: &LsArgs) -> anyhow::Result<()> {
    let answer = args.admin.ask(Method::GET, PATH, None)?;
    if args.json {
        return say(&format!("{answer:#}"));
    }
    let blocks = answer["blocks"].as_array().map_or(&[][..], Vec::as_slice);
    if blocks.is_empty() {
        say("nobody is blocked")?;
    } else {
        say(&table(blocks))?;
    }
    if let Some(problem) = answer["shared"]["problem"].as_str() {
        let topic = text(&answer["shared"]["topic"]);
        say(&format!("not shared with other gateways now (topic {topic}): {problem}"))?;
    }
    Ok(())
}

fn table(blocks: &[Value]) -> String {
    let mut rows = vec![["PREFIX", "SINCE", "UNTIL", "BY", "AT", "REASON"].map(str::to_owned)];
    rows.extend(blocks.iter().map(|block| {
        let until = block["until"].as_str().unwrap_or("removed").to_owned();
        let cell = |key: &str| text(&block[key]).to_owned();
        [cell("prefix"), cell("since"), until, cell("by"), cell("host"), cell("reason")]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Who types: also behind sudo.
fn login_name() -> String {
    let names = ["SUDO_USER", "LOGNAME", "USER"].into_iter().filter_map(std::env::var_os);
    let mut names = names.filter_map(|name| order::read_name(name.to_str()?).ok());
    names.next().unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Where an operator's own terminal is: `ADDRESS PORT ADDRESS PORT`.
fn over_ssh_from(connection: Option<OsString>) -> Vec<IpAddr> {
    let connection = connection.and_then(|text| text.into_string().ok()).unwrap_or_default();
    connection.split(' ').next().and_then(|first| first.parse().ok()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_whatever_is_in_it() {
        let block = |prefix: &str, by: &str, reason: Value| {
            json!({
                "prefix": prefix, "since": "2026-01-01T00:00:00Z", "until": null,
                "by": by, "host": "gw1:8092", "reason": reason,
            })
        };
        let blocks = [
            block("198.51.100.0/24", "\u{e4}nn", "scrapes".into()),
            block("2001:db8:1:2::/64", "bob", Value::Null),
        ];
        let table = table(&blocks);
        let lines: Vec<&str> = table.lines().collect();
        let at = |line: &str, what: &str| {
            line.split_once(what).map(|(before, _)| before.chars().count()).expect(what)
        };
        assert_eq!(at(lines[0], "AT"), at(lines[1], "gw1"));
        assert_eq!(at(lines[1], "gw1"), at(lines[2], "gw1"));
        assert!(lines[1].ends_with("scrapes") && lines[2].ends_with("gw1:8092"));
    }

    #[test]
    fn the_operators_terminal_is_where_ssh_says() {
        let from = |text: &str| over_ssh_from(Some(text.into()));
        assert_eq!(from("203.0.113.5 4711 10.0.0.1 22"), [IpAddr::from([203, 0, 113, 5])]);
        assert!(
            from("").is_empty() && from("nonsense").is_empty() && over_ssh_from(None).is_empty()
        );
    }
}
