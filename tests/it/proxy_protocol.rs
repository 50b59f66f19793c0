//! Behind a proxy that passes bytes on: the PROXY protocol, from plain sockets, curl, nginx and
//! HAProxy. It is believed from whom is trusted and from nobody else.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::certificate::{Files, Identity};
use crate::support::gateway::Gateway;
use crate::support::peer::{connect_from, hear, heard, says_from};
use crate::support::process::Process;
use crate::support::{eventually, free_port};

const PROXY: [u8; 4] = [127, 0, 0, 9];
const ASK: &str = "GET /v2/stream/s HTTP/1.1\r\nhost: t\r\n\r\n";
/// Everyone may hold one stream, so that it shows who somebody is.
const CONFIG: &str = "[limits]\nclient_from = \"proxy_protocol\"\ntrusted_proxies = [\"127.0.0.9\"]\n\
    head_s = 2\n[budgets.all]\nprefixes = [\"0.0.0.0/0\", \"::/0\"]\nstreams = 1\n";

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(&[("s", &["t"])], &format!("{more}\n{CONFIG}"))
}

fn line(client: &str) -> Vec<u8> {
    let (tcp, own) = if client.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
    format!("PROXY {tcp} {client} {own} 4711 80\r\n").into_bytes()
}

/// Version 2, with an extension that nobody knows.
fn binary(client: &str) -> Vec<u8> {
    let client: std::net::IpAddr = client.parse().expect("an address");
    let (family, mut rest) = match client {
        std::net::IpAddr::V4(v4) => (0x11, [v4.octets(), [127, 0, 0, 1]].concat()),
        std::net::IpAddr::V6(v6) => (0x21, [v6.octets(), [0; 16]].concat()),
    };
    rest.extend([0x12, 0x67, 0, 80]);
    rest.extend([0xe0, 0, 3, 1, 2, 3]);
    with_signature(0x21, family, &rest)
}

