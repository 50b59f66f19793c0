//! The public port over TLS: the same bytes whatever is spoken, certificates that change, and
//! clients that are none.

use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use h2::client::Builder;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};
use tidegate::http::Settings;
use tidegate::http::listen::tls::Tls;
use tidegate::metrics::{ByReason, Metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::{Live, PATIENCE, Reply, Server, eventually, front};
use super::http2;
use crate::support;
use crate::support::certificate::{Files, Identity};
use crate::support::gateway::Gateway;

const STREAM: &str = "/v2/stream/recentchange";

fn tls(files: &Files, metrics: &Metrics) -> Tls {
    let tls = Tls::load(&files.cert(), &files.key(), metrics).expect("a certificate");
    tls.look_every(Duration::from_millis(20))
}

/// Serves over TLS with the certificate in these files.
pub(super) fn serve(files: &Files, router: Router, metrics: &Metrics) -> Server {
    let tls = tls(files, metrics);
    Server::with(router, |bound| bound.head_timeout(PATIENCE).tls(tls))
}

/// Connects and believes this certificate only.
async fn greet_with(
    server: &Server,
    trusted: &Identity,
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("spoken")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let greeting = TlsConnector::from(Arc::new(config)).connect(name, server.connect().await);
    timeout(PATIENCE, greeting).await.expect("in time")
}

pub(super) async fn greet(
    server: &Server,
    trusted: &Identity,
) -> std::io::Result<TlsStream<TcpStream>> {
    greet_with(server, trusted, &["http/1.1"], rustls::DEFAULT_VERSIONS).await
}

/// Everything until the end, which has to be said in TLS too.
async fn read_whole(stream: &mut TlsStream<TcpStream>) -> Reply {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.expect("the server closes").expect("and says so");
    Reply::parse(&bytes)
}

pub(super) async fn until(stream: &mut TlsStream<TcpStream>, text: &str) {
    let mut all = String::new();
    while !all.contains(text) {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("in time");
        all.push(byte.expect("the stream goes on").into());
    }
}

fn failed(metrics: &Metrics, reason: &'static str) -> u64 {
    metrics.tls_handshakes_failed.get_or_create(&ByReason { reason }).get()
}

#[tokio::test]
async fn a_stream_is_the_same_over_http_1_and_2_plain_and_over_tls() {
    let live = Live::for_many(4);
    let files = Files::of(&Identity::new());
    let over_tls = serve(&files, live.router.clone(), &live.metrics);
    let plain = format!("http://{}{STREAM}", live.server.addr);
    let secure = format!("https://{}{STREAM}", over_tls.addr);
    let ways = [
        (&plain, "--http1.1", "1.1"),
        (&plain, "--http2-prior-knowledge", "2"),
        (&secure, "--http1.1", "1.1"),
        (&secure, "--http2", "2"),
    ];
    let curl = |(url, how, version): (&String, &'static str, &'static str)| {
        let mut curl = Command::new("curl");
        curl.args(["-sNk", how, "-w", "%{stderr}%{http_version}", url]).kill_on_drop(true);
        let curl = curl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (curl.spawn().expect("curl"), how, version)
    };
    let running = ways.map(curl);
    live.holds(4).await;
    for offset in 5..15 {
        live.tells(offset);
    }
    live.has_delivered(40).await;
    live.drains();
    let mut all = Vec::new();
    for (curl, how, version) in running {
        let output = timeout(PATIENCE, curl.wait_with_output()).await.expect("in time");
        let output = output.expect("curl");
        assert!(output.status.success(), "{how}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), version, "{how}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.starts_with(":ok\n\n") && text.ends_with("\n\n"), "{how}: {text}");
        // Each reader's own is only how long it waits before it comes back.
        let (lines, retry): (Vec<_>, Vec<_>) =
            text.split_inclusive('\n').partition(|line| !line.starts_with("retry: "));
        assert_eq!((retry.len(), text.matches("\ndata: ").count()), (1, 10), "{how}: {text}");
        all.push(lines.concat());
    }
    assert!(all.iter().all(|text| *text == all[0]), "{all:#?}");
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_alpn_chooses() {
    let identity = Identity::new();
    let server = serve(&Files::of(&identity), front(Settings::default()).0, &Metrics::new());
    for (version, spoken) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        for (alpn, chosen) in [
            (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let mut stream =
                greet_with(&server, &identity, alpn, &[version]).await.expect("greeted");
            let (_, session) = stream.get_ref();
            assert_eq!(
                (session.protocol_version(), session.alpn_protocol()),
                (Some(spoken), chosen)
            );
            if chosen == Some(b"h2") {
                let mut client = http2::Client::over(stream, &Builder::new()).await;
                assert_eq!(client.get("/_info/name").await.status(), 200);
            } else {
                let ask = b"GET /_info/name HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
                stream.write_all(ask).await.expect("send");
                assert_eq!(read_whole(&mut stream).await.json()["name"], "tidegate");
            }
        }
    }
}

#[tokio::test]
async fn answers_to_no_request_are_problems_over_tls_too() {
    let identity = Identity::new();
    let tls = tls(&Files::of(&identity), &Metrics::new());
    let patience = |b: tidegate::http::listen::Bound| b.head_timeout(Duration::from_secs(2));
    let server = Server::with(front(Settings::default()).0, |b| patience(b).tls(tls));
    for (request, status, kind) in [
        ("no request\r\n\r\n", 400, "bad_request"),
        ("GET /_info HTTP/1.1\r\nhost", 408, "request_timeout"),
    ] {
        let mut stream = greet(&server, &identity).await.expect("greeted");
        stream.write_all(request.as_bytes()).await.expect("send");
        read_whole(&mut stream).await.problem(status, kind);
    }
}

#[tokio::test]
async fn a_new_certificate_is_served_to_the_next_and_who_is_there_stays() {
    let (old, new) = (Identity::new(), Identity::new());
    let live = Live::for_many(2);
    let files = Files::of(&old);
    let server = serve(&files, live.router.clone(), &live.metrics);
    let mut before = greet(&server, &old).await.expect("greeted");
    before
        .write_all(format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes())
        .await
        .expect("send");
    until(&mut before, ":ok").await;
    assert!(greet(&server, &new).await.is_err(), "it is not there yet");
    files.hold(&new);
    let mut after = loop {
        if let Ok(stream) = greet(&server, &new).await {
            break stream;
        }
    };
    assert!(greet(&server, &old).await.is_err(), "the old one has gone");
    after
        .write_all(format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes())
        .await
        .expect("send");
    until(&mut after, ":ok").await;
    live.tells(5);
    until(&mut before, "\"n\":5").await;
    until(&mut after, "\"n\":5").await;
}

#[tokio::test]
async fn broken_files_change_nothing_and_whole_ones_after_them_do() {
    let (old, other, new) = (Identity::new(), Identity::new(), Identity::new());
    let files = Files::of(&old);
    let server = serve(&files, front(Settings::default()).0, &Metrics::new());
    let breaks: [&dyn Fn(); 4] = [
        &|| std::fs::write(files.cert(), "no certificate").expect("write"),
        &|| std::fs::write(files.cert(), other.cert.pem()).expect("write"),
        &|| std::fs::write(files.key(), "no key").expect("write"),
        &|| std::fs::remove_file(files.cert()).expect("removed"),
    ];
    for broken in breaks {
        broken();
        // Long enough for some looks; that they are looked at is seen below.
        tokio::time::sleep(Duration::from_millis(200)).await;
        greet(&server, &old).await.expect("the old one is served");
    }
    files.hold(&new);
    while greet(&server, &new).await.is_err() {}
}

#[test]
fn a_certificate_that_cannot_be_served_is_named_with_its_key_in_the_config() {
    let (identity, other) = (Identity::new(), Identity::new());
    let files = Files::of(&identity);
    let says = |cert: &Path, key: &Path| {
        Tls::load(cert, key, &Metrics::new()).expect_err("it cannot be served").to_string()
    };
    let (cert, key) = (files.cert(), files.key());
    let missing = files.dir.path().join("missing.pem");
    let of = |key: &str, file: &Path| format!("{key}: {}", file.display());
    assert!(
        says(&missing, &key).starts_with(&format!("tls.cert: cannot read {}", missing.display()))
    );
    assert!(
        says(&cert, &missing).starts_with(&format!("tls.key: cannot read {}", missing.display()))
    );
    // The two files taken for each other.
    assert!(says(&key, &cert).starts_with(&(of("tls.cert", &key) + " has no certificate in PEM")));
    assert!(says(&cert, &cert).starts_with(&(of("tls.key", &cert) + " has no private key in PEM")));
    std::fs::write(&key, &other.key).expect("write");
    assert!(says(&cert, &key).starts_with(&(of("tls.key", &key) + " is not the key of")));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&cert, nonsense).expect("write");
    assert!(says(&cert, &key).starts_with(&(of("tls.cert", &cert) + " cannot be used")));
}

#[tokio::test]
async fn who_does_not_speak_tls_is_closed_and_counted() {
    let (identity, metrics) = (Identity::new(), Metrics::new());
    let tls = tls(&Files::of(&identity), &metrics);
    let patience = |b: tidegate::http::listen::Bound| b.head_timeout(Duration::from_secs(2));
    let server = Server::with(front(Settings::default()).0, |b| patience(b).tls(tls));
    let mut plain = server.connect().await;
    plain.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("send");
    let mut answer = Vec::new();
    // Closed, by a reset or not; nothing readable was said.
    let _ = timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("closed");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    eventually("it is counted", || failed(&metrics, "protocol") == 1).await;
    drop(server.connect().await);
    eventually("who leaves is counted", || failed(&metrics, "gone") == 1).await;
    let mut silent = server.connect().await;
    let end = timeout(PATIENCE, silent.read(&mut [0; 1])).await.expect("closed");
    assert_eq!(end.expect("without a reset"), 0);
    eventually("who says nothing is counted", || failed(&metrics, "timeout") == 1).await;
    greet(&server, &identity).await.expect("others are served");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_over_tls_too() {
    struct Told(Option<oneshot::Sender<()>>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().expect("once").send(());
        }
    }
    for alpn in ["http/1.1", "h2"] {
        let (dropped, heard) = oneshot::channel();
        let guard = Arc::new(std::sync::Mutex::new(Some(Told(Some(dropped)))));
        let handler = move || {
            let guard = guard.lock().expect("whole").take().expect("asked for once");
            let endless = std::iter::repeat_with(move || {
                let _held = &guard;
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 10_000]))
            });
            std::future::ready(Body::from_stream(futures_util::stream::iter(endless)))
        };
        let identity = Identity::new();
        let tls = tls(&Files::of(&identity), &Metrics::new());
        let stall = |b: tidegate::http::listen::Bound| b.stall_timeout(Duration::from_millis(500));
        let router = Router::new().route("/endless", get(handler));
        let server = Server::with(router, |b| stall(b).head_timeout(PATIENCE).tls(tls));
        let greeted = greet_with(&server, &identity, &[alpn], rustls::DEFAULT_VERSIONS).await;
        let mut stream = greeted.expect("greeted");
        if alpn == "h2" {
            let mut wide = Builder::new();
            wide.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
            let mut client = http2::Client::over(stream, &wide).await;
            // Windows as wide as can be, and then the socket is read no more.
            let _answer = client.get("/endless").await;
            client.falls_silent();
            timeout(PATIENCE, heard).await.expect("noticed").expect("dropped");
        } else {
            stream.write_all(b"GET /endless HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("send");
            timeout(PATIENCE, heard).await.expect("noticed").expect("dropped");
        }
    }
}

