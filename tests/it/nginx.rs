//! Debian's nginx in front, as most have one: what it passes on is what the gateway sent, at once
//! and to the end, and its pooled connections reach the pump as others do.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate::feed::encode::Encoding;

use crate::support::checker::{self, Goal, Manner, Reader};
use crate::support::gateway::Gateway;
use crate::support::packed::ENCODINGS;
use crate::support::process::Process;
use crate::support::reading::{Reading, are_all, has, offsets, write};
use crate::support::served::{self, Served};
use crate::support::{eventually, free_port, sse};

/// How nginx speaks to what is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upstream {
    /// As it does by default: HTTP/1.0, a connection for each request.
    Default,
    /// HTTP/1.1, over connections that are kept.
    Pooled,
    /// As `Pooled`, and it compresses itself what comes plain.
    Gzip,
}

const ALL: [Upstream; 3] = [Upstream::Default, Upstream::Pooled, Upstream::Gzip];

/// A running nginx, in a folder of its own.
struct Nginx {
    address: SocketAddr,
    _process: Process,
    dir: tempfile::TempDir,
}

impl Nginx {
    fn before(gateway: SocketAddr, upstream: Upstream) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = dir.path().join("nginx.conf");
        std::fs::write(&config, text(dir.path(), (address, gateway), upstream)).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(&config);
        // Its master would leave its workers behind when it is killed: there is one process only.
        command.args(["-g", "daemon off; master_process off;"]);
        let file = |name| File::create(dir.path().join(name)).expect("a file");
        let files = (file("stdout"), file("stderr"));
        let mut process = Process::start(&command, &dir.path().join("pid-of-it"), files);
        eventually("nginx listens", || {
            let said = std::fs::read_to_string(dir.path().join("stderr")).unwrap_or_default();
            assert!(process.ended().is_none(), "nginx ended: {said}");
            TcpStream::connect(address).is_ok()
        });
        Self { address, _process: process, dir }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.dir.path().join("stderr"));
            println!("nginx said: {}", said.unwrap_or_default());
        }
    }
}

fn text(dir: &Path, (own, gateway): (SocketAddr, SocketAddr), upstream: Upstream) -> String {
    let location = match upstream {
        Upstream::Default => String::new(),
        Upstream::Pooled | Upstream::Gzip => {
            "proxy_http_version 1.1; proxy_set_header Connection \"\";".to_owned()
        }
    };
    let gzip = match upstream {
        Upstream::Gzip => "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;",
        Upstream::Default | Upstream::Pooled => "",
    };
    let keep = if upstream == Upstream::Default { "" } else { "keepalive 4;" };
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temp = temp.map(|name| format!("{name}_temp_path {}/{name};", dir.display())).join("\n");
    format!(
        "pid {dir}/pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    {temp}
    {gzip}
    upstream gateway {{ server {gateway}; {keep} }}
    server {{
        listen {own};
        location / {{ proxy_pass http://gateway; {location} }}
    }}
}}
",
        dir = dir.display()
    )
}

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(&[("s", &["t"])], more)
}

fn stream(encoding: Option<Encoding>, more: &str) -> String {
    let name = encoding.map_or("identity", Encoding::as_str);
    format!("/v2/stream/s?encoding={name}{more}")
}

