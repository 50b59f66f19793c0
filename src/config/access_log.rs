//! `[access_log]`: whether each stream's end has a line in the log.

use super::reader::{Findings, Section};

/// What the log says of clients' addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// All of them.
    Whole,
    /// Their /24 (IPv4), their /48 (IPv6).
    Prefix,
    /// Nothing.
    None,
}

/// `[access_log]`: what is said of addresses, if each stream's end has a line.
pub(super) fn read(root: &mut Section<'_>, found: &mut Findings) -> Option<Addresses> {
    let mut section = Section::new("access_log", root.table("access_log", found));
    let enabled = section.flag("enabled", false, found);
    let addresses = section.parsed("addresses", Addresses::Prefix, found, |text| match text {
        "whole" => Ok(Addresses::Whole),
        "prefix" => Ok(Addresses::Prefix),
        "none" => Ok(Addresses::None),
        _ => Err("whole, prefix or none is accepted"),
    });
    section.finish(found);
    enabled.then_some(addresses)
}
