//! `tidegate load`: many readers, and a writer, against a server on this host.
//!
//! ```text
//!  writer threads ── POST, with sent_us and seq ──▶ server
//!                                                     │ N streams
//!  books, histograms ◀── marks ◀── one epoll loop ◀───┘
//! ```
//! Any server that sends Server-Sent Events over plain HTTP/1.1 can be measured, so that others are
//! measured with the same tool; none of it knows what Tidegate is but the defaults of the writer.
//! Only this host: streams come from addresses in 127.0.0.0/8 and go there, nowhere else.
//!
//! An event of ours carries in its data, found by a search for bytes and not by parsing:
//! `"sent_us":N` (when it was sent, CLOCK_REALTIME of this host, in µs), `"seq":N` (from 0, per
//! writer) and `"writer":N`. A number that is left out is lost, one that comes again or after a
//! higher one is repeated. Streams are all open before our writers begin, so the first event
//! counts too; after the last, streams have `--drain` seconds to bring what was acknowledged, and
//! what is missing then is lost. (With `--write-early`, or with events of other runs, a stream
//! begins at its first event. The order of one writer's events must be kept, so all of them must
//! be of one partition: the default body has a key for that.)
//!
//! With `--gzip` only the first stream is decoded and accounted for, so that the tool stays cheaper
//! than the server; the others are told by their bytes. What is said per delivery then takes it
//! that every open stream got what the first got.
//!
//! With `--again` what is told of connects is of the whole run, and a stream that comes again
//! begins with the first event that it gets (with `--resume`, where it had come to).
//!
//! With `--warm-up` what is measured begins so long after the writers: deliveries, latencies and
//! processor times of before are left out. Lost, repeated, written and bytes are of the whole run.
//!
//! # The summary
//! One JSON object on the standard output. Keys stay; new ones may come. Times that end in `_us`
//! are `{count, mean, p50, p99, p999, max}` in µs.
//!
//! | key | |
//! |---|---|
//! | `url`, `streams`, `sources`, `stalled` | what was asked for |
//! | `seconds`, `interrupted` | how long was measured; whether by Ctrl-C less |
//! | `connects.begun` | connects that were tried |
//! | `connects.opened`, `.seconds`, `.per_s` | streams that got a 200, and how fast |
//! | `connects.refused`, `.failed` | streams by another status; without an answer, by reason |
//! | `connects.connect_us`, `.head_us`, `.first_byte_us`, `.first_event_us` | since the connect |
//! | `deliveries.count`, `.seconds`, `.per_s` | events; from the first write (or connect) on |
//! | `deliveries.lost`, `.repeated` | see above; a stream that ended is no loss, but a disconnect |
//! | `deliveries.foreign` | marks of other runs' writers, not in any other number |
//! | `deliveries.blocks` | blank lines: all events and comments, also those without a mark |
//! | `latency_us` | from `sent_us` until it was read |
//! | `first_latency_us` | the same of streams' first events only |
//! | `bytes.wire`, `bytes.payload` | read from sockets; without heads and chunk framing |
//! | `bytes.least_per_stream`, `.most_per_stream` | payload of streams open at the end |
//! | `bytes.inflated`, `.inflated_per_byte` | decoded payload; with `--gzip`, of the first stream |
//! | `disconnects.ended`, `.cut` | by the server with the last chunk; in any other way |
//! | `disconnects.left` | by `--stay` |
//! | `written` | `null` without `--write` |
//! | `written.sent`, `.acknowledged`, `.per_s` | events; acknowledged: by a 2xx (not 207) |
//! | `written.statuses`, `.unknown` | events by their answer's status; without an answer |
//! | `written.late_us`, `.answer_us` | sent later than due; from the request to its answer |
//! | `server` | `null` without `--pid` |
//! | `server.cpu_s`, `.us_per_delivery` | its processes, user and system; while measured |
//! | `server.private_before_kb` | memory before the first stream |
//! | `server.private_begin_kb`, `.private_open_kb` | as the measurement begins; as it ends |
//! | `server.private_bytes_per_stream` | from before to its end, for each stream that was open |
//! | `cpu.total_s`, `.measured_s`, `.us_per_delivery` | user and system; while measured |

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

mod account;
mod descriptors;
mod measure;
mod progress;
mod readers;
mod scan;
mod server;
mod summary;
mod target;
mod template;
mod wire;
mod writer;

use account::{Account, Writing};
use progress::Progress;
use readers::Readers;
use server::Server;
use summary::{Connects, Cpu, Summary, WrittenSummary};
use target::Target;
use template::Template;
use writer::{Writers, Written};

