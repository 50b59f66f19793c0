//! `tidegate tail`: follows streams of any server of the contract, and goes on by itself.
//!
//! ```text
//!  follow (a task: connect, resume) ─▶ window (until when) ─▶ filter ─▶ output (a thread: write,
//!                                        └▶ bar (where in time)             flush, keep the state)
//! ```
//! An event's position is kept only when the event has left, so none is lost. When it is killed
//! (not asked to end), what was written in the last second comes again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use jiff::civil::DateTime;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::way::{WayArgs, target};
use crate::position::{SINCE_ACCEPTED, parse_since};
use crate::visit::{Event, Target, Visit, Way};

mod bar;
mod filter;
mod follow;
mod output;
mod pause;
mod pretty;
mod state;
mod window;

use bar::Bar;
use filter::Filter;
use follow::{Follow, Step};
use output::{Form, Output, Parcel};
use state::State;
use window::{Heads, Window};

/// How often is looked whether it is done, or nobody reads any more.
const TICK: Duration = Duration::from_secs(1);
/// For how long is waited, after a signal, for who does not read.
const END_MAX: Duration = Duration::from_secs(2);
/// A partition of which nothing can be told is done after such a silence.
const SILENCE: Duration = Duration::from_secs(30);
/// Where a server stands is asked again after so long without an answer.
const HEADS_EVERY: Duration = Duration::from_secs(10);

/// Follow streams on any EventStreams-compatible server, and go on by itself after each end.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct TailArgs {
    /// A stream's URL (several streams: names with commas), or the server's with --stream
    #[arg(value_parser = target)]
    url: Target,
    /// A stream of the server at URL; given several times, they are followed as one
    #[arg(long = "stream", value_name = "NAME")]
    streams: Vec<String>,
    /// Begin there: a time (2026-01-31T12:00:00Z, ms since 1970), or so long ago (90s, 2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,
    /// End there, in every partition; see below
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
    /// Give only events of which this is true; see below
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Filter::parse)]
    filter: Option<Filter>,
    /// How an event is written, a line each
    #[arg(long, short, value_enum, default_value = "json")]
    output: Form,
    /// Keep the position in this file, and go on there if it exists (--since is then passed over)
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Come again when a connection has brought no byte for so many seconds
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds())]
    silence: u32,
    /// Fail when no stream could be opened for so many seconds [default: never]
    #[arg(long, value_name = "S")]
    give_up: Option<u32>,
    /// Say nothing of interruptions, and show no progress
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    way: WayArgs,
}

const AFTER_HELP: &str = "\
--until: events whose time (of their Kafka record; `meta.dt` where ids do not say it) is at or \
after it are not given. It ends when each partition has had such an event, or has been read up to \
where the server stood at some moment after the time. Where a server does not tell (ids without \
offsets), a partition counts as done when the time is past and nothing before it has come for \
30 s. The position kept in --state is where each partition was before its first event that was \
not given, so the next span can begin there. Times are as for --since, and `now`.

--filter, the language of the live page's search (all terms have to hold):
  berlin \"new page\"     words and phrases anywhere in the event, in any case
  wiki:enwiki           a field holds the text; meta.domain:wikipedia goes deeper
  type=edit  bot=true   a field is exactly this
  length.new>5000       a number is above (or below: <) another
  -canary -bot=true     not

Ends with status 0 at --until, on SIGINT and SIGTERM, and when nobody reads its output any more; \
1 when the server says that it will never be (400, 401, 403, 404). Anything else it survives: it \
comes again, with the last id, after what the server asks for (retry:, Retry-After) and growing, \
random pauses.

  tidegate tail https://stream.wikimedia.org/v2/stream/recentchange --filter 'wiki=dewiki -bot=true'
  tidegate tail URL --since 2h --state pos.json | my-pipeline";

fn seconds() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

