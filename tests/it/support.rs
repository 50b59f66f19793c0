//! The rig: a real Apache Kafka, the gateway as a process, exact clients, and a checker that
//! counts.

#![allow(dead_code, reason = "the targets share the rig, and none needs all of it")]

pub mod certificate;
pub mod checker;
pub mod client;
pub mod cutter;
pub mod elsewhere;
pub mod gateway;
pub mod intake;
pub mod kafka;
pub mod link;
pub mod packed;
pub mod peer;
pub mod process;
pub mod prometheus;
pub mod reading;
pub mod served;
pub mod sse;

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// No single step that is waited for takes longer, on however slow a machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `is` is true; fails with `what` when it is not in time.
#[track_caller]
pub fn eventually(what: &str, is: impl FnMut() -> bool) {
    within(PATIENCE, what, is);
}

/// The same for what takes long even on a fast machine.
#[track_caller]
pub fn within(patience: Duration, what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + patience;
    while !is() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for what is asked of a real Kafka.
pub fn block_on<T>(question: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    RUNTIME.block_on(question)
}

/// A port that is free now, and that no outgoing connection is given meanwhile.
#[must_use]
pub fn free_port() -> u16 {
    // Free is also what another test was given and has not taken yet.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Below the range that Linux takes the ports of outgoing connections from (32768 and above).
    let mut ports = std::iter::repeat_with(|| rand::random_range(12_000..32_000));
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let free = ports.find(|port| is_free(*port) && given.insert(*port));
    free.expect("the iterator is endless")
}
