//! Peers that mean no good, or behave as if: none of them is noticed by the others, and each ends
//! by its own limit, for one reason that is counted.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::peer::{connect_from, hear, heard, says_from, vanish};
use crate::support::reading::{Reading, are_all, has, offsets, write};

const STREAM: &str = "/v2/stream/s";
const ATTACKER: [u8; 4] = [127, 0, 0, 66];
/// What the gateway may have in these tests; a process of ours takes some forty of them.
const DESCRIPTORS: u32 = 400;

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(&[("s", &["t"])], more)
}

/// Readers that are there before, and stay.
struct Readers {
    all: Vec<JoinHandle<Reading>>,
    last: Arc<AtomicUsize>,
}

impl Readers {
    fn of(gateway: &Gateway, how_many: usize) -> Self {
        let last = Arc::new(AtomicUsize::new(usize::MAX));
        let start = |_| {
            let mut reading = Reading::open_at(gateway.public(), STREAM, None);
            let last = Arc::clone(&last);
            std::thread::spawn(move || {
                let is_all = |text: &str| {
                    let last = last.load(Ordering::Acquire);
                    last != usize::MAX && has(last as u64)(text)
                };
                reading.until("all events", is_all);
                reading
            })
        };
        let all = (0..how_many).map(start).collect();
        Self { all, last }
    }

    /// All of them have got each of these events once, and the one that is written now.
    fn have_got(self, events: usize, gateway: &Gateway) {
        self.last.store(events, Ordering::Release);
        write(gateway.public(), 1, 100);
        for reader in self.all {
            let reading = reader.join().expect("it got all");
            are_all(&offsets(reading.text()), 0, events as u64 + 1);
        }
    }
}

fn ended(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric_of("tidegate_connections_ended_total", &format!("reason=\"{reason}\""))
}

fn streams_ended(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric_of("tidegate_streams_ended_total", &format!("reason=\"{reason}\""))
}

/// The answer is the listener's or the routes', depending on how much of it was too much.
fn too_large(gateway: &Gateway) -> f64 {
    let reason = "reason=\"request_header_fields_too_large\"";
    let metrics = ["tidegate_connections_ended_total", "tidegate_refusals_total"];
    metrics.iter().map(|metric| gateway.metric_of(metric, reason)).sum()
}

fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("Linux").count()
}

