//! A reader that trusts nothing: plain sockets, chunk by chunk, line by line.
//!
//! It fails where the server breaks its promises about the bytes: a chunk that ends inside an
//! event, fields in another order, a stream that ends without its last chunk.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Type};

use super::PATIENCE;

/// A response: its head is read, its body is not.
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: BufReader<TcpStream>,
}

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `message`, `gap`, ...; empty where only an id came.
    pub name: String,
    /// `id:`, empty if there was none.
    pub id: String,
    /// `data:`.
    pub data: String,
}

/// A body's bytes as they come, not looked into.
pub struct Bytes {
    body: BufReader<TcpStream>,
    chunked: bool,
}

/// How reading ended.
#[derive(Debug)]
#[allow(dead_code, reason = "what a connection broke with is read in a failure's text")]
pub enum End {
    /// The last chunk came.
    Whole,
    /// The connection broke, or was silent for too long.
    Cut(io::Error),
}

/// `GET`, where nothing may be silent for longer than `patience`: the head, and then the body.
pub fn get_within(
    patience: Duration,
    to: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response> {
    let socket = TcpStream::connect_timeout(&to, patience)?;
    send_within(patience, socket, &message("GET", path, headers, b""))
}

/// `GET` as HTTP/1.0 has it.
pub fn get_1_0(to: SocketAddr, path: &str) -> io::Result<Response> {
    send(TcpStream::connect(to)?, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
}

/// Sends a request and reads the response's head.
pub fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    send(TcpStream::connect(to)?, &message(method, path, headers, body))
}

/// `GET` from this address.
pub fn get_from(from: IpAddr, to: SocketAddr, path: &str) -> io::Result<Response> {
    let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    send(socket.into(), &message("GET", path, &[], b""))
}

fn message(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: example.org\r\n");
    if !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

fn send(socket: TcpStream, message: &[u8]) -> io::Result<Response> {
    send_within(PATIENCE, socket, message)
}

fn send_within(patience: Duration, mut socket: TcpStream, message: &[u8]) -> io::Result<Response> {
    socket.set_read_timeout(Some(patience))?;
    socket.set_nodelay(true)?;
    // A reader that pauses is then soon felt by the server, and not by the kernel's buffers alone.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 64 * 1024)?;
    socket.write_all(message)?;
    Response::read(BufReader::with_capacity(64 * 1024, socket))
}

/// `GET`.
pub fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
    request(to, "GET", path, headers, b"")
}

/// `POST` of JSON; status and body.
pub fn post(to: SocketAddr, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let headers = [("content-type", "application/json"), ("connection", "close")];
    let response = request(to, "POST", path, &headers, body)?;
    Ok((response.status, response.text()?))
}

impl Response {
    fn read(mut body: BufReader<TcpStream>) -> io::Result<Self> {
        let mut lines = Vec::new();
        loop {
            let line = line(&mut body)?;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let status = lines.first().and_then(|l| l.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let headers = lines.iter().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Self { status, headers: headers.collect(), body })
    }

    /// A header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The whole body of a response that has a length.
    pub fn text(mut self) -> io::Result<Vec<u8>> {
        let length = self.header("content-length").and_then(|l| l.parse().ok());
        let mut body = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
        self.body.read_exact(&mut body)?;
        Ok(body)
    }

    /// The bytes of a stream, chunked or until the connection's end.
    #[must_use]
    pub fn bytes(self) -> Bytes {
        let chunked = self.header("transfer-encoding") == Some("chunked");
        Bytes { body: self.body, chunked }
    }

    /// The events of a stream.
    #[must_use]
    pub fn events(self) -> Events {
        assert_eq!(self.status, 200, "no stream was opened");
        assert_eq!(self.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(self.header("transfer-encoding"), Some("chunked"));
        Events {
            body: self.body,
            chunk: Vec::new(),
            at: 0,
            retry: None,
            greeted: false,
            patience: PATIENCE,
            rechunked: false,
        }
    }

    /// The first lines of an NDJSON stream that say something.
    #[must_use]
    pub fn lines(mut self, how_many: usize) -> Vec<String> {
        assert_eq!(self.status, 200, "no stream was opened");
        let (mut text, mut chunk) = (Vec::new(), Vec::new());
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "the lines do not come");
            read_chunk(&mut self.body, &mut chunk).expect("the stream goes on");
            assert_eq!(chunk.last(), Some(&b'\n'), "no chunk ends inside a line");
            text.extend_from_slice(&chunk);
            assert_eq!(text[0], b'\n', "the first byte is a line break");
            let all = std::str::from_utf8(&text).expect("UTF-8");
            let lines: Vec<_> = all.lines().filter(|line| !line.is_empty()).collect();
            if lines.len() >= how_many {
                return lines.into_iter().take(how_many).map(str::to_owned).collect();
            }
        }
    }
}

impl Bytes {
    /// What comes next. Without chunks the end of the connection is a whole end.
    pub fn next(&mut self) -> Result<Vec<u8>, End> {
        let mut bytes = Vec::new();
        if self.chunked {
            return read_chunk(&mut self.body, &mut bytes).map(|()| bytes);
        }
        bytes.extend_from_slice(self.body.fill_buf().map_err(End::Cut)?);
        self.body.consume(bytes.len());
        if bytes.is_empty() { Err(End::Whole) } else { Ok(bytes) }
    }

    /// The connection.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.body.get_ref()
    }
}

