//! Decoders that people have, event by event: each sees what was sent before anything else is, in
//! a replay, live and after keepalives, and takes the end that the gateway makes for a whole one.

use std::process::Command;
use std::time::Duration;

use crate::support::checker::{self, Ledger};
use crate::support::client::{self, Client};
use crate::support::gateway::Gateway;
use crate::support::reading::write;

/// Events that were there before.
const BEFORE: usize = 150;
/// Events that come one by one.
const ALONE: usize = 20;

const CONFIG: &str = "[session]\nkeepalive_s = 1\ncompress = \"everyone\"\n";

/// Reads all of it, each event alone; `ends`: it is one response, and its end is said as `whole`.
#[track_caller]
fn reads_event_by_event(encoding: &str, ends: bool, command: impl FnOnce(&str) -> Command) {
    let mut gateway = Gateway::embedded(&[("s", &["t"])], CONFIG);
    write(gateway.public(), BEFORE, 500);
    let url = format!("http://{}/v2/stream/s?since=0", gateway.public());
    let mut client = Client::start(command(&url));
    let has = |client: &mut Client, n: usize| {
        client
            .wait_for("this event", |trace| trace.seen.values().map(Vec::len).sum::<usize>() >= n);
    };
    has(&mut client, BEFORE);
    for n in 1..=ALONE {
        write(gateway.public(), 1, 300);
        has(&mut client, BEFORE + n);
        if n % 5 == 0 {
            // Long enough for a keepalive.
            std::thread::sleep(Duration::from_millis(1500));
        }
        // So that all are where they can be compressed with the others'.
        std::thread::sleep(Duration::from_millis(30));
    }
    let label = format!("encoding=\"{encoding}\"");
    let bytes = gateway.metric_of("tidegate_delivered_bytes_total", &label);
    assert!(bytes > 0.0, "nothing went out as {encoding}");
    assert!(gateway.terminate().success());
    if ends {
        client.wait_for_line("whole");
    }
    let offsets = (0..(BEFORE + ALONE) as i64).collect();
    let ledger: Ledger = [(("t".to_owned(), 0), offsets)].into();
    let report = checker::check(&client.end(), &ledger);
    assert!(report.is_clean() && report.unacknowledged == 0, "{report:?}");
}

fn unpacks(script: &str, first: &[&str], encoding: &str) {
    reads_event_by_event(encoding, true, |url| {
        let mut command = client::script(script);
        command.args(first).arg(url).arg(encoding);
        command
    });
}

#[test]
fn curl_decodes_gzip_deflate_and_zstd_event_by_event() {
    for encoding in ["gzip", "deflate"] {
        unpacks("unpack_curl.sh", &[], encoding);
    }
    let version = Command::new("curl").arg("--version").output().expect("curl").stdout;
    if String::from_utf8_lossy(&version).contains("zstd") {
        unpacks("unpack_curl.sh", &[], "zstd");
    } else {
        println!("this curl has no zstd");
    }
}

#[test]
fn aiohttp_decodes_gzip_and_deflate_event_by_event() {
    for encoding in ["gzip", "deflate"] {
        unpacks("unpack.py", &["aiohttp"], encoding);
    }
}

#[test]
fn httpx_decodes_gzip_and_deflate_event_by_event() {
    for encoding in ["gzip", "deflate"] {
        unpacks("unpack.py", &["httpx"], encoding);
    }
}

#[test]
fn the_fetch_of_node_decodes_gzip_and_deflate_event_by_event() {
    for encoding in ["gzip", "deflate"] {
        unpacks("unpack_fetch.cjs", &[], encoding);
    }
}

#[test]
fn the_client_of_go_decodes_gzip_event_by_event() {
    if Command::new("go").arg("version").output().is_err() {
        println!("not tried: go is not installed (scripts/test.sh installs it)");
        return;
    }
    // Built first: on a machine that has not built Go before this takes a minute and more.
    let (root, dir) = (env!("CARGO_MANIFEST_DIR"), tempfile::tempdir().expect("a folder"));
    let program = dir.path().join("unpack");
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(&program).arg(format!("{root}/tests/clients/go/main.go"));
    assert!(build.status().expect("go").success(), "it cannot be built");
    reads_event_by_event("gzip", true, |url| {
        let mut command = Command::new(&program);
        command.arg(url);
        command
    });
}

#[test]
fn chromium_decodes_zstd_and_gzip_event_by_event() {
    for encoding in ["zstd", "gzip"] {
        reads_event_by_event(encoding, false, |url| {
            let mut command = client::script("eventsource_chromium.cjs");
            command.arg(format!("{url}&encoding={encoding}"));
            command
        });
    }
}
