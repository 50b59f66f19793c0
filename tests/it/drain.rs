//! A host goes out of service: not ready first, streams end one after another and whole, nobody
//! misses an event; and where the service manager holds the socket, nobody meets a closed port.

use std::time::Duration;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::peer::{hear, heard, says_from};

mod handover;
mod readers;

const STREAM: &[u8] = b"GET /v2/stream/s HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn first_it_is_not_ready_then_takes_nobody_in_and_a_second_signal_ends_all_at_once() {
    let never = "[drain]\ngrace_s = 3600\nspread_s = 3600\n";
    let mut gateway = Gateway::embedded(&[("s", &["t"])], never);
    let open = || {
        let socket = says_from([127, 0, 0, 1], gateway.public(), STREAM).expect("it listens");
        hear(&socket, ":ok\n\n\r\n");
        socket
    };
    let before = open();
    gateway.signal("-TERM");
    eventually("it is not ready", || gateway.ask_admin("/readyz").starts_with("HTTP/1.1 503"));
    let meanwhile = open();
    assert_eq!(gateway.metric("eventstreams_connected_clients"), 2.0, "nobody has to go yet");
    gateway.signal("-TERM");
    for socket in [before, meanwhile] {
        // Nobody has told it when to come back, with an event or before one.
        let (end, tail) = (heard(&socket), "\n\r\n0\r\n\r\n");
        assert!(end.contains("retry: ") && end.ends_with(tail), "{end:?}");
    }
    assert!(gateway.ends().success());
    assert!(gateway.log().contains("a second signal"));
}

#[test]
fn a_stop_after_tidegate_drain_hurries_nobody() {
    let slowly = "[drain]\ngrace_s = 0\nspread_s = 3600\n";
    let mut gateway = Gateway::embedded(&[("s", &["t"])], slowly);
    let socket = says_from([127, 0, 0, 1], gateway.public(), STREAM).expect("it listens");
    hear(&socket, ":ok\n\n\r\n");
    let answer = {
        let ask = b"POST /admin/drain HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
        heard(&says_from([127, 0, 0, 1], gateway.admin(), ask).expect("it listens"))
    };
    assert!(answer.contains("\"within_s\":3600") && answer.contains("\"streams\":1"), "{answer}");
    eventually("it takes nobody in", || {
        std::net::TcpStream::connect_timeout(&gateway.public(), Duration::from_secs(1)).is_err()
    });
    gateway.signal("-TERM");
    // That it did nothing can only be seen after a while.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(gateway.metric("eventstreams_connected_clients"), 1.0);
    eventually("it is told twice", || {
        let is_told = gateway.log().contains("a second signal");
        if !is_told {
            // It may have ended meanwhile.
            let pid = gateway.pid().to_string();
            let _ = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        }
        is_told
    });
    assert!(heard(&socket).ends_with("0\r\n\r\n"));
    assert!(gateway.ends().success());
}
