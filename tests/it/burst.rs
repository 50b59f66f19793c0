//! A tail that is far behind and makes up for it: more than the ring holds, at once. Who reads as
//! fast as it can stays live.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use memchr::memmem::Finder;

use crate::support::gateway::Gateway;
use crate::support::reading::STREAM;
use crate::support::{PATIENCE, eventually, sse};

const READERS: usize = 200;
/// 60 MB, fifteen times what a ring holds.
const EVENTS: usize = 50_000;
const EVENT_BYTES: usize = 1200;
/// However slow the machine is that the readers share.
const LIMITS: &str = "[limits]\ntail_least_kb_s = 16\n";
/// Of one body: they are one append, and the tail sees them together.
const AT_ONCE: usize = 5_000;

/// Writes the events as fast as the intake takes them.
fn write_all(to: SocketAddr) {
    let text = "0123456789abcdef".repeat(EVENT_BYTES / 16);
    let event = format!(r#"{{"meta":{{"stream":"s"}},"text":"{text}"}}"#);
    let body = format!("[{}]", vec![event; AT_ONCE].join(","));
    for _ in 0..EVENTS / AT_ONCE {
        let (status, answer) = sse::post(to, "/v1/events", body.as_bytes()).expect("an answer");
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }
}

/// A stream without chunks, whose greeting has been read.
fn open(to: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(to).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.write_all(format!("GET {STREAM} HTTP/1.0\r\n\r\n").as_bytes()).expect("asked");
    let mut head = Vec::new();
    while !head.ends_with(b":ok\n\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("a greeting");
        head.push(byte[0]);
    }
    socket
}

/// Reads until the last event has come; fails where one is missing or comes again.
fn read_all(mut socket: TcpStream) {
    let id = Finder::new(br#"id: [{"topic":"t","partition":0,"offset":"#);
    let mut bytes = vec![0; 512 * 1024];
    let (mut kept, mut seen) = (0, 0);
    while seen < EVENTS {
        let n = socket.read(&mut bytes[kept..]).expect("more in time");
        assert!(n > 0, "it ended after {seen}");
        let all = &bytes[..kept + n];
        let mut rest = 0;
        while let Some(at) = id.find(&all[rest..]) {
            let digits = &all[rest + at + id.needle().len()..];
            let Some(end) = digits.iter().position(|byte| !byte.is_ascii_digit()) else { break };
            let next = std::str::from_utf8(&digits[..end]).expect("digits").parse::<usize>();
            assert_eq!(next, Ok(seen + 1), "the position after each event");
            seen += 1;
            rest += at + id.needle().len() + end;
        }
        // What may be the beginning of the next id.
        let from = rest.max(all.len().saturating_sub(100));
        let until = all.len();
        bytes.copy_within(from..until, 0);
        kept = until - from;
    }
}

#[test]
fn a_burst_of_many_rings_throws_no_reader_off_that_reads() {
    let gateway = Gateway::embedded(&[("s", &["t"])], LIMITS);
    let to = gateway.public();
    let readers: Vec<_> = (0..READERS).map(|_| open(to)).collect();
    eventually("all are live", || {
        gateway.metric("eventstreams_connected_clients") == READERS as f64
            && gateway.metric("tidegate_catchup_readers") == 0.0
    });
    let threads: Vec<_> = readers
        .into_iter()
        .map(|socket| {
            let thread = std::thread::Builder::new().stack_size(128 * 1024);
            thread.spawn(move || read_all(socket)).expect("a thread")
        })
        .collect();
    write_all(to);
    threads.into_iter().for_each(|thread| thread.join().expect("it got each of them once"));
    assert_eq!(gateway.metric("tidegate_fell_behind_total"), 0.0);
}