/// A point in time in ms since 1970.
fn time(text: &str) -> Result<i64, String> {
    if let Some(ago) = if text == "now" { Some(0) } else { ago(text) } {
        return Ok(Timestamp::now().as_millisecond().saturating_sub(ago).max(0));
    }
    let accepted = || format!("{SINCE_ACCEPTED}; and `now`, or so long ago: 90s, 15m, 2h, 7d");
    parse_since(text).map(|time| time.0).map_err(|_| accepted())
}

fn ago(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    text.trim_end_matches(unit).parse::<u32>().ok().map(|n| i64::from(n) * ms)
}

/// Runs it.
///
/// # Errors
/// What ends it but for its own end, signals and a pipe that nobody reads.
pub(super) fn run(args: &TailArgs) -> anyhow::Result<()> {
    let stream = path(args)?;
    let state = args.state.as_deref().map(|file| State::open(file, &stream)).transpose()?;
    let last_id = state.as_ref().and_then(|state| state.id().map(str::to_owned));
    let way = args.way.way(concat!("tidegate-tail/", env!("CARGO_PKG_VERSION")))?;
    // A position before the first event, so that a cut before it loses nothing; gaps as events.
    let query = args.url.path.split_once('?').map_or("", |(_, query)| query);
    let and = if query.is_empty() { "" } else { "&" };
    let path = format!("{stream}?{query}{and}id=first&gap=event");
    let target = Target { path, ..args.url.clone() };
    let follow = Follow {
        target: target.clone(),
        way: way.clone(),
        since: args.since.map(iso),
        last_id,
        silence_max: Duration::from_secs(args.silence.into()),
        give_up: args.give_up.map(|s| Duration::from_secs(s.into())),
    };
    let bar = Bar::new(args.until);
    let aside = bar::share_a_screen().then(|| bar.aside());
    let output = Output::begin(state, move |write| match &aside {
        Some(bar) => bar.suspend(write),
        None => write(),
    });
    let tail = Tail {
        window: args.until.map(Window::new),
        filter: args.filter.clone(),
        form: args.output,
        quiet: args.quiet,
        bar,
        open: false,
        last_before: Instant::now(),
        heads: None,
        asked: None,
        server: (Target { path: format!("{stream}?id=first"), ..target }, way),
    };
    super::one_thread()?.block_on(tail.run(follow, output))
}

/// The path of all streams that are asked for.
fn path(args: &TailArgs) -> anyhow::Result<String> {
    let path = args.url.path.split('?').next().unwrap_or_default().trim_end_matches('/');
    if args.streams.is_empty() {
        ensure!(!path.is_empty(), "the URL names no stream; say which with --stream NAME");
        return Ok(path.to_owned());
    }
    let base = if path.is_empty() { "/v2/stream" } else { path };
    let encoded = |name: &String| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
    let names: Vec<_> = args.streams.iter().map(encoded).collect();
    Ok(format!("{base}/{}", names.join(",")))
}

/// As every server reads it.
fn iso(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).map(|time| time.to_string());
    time.unwrap_or_else(|_| DateTime::MAX.to_string()).replace('+', "%2B")
}

/// What a tail knows while it runs.
struct Tail {
    window: Option<Window>,
    filter: Option<Filter>,
    form: Form,
    quiet: bool,
    bar: Bar,
    open: bool,
    /// When the last event came that was before the end, or the stream was opened.
    last_before: Instant,
    /// Where the server stood at a moment after the end.
    heads: Option<Heads>,
    asked: Option<(Instant, oneshot::Receiver<Option<Heads>>)>,
    server: (Target, Way),
}

impl Tail {
    async fn run(mut self, follow: Follow, output: Output) -> anyhow::Result<()> {
        let (out, mut steps) = mpsc::channel(2);
        let follow = tokio::spawn(follow.run(out));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = crate::cli::asked_to_stop();
        tokio::pin!(stop);
        let mut failed = None;
        let stopped = loop {
            let parcel = tokio::select! {
                biased;
                () = &mut stop => break true,
                _ = tick.tick() => Parcel::default(),
                step = steps.recv() => match step {
                    Some(Step::Over(error)) => {
                        failed = Some(error);
                        break false;
                    }
                    Some(step) => self.take(step),
                    None => break false,
                },
            };
            let sent = tokio::select! {
                () = &mut stop => break true,
                sent = output.parcels.send(parcel) => sent,
            };
            if sent.is_err() || self.is_done() {
                break false;
            }
        };
        follow.abort();
        self.bar.clear();
        // A pipeline that is done has all the time it takes; one that was asked to end has not.
        let patience = if stopped { END_MAX } else { Duration::MAX };
        tokio::select! {
            written = output.finish(patience) => written?,
            () = crate::cli::asked_to_stop() => {}
        }
        failed.map_or(Ok(()), Err)
    }

