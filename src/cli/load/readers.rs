//! Many streams in one loop: opened at a rate, read as their bytes come.
//!
//! ```text
//!  due ─▶ socket from 127.x ─▶ connect ─▶ request ─▶ head ─▶ payload ─▶ marks ─▶ books, latency
//!                               └──────────── epoll, edge-triggered ──────────┘
//! ```
//! All read into one buffer; a reader has some hundred bytes of state and no buffer. A read that
//! does not fill the buffer has emptied the socket, so a delivery costs one read and its share of
//! one wait.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::account::Account;
use super::measure::now_us;
use super::scan::{Rest, Scanner};
use super::target::{Target, source};
use super::wire::{Head, Part, Wire};

mod resume;
mod returns;
mod sample;
mod seen;

use resume::Resume;
use returns::Returns;
use sample::Sample;
pub(super) use seen::Seen;

/// What a read may take at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// Sockets that one wait may tell of.
const READY_MAX: usize = 1024;
/// The stream whose events are checked when payloads are compressed.
const SAMPLED: usize = 0;

/// What is to be opened.
pub(super) struct Plan {
    pub(super) target: Target,
    /// Further lines of the request head, each with its line end.
    pub(super) headers: String,
    pub(super) streams: u32,
    /// Addresses that they come from, and the first of them.
    pub(super) sources: (Ipv4Addr, u32),
    /// Connects per second.
    pub(super) connect_rate: f64,
    /// Connects that may be under way at once.
    pub(super) connecting_max: u32,
    /// Streams that are opened and then never read, spread among the others.
    pub(super) stalled: u32,
    /// Events after which a stream has done its work.
    pub(super) until: Option<u64>,
    /// Payloads are a gzip stream: one of them is taken apart, of the others bytes are counted.
    pub(super) gzip: bool,
    /// How long a stream stays before it leaves by itself.
    pub(super) stay: Option<Duration>,
    /// A stream that is over is begun anew.
    pub(super) again: bool,
    /// It goes on after the last id that it got, if the server ended it.
    pub(super) resume: bool,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Connecting,
    Head,
    FirstByte,
    FirstEvent,
    Running,
}

struct Reader {
    /// None: it is over.
    socket: Option<OwnedFd>,
    stage: Stage,
    /// It is open and is not read.
    is_stalled: bool,
    begun: Instant,
    events: u64,
    payload_bytes: u64,
    wire: Wire,
    rest: Rest,
    /// Where it goes on when it comes again.
    resume: Option<Box<Resume>>,
}

/// All streams.
pub(super) struct Readers {
    plan: Plan,
    request: Vec<u8>,
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    buffer: Vec<u8>,
    scanner: Scanner,
    sample: Option<Sample>,
    readers: Vec<Reader>,
    begun: Instant,
    /// Streams that have been begun and have neither a head nor an end.
    connecting: u32,
    /// Connects whose outcome is known.
    answered: u64,
    /// Streams that are not to be waited for any more: they are over, stalled, or have had enough.
    done: u32,
    returns: Returns,
    pub(super) account: Account,
    pub(super) seen: Seen,
}

impl Readers {
    pub(super) fn new(plan: Plan, account: Account) -> anyhow::Result<Self> {
        let Target { path, authority, .. } = &plan.target;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {authority}\r\naccept: text/event-stream\r\n{}\r\n",
            plan.headers
        );
        Ok(Self {
            request: request.into_bytes(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll instance")?,
            ready: Vec::with_capacity(READY_MAX),
            buffer: vec![0; BUFFER_BYTES],
            scanner: Scanner::new(),
            sample: plan.gzip.then(Sample::default),
            readers: Vec::with_capacity(plan.streams as usize),
            begun: Instant::now(),
            connecting: 0,
            answered: 0,
            done: 0,
            returns: Returns::new(plan.stay, plan.again),
            account,
            seen: Seen::new(),
            plan,
        })
    }