fn with_signature(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

/// The status of an answer of which no more is read.
fn status(socket: &TcpStream) -> u16 {
    let head = hear(socket, "\r\n");
    head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{head}"))
}

/// Opens a stream through the proxy.
fn through_the_proxy(gateway: &Gateway, header: &[u8]) -> (u16, TcpStream) {
    let socket = says_from(PROXY, gateway.public(), &[header, ASK.as_bytes()].concat());
    let socket = socket.expect("connect");
    (status(&socket), socket)
}

#[test]
fn whom_a_trusted_proxy_names_is_the_client_in_both_versions() {
    let gateway = gateway("");
    let mut held = Vec::new();
    for (n, header) in [line as fn(&str) -> Vec<u8>, binary].into_iter().enumerate() {
        for client in [format!("198.51.100.{n}"), format!("2001:db8:0:{n}::1")] {
            let (status, stream) = through_the_proxy(&gateway, &header(&client));
            assert_eq!(status, 200, "{client}");
            held.push(stream);
            for other in [line, binary] {
                let (status, _) = through_the_proxy(&gateway, &other(&client));
                assert_eq!(status, 429, "{client}");
            }
        }
        // Whoever has one address of a /64 has them all.
        let (status, _) = through_the_proxy(&gateway, &header(&format!("2001:db8:0:{n}:9::7")));
        assert_eq!(status, 429);
    }
    assert_eq!(gateway.metric("tidegate_streams_open"), 4.0);
    // A request's header says nothing here.
    let forged = "GET /v2/stream/s HTTP/1.1\r\nhost: t\r\nx-client-ip: 203.0.113.9\r\n\r\n";
    let again = [&line("198.51.100.0")[..], forged.as_bytes()].concat();
    let again = says_from(PROXY, gateway.public(), &again).expect("connect");
    assert_eq!(status(&again), 429);
    drop(held);
    eventually("all seats are free", || gateway.metric("tidegate_streams_open") == 0.0);
}

#[test]
fn a_proxy_that_speaks_for_itself_is_the_client() {
    let gateway = gateway("");
    let local = with_signature(0x20, 0x00, b"");
    let unspecified = with_signature(0x21, 0x00, &[1; 40]);
    let of_unix = with_signature(0x21, 0x31, &[b'/'; 216]);
    let (first, _stream) = through_the_proxy(&gateway, b"PROXY UNKNOWN\r\n");
    assert_eq!(first, 200);
    for header in [&local, &unspecified, &of_unix, &b"PROXY UNKNOWN ::1 ::1 1 2\r\n".to_vec()] {
        // It holds its one stream already, which is how we know it.
        assert_eq!(through_the_proxy(&gateway, header).0, 429);
    }
    let (named, _other) = through_the_proxy(&gateway, &line("127.0.0.9"));
    assert_eq!(named, 429, "and whoever is named so is the same");
}

#[test]
fn a_trusted_proxy_that_does_not_say_who_comes_gets_a_400_and_a_slow_one_a_408() {
    let gateway = gateway("");
    let ended = |reason: &str| {
        gateway.metric_of("tidegate_connections_ended_total", &format!("reason=\"{reason}\""))
    };
    for (n, wrong) in [
        ASK.as_bytes().to_vec(),
        b"PROXY TCP4 1.2.3.4 nobody 1 2\r\n".to_vec(),
        with_signature(0x21, 0x11, b"short"),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
    ]
    .iter()
    .enumerate()
    {
        let socket = says_from(PROXY, gateway.public(), wrong).expect("connect");
        let answer = heard(&socket);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("is to begin with a header of the PROXY protocol"), "{answer}");
        assert_eq!(ended("no_client"), (n + 1) as f64);
    }
    for part in [&b""[..], b"PROXY TCP4 1.2.", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01"] {
        let slow = says_from(PROXY, gateway.public(), part).expect("connect");
        let answer = heard(&slow);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(ended("request_timeout"), 3.0);
    assert_eq!(gateway.metric("tidegate_streams_open"), 0.0);
    eventually("none is left", || gateway.metric("tidegate_connections_waiting") == 0.0);
}

#[test]
fn from_anyone_else_it_is_no_request_and_what_is_one_counts_for_the_peer() {
    let gateway = gateway("");
    let stranger = [127, 0, 0, 5];
    for header in [line("198.51.100.7"), binary("198.51.100.7")] {
        let forged = [&header[..], ASK.as_bytes()].concat();
        let socket = says_from(stranger, gateway.public(), &forged).expect("connect");
        let answer = heard(&socket);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    let ended = gateway.metric_of("tidegate_connections_ended_total", "reason=\"bad_request\"");
    assert_eq!(ended, 2.0);
    let held = says_from(stranger, gateway.public(), ASK.as_bytes()).expect("connect");
    assert_eq!(status(&held), 200);
    let more = says_from(stranger, gateway.public(), ASK.as_bytes()).expect("connect");
    assert_eq!(status(&more), 429);
    // Whom the proxy names so is the same client.
    assert_eq!(through_the_proxy(&gateway, &line("127.0.0.5")).0, 429);
}

/// What curl gets of `/_info/name`, in its words: status and version.
fn curl(gateway: &Gateway, scheme: &str, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sk", "--max-time", "30", "-o", "/dev/null", "--haproxy-protocol"]);
    command.args(["-w", "%{http_code} %{http_version}"]).args(more);
    command.arg(format!("{scheme}://{}/_info/name", gateway.public()));
    String::from_utf8(command.output().expect("curl").stdout).expect("text")
}

#[test]
fn it_stands_before_tls_and_before_either_version_of_http() {
    let files = Files::of(&Identity::new());
    let plain = gateway("");
    let secure = gateway(&files.config());
    let from_proxy = ["--interface", "127.0.0.9"];
    let with = |more: &'static str| [&from_proxy[..], &[more]].concat();
    assert_eq!(curl(&plain, "http", &with("--http1.1")), "200 1.1");
    assert_eq!(curl(&plain, "http", &with("--http2-prior-knowledge")), "200 2");
    assert_eq!(curl(&secure, "https", &with("--http1.1")), "200 1.1");
    assert_eq!(curl(&secure, "https", &with("--http2")), "200 2");
    // From anyone else it stands in the way.
    assert_eq!(curl(&plain, "http", &["--http1.1"]), "400 1.1");
    assert_eq!(curl(&secure, "https", &["--http1.1"]), "000 0");
    // And the proxy without it is let in by neither.
    let bare = connect_from(PROXY, secure.public()).expect("connect");
    (&bare).write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").expect("sent");
    assert_eq!(heard(&bare), "");
}

/// A proxy that passes bytes on.
struct Passing {
    address: SocketAddr,
    process: Process,
    _dir: tempfile::TempDir,
}

impl Passing {
    fn start(program: &str, config: impl Fn(&Path, SocketAddr) -> String, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = dir.path().join("config");
        std::fs::write(&file, config(dir.path(), address)).expect("written");
        let mut command = Command::new(program);
        if program == "nginx" {
            command.arg("-p").arg(dir.path()).arg("-c").arg(&file);
        } else {
            command.arg("-f").arg(&file);
        }
        command.args(args);
        let make = |name| File::create(dir.path().join(name)).expect("a file");
        let files = (make("stdout"), make("stderr"));
        let mut process = Process::start(&command, &dir.path().join("pid-of-it"), files);
        eventually("the proxy listens", || {
            let said = std::fs::read_to_string(dir.path().join("stderr")).unwrap_or_default();
            assert!(process.ended().is_none(), "it ended: {said}");
            TcpStream::connect(address).is_ok()
        });
        Self { address, process, _dir: dir }
    }
}

/// Two clients, each of which may hold one stream, and that is what they are given.
fn clients_are_told_apart_through(passing: &mut Passing, gateway: &Gateway) {
    let open = |host| {
        let socket = says_from([127, 0, 0, host], passing.address, ASK.as_bytes());
        let socket = socket.expect("connect");
        (status(&socket), socket)
    };
    let (first, a) = open(31);
    let (second, b) = open(32);
    assert_eq!((first, second), (200, 200));
    assert_eq!((open(31).0, open(32).0), (429, 429));
    assert_eq!(gateway.metric("tidegate_streams_open"), 2.0);
    drop((a, b));
    eventually("all seats are free", || gateway.metric("tidegate_streams_open") == 0.0);
    assert!(passing.process.ended().is_none());
}

#[test]
fn clients_behind_nginx_as_a_stream_proxy_are_told_apart() {
    let gateway = gateway("");
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load =
        if Path::new(module).exists() { format!("load_module {module};") } else { String::new() };
    let config = |dir: &Path, own: SocketAddr| {
        format!(
            "{load}\npid {}/pid;\nerror_log stderr warn;\nevents {{ worker_connections 256; }}\n\
             stream {{ server {{ listen {own}; proxy_pass {}; proxy_bind 127.0.0.9; \
             proxy_protocol on; }} }}\n",
            dir.display(),
            gateway.public()
        )
    };
    let mut nginx = Passing::start("nginx", config, &["-g", "daemon off; master_process off;"]);
    clients_are_told_apart_through(&mut nginx, &gateway);
}

#[test]
fn clients_behind_haproxy_are_told_apart_and_its_health_checks_pass() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        println!("not tried: haproxy is not installed (scripts/test.sh installs it)");
        return;
    }
    for version in
        ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
    {
        let gateway = gateway("");
        let config = |_: &Path, own: SocketAddr| {
            format!(
                "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n \
                 timeout check 20s\n\
                 frontend f\n bind {own}\n unique-id-format id-%rt\n default_backend b\n\
                 backend b\n source 127.0.0.9\n option httpchk GET /_info/name\n\
                 server s {} {version} check inter 200ms\n",
                gateway.public()
            )
        };
        let mut haproxy = Passing::start("haproxy", config, &["-db"]);
        // Its checks pass, or it would pass nobody on.
        std::thread::sleep(Duration::from_millis(1500));
        clients_are_told_apart_through(&mut haproxy, &gateway);
        let ended = gateway.metric("tidegate_connections_ended_total");
        assert_eq!(ended, 0.0, "{version}");
    }
}
