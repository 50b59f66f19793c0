//! Tidegate carries topics from Kafka, or from its own embedded log, to the public web as
//! Server-Sent Events, and keeps delivering.
//!
//! The modules stand in the order in which an event meets them; a module imports only from those
//! before it. `ARCHITECTURE.md` is the map.

pub mod event;

pub mod limits;

pub mod whole_file;

pub mod catalog;
pub mod position;

pub mod visit;

pub mod document;

pub mod config;
pub mod metrics;
pub mod telemetry;

pub mod log;
pub mod source;

pub mod feed;
pub mod gate;
pub mod session;

pub mod schemas;

pub mod health;

pub mod http;
pub mod intake;

pub mod canary;

pub mod admin;

pub mod demo;

pub mod app;

pub mod cli;