    /// All have been begun, and none is between connect and head for the first time.
    pub(super) fn are_open(&self) -> bool {
        let known = self.connecting == 0
            || self.returns.come() && self.answered >= u64::from(self.plan.streams);
        self.readers.len() == self.plan.streams as usize && known
    }

    /// There is none that anything more is expected of.
    pub(super) fn are_done(&self) -> bool {
        self.plan.streams > 0 && self.done == self.plan.streams
    }

    /// How many of the events up to these numbers have not come to streams that are read.
    pub(super) fn missing(&self, goals: &[u64]) -> u64 {
        let reading = self.readers.iter().enumerate().filter(|(_, reader)| {
            reader.socket.is_some() && !reader.is_stalled && reader.stage > Stage::Head
        });
        let known = reading.filter(|(n, _)| self.sample.is_none() || *n == SAMPLED);
        known.map(|(n, _)| self.account.missing(n, goals)).sum()
    }

    /// The fewest and the most payload bytes of a stream that is open and read.
    pub(super) fn payload_bounds(&self) -> (u64, u64) {
        let reading = self.readers.iter().filter(|reader| {
            reader.socket.is_some() && !reader.is_stalled && reader.stage > Stage::Head
        });
        let bytes = reading.map(|reader| reader.payload_bytes);
        bytes
            .fold(None, |bounds, n| match bounds {
                None => Some((n, n)),
                Some((least, most)) => Some((n.min(least), n.max(most))),
            })
            .unwrap_or_default()
    }

