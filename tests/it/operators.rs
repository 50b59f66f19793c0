//! What an operator has at hand on a running gateway: `tidegate top`, `log-connections` and `drain`,
//! as processes and in a real terminal.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::str::Chars;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::reading::{STREAM, write};
use crate::support::sse;
use crate::support::{PATIENCE, eventually};

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(&[("s", &["t"])], more)
}

fn tidegate(gateway: &Gateway, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(args).args(["--admin", &format!("http://{}", gateway.admin())]);
    command.stdin(Stdio::null()).output().expect("it runs")
}

/// What a command says that does what it should.
fn says(gateway: &Gateway, args: &[&str]) -> String {
    let output = tidegate(gateway, args);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// An open stream of a client of its own.
fn reads(to: SocketAddr, host: u8, agent: &[u8]) -> TcpStream {
    use std::os::fd::OwnedFd;
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    let socket: OwnedFd = socket.expect("a socket");
    let own: SocketAddr = ([127, 0, 0, host], 0).into();
    rustix::net::bind(&socket, &own).expect("a loopback address");
    rustix::net::connect(&socket, &to).expect("connect");
    let mut socket = TcpStream::from(socket);
    let head = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\nuser-agent: ");
    socket.write_all(&[head.as_bytes(), agent, b"\r\n\r\n"].concat()).expect("send");
    socket
}

fn open(gateway: &Gateway, streams: f64) {
    eventually("they are open", || gateway.metric("tidegate_streams_open") == streams);
}

/// What the admin port answers.
fn asks(gateway: &Gateway, line: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(gateway.admin()).expect("connect");
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    let request = format!("{head}content-length: {length}\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).expect("asked");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("answered");
    text
}

/// The lines of the connection log.
fn lines(gateway: &Gateway) -> Vec<Value> {
    let all = gateway.log();
    let lines = all.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "tidegate::connections").collect()
}

fn line(gateway: &Gateway, message: &str, key: &str, value: impl Into<Value>) -> Value {
    let value = value.into();
    let is = |line: &Value| line["message"] == message && line[key] == value;
    eventually(&format!("{message}, {key} {value}"), || lines(gateway).iter().any(is));
    lines(gateway).into_iter().find(is).expect("just seen")
}

#[test]
fn connections_are_logged_from_when_they_are_asked_for_until_the_time_is_over() {
    let gateway = gateway("");
    let to = gateway.public();
    let before = reads(to, 2, b"before/1");
    open(&gateway, 1.0);
    assert!(lines(&gateway).is_empty(), "nothing is said of each connection: {}", gateway.log());
    let said = says(&gateway, &["log-connections", "--for", "1h"]);
    assert!(said.contains("3600 s"), "{said}");
    let seen = reads(to, 3, b"curl/8 \x9b2J");
    let opened = line(&gateway, "stream asked for", "status", 200);
    assert_eq!((&opened["address"], &opened["streams"]), (&"127.0.0.3".into(), &"s".into()));
    assert!(opened["agent"].as_str().is_some_and(|agent| agent.starts_with("curl/8 ")));
    write(to, 3, 100);
    eventually("delivered", || gateway.metric("tidegate_events_delivered_total") == 6.0);
    drop(seen);
    let ended = line(&gateway, "stream ended", "session", opened["session"].clone());
    assert_eq!((&ended["reason"], &ended["events"]), (&"client_closed".into(), &3.into()));
    assert!(ended["bytes"].as_u64() > Some(300) && ended["seconds"].is_u64(), "{ended}");
    // Refused, for whatever reason; and the end of one that had come before.
    let wrong = sse::get(to, "/v2/stream/nothing", &[]).expect("an answer");
    assert_eq!(wrong.status, 400);
    assert_eq!(line(&gateway, "stream asked for", "status", 400)["reason"], "not_found");
    assert!(asks(&gateway, "PATCH /admin/limits", r#"{"streams_per_client":1}"#).contains(" 200 "));
    let _refused = reads(to, 2, b"second/1");
    let refused = line(&gateway, "stream asked for", "status", 429);
    assert_eq!(
        (&refused["reason"], &refused["agent"]),
        (&"client_limit".into(), &"second/1".into())
    );
    drop(before);
    line(&gateway, "stream ended", "agent", "before/1");
    let said = says(&gateway, &["log-connections", "--for", "1s"]);
    assert!(said.contains("for 1 s"), "{said}");
    eventually("it is off by itself", || gateway.log().contains("their time is over"));
    let so_far = lines(&gateway).len();
    drop(reads(to, 5, b"after/1"));
    open(&gateway, 0.0);
    assert_eq!(lines(&gateway).len(), so_far, "nothing more is said");
}

#[test]
fn top_prints_once_what_the_gateway_holds_for_people_and_for_programs() {
    let gateway = gateway("");
    let _held: Vec<_> =
        [2, 2, 2, 3].map(|host| reads(gateway.public(), host, "evil\u{9b}2J/1".as_bytes())).into();
    open(&gateway, 4.0);
    let table = says(&gateway, &["top", "--once"]);
    assert!(table.starts_with("streams 4 of "), "{table}");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("127.0.0.")).collect();
    assert!(rows[0].starts_with("127.0.0.2 ") && rows[0].contains(" 3/-"), "{table}");
    assert!(rows[1].starts_with("127.0.0.3 ") && rows[1].contains(" 1/-"), "{table}");
    assert!(!table.contains(['\u{1b}', '\u{9b}']) && table.contains("evil"), "{table}");
    let json: Value = serde_json::from_str(&says(&gateway, &["top", "--json"])).expect("JSON");
    assert_eq!((&json["host"]["streams"], &json["clients"][0]["streams"]), (&4.into(), &3.into()));
    let nobody = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["top", "--once", "--admin", "http://127.0.0.1:9"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(!nobody.status.success() && said.contains("http://127.0.0.1:9"), "{said}");
}

/// What stands on a terminal's screen, as far as `top` uses one: places and characters.
#[derive(Default)]
struct Picture {
    cells: BTreeMap<(usize, usize), char>,
    at: (usize, usize),
}

impl Picture {
    fn of(drawn: &str) -> Self {
        let mut picture = Self::default();
        let mut rest = drawn.chars();
        while let Some(c) = rest.next() {
            match c {
                '\u{1b}' => picture.obey(&mut rest),
                '\n' => picture.at = (picture.at.0 + 1, 0),
                '\r' => picture.at.1 = 0,
                c => {
                    picture.cells.insert(picture.at, c);
                    picture.at.1 += 1;
                }
            }
        }
        picture
    }

    /// A control sequence: only where the cursor goes and when all is wiped away counts.
    fn obey(&mut self, rest: &mut Chars<'_>) {
        if rest.next() != Some('[') {
            return;
        }
        let mut numbers = String::new();
        let end = rest.find(|c| {
            numbers.push(*c);
            c.is_ascii_alphabetic()
        });
        let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
        let mut next = || numbers.next().flatten().unwrap_or(1);
        match end {
            Some('H') => self.at = (next() - 1, next() - 1),
            Some('J') => self.cells.clear(),
            _ => {}
        }
    }

    fn text(&self) -> String {
        let (mut text, mut at) = (String::new(), (0, 0));
        for (&(row, column), c) in &self.cells {
            while at.0 < row {
                text.push('\n');
                at = (at.0 + 1, 0);
            }
            text.extend(std::iter::repeat_n(' ', column - at.1));
            text.push(*c);
            at.1 = column + 1;
        }
        text
    }
}

/// A command in a terminal.
struct Terminal {
    process: Child,
    drawn: Arc<Mutex<String>>,
}

impl Terminal {
    fn run(args: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/terminal.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(env!("CARGO_BIN_EXE_tidegate")).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python3");
        let mut out = process.stdout.take().expect("a pipe");
        let drawn = Arc::new(Mutex::new(String::new()));
        let sees = Arc::clone(&drawn);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut bytes) {
                sees.lock().expect("sound").push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Self { process, drawn }
    }

    fn picture(&self) -> String {
        Picture::of(&self.drawn.lock().expect("sound")).text()
    }

    /// Waits until this stands on the screen.
    #[track_caller]
    fn shows(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.picture().contains(text) {
            assert!(Instant::now() < until, "not shown: {text:?} in\n{}", self.picture());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.process.stdin.as_mut().expect("a pipe").write_all(keys.as_bytes()).expect("pressed");
    }

    /// The process that draws.
    fn child(&self) -> String {
        let drawn = self.drawn.lock().expect("sound").clone();
        drawn.split(' ').nth(1).expect("a number").to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[test]
fn top_in_a_terminal_shows_ends_waits_and_gives_the_terminal_back() {
    let mut gateway = gateway("");
    let _held: Vec<_> = [2, 2, 3].map(|host| reads(gateway.public(), host, b"agent/1")).into();
    open(&gateway, 3.0);
    let url = format!("http://{}", gateway.admin());
    let mut top = Terminal::run(&["top", "--admin", &url]);
    top.shows("streams 3 of");
    top.shows("127.0.0.3");
    top.press("\r");
    top.shows("sessions of 127.0.0.2");
    top.shows("pump");
    top.press("d");
    top.shows("End session ");
    top.press("y");
    open(&gateway, 2.0);
    top.press("\u{1b}");
    top.shows("127.0.0.3");
    top.press("b");
    top.shows("Block 127.0.0.2 for an hour? y/n");
    top.press("n");
    top.shows("q quit");
    gateway.kill();
    top.shows("GONE");
    top.press("s");
    gateway.go();
    let _back = reads(gateway.public(), 9, b"agent/2");
    top.shows("127.0.0.9");
    top.press("q");
    top.shows("ended 0, the terminal is restored");
}

#[test]
fn top_gives_the_terminal_back_whatever_ends_it() {
    let gateway = gateway("");
    let url = format!("http://{}", gateway.admin());
    let mut top = Terminal::run(&["top", "--admin", &url]);
    top.shows("streams 0 of");
    top.press("\u{3}");
    top.shows("ended 0, the terminal is restored");
    let top = Terminal::run(&["top", "--admin", &url]);
    top.shows("streams 0 of");
    let sent = Command::new("kill").args(["-TERM", &top.child()]).status().expect("kill");
    assert!(sent.success());
    top.shows("ended 0, the terminal is restored");
}

#[test]
fn drain_takes_the_gateway_out_of_service_and_says_when_nobody_is_left() {
    let mut gateway = gateway("");
    let mut held: Vec<_> = (2..6).map(|host| reads(gateway.public(), host, b"agent/1")).collect();
    open(&gateway, 4.0);
    let said = says(&gateway, &["drain"]);
    assert!(said.contains("4 stream(s) are open") && said.contains("no stream is left"), "{said}");
    for socket in &mut held {
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("a whole end");
        assert!(text.ends_with("0\r\n\r\n"), "{text:?}");
    }
    assert!(gateway.ends().success());
    let output = tidegate(&gateway, &["drain"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("cannot connect"), "{said}");
}
