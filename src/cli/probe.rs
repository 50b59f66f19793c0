//! `tidegate check`: whether streams can be read, as a Nagios or Icinga plugin.
//!
//! ```text
//!  each stream: visit ─▶ first byte ─▶ first event ─▶ (dropped, nothing missed?) ─▶ outcome
//!  all outcomes ─▶ OK | WARNING | CRITICAL, one line, perfdata; exit 0, 1, 2
//! ```
//! There is no UNKNOWN but for wrong usage (3): what cannot be found out in time is critical. Works
//! against any server of the contract, the reference included, and knows nothing of this one.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::way::WayArgs;
use crate::visit::Target;

mod outcome;
mod stream;

use outcome::Status;
use stream::{Deadlines, Probe};

/// `tidegate check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Status 0 (OK), 1 (WARNING), 2 (CRITICAL); 3 only for wrong usage.\n\n\
    tidegate check https://stream.example.org/v2/stream/recentchange --resume")]
pub(super) struct ProbeArgs {
    /// A stream's URL, or that of the server together with --stream
    url: String,
    /// A stream of the server at URL; may be given several times, each is read by itself
    #[arg(long = "stream", value_name = "NAME")]
    streams: Vec<String>,
    /// CRITICAL when the first byte of a stream is not there after so many seconds
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    first_byte: Duration,
    /// CRITICAL when the first event is not there after so many more
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    first_event: Duration,
    /// WARNING when the first byte takes longer
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    warn_first_byte: Duration,
    /// WARNING when the first event takes longer
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    warn_first_event: Duration,
    /// CRITICAL when the first event is older (by its `meta.dt`)
    #[arg(long, value_name = "S", default_value = "300", value_parser = seconds)]
    age: Duration,
    /// WARNING when the first event is older
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    warn_age: Duration,
    /// A stream without an event in its time is fine: it is known to be quiet
    #[arg(long)]
    quiet: bool,
    /// Drop the connection, come again after the last event, and see that nothing is missed
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    way: WayArgs,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let accepted = "a number of seconds above 0, at most 86400, is accepted";
    let number: f64 = text.parse().map_err(|_| accepted.to_owned())?;
    let fits = number > 0.0 && number <= 86_400.0;
    if fits { Ok(Duration::from_secs_f64(number)) } else { Err(accepted.to_owned()) }
}

/// Wrong usage; what is wrong has been said.
pub(super) const WRONG_USAGE: u8 = 3;

/// Whether a command line is one of this command: what is wrong with it is then a 3.
pub(super) fn is_asked(args: impl Iterator<Item = std::ffi::OsString>) -> bool {
    // `config check` and `log check` are others.
    let command = args.skip(1).find(|arg| arg == "check" || arg == "config" || arg == "log");
    command.is_some_and(|command| command == "check")
}

/// Probes, says what it found in one line, and returns what the monitoring goes by.
pub(super) fn run(args: &ProbeArgs) -> ExitCode {
    let probes = match probes(args) {
        Ok(probes) => probes,
        Err(error) => {
            super::complain(&error);
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let outcomes = super::one_thread()
        .map(|runtime| runtime.block_on(join_all(probes.iter().map(Probe::run))));
    let (status, line) = match outcomes {
        Ok(outcomes) => outcome::summary(&outcomes),
        Err(error) => (Status::Critical, format!("CRITICAL: the probe cannot run: {error:#}")),
    };
    // A reader of the line that is gone changes nothing of the status.
    let _ = super::say(&line);
    ExitCode::from(status.code())
}

fn probes(args: &ProbeArgs) -> anyhow::Result<Vec<Probe>> {
    let url = &args.url;
    let target = Target::parse(url);
    let target = target.ok_or_else(|| {
        anyhow::anyhow!("`{url}` is no URL; http://HOST[:PORT][/PATH] or https://… is accepted")
    })?;
    let way = args.way.way(concat!("tidegate-check/", env!("CARGO_PKG_VERSION")))?;
    let deadlines = Deadlines {
        first_byte: (args.warn_first_byte, args.first_byte),
        first_event: (args.warn_first_event, args.first_event),
        age: (args.warn_age, args.age),
    };
    let at = |name: &str, target: Target| Probe {
        name: name.to_owned(),
        target,
        way: way.clone(),
        deadlines,
        quiet: args.quiet,
        resume: args.resume,
    };
    if args.streams.is_empty() {
        let path = target.path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        anyhow::ensure!(!name.is_empty(), "`{url}` names no stream; say which with --stream NAME");
        return Ok(vec![at(&name, target)]);
    }
    let base = target.path.trim_end_matches('/').to_owned();
    let base = if base.is_empty() { "/v2/stream".to_owned() } else { base };
    let path = |name: &str| format!("{base}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    let one = |name: &String| at(name, Target { path: path(name), ..target.clone() });
    Ok(args.streams.iter().map(one).collect())
}
