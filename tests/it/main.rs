//! All integration tests, one binary: `support/` is the rig, every other file one behaviour.
mod http_contract;
