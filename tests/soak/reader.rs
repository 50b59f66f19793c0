//! A reader: takes everything in, keeps its last id, and comes back wherever it can.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use tidegate::feed::encode::Encoding;

use crate::clock::Orders;
use crate::event;
use crate::oracle::{Account, Book, Told};
use crate::support::PATIENCE;
use crate::support::packed::Unpacker;
use crate::support::sse::{self, End, Response};

/// A connection that is silent for longer is given up. Keepalives come more often.
const SILENCE: Duration = Duration::from_secs(5);
/// Odd things that are told in full.
const ODD_MAX: usize = 20;

/// What all readers share.
pub struct Shared {
    /// What was written.
    pub book: Book,
    /// Where everyone has to come to, once nothing is written any more.
    pub goal: OnceLock<Vec<i64>>,
    /// Connections that were opened, and tries that came to nothing.
    pub connections: AtomicU64,
    /// See `connections`.
    pub refused: AtomicU64,
    /// Nothing that comes has any use any more.
    pub is_over: AtomicBool,
    odd: Mutex<Vec<String>>,
}

impl Shared {
    /// Before anything has happened.
    #[must_use]
    pub fn new(book: Book) -> Self {
        Self {
            book,
            goal: OnceLock::new(),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            odd: Mutex::default(),
        }
    }

    /// Something happened that never may.
    pub fn is_odd(&self, what: String) {
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if odd.len() < ODD_MAX {
            odd.push(what);
        }
    }

    /// What happened that never may.
    #[must_use]
    pub fn odd(&self) -> Vec<String> {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One reader.
pub struct Reader {
    /// Which one.
    pub number: usize,
    /// Ways to the gateways; a reader that cannot stay at one goes to the next.
    pub ways: Vec<SocketAddr>,
    /// Path and query.
    pub path: String,
    /// How its streams come.
    pub encoding: Option<Encoding>,
    /// A pause after every hundred events, as long as something is written.
    pub pause: Duration,
    /// What it has to do.
    pub orders: Arc<Orders>,
    /// What is common.
    pub shared: Arc<Shared>,
    /// Its places.
    pub places: Vec<usize>,
}

/// A reader at work.
struct Run {
    reader: Reader,
    account: Account,
    last_id: Option<String>,
    /// When something came.
    progress: Instant,
    events: usize,
}

#[derive(Deserialize)]
struct Gaps<'a> {
    #[serde(borrow)]
    gaps: Vec<Gap<'a>>,
}

#[derive(Deserialize)]
struct Gap<'a> {
    topic: &'a str,
    partition: i32,
    from: i64,
    to: Option<i64>,
    reason: &'a str,
}

impl Reader {
    /// Reads until the goal, or until nothing has come for so long that nothing will.
    pub fn run(self) -> Account {
        let mut rng = StdRng::seed_from_u64(self.number as u64);
        let account = Account::of(&self.places);
        let mut way = self.number % self.ways.len();
        let progress = Instant::now();
        let mut run = Run { reader: self, account, last_id: None, progress, events: 0 };
        while !run.is_done() {
            if run.reader.orders.is_away.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            if run.connection(run.reader.ways[way]).is_none() {
                run.reader.shared.refused.fetch_add(1, Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(rng.random_range(50..200)));
            }
            way = (way + 1) % run.reader.ways.len();
        }
        run.account
    }
}

impl Run {
    fn is_done(&self) -> bool {
        let Some(goal) = self.reader.shared.goal.get() else { return false };
        let waited = self.progress.elapsed() > PATIENCE;
        waited
            || self.account.has_come_to(goal)
            || self.reader.shared.is_over.load(Ordering::Acquire)
    }

    /// One connection. `None`: no stream was opened.
    fn connection(&mut self, to: SocketAddr) -> Option<()> {
        let id = self.last_id.as_deref();
        let headers: Vec<_> = id.into_iter().map(|id| ("last-event-id", id)).collect();
        let response = sse::get_within(SILENCE, to, &self.reader.path, &headers).ok()?;
        match response.status {
            200 => {}
            503 => return None,
            status => {
                self.odd(&format!("status {status} for {headers:?}"));
                return None;
            }
        }
        self.reader.shared.connections.fetch_add(1, Ordering::AcqRel);
        self.stream(response);
        Some(())
    }

