//! `tidegate top`: who holds what on a running gateway, live in a terminal.
//!
//! ```text
//!  gather (a thread): looks every second, does what is ordered ── news ──▶ screen ─▶ terminal
//!                                                              ◀─ orders ── keys
//! ```
//! A gateway that goes away is waited for. The terminal is given back as it was, whatever ends
//! this.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, ensure};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::admin_client::AdminArgs;

mod gather;
mod sample;
mod screen;
mod words;

use gather::{News, Order, gather};
use sample::{SORTS, Watcher};
use screen::{Reaction, Screen};

/// Clients that are asked for at most.
const CLIENTS_MAX: usize = 500;
/// How soon a key or news are seen.
const LOOK_FOR_KEYS: Duration = Duration::from_millis(50);

/// Show who holds what on a running gateway, live
#[derive(Debug, clap::Args)]
#[command(after_help = "Keys: q quit, s sort, up and down choose, enter a client's sessions, \
    esc back, d end the streams, b block the client for an hour (both ask first).")]
pub(super) struct TopArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the table once as text, after one interval
    #[arg(long)]
    once: bool,
    /// Print all of it once as JSON, after one interval
    #[arg(long, conflicts_with = "once")]
    json: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = pause())]
    every_s: u64,
    /// What clients are sorted by
    #[arg(long, value_name = "COLUMN", default_value = SORTS[0], value_parser = SORTS)]
    sort: String,
}

fn pause() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=3600)
}

pub(super) fn run(args: &TopArgs) -> anyhow::Result<()> {
    let watcher = Watcher::new(args.admin.client()?);
    let every = Duration::from_secs(args.every_s);
    if args.once || args.json {
        return super::one_thread()?.block_on(print(watcher, args, every));
    }
    ensure!(
        std::io::stdout().is_terminal(),
        "the output is no terminal; --once prints a table, --json all of it"
    );
    let sort = SORTS.iter().position(|sort| *sort == args.sort).unwrap_or(0);
    let (orders, ordered) = unbounded_channel();
    let (tell, news) = channel();
    let screen = Screen::new(watcher.client().url(), sort);
    let runtime = super::one_thread()?;
    let thread = std::thread::Builder::new().name("top-gather".into());
    let gathering = move || runtime.block_on(gather(watcher, (every, sort), ordered, tell));
    let thread = thread.spawn(gathering).context("start a thread")?;
    // Installs a hook that gives the terminal back before a panic is told.
    let shown = ratatui::try_init()
        .map_err(anyhow::Error::from)
        .and_then(|mut terminal| show(&mut terminal, screen, &orders, &news));
    ratatui::restore();
    drop(orders);
    let _ = thread.join();
    shown.context("show it on this terminal")
}

/// Two looks, so that there are rates.
async fn print(mut watcher: Watcher, args: &TopArgs, every: Duration) -> anyhow::Result<()> {
    watcher.look(&args.sort, CLIENTS_MAX).await?;
    tokio::time::sleep(every).await;
    let view = watcher.look(&args.sort, CLIENTS_MAX).await?;
    let text = match args.json {
        true => serde_json::to_string(&view).context("write it as JSON")? + "\n",
        false => words::table(&view),
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("print it")
}

fn show(
    terminal: &mut DefaultTerminal,
    mut screen: Screen,
    orders: &UnboundedSender<Order>,
    news: &Receiver<News>,
) -> anyhow::Result<()> {
    let mut stale = true;
    loop {
        for news in news.try_iter() {
            if matches!(news, News::Stop) {
                return Ok(());
            }
            screen.on_news(news);
            stale = true;
        }
        if std::mem::take(&mut stale) {
            terminal.draw(|frame| screen.draw(frame))?;
        }
        if !event::poll(LOOK_FOR_KEYS)? {
            continue;
        }
        stale = true;
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match screen.on_key(key) {
            Reaction::Nothing => {}
            Reaction::Quit => return Ok(()),
            Reaction::Order(order) => orders.send(order).context("reach who looks")?,
        }
    }
}
