//! Logs: to stderr, for people on a terminal, as JSON lines elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The target of the lines that tell of each connection. They are written only while an operator
/// has asked for them, and then whatever the level is.
pub const CONNECTIONS: &str = "tidegate::connections";

/// The target of the lines that tell how each stream was, where the configuration asks for them.
pub const ACCESS: &str = "tidegate::access";

/// Installs the log for the rest of the process. `RUST_LOG` wins over `level`.
pub fn install(level: &str) {
    let default = || EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default());
    let always = [CONNECTIONS, ACCESS].map(|target| format!("{target}=info").parse());
    let filter = always.into_iter().fold(filter, |filter, directive| {
        filter.add_directive(directive.expect("a target and a level"))
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (in tests) leaves the first in force.
    let _ = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