#[tokio::test]
async fn a_stream_over_tls_whose_client_takes_nothing_ends_as_stalled() {
    for alpn in ["http/1.1", "h2"] {
        let live = Live::for_many(1);
        let identity = Identity::new();
        let tls = tls(&Files::of(&identity), &live.metrics);
        let server = Server::with(live.router.clone(), |bound| {
            bound.head_timeout(PATIENCE).stall_timeout(Duration::from_millis(500)).tls(tls)
        });
        let greeted = greet_with(&server, &identity, &[alpn], rustls::DEFAULT_VERSIONS).await;
        let mut stream = greeted.expect("greeted");
        // Held open, and not read.
        let (mut answer, mut unread) = (None, None);
        if alpn == "h2" {
            let mut wide = Builder::new();
            wide.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
            let mut client = http2::Client::over(stream, &wide).await;
            answer = Some((client.get(STREAM).await, client));
            answer.as_mut().expect("just put there").1.falls_silent();
        } else {
            let ask = format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.expect("send");
            live.holds(1).await;
            unread = Some(stream);
        }
        let mut told = 0;
        eventually("its time is over", || {
            // As much as it takes, so that it does not fall off the ring.
            if live.metrics.events_delivered.get() == told {
                live.tells_of(5 + i64::try_from(told).expect("few"), 50_000);
                told += 1;
            }
            live.gate.held() == 0
        })
        .await;
        assert_eq!((live.ended("stalled"), live.ended("client_closed")), (1, 0), "{alpn}");
        drop((answer, unread));
    }
}

