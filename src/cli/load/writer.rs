//! Sends events, at a rate that does not depend on how fast they are answered.
//!
//! ```text
//!  ticket n is due at begin + n / rate ─▶ whichever connection is free ─▶ one post ─▶ its answer
//! ```
//! Each connection has a thread, a writer number and a sequence of its own, so that what one
//! writer sent is in order whatever happens between connections. A number that was refused is
//! used again; one of which nobody knows whether it was taken is not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::measure::{Tally, Times, now_us};
use super::scan::Mark;
use super::target::Target;
use super::template::Template;
use super::wire::{Head, Part, Wire};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that was idle for longer is made anew: the server may be about to close it.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// After a connection broke.
const PAUSE: Duration = Duration::from_millis(100);
/// At most so long until a writer sees that it is to stop.
const NAP: Duration = Duration::from_millis(20);
/// Writers of one run; their numbers differ in the last byte only.
pub(super) const WRITERS_MAX: usize = 256;

/// What is to be sent.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) method: String,
    /// Lines of the request head, each with its line end.
    pub(super) headers: String,
    pub(super) template: Template,
    /// Events per second, of all connections together.
    pub(super) rate: f64,
    /// Events in one request; with more than one they are sent as a JSON array.
    pub(super) batch: usize,
    pub(super) connections: usize,
    /// The first writer's number; the others follow.
    pub(super) first_writer: u64,
}

/// What became of it.
pub(super) struct Written {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// Events by the status that their request got.
    pub(super) statuses: Tally,
    /// Events of which it is not known whether they were taken, by what happened.
    pub(super) unknown: Tally,
    /// How much later than due a request was sent.
    pub(super) late: Times,
    /// From the request to its whole answer.
    pub(super) answer: Times,
    /// One after the last number that was acknowledged, by writer.
    pub(super) goals: Vec<u64>,
    pub(super) seconds: f64,
}

/// Writers at work.
pub(super) struct Writers {
    threads: Vec<JoinHandle<Written>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    begin: Instant,
}

impl Writers {
    pub(super) fn start(plan: Plan) -> Self {
        let (begin, plan, tickets) = (Instant::now(), Arc::new(plan), Arc::new(AtomicU64::new(0)));
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..plan.connections as u64).map(|number| {
            let mut writer = Writer {
                plan: Arc::clone(&plan),
                writer: plan.first_writer + number,
                next_seq: 0,
                connection: None,
                written: Written::new(),
                acknowledged: Arc::clone(&acknowledged),
            };
            let (tickets, stop) = (Arc::clone(&tickets), Arc::clone(&stop));
            std::thread::spawn(move || {
                writer.run(begin, &tickets, &stop);
                writer.written
            })
        });
        Self { threads: threads.collect(), stop, acknowledged, begin }
    }

    /// Events that were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Lets them send nothing more; they end with the answers that are under way.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// No answer is under way any more.
    pub(super) fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the answers that are under way.
    pub(super) fn finish(self) -> Written {
        let seconds = self.begin.elapsed().as_secs_f64();
        let mut sum = Written { seconds, ..Written::new() };
        for thread in self.threads {
            sum.add(thread.join().expect("a writer does not panic"));
        }
        sum
    }
}

impl Written {
    fn new() -> Self {
        Self {
            sent: 0,
            acknowledged: 0,
            statuses: Tally::new(),
            unknown: Tally::new(),
            late: Times::new(),
            answer: Times::new(),
            goals: Vec::new(),
            seconds: 0.0,
        }
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        for (sum, counts) in
            [(&mut self.statuses, other.statuses), (&mut self.unknown, other.unknown)]
        {
            for (what, count) in counts {
                *sum.entry(what).or_default() += count;
            }
        }
        self.late.add(&other.late);
        self.answer.add(&other.answer);
        self.goals.extend(other.goals);
    }
}

struct Writer {
    plan: Arc<Plan>,
    writer: u64,
    next_seq: u64,
    connection: Option<Connection>,
    written: Written,
    acknowledged: Arc<AtomicU64>,
}

struct Connection {
    socket: TcpStream,
    used: Instant,
}