/// How long connects may take beyond what their rate says.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// The longest wait without a look at the clock.
const TURN: Duration = Duration::from_millis(50);
/// Between two looks at what is still missing.
const DRAIN_TURN: Duration = Duration::from_millis(10);
/// Streams for each source address, unless it is said.
const STREAMS_PER_SOURCE: u32 = 50;
/// Events per second for each writing connection, unless it is said: one that waits for a disk
/// before each answer still keeps up.
const RATE_PER_WRITER: f64 = 25.0;

/// Open many streams on this host and measure what they get.
///
/// Works with any server of Server-Sent Events over plain HTTP, on loopback addresses only. A JSON
/// summary goes to the standard output, progress to the standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Try it:\n  tidegate serve --demo\n  \
    tidegate load http://127.0.0.1:8092/v2/stream/recentchange -n 1000 --write 50 --size 1200")]
pub(super) struct LoadArgs {
    /// The stream: http://127.0.0.1:PORT/PATH
    url: String,
    /// How many streams
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    streams: u32,
    /// From how many 127.x addresses [default: one for 50 streams]
    #[arg(long, value_name = "K",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(target::SOURCES_MAX)))]
    sources: Option<u32>,
    /// The first of these addresses
    #[arg(long, value_name = "ADDR", default_value_t = target::SOURCE_FIRST)]
    from: Ipv4Addr,
    /// How long a stream stays before it leaves by itself [default: to the end]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    stay: Option<f64>,
    /// A stream that is over, for whatever reason, is begun anew at once
    #[arg(long, conflicts_with_all = ["until", "gzip", "strict"])]
    again: bool,
    /// One that the server has ended goes on after the last id that it got, and what it misses or
    /// gets twice is told
    #[arg(long, requires = "again", conflicts_with = "stay")]
    resume: bool,
    /// Connects per second
    #[arg(long, value_name = "RATE", default_value_t = 2000.0, value_parser = rate)]
    connect_rate: f64,
    /// Connects that may be under way at once
    #[arg(long, value_name = "N", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..))]
    connecting: u32,
    /// How long to measure after the connects
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// How long to write before the measurement begins: what every stream has to go through first
    /// (buffers of stalled ones that fill, memory that is asked for) is not in it
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds,
        requires = "write")]
    warm_up: f64,
    /// Stop earlier, when every stream has got so many events
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    until: Option<u64>,
    /// How many of the streams are opened and then never read
    #[arg(long, value_name = "N", default_value_t = 0)]
    stall: u32,
    /// Streams are gzip (asked for by the URL or a header): the first is decoded and its events
    /// checked, of the others bytes are counted
    #[arg(long)]
    gzip: bool,
    /// A further request header of the streams; may be given several times
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
    /// How long streams may take after the last event to bring what was acknowledged
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    drain: f64,
    /// Status 1 if anything was lost or repeated, or a stream ended or never opened
    #[arg(long)]
    strict: bool,
    /// A process of the server, whose processor time and memory are told too; may be given several
    /// times
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// Write the summary into this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The writer's side.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Writing")]
struct WriteArgs {
    /// Write events, so many a second
    #[arg(long, value_name = "RATE", value_parser = rate)]
    write: Option<f64>,
    /// Bytes of an event
    #[arg(long, value_name = "BYTES", default_value_t = 256, requires = "write")]
    size: usize,
    /// Where events are sent [default: /v1/events of the same server]
    #[arg(long, value_name = "URL", requires = "write")]
    write_to: Option<String>,
    /// The request's method
    #[arg(long, default_value = "POST", requires = "write")]
    method: http::Method,
    /// The request's content type
    #[arg(long, value_name = "TYPE", default_value = "application/json", requires = "write")]
    content_type: String,
    /// A further header of the writer; may be given several times
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, requires = "write")]
    write_header: Vec<String>,
    /// What is sent for an event, with {mark} ("sent_us":N,"seq":N,"writer":N) in its JSON, {pad}
    /// up to the size, and, if wanted, {seq}, {sent_us}, {writer} [default: an event of Tidegate
    /// for the stream that the URL ends in]
    #[arg(long, value_name = "TEMPLATE", requires = "write")]
    body: Option<String>,
    /// Events in one request, as a JSON array
    #[arg(long, value_name = "N", default_value_t = 1, requires = "write",
        value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Connections that events are sent over [default: one for 25 requests a second]
    #[arg(long, value_name = "N", requires = "write",
        value_parser = clap::value_parser!(u32).range(1..=writer::WRITERS_MAX as i64))]
    writers: Option<u32>,
    /// Write from the beginning, not only when all streams are open
    #[arg(long, requires = "write")]
    write_early: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "a number from 0.001 on is accepted".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "a number from 0 to 86400 is accepted".to_owned())
}