/// Whoever has not been here before gets a stream and its next event; the host says it is ready,
/// and is far from its limit of descriptors.
fn the_others_are_served(gateway: &Gateway, (host, n): (u8, usize)) {
    let ask = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n");
    let fresh = says_from([127, 0, 1, host], gateway.public(), ask.as_bytes()).expect("connect");
    assert!(hear(&fresh, ":ok\n\n").starts_with("HTTP/1.1 200 "));
    write(gateway.public(), 1, 100);
    hear(&fresh, &format!("\"n\":{n},"));
    let ready = gateway.ask_admin("/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(descriptors(gateway) <= DESCRIPTORS as usize - 64, "{}", descriptors(gateway));
    let waiting = gateway.metric("tidegate_connections_waiting");
    assert!(waiting <= 36.0, "{waiting} connections without a stream");
}

/// Whether the other side has said something, or has ended it.
fn is_answered(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).expect("a socket");
    !matches!(socket.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn ten_thousand_idle_sockets_of_one_address_take_nothing_from_the_others() {
    let limits = "[limits]\nconnections_per_client = 20\n\
                  [budgets.attacker]\nprefixes = [\"127.0.0.66\"]\nstreams = 4\n";
    let gateway = Gateway::embedded_within(DESCRIPTORS, &[("s", &["t"])], limits);
    let readers = Readers::of(&gateway, 5);
    let (to, opened) = (gateway.public(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&opened);
    let attack = std::thread::spawn(move || {
        let mut held: std::collections::VecDeque<TcpStream> = std::collections::VecDeque::new();
        for n in 0..10_000 {
            let half = if n % 2 == 0 { &b""[..] } else { b"GET /v2/stream/s HTTP/1.1\r\nhost: " };
            // They are cut so fast that not all can say their half.
            held.extend(says_from(ATTACKER, to, half));
            // Who goes before the gateway has looked makes room for the next.
            if held.len() > 2000
                && let Some(oldest) = held.pop_front()
                && !is_answered(&oldest)
            {
                held.push_back(oldest);
            }
            counted.store(n + 1, Ordering::Release);
        }
        held
    });
    let mut events = 0;
    while opened.load(Ordering::Acquire) < 10_000 || events < 20 {
        the_others_are_served(&gateway, (u8::try_from(events % 200 + 1).expect("small"), 0));
        events += 1;
    }
    let held = attack.join().expect("it only connects");
    assert!(held.len() >= 2000);
    eventually("no more than its own are left", || {
        gateway.metric("tidegate_connections_waiting") <= 20.0
    });
    drop(held);
    readers.have_got(events, &gateway);
    eventually("they were turned away", || ended(&gateway, "crowded") >= 9000.0);
    eventually("none is left", || gateway.metric("tidegate_connections_waiting") == 0.0);
}

#[test]
fn idle_sockets_of_many_addresses_give_way_to_who_comes_for_a_stream() {
    let gateway = Gateway::embedded_within(DESCRIPTORS, &[("s", &["t"])], "");
    let readers = Readers::of(&gateway, 3);
    let mut held = Vec::new();
    for n in 0..120 {
        held.push(connect_from([127, 0, 2, n / 3], gateway.public()).expect("connect"));
    }
    for n in 0..5 {
        the_others_are_served(&gateway, (n + 1, 0));
    }
    assert!(ended(&gateway, "crowded") >= 80.0, "{}", ended(&gateway, "crowded"));
    readers.have_got(5, &gateway);
    drop(held);
    eventually("none is left", || gateway.metric("tidegate_connections_waiting") == 0.0);
}

#[test]
fn streams_that_are_displaced_and_stay_do_not_use_the_descriptors_up() {
    let gateway = Gateway::embedded_within(DESCRIPTORS, &[("s", &["t"])], "");
    let ask = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n");
    let open = |from| says_from(from, gateway.public(), ask.as_bytes()).expect("connect");
    // All that there are; and each that comes then displaces one, whose client does not close.
    let greedy: Vec<_> = (0..108).map(|_| open(ATTACKER)).collect();
    eventually("the host is full", || gateway.metric("tidegate_streams_open") == 108.0);
    let others: Vec<_> = (0..200).map(|n| open([127, 0, 3, n])).collect();
    for n in 0..5 {
        assert!(gateway.ask_admin("/readyz").starts_with("HTTP/1.1 200 "));
        assert!(descriptors(&gateway) < DESCRIPTORS as usize, "round {n}");
        write(gateway.public(), 1, 100);
    }
    eventually("no more are open than may be", || {
        gateway.metric("tidegate_streams_open") == 108.0 && descriptors(&gateway) < 300
    });
    drop((greedy, others));
    eventually("none is left", || gateway.metric("tidegate_streams_open") == 0.0);
}

/// A head, a byte at a time, until the other side has enough. What it says to that.
fn slow_head(gateway: &Gateway) -> JoinHandle<String> {
    let socket = connect_from([127, 0, 0, 41], gateway.public()).expect("connect");
    std::thread::spawn(move || {
        for byte in format!("GET {STREAM} HTTP/1.1\r\nx: {}", "y".repeat(100_000)).bytes() {
            if (&socket).write_all(&[byte]).is_err() {
                break;
            }
            // It is told before it has to find out by a reset.
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("more than nothing");
            if socket.peek(&mut [0]).is_ok() {
                break;
            }
        }
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("more than nothing");
        heard(&socket)
    })
}

#[test]
fn hostile_peers_of_every_kind_end_for_their_own_reason_and_the_readers_miss_nothing() {
    let gateway = gateway("[session]\nstall_s = 2\nkeepalive_s = 1\n[limits]\nhead_s = 1\n");
    let readers = Readers::of(&gateway, 10);
    let from = |host| [127, 0, 0, host];
    let ask = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n");

    let slow: Vec<_> = (0..5).map(|_| slow_head(&gateway)).collect();
    let idle: Vec<_> =
        (0..5).map(|_| connect_from(from(42), gateway.public()).expect("connect")).collect();
    let big = format!("GET {STREAM} HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    let big: Vec<_> =
        (0..5).map(|_| says_from(from(43), gateway.public(), big.as_bytes())).collect();
    let noise = says_from(from(44), gateway.public(), b"\x16\x03\x01 nothing of ours\r\n\r\n");
    let talks = says_from(from(45), gateway.public(), ask.as_bytes()).expect("connect");
    hear(&talks, ":ok\n\n");
    let _ = (&talks).write_all(&[b'x'; 10_000]);
    let stuck = says_from(from(46), gateway.public(), ask.as_bytes()).expect("connect");
    hear(&stuck, ":ok\n\n");

    let mut events = 0;
    while streams_ended(&gateway, "stalled") == 0.0 {
        write(gateway.public(), 50, 4000);
        events += 50;
        assert!(events < 20_000, "it takes all of it");
        // On a fast machine, too, it takes longer than the stall may.
        std::thread::sleep(Duration::from_millis(20));
    }
    for said in slow.into_iter().map(|slow| slow.join().expect("it only writes")) {
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    assert!(idle.iter().all(|idle| heard(idle).is_empty()));
    for said in big.into_iter().map(|big| heard(&big.expect("sent"))) {
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    }
    assert!(heard(&noise.expect("sent")).starts_with("HTTP/1.1 400 "));
    readers.have_got(events, &gateway);
    eventually("each is counted", || {
        ended(&gateway, "request_timeout") == 5.0
            && ended(&gateway, "idle") >= 5.0
            && too_large(&gateway) == 5.0
            && ended(&gateway, "bad_request") == 1.0
            && streams_ended(&gateway, "client_talks") == 1.0
            && streams_ended(&gateway, "stalled") == 1.0
    });
    eventually("none is left", || {
        gateway.metric("tidegate_streams_open") == 0.0
            && gateway.metric("tidegate_connections_waiting") == 0.0
    });
    drop((talks, stuck));
}

#[test]
fn a_peer_whose_system_is_gone_loses_its_stream_though_nothing_fills_its_socket() {
    let gateway = gateway("[session]\nstall_s = 1\nkeepalive_s = 1\n");
    let ask = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n");
    let open = || says_from([127, 0, 0, 47], gateway.public(), ask.as_bytes()).expect("connect");
    let (gone, there) = (open(), open());
    write(gateway.public(), 1, 100);
    for socket in [&gone, &there] {
        hear(socket, "retry: ");
    }
    vanish(&gone);
    eventually("it is given up", || streams_ended(&gateway, "vanished") == 1.0);
    assert_eq!(gateway.metric("tidegate_streams_open"), 1.0);
    // Quiet is not gone.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(gateway.metric("tidegate_streams_open"), 1.0);
    assert_eq!(streams_ended(&gateway, "client_closed"), 0.0);
    drop((gone, there));
}

/// Connections of the gateway's public port that the kernel knows as open.
fn established(gateway: &Gateway) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let port = format!(":{:04X}", gateway.public().port());
    let is_ours = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        local.ends_with(&port) && state == "01"
    };
    table.lines().filter(is_ours).count()
}

#[test]
fn after_a_kill_and_a_restart_the_number_held_is_again_the_number_of_open_sockets() {
    let mut gateway = gateway("[limits]\nhead_s = 1\n");
    let ask = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n");
    for round in 0..3 {
        let mut open = Vec::new();
        for n in 0..60u8 {
            let from = [127, 0, 5, n % 10];
            let socket = match n % 6 {
                0 => says_from(from, gateway.public(), b"GET /nothing HTTP/1.1\r\n\r\n"),
                1 => says_from(from, gateway.public(), b"GET /v2/stream/none HTTP/1.1\r\n\r\n"),
                2 => says_from(from, gateway.public(), &ask.as_bytes()[..usize::from(n) / 2]),
                _ => says_from(from, gateway.public(), ask.as_bytes()),
            };
            let socket = socket.expect("connect");
            if n % 6 > 2 {
                hear(&socket, ":ok\n\n");
                open.push(socket);
            }
        }
        // Some hang up, some are reset.
        for n in 0..10 {
            let socket = open.remove(n);
            if n % 2 == 0 {
                let reset = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                reset.expect("set");
            }
        }
        eventually("what is held is what is open", || {
            gateway.metric("tidegate_streams_open") == 20.0
                && gateway.metric("tidegate_connections_waiting") == 0.0
                && established(&gateway) == 20
        });
        if round == 2 {
            drop(open);
            eventually("and nothing at the end", || {
                gateway.metric("tidegate_streams_open") == 0.0 && established(&gateway) == 0
            });
            break;
        }
        gateway.kill();
        gateway.go();
        assert_eq!(gateway.metric("tidegate_streams_open"), 0.0);
    }
}

/// The statuses of all answers to these bytes, until the connection is closed.
fn answers(gateway: &Gateway, bytes: &str) -> Vec<u16> {
    let socket = says_from([127, 0, 0, 48], gateway.public(), bytes.as_bytes()).expect("sent");
    let said = heard(&socket);
    let status = |(at, _): (usize, &str)| said.get(at + 9..at + 12)?.parse().ok();
    said.match_indices("HTTP/1.1 ").filter_map(status).collect()
}

/// A request that must never be read as one, since it lies in the body of another.
const HIDDEN: &str = "GET /_info/name HTTP/1.1\r\nhost: t\r\n\r\n";

#[test]
fn a_request_that_can_be_read_in_two_ways_is_read_in_none() {
    let gateway = gateway("[limits]\nhead_s = 1\n");
    let post = |headers: &str, body: &str| {
        format!("POST /v1/events HTTP/1.1\r\nhost: t\r\n{headers}\r\n{body}")
    };
    let get = |rest: &str| format!("GET /_info/name HTTP/1.1\r\n{rest}\r\n");
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    let turned = "transfer-encoding: chunked\r\ncontent-length: 5\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    // One that would be taken.
    let event = "17\r\n{\"meta\":{\"stream\":\"s\"}}\r\n0\r\n\r\n";
    assert_eq!(answers(&gateway, &post(chunked, event)), [201]);
    let refused = [
        post("content-length: 4\r\ncontent-length: 40\r\n", &format!("[]  {HIDDEN}")),
        post("content-length: 4, 40\r\n", &format!("[]  {HIDDEN}")),
        post("content-length: +4\r\n", &format!("[]  {HIDDEN}")),
        post("content-length: 4 4\r\n", &format!("[]  {HIDDEN}")),
        post("content-length: 0x4\r\n", &format!("[]  {HIDDEN}")),
        post("content-length: 99999999999999999999\r\n", HIDDEN),
        post("transfer-encoding: xchunked\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        post("transfer-encoding: chunked, identity\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        post("transfer-encoding: identity\r\n", HIDDEN),
        post("transfer-encoding : chunked\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        post("content-length : 4\r\n", &format!("[]  {HIDDEN}")),
        post("transfer-encoding: \x0bchunked\r\n", &format!("0\r\n\r\n{HIDDEN}")),
        post("x: y\r\n transfer-encoding: chunked\r\n", HIDDEN),
        post("x: y\r\n\tz\r\n", HIDDEN),
        post("x: y\rtransfer-encoding: chunked\r\n", HIDDEN),
        post("x: y\0\r\n", HIDDEN),
        post(": y\r\n", HIDDEN),
        post(" x: y\r\n", HIDDEN),
        get("host\r\n"),
        "GET /_info/name\r\n\r\n".to_owned(),
        "GET  /_info/name HTTP/1.1\r\n\r\n".to_owned(),
        "GET /_info/na me HTTP/1.1\r\n\r\n".to_owned(),
        "GET /_info/name HTTP/1.1 \r\n\r\n".to_owned(),
        "GET /_info/name HTTP/9.9\r\n\r\n".to_owned(),
        "G@T /_info/name HTTP/1.1\r\n\r\n".to_owned(),
    ];
    for request in refused {
        assert_eq!(answers(&gateway, &request), [400], "{request:?}");
    }
    // Whatever a chunk's size is taken for, what follows is no request of its own.
    for sizes in ["0x5", "5 5", "+5", "-1", "5;\nx", "ffffffffffffffffff", "", " 5", "5\n", "g"] {
        let request = post(chunked, &format!("{sizes}\r\n[1,2]\r\n0\r\n\r\n{HIDDEN}"));
        let said = answers(&gateway, &request);
        assert!(said.len() <= 1 && said != [200], "{request:?}: {said:?}");
    }
    // The chunks count, and not a length beside them; nothing is read after such a body.
    for headers in [both, turned, chunked] {
        assert_eq!(answers(&gateway, &post(headers, &format!("{event}{HIDDEN}"))), [201]);
    }
    // A line that ends with LF alone may be taken for one, but then by all of its lines.
    let said = answers(&gateway, "GET /nothing HTTP/1.1\nhost: t\n\n");
    assert!(said == [404] || said == [400], "{said:?}");
}

#[test]
fn a_body_where_none_belongs_is_read_to_its_end_and_what_follows_is_the_next_request() {
    let gateway = gateway("[limits]\nhead_s = 1\n");
    let with_body = |path: &str, body: &str| {
        let length = body.len();
        format!("GET {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let missing = "GET /nothing HTTP/1.1\r\nhost: t\r\n\r\n";
    let two = with_body("/_info/name", HIDDEN) + missing;
    assert_eq!(answers(&gateway, &two), [200, 404]);
    let two = with_body("/v2/stream/none", HIDDEN) + missing;
    assert_eq!(answers(&gateway, &two), [400, 404]);
    // A stream's client has nothing more to say, and is not answered twice.
    let stream = with_body(STREAM, HIDDEN) + missing;
    let socket = says_from([127, 0, 0, 48], gateway.public(), stream.as_bytes()).expect("sent");
    assert!(hear(&socket, ":ok\n\n").starts_with("HTTP/1.1 200 "));
    drop(socket);
    let pipelined = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n{HIDDEN}");
    let socket = says_from([127, 0, 0, 48], gateway.public(), pipelined.as_bytes()).expect("sent");
    assert!(hear(&socket, ":ok\n\n").starts_with("HTTP/1.1 200 "));
    write(gateway.public(), 1, 100);
    let next = hear(&socket, "event: message\n");
    assert!(!next.contains("HTTP/1.1"), "{next}");
    drop(socket);
    eventually("none is left", || gateway.metric("tidegate_streams_open") == 0.0);
}

#[test]
fn odd_forms_and_paths_are_answered_once_and_open_nothing_that_they_do_not_name() {
    let gateway = gateway("[limits]\nhead_s = 1\n");
    let ask = |method: &str, target: &str, more: &str| {
        answers(&gateway, &format!("{method} {target} HTTP/1.1\r\nhost: t\r\n{more}\r\n"))
    };
    let h2c = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    assert_eq!(ask("GET", "/_info/name", h2c), [200], "served as it is");
    let websocket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    assert_eq!(ask("GET", "/_info/name", websocket), [200]);
    for (target, status) in [
        ("http://any.host/_info/name", 200),
        ("HTTP://u:p@any.host:99/_info/name", 200),
        ("/v2/stream/../../_info/name", 404),
        ("/v2/stream/..%2f..%2f_info", 400),
        ("/v2/stream/%2e%2e", 400),
        ("/v2/stream/s%00", 400),
        ("/v2/stream/s%0d%0ax:%20y", 400),
        ("/v2/stream/s;v=1", 400),
        ("/v2/stream/%73%2Cnone", 400),
        ("/v2/stream/,,,", 400),
        ("//v2/stream/s", 404),
        ("/./v2/stream/s", 404),
        ("/v2//stream/s", 404),
        ("/v2/stream/s/..", 404),
        ("*", 404),
    ] {
        assert_eq!(ask("GET", target, ""), [status], "{target}");
    }
    assert_eq!(ask("CONNECT", "any.host:443", ""), [404]);
    assert_eq!(ask("TRACE", STREAM, "x-secret: y\r\n"), [404]);
    let opened = gateway.metric("eventstreams_client_connections_total");
    assert_eq!(opened, 0.0, "no stream was opened");
    // In absolute form a stream is one.
    let absolute = format!("GET http://any.host{STREAM} HTTP/1.1\r\nhost: t\r\n\r\n");
    let socket = says_from([127, 0, 0, 48], gateway.public(), absolute.as_bytes()).expect("sent");
    assert!(hear(&socket, ":ok\n\n").starts_with("HTTP/1.1 200 "));
}
