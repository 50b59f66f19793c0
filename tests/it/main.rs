//! All integration tests, one binary: `support/` is the rig, every other file one behaviour.

mod blocks;
mod browser;
mod burst;
mod canaries;
mod catchup;
mod checker;
mod clients;
mod compression;
mod crowds;
mod delivery;
mod golden;
mod hostile;
mod house_style;
mod http_contract;
mod kafka_source;
mod load;
mod log_commands;
mod nginx;
mod operators;
mod positions;
mod probe;
mod proxy_protocol;
mod pump;
mod support;
mod tokens;
