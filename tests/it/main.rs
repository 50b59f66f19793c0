//! All integration tests, one binary: `support/` is the rig, every other file one behaviour.

mod blocks;
mod browser;
mod burst;
mod catchup;
mod checker;
mod clients;
mod compression;
mod crowds;
mod delivery;
mod drain;
mod golden;
mod hostile;
mod house_style;
mod http_contract;
mod kafka_source;
mod load;
mod log_commands;
mod log_faults;
mod nginx;
mod operators;
mod positions;
mod proxy_protocol;
mod pump;
mod reload;
mod support;
mod tokens;
