//! The floor: the least that delivering Server-Sent Events costs with plain epoll and one thread.
//!
//! ```text
//!  floor [--listen ADDR] [--coalesce] [--sync FILE]         prints http://ADDR, and nothing else
//!  GET  any path    a stream
//!  POST any path    an event for every stream; answered 201 before it is delivered
//! ```
//! One event is one `write` per reader, in the order in which readers came. With `--coalesce`,
//! what has been posted by the time a pass begins goes as one buffer, so that a pass is one `write`
//! per reader however many events there are. An event has on the wire the shape and the size that
//! it has in Tidegate. With `--sync` an event is appended to a file and synced (fdatasync) before it
//! is answered and delivered, as whoever promises not to lose it must. There is no history, no admission, no keepalive, no memory beyond a ring of
//! frames for sockets that are full: who falls out of it is cut.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const BACKLOG: i32 = 4096;
const READY_MAX: usize = 1024;
/// Frames that are kept for sockets that are full.
const FRAMES_MAX: usize = 8192;
/// Bytes that one write of a coalescing pass may have.
const PASS_BYTES_MAX: usize = 256 * 1024;
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: text/event-stream; charset=utf-8\r\n\
    cache-control: no-cache\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
    5\r\n:ok\n\n\r\n";
const TAKEN: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";

/// What an epoll event is about.
#[derive(Clone, Copy)]
enum Name {
    Listener,
    Request(usize),
    Reader(usize),
}

impl Name {
    fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(match self {
            Self::Listener => 0,
            Self::Request(n) => (n as u64) << 2 | 1,
            Self::Reader(n) => (n as u64) << 2 | 2,
        })
    }

    fn of(data: u64) -> Self {
        let n = (data >> 2) as usize;
        match data & 3 {
            1 => Self::Request(n),
            2 => Self::Reader(n),
            _ => Self::Listener,
        }
    }
}

/// A connection that is no stream (yet).
struct Request {
    socket: OwnedFd,
    text: Vec<u8>,
}

/// A stream. `next` is the frame that its next byte is in, `offset` where in it.
struct Reader {
    socket: Option<OwnedFd>,
    next: u64,
    offset: u32,
    is_full: bool,
}

struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    coalesce: bool,
    sync: Option<File>,
    requests: Vec<Option<Request>>,
    free_requests: Vec<usize>,
    readers: Vec<Reader>,
    free_readers: Vec<usize>,
    /// The last frames; the last of them has the number `head - 1`.
    frames: VecDeque<Box<[u8]>>,
    head: u64,
    /// Frames up to this number have been given to all readers that are not full.
    passed: u64,
    buffer: Vec<u8>,
}

fn main() -> io::Result<()> {
    let (mut listen, mut coalesce) = (SocketAddr::from(([127, 0, 0, 1], 0)), false);
    let mut sync = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--coalesce" => coalesce = true,
            "--sync" => {
                let path = arguments.next().ok_or_else(|| io::Error::other("--sync FILE"))?;
                sync = Some(File::options().append(true).create(true).open(path)?);
            }
            "--listen" => {
                let addr = arguments.next().and_then(|addr| addr.parse().ok());
                listen = addr.ok_or_else(|| io::Error::other("--listen ADDR:PORT"))?;
            }
            _ => return Err(io::Error::other("usage: floor [--listen ADDR] [--coalesce] [--sync FILE]")),
        }
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let mut floor = Floor::new(listen, coalesce, sync)?;
    let addr = SocketAddr::try_from(rustix::net::getsockname(&floor.listener)?)?;
    writeln!(io::stdout(), "http://{addr}")?;
    io::stdout().flush()?;
    floor.run()
}