/// The text without what each reader has of its own.
fn shared(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("retry: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_comes_through_nginx_is_what_came_out_of_the_gateway_to_the_end() {
    for upstream in ALL {
        let mut gateway = gateway("");
        let nginx = Nginx::before(gateway.public(), upstream);
        write(gateway.public(), 300, 700);
        for encoding in ENCODINGS {
            let path = stream(encoding, "&since=0");
            let direct = sse::get(gateway.public(), &path, &[]).expect("an answer");
            let through = sse::get(nginx.address, &path, &[]).expect("an answer");
            // Connections and framing are each hop's own, and what it is to do nginx keeps.
            for name in ["content-type", "content-encoding", "cache-control", "vary"] {
                assert_eq!(through.header(name), direct.header(name), "{upstream:?} {name}");
            }
        }
        let open = |to, encoding| Reading::open_at(to, &stream(encoding, "&since=0"), encoding);
        let ways = ENCODINGS
            .map(|encoding| (open(gateway.public(), encoding), open(nginx.address, encoding)));
        let mut ways: Vec<_> = ways.into_iter().collect();
        write(gateway.public(), 300, 700);
        for (direct, through) in &mut ways {
            direct.until("all of it", has(599));
            through.until("all of it, through nginx", has(599));
        }
        assert!(gateway.terminate().success());
        for (mut direct, mut through) in ways {
            let (direct, through) = (direct.read_to_the_end(), through.read_to_the_end());
            assert!(shared(&through) == shared(&direct), "{upstream:?}: another text");
            are_all(&offsets(&through), 0, 600);
        }
    }
}

#[test]
fn a_pooled_connection_that_carried_small_requests_carries_a_stream_to_the_pump() {
    for upstream in [Upstream::Pooled, Upstream::Gzip] {
        let gateway = gateway("[limits]\nstreams = 1\n");
        let nginx = Nginx::before(gateway.public(), upstream);
        for round in 0..5 {
            for _ in 0..6 {
                let info = sse::get(nginx.address, "/_info/name", &[]).expect("an answer");
                assert_eq!(info.status, 200);
            }
            let encoding = ENCODINGS[round % 4];
            let mut reading = Reading::open_at(nginx.address, &stream(encoding, ""), encoding);
            assert_eq!(gateway.metric("eventstreams_connected_clients"), 1.0);
            write(gateway.public(), 1, 100);
            reading.until("an event", |text| text.contains("\ndata: "));
            drop(reading);
            eventually("the slot is free", || {
                gateway.metric("eventstreams_connected_clients") == 0.0
            });
        }
    }
}

/// Each event is waited for before the next is written, so one that nginx keeps back is never got.
#[test]
fn nginx_keeps_no_event_back() {
    for upstream in ALL {
        let gateway = gateway("");
        let nginx = Nginx::before(gateway.public(), upstream);
        let open = |encoding| Reading::open_at(nginx.address, &stream(encoding, ""), encoding);
        let mut readers = Vec::from(ENCODINGS.map(open));
        if upstream == Upstream::Gzip {
            // What comes plain it compresses by itself.
            let (gzip, asks) = (Some(Encoding::Gzip), [("accept-encoding", "gzip")]);
            let response = sse::get(nginx.address, &stream(None, ""), &asks).expect("an answer");
            readers.push(Reading::of(response, gzip));
        }
        for n in 0..20 {
            write(gateway.public(), 1, 100);
            readers.iter_mut().for_each(|reading| reading.until("this event", has(n)));
        }
    }
}

#[test]
fn fifty_readers_through_nginx_that_are_cut_at_random_miss_nothing() {
    for upstream in ALL {
        let mut served = Served::new(&served::CONFIG.replace("lifetime_s = 1", "lifetime_s = 2"));
        let nginx = Nginx::before(served.gateway.public(), upstream);
        let started = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..50)
            .map(|seed| {
                let (goal, started) = (Goal::default(), Arc::clone(&started));
                let reader = Reader {
                    to: nginx.address,
                    path: format!("{}?since=0&encoding=identity", served::STREAM),
                    seed,
                    manner: Manner { events_max: 100, rechunked: true, ..Manner::default() },
                    goal: Arc::clone(&goal),
                };
                let started = move || {
                    started.fetch_add(1, Ordering::AcqRel);
                };
                (goal, std::thread::spawn(move || reader.run(started)))
            })
            .collect();
        eventually("all have begun", || started.load(Ordering::Acquire) == 50);
        served.go_on();
        // A connection brings a hundred events at most: each reader needs four of them.
        eventually("much is written", || served.written() >= 400);
        let ledger = served.finish();
        let mut connections = 0;
        for (goal, _) in &readers {
            goal.set(checker::goal(&ledger)).expect("set once");
        }
        for (_, thread) in readers {
            let trace = thread.join().expect("the reader does not panic");
            let report = checker::check(&trace, &ledger);
            assert!(report.is_clean() && report.unacknowledged == 0, "{upstream:?}: {report:?}");
            connections += trace.connections;
        }
        println!("{upstream:?}: {connections} connections");
        assert!(connections >= 150, "{connections}: nobody was cut");
        eventually("every slot is free", || {
            served.gateway.metric("eventstreams_connected_clients") == 0.0
        });
    }
}
