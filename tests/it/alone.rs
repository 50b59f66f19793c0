//! The tests that load the whole machine, or that cannot stand that others do: a target of its own,
//! which `scripts/test.sh` runs one test after another.

mod browser;
mod burst;
mod crowds;
mod hostile;
mod moves;
mod sites;
mod support;
