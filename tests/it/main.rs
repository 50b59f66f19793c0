//! All integration tests, one binary: `support/` is the rig, every other file one behaviour.

mod delivery;
mod golden;
mod house_style;
mod http_contract;
mod kafka_source;
mod log_commands;
mod support;