fn header(text: &str) -> Result<String, String> {
    let bad = || "`Name: value` is accepted".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
    http::HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
    Ok(format!("{name}: {}\r\n", value.trim()))
}

/// Runs `tidegate load`.
///
/// # Errors
/// When it cannot be done as asked, or, with `--strict`, when something was lost.
pub(super) fn run(args: &LoadArgs) -> anyhow::Result<()> {
    let run = Run::prepare(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_at_interrupt(Arc::clone(&stop));
    let summary = run.go(args, &stop)?;
    let text = serde_json::to_string_pretty(&summary).context("print the summary")?;
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{text}\n"))
            .with_context(|| format!("write {}", file.display()))?;
    }
    writeln!(std::io::stdout(), "{text}").context("write the summary")?;
    match summary.fault() {
        Some(fault) if args.strict => Err(anyhow!(fault)),
        _ => Ok(()),
    }
}

/// The first interrupt ends the measurement, the second the process.
fn stop_at_interrupt(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.store(true, Ordering::Relaxed);
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
    });
}

/// A measurement.
struct Run {
    readers: Readers,
    /// What is to be written, until it is.
    plan: Option<writer::Plan>,
    writers: Option<Writers>,
    progress: Progress,
    sources: u32,
}

/// When something began, and what had been used and delivered by then.
struct Begin {
    at: Instant,
    cpu: Duration,
    deliveries: u64,
}

impl Begin {
    fn of(readers: &Readers) -> Self {
        let (at, cpu) = (Instant::now(), measure::cpu_time());
        Self { at, cpu, deliveries: readers.account.deliveries }
    }
}

impl Run {
    fn prepare(args: &LoadArgs) -> anyhow::Result<Self> {
        let target = Target::parse(&args.url)?;
        if args.stall > args.streams {
            bail!("{} of {} streams cannot stall", args.stall, args.streams);
        }
        let plan = args.write.plan(&target)?;
        let writing = match &plan {
            Some(plan) => {
                let (first, count) = (plan.first_writer, plan.connections);
                match args.write.write_early {
                    false => Writing::Ours { first, count },
                    true => Writing::OursUnderWay { first, count },
                }
            }
            None => Writing::Others,
        };
        let connections = plan.as_ref().map_or(0, |plan| plan.connections as u64);
        descriptors::need(u64::from(args.streams), connections)?;
        let default = args.streams.div_ceil(STREAMS_PER_SOURCE).max(1);
        let sources = args.sources.unwrap_or(default);
        let readers = readers::Plan {
            target,
            headers: args.header.concat(),
            streams: args.streams,
            sources: target::sources(args.from, sources)?,
            connect_rate: args.connect_rate,
            connecting_max: args.connecting,
            stalled: args.stall,
            until: args.until,
            gzip: args.gzip,
            stay: args.stay.map(Duration::from_secs_f64),
            again: args.again,
            resume: args.resume,
        };
        let readers = Readers::new(readers, Account::new(writing, args.streams as usize))?;
        Ok(Self { readers, plan, writers: None, progress: Progress::new(args.streams), sources })
    }