impl Writer {
    fn run(&mut self, begin: Instant, tickets: &AtomicU64, stop: &AtomicBool) {
        let mut goal = 0;
        loop {
            let ticket = tickets.fetch_add(1, Ordering::Relaxed);
            let after = ticket as f64 * self.plan.batch as f64 / self.plan.rate;
            let due = begin + Duration::from_secs_f64(after);
            if !sleep_until(due, stop) {
                break;
            }
            if self.write(due) {
                goal = self.next_seq;
            }
        }
        self.written.goals.push(goal);
    }

    /// Sends one request; whether its events were taken.
    fn write(&mut self, due: Instant) -> bool {
        let count = self.plan.batch as u64;
        let message = self.request();
        let sent = Instant::now();
        self.written.late.record(sent.saturating_duration_since(due));
        self.written.sent += count;
        match self.exchange(&message) {
            Ok(status) => {
                *self.written.statuses.entry(status.to_string()).or_default() += count;
                self.written.answer.record(sent.elapsed());
                // 207: only some of them were taken.
                let is_taken = (200..300).contains(&status) && status != 207;
                if is_taken {
                    self.next_seq += count;
                    self.written.acknowledged += count;
                    self.acknowledged.fetch_add(count, Ordering::Relaxed);
                }
                is_taken
            }
            Err(error) => {
                *self.written.unknown.entry(error.kind().to_string()).or_default() += count;
                self.next_seq += count;
                self.connection = None;
                std::thread::sleep(PAUSE);
                false
            }
        }
    }

    fn request(&self) -> Vec<u8> {
        let plan = &*self.plan;
        let mut body = Vec::new();
        let sent_us = now_us();
        for n in 0..plan.batch as u64 {
            if plan.batch > 1 {
                body.push(if n == 0 { b'[' } else { b',' });
            }
            let mark = Mark { sent_us, seq: self.next_seq + n, writer: self.writer };
            plan.template.print(mark, &mut body);
        }
        if plan.batch > 1 {
            body.push(b']');
        }
        let Plan { method, target: Target { path, authority, .. }, headers, .. } = plan;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {authority}\r\n{headers}\
             content-length: {length}\r\n\r\n"
        );
        [head.into_bytes(), body].concat()
    }

    /// Sends a request; the status of its answer.
    fn exchange(&mut self, message: &[u8]) -> std::io::Result<u16> {
        let kept = self.connection.take().filter(|c| c.used.elapsed() < IDLE_MAX);
        let mut socket = match kept {
            Some(connection) => connection.socket,
            None => {
                let socket = TcpStream::connect(self.plan.target.addr)?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                socket
            }
        };
        socket.write_all(message)?;
        let head = read_answer(&mut socket)?;
        if !head.closes {
            self.connection = Some(Connection { socket, used: Instant::now() });
        }
        Ok(head.status)
    }
}

/// Sleeps; false when it is time to stop.
fn sleep_until(due: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(NAP));
    }
}

/// Reads a whole answer.
fn read_answer(socket: &mut impl Read) -> std::io::Result<Head> {
    let (mut wire, mut answer, mut body_bytes) = (Wire::default(), None::<Head>, 0_u64);
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = match socket.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let mut bytes = &buffer[..n];
        while let Some(part) = wire.next(&mut bytes) {
            match part {
                Part::Head(head) => answer = Some(head),
                Part::Payload(payload) => body_bytes += payload.len() as u64,
            }
        }
        let is_whole = match (&wire, answer) {
            (Wire::Broken, _) => return Err(std::io::ErrorKind::InvalidData.into()),
            (Wire::Ended, _) => true,
            (Wire::Plain, Some(Head { status: 204, .. })) => true,
            (Wire::Plain, Some(Head { length: Some(length), .. })) => body_bytes >= length,
            (Wire::Plain, Some(Head { length: None, .. })) => n == 0,
            (Wire::Head(_) | Wire::Chunked(_) | Wire::Plain, _) => false,
        };
        match answer {
            Some(mut head) if is_whole => {
                head.closes |= n == 0;
                return Ok(head);
            }
            _ if n == 0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}