/// Reads events.
pub struct Events {
    body: BufReader<TcpStream>,
    chunk: Vec<u8>,
    at: usize,
    /// What `retry:` said last.
    pub retry: Option<u64>,
    greeted: bool,
    patience: Duration,
    /// Somebody between may have cut the chunks anew.
    rechunked: bool,
}

impl Events {
    /// The next event, also one that has only an id. Keepalives are no events, and waiting on them
    /// alone has an end.
    pub fn next(&mut self) -> Result<Event, End> {
        let until = Instant::now() + self.patience;
        loop {
            if self.at == self.chunk.len() {
                self.next_chunk()?;
            }
            if let Some(event) = self.next_in_chunk() {
                return Ok(event);
            }
            if Instant::now() > until {
                return Err(End::Cut(io::ErrorKind::TimedOut.into()));
            }
        }
    }

    /// The next event with data; fails when none comes.
    #[track_caller]
    pub fn message(&mut self) -> Event {
        loop {
            let event = self.next().unwrap_or_else(|end| panic!("no event came: {end:?}"));
            if event.name == "message" {
                return event;
            }
        }
    }

    /// How long a read may be silent, and bring no event.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
        self.body.get_ref().set_read_timeout(Some(patience)).expect("more than nothing");
    }

    /// A proxy is between, which makes chunks of its own: what belongs together is put together.
    pub fn expect_other_chunks(&mut self) {
        self.rechunked = true;
    }

    /// Waits for `:ok`: nothing that is acknowledged from here on is missed.
    #[track_caller]
    pub fn greet(&mut self) {
        assert!(!self.greeted, "it was read already");
        self.next_chunk().expect("the stream begins");
    }

    fn next_chunk(&mut self) -> Result<(), End> {
        self.chunk.clear();
        self.at = 0;
        let mut piece = Vec::new();
        loop {
            read_chunk(&mut self.body, &mut piece)?;
            self.chunk.extend_from_slice(&piece);
            if !self.rechunked || is_whole(&self.chunk) {
                break;
            }
        }
        assert_eq!(self.chunk.last(), Some(&b'\n'), "no chunk ends inside a line");
        if !std::mem::replace(&mut self.greeted, true) {
            assert!(self.chunk.starts_with(b":ok\n\n"), "the first bytes are :ok");
        }
        Ok(())
    }

    /// The next event of the chunk; `None`: there is none in its rest.
    fn next_in_chunk(&mut self) -> Option<Event> {
        let rest = std::str::from_utf8(&self.chunk[self.at..]).expect("UTF-8");
        let (mut event, mut fields) = (Event::default(), 0);
        let mut taken = 0;
        for line in rest.split_inclusive('\n') {
            taken += line.len();
            let line = line.strip_suffix('\n').expect("whole lines");
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            match name {
                "" if fields > 0 => {
                    self.at += taken;
                    return Some(event);
                }
                "" | ":" | ":ok" => continue,
                "event" if fields == 0 => value.clone_into(&mut event.name),
                "id" if fields <= 1 => value.clone_into(&mut event.id),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "retry" => {
                    self.retry = value.parse().ok();
                    continue;
                }
                _ => panic!("unexpected line: {line}"),
            }
            fields += 1;
        }
        assert_eq!(fields, 0, "a chunk ends inside an event: {rest}");
        self.at = self.chunk.len();
        None
    }
}

/// Whether this ends outside of events.
fn is_whole(bytes: &[u8]) -> bool {
    let events = bytes.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
    let rest = bytes[events..].split_inclusive(|byte| *byte == b'\n');
    let mut rest =
        rest.map(|line| (line == b":\n" || line.starts_with(b"retry: ")) && line.ends_with(b"\n"));
    rest.all(|is_said| is_said)
}

/// Reads one chunk.
fn read_chunk(body: &mut BufReader<TcpStream>, chunk: &mut Vec<u8>) -> Result<(), End> {
    let size = line(body).map_err(End::Cut)?;
    let size = usize::from_str_radix(&size, 16).expect("a chunk's size");
    chunk.resize(size + 2, 0);
    body.read_exact(chunk).map_err(End::Cut)?;
    assert!(chunk.ends_with(b"\r\n"), "a chunk ends with CRLF");
    chunk.truncate(size);
    if size == 0 { Err(End::Whole) } else { Ok(()) }
}

/// A line without its end.
fn line(body: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    body.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
