//! The integration tests: `support/` is the rig, every other file one behaviour. What loads the whole
//! machine, or cannot stand that others do, is in `alone.rs`.

mod access_log;
mod alerts;
mod blocks;
mod canaries;
mod catalogue;
mod catchup;
mod checker;
mod clients;
mod compression;
mod delivery;
mod deployed;
mod docs;
mod documents;
mod drain;
mod golden;
mod house_style;
mod http_contract;
mod kafka_source;
mod load;
mod log_commands;
mod log_faults;
mod nginx;
mod operators;
mod positions;
mod probe;
mod proxy_protocol;
mod pump;
mod redaction;
mod reload;
mod support;
mod tail;
mod tokens;