    fn take(&mut self, step: Step) -> Parcel {
        match step {
            Step::Open => {
                self.open = true;
                self.last_before = Instant::now();
                Parcel::default()
            }
            Step::At(id) => {
                let window = self.window.as_mut().and_then(|window| {
                    window.stand(&id);
                    window.id()
                });
                Parcel { text: String::new(), id: window.or(Some(id)) }
            }
            Step::Said(says) => self.say(&says),
            Step::Trouble(says) => {
                self.open = false;
                self.say(&says)
            }
            Step::Events(events) => self.events(&events),
            Step::Over(_) => Parcel::default(),
        }
    }

    fn say(&self, says: &str) -> Parcel {
        if !self.quiet {
            self.bar.say(says);
        }
        Parcel::default()
    }

    fn events(&mut self, events: &[Event]) -> Parcel {
        self.open = true;
        let mut text = String::new();
        for event in events {
            if let Some(window) = &mut self.window {
                if !window.take(event) {
                    continue;
                }
                self.last_before = Instant::now();
            }
            let parsed = if self.filter.is_some() || self.form.reads(event) {
                serde_json::from_str(&event.data).unwrap_or_default()
            } else {
                serde_json::Value::Null
            };
            if self.filter.as_ref().is_none_or(|filter| filter.takes(&event.data, &parsed)) {
                self.form.add(&mut text, event, &parsed);
            }
        }
        let last = events.last();
        if !self.quiet {
            let now = Timestamp::now().as_millisecond();
            self.bar.come(events.len(), last.and_then(window::time_of), now);
        }
        let id = last.map(|last| last.id.clone()).filter(|id| !id.is_empty());
        let kept = self.window.as_ref().and_then(Window::id);
        Parcel { text, id: kept.or(id) }
    }

    /// Whether all up to the end has come.
    fn is_done(&mut self) -> bool {
        let Some(window) = &self.window else { return false };
        let now = Timestamp::now().as_millisecond();
        if now >= window.until() && self.heads.is_none() {
            self.ask_for_heads();
        }
        let window = self.window.as_ref().expect("just seen");
        let silence = i64::try_from(SILENCE.as_millis()).unwrap_or(i64::MAX);
        let silent = self.open
            && now >= window.until().saturating_add(silence)
            && self.last_before.elapsed() >= SILENCE;
        silent || window.is_done(self.heads.as_ref())
    }

    /// Asks where the server stands now, and takes the answer when it is there.
    fn ask_for_heads(&mut self) {
        if let Some((since, answer)) = &mut self.asked {
            if let Ok(Some(heads)) = answer.try_recv() {
                self.heads = Some(heads);
                return;
            }
            if since.elapsed() < HEADS_EVERY {
                return;
            }
        }
        let (tell, answer) = oneshot::channel();
        let (target, way) = self.server.clone();
        tokio::spawn(async move {
            let heads = timeout(HEADS_EVERY, heads(&target, &way)).await;
            tell.send(heads.ok().flatten())
        });
        self.asked = Some((Instant::now(), answer));
    }
}

/// Where a server stands; nowhere, if it does not tell. `None`: it could not be asked.
async fn heads(target: &Target, way: &Way) -> Option<Heads> {
    let mut visit = Visit::open(target, way, None).await.ok()?;
    while visit.last_id().is_empty() {
        if !visit.more().await.ok()? {
            return None;
        }
    }
    Some(window::heads(visit.last_id()).unwrap_or_default())
}