    fn go(mut self, args: &LoadArgs, stop: &AtomicBool) -> anyhow::Result<Summary> {
        let begun = Instant::now();
        let mut server = Server::new(&args.pid);
        server.look()?;
        if args.write.write_early {
            self.write();
        }
        let connecting = Duration::from_secs_f64(f64::from(args.streams) / args.connect_rate);
        let patience = connecting + CONNECT_PATIENCE;
        self.drive(patience, TURN, |run| run.readers.are_open() || stop.load(Ordering::Relaxed))?;
        self.readers.give_up_connecting();
        let connects = Connects::of(&self.readers.seen, begun.elapsed().as_secs_f64());

        let counted = self.warm_up(args.warm_up, begun, stop)?;
        let measured = Begin::of(&self.readers);
        server.look()?;
        self.write();
        let time = Duration::from_secs_f64(args.seconds);
        self.drive(time, TURN, |run| run.readers.are_done() || stop.load(Ordering::Relaxed))?;
        let seconds = summary::rounded(measured.at.elapsed().as_secs_f64());
        let open = self.readers.seen.open;
        server.look()?;
        let written = self.finish(Duration::from_secs_f64(args.drain))?;
        server.look()?;
        self.progress.bar.finish_and_clear();

        let connects = match args.again {
            false => connects,
            true => Connects::of(&self.readers.seen, begun.elapsed().as_secs_f64()),
        };
        let (cpu, total) = (measure::cpu_time().saturating_sub(measured.cpu), measure::cpu_time());
        let Readers { account, seen, .. } = &self.readers;
        // Of compressed streams only one is decoded; the others get the same.
        let each = if args.gzip { u64::from(open) } else { 1 };
        let delivered = (account.deliveries - measured.deliveries) * each;
        let count = account.deliveries - counted.deliveries;
        let since = |last: Instant| last.saturating_duration_since(counted.at);
        let delivering = seen.last_delivery.map(since).unwrap_or_default().as_secs_f64();
        Ok(Summary {
            url: args.url.clone(),
            streams: args.streams,
            sources: self.sources,
            stalled: args.stall,
            seconds,
            interrupted: stop.load(Ordering::Relaxed),
            connects: Connects { first_event_us: seen.first_event.read(), ..connects },
            deliveries: summary::Deliveries {
                count,
                seconds: summary::rounded(delivering),
                per_s: measure::per_s(count, delivering),
                lost: account.lost,
                repeated: account.repeated,
                foreign: account.foreign,
                blocks: seen.blocks,
            },
            latency_us: seen.latency.read(),
            first_latency_us: seen.first_latency.read(),
            bytes: summary::Bytes::of(seen, self.readers.payload_bounds()),
            disconnects: summary::Disconnects::of(seen),
            written: written.map(WrittenSummary::of),
            server: server.summary(open, delivered),
            cpu: Cpu::of(total, cpu, delivered),
        })
    }

    /// Writes for so long; from when on deliveries count.
    fn warm_up(
        &mut self,
        seconds: f64,
        begun: Instant,
        stop: &AtomicBool,
    ) -> anyhow::Result<Begin> {
        if seconds > 0.0 {
            self.write();
            let time = Duration::from_secs_f64(seconds);
            self.drive(time, TURN, |_| stop.load(Ordering::Relaxed))?;
            self.readers.seen.latency = measure::Times::new();
        } else if self.plan.is_none() {
            return Ok(Begin { at: begun, cpu: Duration::ZERO, deliveries: 0 });
        }
        Ok(Begin::of(&self.readers))
    }

    /// Lets the writers begin, if they have not.
    fn write(&mut self) {
        if let Some(plan) = self.plan.take() {
            self.writers = Some(Writers::start(plan));
        }
    }

    /// Turns the loop until it is so, but no longer than that.
    fn drive(
        &mut self,
        at_most: Duration,
        turn: Duration,
        is: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !is(self) {
            let left = at_most.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            self.readers.turn(turn.min(left))?;
            self.progress.tell(&self.readers, self.writers.as_ref());
        }
        Ok(())
    }

    /// Stops the writers, and reads on until all that they were acknowledged has come.
    fn finish(&mut self, drain: Duration) -> anyhow::Result<Option<Written>> {
        let Some(writers) = &self.writers else { return Ok(None) };
        writers.stop();
        let have_ended = |run: &Self| run.writers.as_ref().is_none_or(Writers::have_ended);
        self.drive(Duration::MAX, DRAIN_TURN, have_ended)?;
        let written = self.writers.take().map(Writers::finish);
        let goals = written.as_ref().map(|w| w.goals.clone()).unwrap_or_default();
        self.drive(drain, DRAIN_TURN, |run| run.readers.missing(&goals) == 0)?;
        self.readers.account.lost += self.readers.missing(&goals);
        Ok(written)
    }
}

impl WriteArgs {
    fn plan(&self, streams: &Target) -> anyhow::Result<Option<writer::Plan>> {
        let Some(rate) = self.write else { return Ok(None) };
        let target = match &self.write_to {
            Some(url) => Target::parse(url).context("--write-to")?,
            None => Target { path: "/v1/events".to_owned(), ..streams.clone() },
        };
        let body = self.body.clone().unwrap_or_else(|| Template::of_stream(&streams.stream()));
        let requests = rate / f64::from(self.batch);
        let default = (requests / RATE_PER_WRITER).ceil().clamp(1.0, 32.0) as usize;
        Ok(Some(writer::Plan {
            target,
            method: self.method.to_string(),
            headers: header(&format!("content-type: {}", self.content_type))
                .map_err(|_| anyhow!("`{}` is no content type", self.content_type))?
                + &self.write_header.concat(),
            template: Template::parse(&body, self.size)?,
            rate,
            batch: self.batch as usize,
            connections: self.writers.map_or(default, |writers| writers as usize),
            first_writer: u64::from(rand::random::<u32>()) * writer::WRITERS_MAX as u64,
        }))
    }
}