#[tokio::test]
async fn a_stop_ends_streams_over_tls_and_connections_that_say_nothing() {
    let identity = Identity::new();
    let live = Live::for_many(2);
    let mut server = serve(&Files::of(&identity), live.router.clone(), &live.metrics);
    // The first, so that it is accepted as soon as the next is.
    let mut mute = server.connect().await;
    let mut stream = greet(&server, &identity).await.expect("greeted");
    stream
        .write_all(format!("GET {STREAM} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes())
        .await
        .expect("send");
    until(&mut stream, ":ok").await;
    let mut idle = greet(&server, &identity).await.expect("greeted");
    idle.write_all(b"GET /nothing HTTP/1.1\r\nhost: t\r\n\r\n").await.expect("send");
    until(&mut idle, "/nothing\"}").await;
    live.drains();
    server.shutdown.cancel();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time").expect("said in TLS");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the terminating chunk");
    assert_eq!(timeout(PATIENCE, idle.read(&mut [0; 1])).await.expect("in time").expect("said"), 0);
    assert_eq!(
        timeout(PATIENCE, mute.read(&mut [0; 1])).await.expect("in time").expect("closed"),
        0
    );
    let serving = server.serving.take().expect("there");
    timeout(PATIENCE, serving).await.expect("it ends").expect("well");
}

/// Asks with curl, which believes `trusted` only; gives what it got.
fn ask_with_curl(gateway: &Gateway, trusted: &Identity) -> Option<String> {
    let root = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(root.path(), trusted.cert.pem()).expect("write");
    let to = format!("localhost:{}:127.0.0.1", gateway.public().port());
    let url = format!("https://localhost:{}/_info/name", gateway.public().port());
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "--max-time", "20", "--resolve", &to, "--cacert"]).arg(root.path()).arg(url);
    let output = curl.output().expect("curl");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn the_gateway_says_once_which_file_is_broken_and_serves_the_next_whole_one() {
    let (old, new) = (Identity::new(), Identity::new());
    let files = Files::of(&old);
    let tls = format!("[tls]\ncert = {:?}\nkey = {:?}\n", files.cert(), files.key());
    let gateway = Gateway::embedded(&[("a", &["a"])], &tls);
    assert_eq!(gateway.announced(), format!("listening on https://{}", gateway.public()));
    assert!(ask_with_curl(&gateway, &old).expect("served").contains("tidegate"));
    assert_eq!(ask_with_curl(&gateway, &new), None);
    std::fs::write(files.key(), "no key").expect("write");
    let named = format!("tls.key: {} has no private key", files.key().display());
    let complaints = || gateway.log().matches(&named).count();
    support::eventually("it complains", || complaints() > 0);
    assert!(ask_with_curl(&gateway, &old).is_some(), "the old one is served");
    files.hold(&new);
    support::eventually("the new one is served", || ask_with_curl(&gateway, &new).is_some());
    assert_eq!(ask_with_curl(&gateway, &old), None);
    assert_eq!(complaints(), 1);
}

#[test]
fn a_start_with_a_broken_certificate_says_which_file_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, missing) = (dir.path().join("tidegate.toml"), dir.path().join("missing.pem"));
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[embedded]\ndata_dir = {:?}\n\
         [streams.a]\ntopics = [\"a\"]\n[tls]\ncert = {missing:?}\nkey = {missing:?}\n",
        dir.path().join("log"),
    );
    std::fs::write(&config, text).expect("write");
    for command in [&["serve"][..], &["config", "check"]] {
        let mut tidegate = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let output = tidegate.args(command).arg("--config").arg(&config).output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr);
        let named = format!("tls.cert: cannot read {}", missing.display());
        assert!(!output.status.success() && said.contains(&named), "{command:?}: {said}");
    }
}