impl Floor {
    fn new(listen: SocketAddr, coalesce: bool, sync: Option<File>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = match listen {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let listener = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        sockopt::set_tcp_nodelay(&listener, true)?; // those that it accepts have it from it
        rustix::net::bind(&listener, &listen)?;
        rustix::net::listen(&listener, BACKLOG)?;
        epoll::add(&epoll, &listener, Name::Listener.data(), epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            coalesce,
            sync,
            requests: Vec::new(),
            free_requests: Vec::new(),
            readers: Vec::new(),
            free_readers: Vec::new(),
            frames: VecDeque::new(),
            head: 0,
            passed: 0,
            buffer: vec![0; 64 * 1024],
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(READY_MAX);
        loop {
            ready.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                let epoll::Event { flags, data, .. } = *event;
                match Name::of(data.u64()) {
                    Name::Listener => self.accept()?,
                    Name::Request(n) => self.read_request(n),
                    Name::Reader(n) => self.reader_is_ready(n, flags),
                }
                if !self.coalesce {
                    self.pass();
                }
            }
            while self.passed < self.head {
                self.pass();
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let n = self.free_requests.pop().unwrap_or(self.requests.len());
            epoll::add(&self.epoll, &socket, Name::Request(n).data(), epoll::EventFlags::IN)?;
            let request = Some(Request { socket, text: Vec::new() });
            match self.requests.get_mut(n) {
                Some(place) => *place = request,
                None => self.requests.push(request),
            }
        }
    }

    fn read_request(&mut self, n: usize) {
        let Some(request) = &mut self.requests[n] else { return };
        let is_over = match rustix::io::read(&request.socket, &mut self.buffer[..]) {
            Ok(0) => true,
            Ok(got) => {
                request.text.extend_from_slice(&self.buffer[..got]);
                request.text.len() > REQUEST_BYTES_MAX
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            Err(_) => true,
        };
        if is_over {
            self.requests[n] = None;
            self.free_requests.push(n);
            return;
        }
        let Some((head, body, end)) = whole(&request.text) else { return };
        if head.starts_with(b"POST ") {
            let frame = frame(body, self.head);
            request.text.drain(..end);
            if let Some(file) = &mut self.sync
                && let Err(error) = file.write_all(&frame).and_then(|()| file.sync_data())
            {
                panic!("the event cannot be kept: {error}");
            }
            // A poster that does not take 50 bytes has gone.
            let _ = rustix::io::write(&request.socket, TAKEN);
            self.frames.push_back(frame);
            self.head += 1;
            if self.frames.len() > FRAMES_MAX {
                self.frames.pop_front();
            }
        } else if let Some(Request { socket, .. }) = self.requests[n].take() {
            self.free_requests.push(n);
            self.open(socket);
        }
    }

    fn open(&mut self, socket: OwnedFd) {
        let n = self.free_readers.pop().unwrap_or(self.readers.len());
        let wanted = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        let watched = epoll::modify(&self.epoll, &socket, Name::Reader(n).data(), wanted);
        if watched.is_err() || rustix::io::write(&socket, STREAM_HEAD) != Ok(STREAM_HEAD.len()) {
            self.free_readers.push(n);
            return;
        }
        // What has been posted and not passed goes to those who are there when it is passed.
        let (next, offset, is_full) = (self.passed, 0, false);
        let reader = Reader { socket: Some(socket), next, offset, is_full };
        match self.readers.get_mut(n) {
            Some(place) => *place = reader,
            None => self.readers.push(reader),
        }
    }

    fn reader_is_ready(&mut self, n: usize, flags: epoll::EventFlags) {
        let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(ends) {
            return self.close(n);
        }
        if flags.contains(epoll::EventFlags::IN)
            && let Some(socket) = &self.readers[n].socket
        {
            let _ = rustix::io::read(socket, &mut self.buffer[..]); // a reader has nothing to say
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.go_on(n);
        }
    }

    /// Gives what is new to every reader that is not full, with one write each.
    fn pass(&mut self) {
        if self.passed == self.head {
            return;
        }
        let first = self.frames.len() - (self.head - self.passed) as usize;
        let mut bytes = std::mem::take(&mut self.buffer);
        let mut until = self.passed;
        bytes.clear();
        for frame in self.frames.range(first..) {
            let has_room =
                bytes.is_empty() || self.coalesce && bytes.len() + frame.len() <= PASS_BYTES_MAX;
            if !has_room {
                break;
            }
            bytes.extend_from_slice(frame);
            until += 1;
        }
        let from = self.passed;
        self.passed = until;
        for n in 0..self.readers.len() {
            let reader = &mut self.readers[n];
            let Some(socket) = &reader.socket else { continue };
            if reader.is_full || reader.next != from {
                continue;
            }
            match rustix::io::write(socket, &bytes) {
                Ok(written) if written == bytes.len() => reader.next = until,
                Ok(written) => self.fill(n, written),
                Err(Errno::AGAIN | Errno::INTR) => self.fill(n, 0),
                Err(_) => self.close(n),
            }
        }
        bytes.resize(64 * 1024, 0);
        self.buffer = bytes;
    }

    /// The socket took only so many bytes: the others follow when there is room.
    fn fill(&mut self, n: usize, written: usize) {
        self.skip(n, written);
        let wanted = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::OUT;
        self.readers[n].is_full = true;
        self.watch(n, wanted);
    }

    /// Moves a reader on by so many bytes.
    fn skip(&mut self, n: usize, written: usize) {
        let first = self.head - self.frames.len() as u64;
        let reader = &mut self.readers[n];
        let mut offset = reader.offset as usize + written;
        while let Some(frame) = self.frames.get((reader.next - first) as usize)
            && offset >= frame.len()
        {
            offset -= frame.len();
            reader.next += 1;
        }
        reader.offset = offset as u32;
    }

    /// There is room in a socket that was full.
    fn go_on(&mut self, n: usize) {
        loop {
            let first = self.head - self.frames.len() as u64;
            let reader = &self.readers[n];
            let Some(socket) = &reader.socket else { return };
            if reader.next < first {
                return self.close(n);
            }
            // Up to where the others are; from there it is in the passes again.
            if reader.next == self.passed {
                self.readers[n].is_full = false;
                return self.watch(n, epoll::EventFlags::IN | epoll::EventFlags::RDHUP);
            }
            let frame = &self.frames[(reader.next - first) as usize];
            match rustix::io::write(socket, &frame[reader.offset as usize..]) {
                Ok(written) => self.skip(n, written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.close(n),
            }
        }
    }

    fn watch(&mut self, n: usize, wanted: epoll::EventFlags) {
        let Some(socket) = &self.readers[n].socket else { return };
        if epoll::modify(&self.epoll, socket, Name::Reader(n).data(), wanted).is_err() {
            self.close(n);
        }
    }

    fn close(&mut self, n: usize) {
        if self.readers[n].socket.take().is_some() {
            self.free_readers.push(n);
        }
    }
}

/// Head, body and length of a whole request.
fn whole(text: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let end = text.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = &text[..end];
    let lines = head.split(|byte| *byte == b'\n');
    let length = lines.filter_map(|line| std::str::from_utf8(line).ok()?.split_once(':'));
    let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.next().and_then(|(_, n)| n.trim().parse().ok()).unwrap_or(0);
    let body = text.get(end..end.checked_add(length)?)?;
    Some((head, body, end + length))
}

/// An event as a chunk.
fn frame(body: &[u8], number: u64) -> Box<[u8]> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut event = format!(
        "event: message\nid: [{{\"topic\":\"floor\",\"partition\":0,\"offset\":{number},\
         \"timestamp\":{now},\"log\":\"floor0\"}}]\ndata: "
    )
    .into_bytes();
    event.extend_from_slice(body);
    event.extend_from_slice(b"\n\n");
    let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
    chunk.extend_from_slice(&event);
    chunk.extend_from_slice(b"\r\n");
    chunk.into_boxed_slice()
}
