//! How the gateway and all that it carries is: one model, from which the probes, the metrics, the
//! log and the live page speak.
//!
//! ```text
//!  hub, gate's counters ─▶ watch (every second) ─┐
//!  canaries ─────────────────────────────────────┴▶ board: model ─▶ probes, /admin/health,
//!                                                        metrics, a log line, the live page
//! ```
//! Nothing is undetermined for longer than its deadline: what is not heard of is critical. Knows no
//! routes.

mod board;
mod check;
mod flow;
mod model;
mod room;
pub mod watch;

pub use board::{Board, Report};
pub use check::{Finding, Level, State, Terms, Word};
pub use model::{Aspect, Plan, Subject};
