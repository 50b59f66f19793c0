//! The gateways, each behind the way that its readers take.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::lanes::Machinery;
use crate::oracle::Book;
use crate::schedule::{Fault, Kind};
use crate::support::gateway::{Gateway, Streams};
use crate::support::link::Link;
use crate::support::sse;

/// How often a gateway's memory is looked at.
const LOOK_EVERY_MS: u64 = 1_000;

/// Gateways and the ways to them.
pub struct Gateways {
    all: Vec<Gateway>,
    links: Vec<Link>,
    /// Of each gateway; 0: it does not run.
    pids: Arc<Vec<AtomicU32>>,
}

impl Gateways {
    /// These, already running.
    #[must_use]
    pub fn new(all: Vec<Gateway>) -> Self {
        let links = all.iter().map(|gateway| Link::new(gateway.public())).collect();
        let pids = Arc::new(all.iter().map(|gateway| AtomicU32::new(gateway.pid())).collect());
        Self { all, links, pids }
    }

    /// Ways to them.
    #[must_use]
    pub fn ways(&self) -> Vec<SocketAddr> {
        self.links.iter().map(Link::address).collect()
    }

    /// The first one itself, without a way between.
    #[must_use]
    pub fn first(&self) -> SocketAddr {
        self.all[0].public()
    }

    /// The first offset of each place that the first gateway still has, as `since=0` tells.
    #[must_use]
    pub fn kept_from(&self, streams: Streams<'_>, book: &Book) -> Vec<i64> {
        let names: Vec<_> = streams.iter().map(|(name, _)| *name).collect();
        let path = format!("/v2/stream/{}?since=0&id=first", names.join(","));
        let mut events = sse::get(self.first(), &path, &[]).expect("an answer").events();
        let first = events.next().expect("an id");
        let mut kept_from = vec![0; book.names().count()];
        for (place, offset) in book.positions(first.id.as_bytes()).expect("an id of ours") {
            kept_from[place] = offset;
        }
        kept_from
    }

    fn go(&mut self, n: usize) {
        self.all[n].go();
        self.pids[n].store(self.all[n].pid(), Ordering::Release);
    }

    /// Half a batch at the end of the log, as a power cut leaves it.
    fn tear(&self, fault: &Fault) {
        let files = std::fs::read_dir(self.all[fault.target].log_dir()).expect("its log");
        let files = files.flatten().map(|entry| entry.path());
        let last = files.filter(|path| path.extension().is_some_and(|e| e == "seg")).max();
        let file = std::fs::File::options().append(true).open(last.expect("a segment"));
        let bytes = (0..1 + fault.at_ms % 300).map(|n| (n * 31 + fault.at_ms) as u8);
        file.expect("it can be written").write_all(&bytes.collect::<Vec<_>>()).expect("written");
    }

    /// Looks at their memory until told to stop.
    #[must_use]
    pub fn look(&self, clock: Clock, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<Look>> {
        let (pids, stop) = (Arc::clone(&self.pids), Arc::clone(stop));
        std::thread::spawn(move || {
            let mut looks = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let kb = pids.iter().map(|pid| resident_kb(pid.load(Ordering::Acquire)));
                looks.push(Look { at_ms: clock.ms(), resident_kb: kb.collect() });
                std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
            }
            looks
        })
    }
}

/// The gateways' memory at a moment.
#[derive(Debug, Clone, Serialize)]
pub struct Look {
    /// When, in ms of the run's clock.
    pub at_ms: u64,
    /// Of each gateway; 0: it does not run.
    pub resident_kb: Vec<u64>,
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

impl Machinery for Gateways {
    fn begin(&mut self, fault: &Fault) {
        let n = fault.target;
        if matches!(fault.kind, Kind::GatewayKill | Kind::GatewayTorn | Kind::GatewayTerm) {
            self.pids[n].store(0, Ordering::Release);
        }
        match fault.kind {
            Kind::GatewayKill => self.all[n].kill(),
            Kind::GatewayTorn => {
                self.all[n].kill();
                self.tear(fault);
            }
            Kind::GatewayTerm => {
                let status = self.all[n].terminate();
                assert!(status.success(), "it ends well: {status}");
            }
            Kind::GatewayFreeze => self.all[n].signal("-STOP"),
            Kind::GatewayCut => self.links[n].cut(),
            Kind::GatewayHeld => self.links[n].hold(),
            other => unreachable!("{other:?} is not of this lane"),
        }
    }

    fn end(&mut self, fault: &Fault) {
        let n = fault.target;
        match fault.kind {
            Kind::GatewayKill | Kind::GatewayTorn | Kind::GatewayTerm => self.go(n),
            Kind::GatewayFreeze => self.all[n].signal("-CONT"),
            Kind::GatewayHeld => self.links[n].release(),
            _ => {}
        }
    }
}
