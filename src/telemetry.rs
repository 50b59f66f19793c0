//! Logs: to stderr, for people on a terminal, as JSON lines elsewhere.
//!
//! Which level counts: `RUST_LOG`, else the command line's, else the configuration's, which may
//! change while it runs.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// The target of the lines that tell of each connection. They are written only while an operator
/// has asked for them, and then whatever the level is.
pub const CONNECTIONS: &str = "tidegate::connections";

/// The target of the lines that tell how each stream was, where the configuration asks for them.
pub const ACCESS: &str = "tidegate::access";

/// What counts until a configuration says otherwise.
pub const LEVEL: &str = "info";

type Change = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// How the filter is changed, where the configuration may.
static CHANGE: OnceLock<Change> = OnceLock::new();

/// Installs the log for the rest of the process; `level`: what the command line says.
pub fn install(level: Option<&str>) {
    let in_env = EnvFilter::try_from_default_env().ok();
    let is_fixed = in_env.is_some() || level.is_some();
    let filter = with_lines(in_env.unwrap_or_else(|| filter(level.unwrap_or(LEVEL))));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (in tests) leaves the first in force.
    let change: Option<Change> = if std::io::stderr().is_terminal() {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().ok().map(|()| Box::new(move |f| drop(handle.reload(f))) as Change)
    } else {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().ok().map(|()| Box::new(move |f| drop(handle.reload(f))) as Change)
    };
    if let (Some(change), false) = (change, is_fixed) {
        let _ = CHANGE.set(change);
    }
}

/// Goes by what the configuration says, unless something else counts.
pub fn configure(level: &str) {
    if let Some(change) = CHANGE.get() {
        change(with_lines(filter(level)));
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new(LEVEL))
}

/// Lines that somebody has asked for are told whatever the level is.
fn with_lines(filter: EnvFilter) -> EnvFilter {
    let always = [CONNECTIONS, ACCESS].map(|target| format!("{target}=info").parse());
    always.into_iter().fold(filter, |filter, directive| {
        filter.add_directive(directive.expect("a target and a level"))
    })
}