    fn stream(&mut self, response: Response) {
        let named = response.header("content-encoding");
        if named != self.reader.encoding.map(Encoding::as_str) {
            self.odd(&format!("content-encoding {named:?}"));
        }
        let mut bytes = response.bytes();
        let mut unpacker = Unpacker::new(self.reader.encoding);
        let (mut text, mut heard): (Vec<u8>, _) = (Vec::new(), Instant::now());
        let orders = Arc::clone(&self.reader.orders);
        while heard.elapsed() < SILENCE && !self.is_done() {
            while orders.stalls.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if orders.is_away.load(Ordering::Acquire) {
                return;
            }
            match bytes.next() {
                Ok(piece) => unpacker.push(&piece),
                Err(End::Whole) => return unpacker.end(),
                Err(End::Cut(_)) => return,
            }
            heard = Instant::now();
            text.extend_from_slice(&unpacker.take());
            let mut at = 0;
            while let Some(end) = memchr::memmem::find(&text[at..], b"\n\n") {
                self.block(&text[at..at + end]);
                at += end + 2;
            }
            text.drain(..at);
        }
    }

    /// What stands between two empty lines.
    fn block(&mut self, block: &[u8]) {
        let (mut name, mut id, mut data) = (&b""[..], &b""[..], &b""[..]);
        for line in block.split(|byte| *byte == b'\n') {
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let value = line.get(colon + 2..).unwrap_or_default();
            match &line[..colon] {
                b"" | b"retry" => {}
                b"event" => name = value,
                b"id" => id = value,
                b"data" => data = value,
                _ => self.odd(&format!("line {}", String::from_utf8_lossy(line))),
            }
        }
        match name {
            b"message" => self.message(id, data),
            b"gap" => self.gap(data),
            b"error" | b"refused" => {}
            b"" if id.is_empty() && data.is_empty() => {}
            b"" => drop(self.passed(id)),
            _ => self.odd(&format!("event {}", String::from_utf8_lossy(name))),
        }
    }

    /// What an id says, by place. The first one says where the reader begins.
    fn passed(&mut self, id: &[u8]) -> Option<Vec<(usize, i64)>> {
        let by_place = self.reader.shared.book.positions(id);
        let (Some(by_place), Ok(text)) = (by_place, std::str::from_utf8(id)) else {
            self.odd(&format!("id {}", String::from_utf8_lossy(id)));
            return None;
        };
        if self.last_id.is_none() {
            self.account.begin(&by_place);
        }
        let last = self.last_id.get_or_insert_default();
        last.clear();
        last.push_str(text);
        Some(by_place)
    }

    fn message(&mut self, id: &[u8], data: &[u8]) {
        self.progress = Instant::now();
        let Some(id) = self.passed(id) else { return };
        let shared = Arc::clone(&self.reader.shared);
        let placed = |came: event::Came<'_>| {
            let (topic, partition) = came.place;
            Some((shared.book.place(topic, partition)?, came.offset, came.n, came.sent_ms))
        };
        let Some((place, offset, n, sent_ms)) = event::parse(data).and_then(placed) else {
            return self.odd(&format!("data {}", String::from_utf8_lossy(data)));
        };
        shared.book.delivered(place, offset, n);
        self.account.take(place, offset, &id);
        self.reader.orders.newest_ms[place].fetch_max(sent_ms, Ordering::AcqRel);
        self.events += 1;
        let is_written = shared.goal.get().is_none();
        if is_written && self.events.is_multiple_of(100) && !self.reader.pause.is_zero() {
            std::thread::sleep(self.reader.pause);
        }
    }

    fn gap(&mut self, data: &[u8]) {
        let Ok(Gaps { gaps }) = serde_json::from_slice(data) else {
            return self.odd(&format!("gap {}", String::from_utf8_lossy(data)));
        };
        for gap in gaps {
            let Some(place) = self.reader.shared.book.place(gap.topic, gap.partition) else {
                self.odd(&format!("gap {}", String::from_utf8_lossy(data)));
                continue;
            };
            let by_retention = gap.reason == "retention" && gap.to.is_some();
            let range = gap.from..gap.to.unwrap_or(gap.from);
            self.account.tell(Told { place, range, by_retention });
        }
    }

    fn odd(&self, what: &str) {
        self.reader.shared.is_odd(format!("reader {}: {what}", self.reader.number));
    }
}
