//! The commands: what can be typed, and where it goes.
//!
//! Exit status: 0 all is well, 1 it failed, 2 it was called wrongly (but for `check`, which speaks
//! the language of the monitoring).

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::SignalKind;

mod admin_client;
mod block;
mod check;
mod drain;
#[cfg(target_os = "linux")]
mod load;
mod log;
mod log_connections;
mod probe;
mod produce;
mod reload;
mod serve;
mod streams;
mod tail;
mod top;
mod way;

/// Carries Kafka topics, or those of its own embedded log, to the web as Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true)]
#[command(after_help = "Try it:\n  tidegate serve --demo\n  \
    curl -N http://127.0.0.1:8092/v2/stream/recentchange")]
struct Cli {
    /// What is logged: error, warn, info, debug, trace, or a filter as in RUST_LOG (which wins)
    /// [default: info, or what the configuration says]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(ServeArgs),
    /// See whether streams can be read, as a Nagios or Icinga plugin
    Check(Box<probe::ProbeArgs>),
    Tail(Box<tail::TailArgs>),
    Streams(streams::StreamsArgs),
    /// Look at a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say who gets no streams from a running gateway, and see who does not
    #[command(subcommand)]
    Block(block::BlockCommand),
    /// Write events into a stream, one JSON object a line
    Produce(produce::ProduceArgs),
    #[cfg(target_os = "linux")]
    Load(Box<load::LoadArgs>),
    /// Look after an embedded log (while no gateway has it open)
    #[command(subcommand)]
    Log(LogCommand),
    Drain(drain::DrainArgs),
    Reload(reload::ReloadArgs),
    Top(top::TopArgs),
    LogConnections(log_connections::LogConnectionsArgs),
}

/// `tidegate serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Status 0 after SIGTERM or SIGINT: in drain.grace_s + drain.spread_s and at \
    most 9 s more; within a second after another one."
)]
pub(crate) struct ServeArgs {
    /// Serve made-up events from an embedded log, to try it out
    #[arg(long, required_unless_present = "config", conflicts_with = "config")]
    demo: bool,
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where streams are served, instead of what the configuration says; port 0: any free port
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where metrics and health are served, instead of what the configuration says
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// The folder of the embedded log, instead of what the configuration says
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell all mistakes of a configuration at once, and what it can take at worst
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Read all of it and name every damage; changes nothing
    Check {
        /// Its folder
        dir: PathBuf,
    },
    /// Make it open again: cut torn ends, set damaged parts aside (nothing is deleted)
    Repair {
        /// Its folder
        dir: PathBuf,
    },
    Export(log::export::ExportArgs),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let wrong = error.use_stderr() && probe::is_asked(std::env::args_os());
        if !wrong {
            error.exit();
        }
        let _ = error.print();
        std::process::exit(probe::WRONG_USAGE.into())
    });
    crate::telemetry::install(cli.log_level.as_deref());
    let outcome = match cli.command {
        Command::Check(args) => return probe::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Tail(args) => tail::run(&args),
        Command::Streams(args) => streams::run(&args),
        Command::Config(ConfigCommand::Check { config }) => check::run(&config),
        Command::Block(command) => block::run(command),
        Command::Produce(args) => produce::run(args),
        #[cfg(target_os = "linux")]
        Command::Load(args) => load::run(&args),
        Command::Log(LogCommand::Check { dir }) => log::check(&dir),
        Command::Log(LogCommand::Repair { dir }) => log::repair(&dir),
        Command::Log(LogCommand::Export(args)) => log::export::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Top(args) => top::run(&args),
        Command::LogConnections(args) => log_connections::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// A line of what a command has to tell.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("say how it goes")
}

/// Waits for SIGINT or SIGTERM.
async fn asked_to_stop() {
    let wait = |kind| async move {
        match tokio::signal::unix::signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            // It then ends as if nothing had been said of it.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}

/// A runtime for a command that mostly waits.
fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")
}

/// Tells the user; nobody may be there any more.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tidegate: {line}");
}

fn complain(error: &anyhow::Error) {
    tell(&format!("{error:#}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_the_demo_or_a_config_and_not_both() {
        let parse = |args: &str| Cli::try_parse_from(args.split(' ')).map(|_| ());
        assert!(parse("tidegate serve --demo --listen 127.0.0.1:0").is_ok());
        assert!(parse("tidegate serve --config f").is_ok());
        assert!(parse("tidegate serve").is_err());
        assert!(parse("tidegate serve --demo --config f").is_err());
    }
}