    /// Begins what is due, then waits for bytes, at most so long, and takes them.
    pub(super) fn turn(&mut self, wait_max: Duration) -> anyhow::Result<()> {
        self.leave_due();
        let wait = wait_max.min(self.open_due()?).min(self.returns.idle(Instant::now()));
        let wait = Timespec::try_from(wait).context("a short time")?;
        self.ready.clear();
        let room = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, room, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for bytes"),
        }
        for n in 0..self.ready.len() {
            let epoll::Event { flags, data, .. } = self.ready[n];
            let reader = usize::try_from(data.u64()).context("a number of ours")?;
            self.take(reader, flags);
        }
        Ok(())
    }

    /// Gives up on streams that have no head yet; not on those that come again and again.
    pub(super) fn give_up_connecting(&mut self) {
        if self.returns.come() {
            return;
        }
        for n in 0..self.readers.len() {
            if self.readers[n].socket.is_some() && self.readers[n].stage <= Stage::Head {
                self.fail(n, "no answer in time");
            }
        }
    }

    /// Begins the connects that are due; how long until the next is.
    fn open_due(&mut self) -> anyhow::Result<Duration> {
        let idle = Duration::MAX;
        while self.connecting < self.plan.connecting_max
            && let Some(number) = self.returns.next()
        {
            let resume = self.resume(number as usize);
            if !self.open(number, resume)? {
                return Ok(idle);
            }
        }
        loop {
            let begun = self.readers.len() as u32;
            if begun == self.plan.streams || self.connecting >= self.plan.connecting_max {
                return Ok(idle);
            }
            let due = Duration::from_secs_f64(f64::from(begun) / self.plan.connect_rate);
            if let Some(early) = due.checked_sub(self.begun.elapsed()).filter(|d| !d.is_zero()) {
                return Ok(early);
            }
            let resume = self.plan.resume.then(Box::default);
            self.open(begun, resume)?;
        }
    }

    /// Ends streams that have stayed long enough.
    fn leave_due(&mut self) {
        let now = Instant::now();
        while let Some((number, begun)) = self.returns.leaver(now) {
            let reader = &mut self.readers[number as usize];
            if reader.begun == begun && reader.socket.take().is_some() {
                self.seen.left += 1;
                self.seen.open -= 1;
                self.ended(number as usize);
            }
        }
    }

    /// A stream is over, whatever way.
    fn ended(&mut self, n: usize) {
        self.readers[n].socket = None;
        self.done += u32::from(!self.returns.come());
        self.returns.over(n as u32);
    }

    /// Where a stream goes on that comes again. One that was cut may have got an id and not the
    /// event: it begins with what comes first.
    fn resume(&mut self, n: usize) -> Option<Box<Resume>> {
        let reader = &mut self.readers[n];
        let was_cut = reader.stage > Stage::Head && !matches!(reader.wire, Wire::Ended);
        let resume = reader.resume.take().filter(|_| !was_cut);
        if resume.as_ref().is_none_or(|resume| resume.id().is_none()) {
            self.account.begins_anew(n);
        }
        self.plan.resume.then(|| {
            let mut resume = resume.unwrap_or_default();
            resume.comes_again();
            resume
        })
    }

    /// Begins a connect; false: it failed at once.
    fn open(&mut self, number: u32, resume: Option<Box<Resume>>) -> anyhow::Result<bool> {
        let stalled =
            |n: u32| u64::from(n) * u64::from(self.plan.stalled) / u64::from(self.plan.streams);
        let mut reader = Reader {
            socket: None,
            stage: Stage::Connecting,
            is_stalled: stalled(number + 1) > stalled(number),
            begun: Instant::now(),
            events: 0,
            payload_bytes: 0,
            wire: Wire::default(),
            rest: Rest::default(),
            resume,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let socket =
            rustix::net::socket_with(family, kind, flags, None).context("open a socket")?;
        let from = SocketAddrV4::new(source(number, self.plan.sources), 0);
        // Of an address that many come from, ports are in use for a while after each.
        let connected = rustix::net::bind(&socket, &from)
            .and_then(|()| rustix::net::connect(&socket, &self.plan.target.addr));
        let wanted = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let name = epoll::EventData::new_u64(u64::from(number));
        epoll::add(&self.epoll, &socket, name, wanted).context("watch a socket")?;
        reader.socket = Some(socket);
        match self.readers.get_mut(number as usize) {
            Some(place) => *place = reader,
            None => self.readers.push(reader),
        }
        self.connecting += 1;
        self.seen.begun += 1;
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(true),
            Err(error) => {
                self.fail(number as usize, &what(error));
                Ok(false)
            }
        }
    }

    /// A socket is ready.
    fn take(&mut self, n: usize, flags: epoll::EventFlags) {
        let reader = &mut self.readers[n];
        let Some(socket) = &reader.socket else { return };
        if reader.stage == Stage::Connecting {
            let error = match sockopt::socket_error(socket) {
                Ok(Ok(())) => None,
                Ok(Err(error)) | Err(error) => Some(error),
            };
            if let Some(error) = error {
                return self.fail(n, &what(error));
            }
            if !flags.contains(epoll::EventFlags::OUT) {
                return;
            }
            self.seen.connect.record(reader.begun.elapsed());
            reader.stage = Stage::Head;
            let id = reader.resume.as_ref().and_then(|resume| resume.id());
            let own = id.map(|id| resume::request(&self.request, id));
            let request = own.as_ref().unwrap_or(&self.request);
            match rustix::net::send(socket, request, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == request.len() => {}
                Ok(_) => return self.fail(n, "the request was not taken at once"),
                Err(error) => return self.fail(n, &what(error)),
            }
        }
        let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(ends | epoll::EventFlags::IN) {
            self.read(n, flags.intersects(ends));
        }
    }

    /// Reads what there is; `to_the_end`: up to the end of the connection.
    fn read(&mut self, n: usize, to_the_end: bool) {
        loop {
            let Some(socket) = &self.readers[n].socket else { return };
            // `recv` goes to the socket at once; `read` passes through the file layer first.
            let got = match rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return self.over(n, None),
                Ok((got, _)) => got,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(error) => return self.over(n, Some(error)),
            };
            self.seen.wire_bytes += got as u64;
            self.digest(n, got);
            if self.readers[n].is_stalled && self.readers[n].stage > Stage::Head {
                return self.stall(n);
            }
            if got < self.buffer.len() && !to_the_end {
                return;
            }
        }
    }

    /// Takes bytes that were read apart.
    fn digest(&mut self, n: usize, got: usize) {
        let now = now_us();
        let Self { buffer, readers, seen, account, scanner, sample, .. } = self;
        let reader = &mut readers[n];
        let (mut bytes, mut answer, before) = (&buffer[..got], None, account.deliveries);
        while let Some(part) = reader.wire.next(&mut bytes) {
            let payload = match part {
                Part::Head(head) => {
                    answer = Some(head);
                    if head.status != 200 {
                        break;
                    }
                    seen.head.record(reader.begun.elapsed());
                    reader.stage = Stage::FirstByte;
                    continue;
                }
                Part::Payload(payload) => payload,
            };
            if reader.stage == Stage::FirstByte {
                seen.first_byte.record(reader.begun.elapsed());
                reader.stage = Stage::FirstEvent;
            }
            seen.payload_bytes += payload.len() as u64;
            reader.payload_bytes += payload.len() as u64;
            let text = match sample {
                None => payload,
                Some(_) if n != SAMPLED => continue,
                Some(sample) => sample.inflate(payload),
            };
            seen.decoded_bytes += payload.len() as u64;
            seen.inflated_bytes += text.len() as u64;
            if let Some(resume) = &mut reader.resume {
                resume.read(text);
            }
            let is_first = reader.stage < Stage::Running;
            seen.blocks += scanner.scan(text, &mut reader.rest, |mark| {
                if account.came(n, mark) {
                    let latency_us = now.saturating_sub(mark.sent_us);
                    seen.latency.record_us(latency_us);
                    if is_first && account.deliveries == before + 1 {
                        seen.first_latency.record_us(latency_us);
                    }
                }
            });
        }
        let came = account.deliveries - before;
        if came > 0 {
            self.delivered(n, came);
        }
        if let Some(head) = answer {
            self.answered(n, head);
        }
        match &self.readers[n].wire {
            Wire::Ended | Wire::Broken => self.over(n, None),
            _ => {}
        }
    }

    fn delivered(&mut self, n: usize, came: u64) {
        let now = Instant::now();
        let reader = &mut self.readers[n];
        if reader.stage < Stage::Running {
            self.seen.first_event.record(now.saturating_duration_since(reader.begun));
            reader.stage = Stage::Running;
        }
        self.seen.last_delivery = Some(now);
        let before = reader.events;
        reader.events += came;
        if self.plan.until.is_some_and(|until| before < until && reader.events >= until) {
            self.done += 1;
        }
    }

    fn answered(&mut self, n: usize, head: Head) {
        self.connecting -= 1;
        self.answered += 1;
        if head.status == 200 {
            self.seen.open += 1;
            self.seen.opened += 1;
            self.returns.opened(n as u32, self.readers[n].begun);
            return;
        }
        *self.seen.refused.entry(head.status.to_string()).or_default() += 1;
        self.ended(n);
    }

    /// Leaves it open and never reads it again.
    fn stall(&mut self, n: usize) {
        if let Some(socket) = &self.readers[n].socket
            && epoll::delete(&self.epoll, socket).is_ok()
        {
            self.done += 1;
        }
    }

    /// The connection has ended.
    fn over(&mut self, n: usize, error: Option<Errno>) {
        let reader = &mut self.readers[n];
        if reader.socket.is_none() {
            return;
        }
        if reader.stage <= Stage::Head {
            let why = match &reader.wire {
                Wire::Broken => "the answer is no HTTP".to_owned(),
                _ => error.map_or_else(|| "closed without an answer".to_owned(), what),
            };
            return self.fail(n, &why);
        }
        match reader.wire {
            Wire::Ended => self.seen.ended += 1,
            _ => self.seen.cut += 1,
        }
        self.seen.open -= 1;
        let had_enough = self.plan.until.is_some_and(|until| reader.events >= until);
        self.done -= u32::from(had_enough);
        self.ended(n);
    }

    /// It was never open.
    fn fail(&mut self, n: usize, why: &str) {
        *self.seen.failed.entry(why.to_owned()).or_default() += 1;
        self.connecting -= 1;
        self.answered += 1;
        self.ended(n);
    }
}

fn what(error: Errno) -> String {
    std::io::Error::from(error).kind().to_string()
}
