//! All integration tests, one binary: `support/` is the rig, every other file one behaviour.

mod browser;
mod burst;
mod catchup;
mod checker;
mod clients;
mod compression;
mod crowds;
mod delivery;
mod golden;
mod house_style;
mod http_contract;
mod kafka_source;
mod load;
mod log_commands;
mod nginx;
mod positions;
mod pump;
mod support;
