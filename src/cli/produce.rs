//! `tidegate produce`: events from lines of JSON into a stream, in their order.
//!
//! ```text
//!  stdin or file ─▶ input (a thread) ─▶ one growing chunk ─▶ deliver ─▶ target
//! ```
//! One chunk is on its way at a time, so events are taken in the order of their lines; those of a
//! chunk travel and are committed together. Events that the target cannot take now are sent again
//! for a while, before any later chunk (within its chunk such an event may come after the others).
//! When it is not known whether an event was written, nothing more is sent: the summary names the
//! line, and whoever runs it decides.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::config::{Config, SourceConfig};
use crate::metrics::KafkaMetrics;
use crate::source::Sink;

mod input;
mod report;
mod target;

use input::{Chunk, Line, Lines};
use report::{Report, Tally};
use target::{Direct, Fate, Gateway, Target};

/// For how long events that can be taken later are sent again without one of them being taken.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The first pause before they are; each is twice the last.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Write events into a stream, one JSON object a line.
///
/// An event without `meta.stream` gets the stream's name; one of another stream is refused. The
/// status is 1 if any event was not taken.
#[derive(Debug, clap::Args)]
pub struct ProduceArgs {
    /// The stream: its name or an alias
    pub stream: String,
    /// The gateway whose intake takes the events
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8092")]
    pub url: String,
    /// Write straight to the Kafka cluster of this config instead
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// Read this file (`-`: the standard input)
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
}

/// Runs `tidegate produce`.
///
/// # Errors
/// When the input or the target cannot be opened, when it was broken off, or when any event was
/// not taken.
pub fn run(args: ProduceArgs) -> anyhow::Result<()> {
    let (input, bytes) = open_input(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome: anyhow::Result<Tally> = runtime.block_on(async {
        let target = open_target(&args).await?;
        let stop = CancellationToken::new();
        tokio::spawn(stop_at_interrupt(stop.clone()));
        let report = Report::on_stderr(bytes);
        Ok(produce(input, &args.stream, &target, report, &stop).await)
    });
    runtime.shutdown_background();
    let tally = outcome?;
    tally.print_summary()?;
    tally.into_result()
}

fn open_input(args: &ProduceArgs) -> anyhow::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if args.file.as_os_str() == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let file = File::open(&args.file).with_context(|| format!("open {}", args.file.display()))?;
    let about = file.metadata().with_context(|| format!("look at {}", args.file.display()))?;
    if about.is_dir() {
        bail!("{} is a folder; a file of lines is accepted", args.file.display());
    }
    let bytes = about.is_file().then_some(about.len());
    Ok((Box::new(file), bytes))
}

async fn open_target(args: &ProduceArgs) -> anyhow::Result<Target> {
    match &args.config {
        None => Ok(Target::Gateway(Box::new(Gateway::new(&args.url, &args.stream)?))),
        Some(file) => {
            let (catalog, sink) = open_sink(file).await?;
            Ok(Target::Direct(Direct::new(catalog, &args.stream, sink)?))
        }
    }
}

/// The catalogue and the sink of a config.
async fn open_sink(file: &Path) -> anyhow::Result<(Arc<Catalog>, Arc<dyn Sink>)> {
    let config = Config::load(file)?;
    match &config.source {
        SourceConfig::Kafka(kafka) => {
            let sink = crate::app::kafka_source(kafka, KafkaMetrics::default())?;
            let all = crate::app::read_elsewhere(&config).await?.config;
            Ok((Arc::new(all.catalog()), sink))
        }
        SourceConfig::Embedded(_) => bail!(
            "{}: has an embedded log, which one process can have open; use --url, through the \
             gateway that has it",
            file.display()
        ),
    }
}

/// The first interrupt ends the work after the chunk that is on its way, the second at once.
async fn stop_at_interrupt(stop: CancellationToken) {
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.cancel();
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}

/// Sends all lines of the input; what became of them.
async fn produce(
    input: impl Read + Send + 'static,
    stream: &str,
    target: &Target,
    mut report: Report,
    stop: &CancellationToken,
) -> Tally {
    let mut lines = input::read(input, stream.to_owned());
    let mut tally = Tally::new();
    while let Some(chunk) = next(&mut lines, stop, &mut tally).await {
        deliver(chunk, target, &mut report, &mut tally, stop).await;
        if tally.is_stopped() {
            break;
        }
    }
    report.finish();
    tally
}

async fn next(lines: &mut Lines, stop: &CancellationToken, tally: &mut Tally) -> Option<Chunk> {
    let chunk = tokio::select! {
        biased;
        () = stop.cancelled() => {
            tally.stopped("it was interrupted".to_owned());
            return None;
        }
        chunk = lines.next() => chunk?,
    };
    chunk.map_err(|error| tally.stopped(format!("the input cannot be read: {error}"))).ok()
}

async fn deliver(
    chunk: Chunk,
    target: &Target,
    report: &mut Report,
    tally: &mut Tally,
    stop: &CancellationToken,
) {
    for (number, bad) in &chunk.bad {
        tally.refused += 1;
        report.line(*number, &bad.to_string());
    }
    let mut lines = chunk.lines;
    let (mut waiting_since, mut pause) = (Instant::now(), RETRY_FIRST);
    while !lines.is_empty() {
        let fates = match target.send(&lines).await {
            Ok(fates) => fates,
            Err(error) => return tally.stopped_at(lines[0].number, format!("{error:#}")),
        };
        let taken_before = tally.taken;
        let (later, why) = settle(lines, fates, report, tally);
        report.taken(tally.taken);
        lines = later;
        if tally.is_stopped() || lines.is_empty() {
            break;
        }
        if tally.taken > taken_before {
            (waiting_since, pause) = (Instant::now(), RETRY_FIRST);
        }
        if waiting_since.elapsed() >= RETRY_MAX {
            return tally.stopped_at(lines[0].number, why);
        }
        report.waiting(&why);
        tokio::select! {
            () = stop.cancelled() => {
                return tally.stopped_at(lines[0].number, "it was interrupted".to_owned());
            }
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_PAUSE_MAX),
        }
    }
    report.read(chunk.read_bytes);
}

/// Counts and tells each line's fate; gives back the lines to be sent again, and why.
fn settle(
    lines: Vec<Line>,
    fates: Vec<Fate>,
    report: &mut Report,
    tally: &mut Tally,
) -> (Vec<Line>, String) {
    let (mut later, mut why_later) = (Vec::new(), String::new());
    for (line, fate) in lines.into_iter().zip(fates) {
        match fate {
            Fate::Taken => tally.took(line.number),
            Fate::Refused(why) => {
                tally.refused += 1;
                report.line(line.number, &why);
            }
            Fate::Later(why) => {
                later.push(line);
                why_later = why;
            }
            Fate::Unknown(why) => tally.doubted(line.number, why),
        }
    }
    (later, why_later)
}

#[cfg(test)]
mod tests;
