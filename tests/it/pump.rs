//! The pump under readers of every kind: those that pause, stall, talk, hang up or vanish, over
//! real sockets of a real gateway. Nobody loses anything who goes on, and of who goes nothing stays.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate::feed::encode::Encoding;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::packed::ENCODINGS;
use crate::support::reading::{Http, Reading, STREAM, all_ways, are_all, has, offsets, write};
use crate::support::sse::{self, End};

/// A small ring, and little that is kept behind it.
const TIGHT: &str = "[limits]\nring_mb = 1\ntail_mb = 1\nhistory_cache_mb = 1\n";

fn gateway(more: &str) -> Gateway {
    Gateway::embedded(&[("s", &["t"])], more)
}

fn nobody_is_here(gateway: &Gateway) {
    eventually("every slot is free", || gateway.metric("eventstreams_connected_clients") == 0.0);
}

#[test]
fn readers_that_pause_fall_off_come_back_and_miss_nothing() {
    const EVENTS: u64 = 4000;
    let gateway = gateway(TIGHT);
    let to = gateway.public();
    let mut readers: Vec<_> = all_ways().map(|way| Reading::open(to, way, "")).collect();
    write(to, 1, 1600);
    readers.iter_mut().for_each(|reading| reading.until("the first one", has(0)));
    write(to, EVENTS as usize - 1, 1600);
    // When one has got all of it, all of it has been through the ring.
    let all = (Http::V1_1, None);
    Reading::open(to, all, "&since=0").until("all that was written", has(EVENTS - 1));
    // Some go on, and in the middle of it pause again.
    let threads = readers.into_iter().enumerate().map(|(n, mut reading)| {
        std::thread::spawn(move || {
            if n % 2 == 0 {
                reading.until("half of it", has(EVENTS / 2 + n as u64));
                std::thread::sleep(Duration::from_millis(300));
            }
            reading.until("all of it", has(EVENTS + 99));
            reading.text().to_owned()
        })
    });
    let threads: Vec<_> = threads.collect();
    write(to, 100, 1600);
    let readers = threads.len() as f64;
    for thread in threads {
        let text = thread.join().expect("it got everything");
        are_all(&offsets(&text), 0, EVENTS + 100);
        assert_eq!(text.matches("retry: ").count(), 1);
    }
    let fell_off = gateway.metric("tidegate_fell_behind_total");
    assert!(fell_off >= readers, "not all fell off: {fell_off}");
    let events = readers * (EVENTS + 100) as f64 + EVENTS as f64;
    eventually("each is counted once", || {
        gateway.metric("tidegate_events_delivered_total") == events
    });
    nobody_is_here(&gateway);
}

#[test]
fn readers_that_never_read_are_ended_and_their_slots_are_free() {
    let gateway = gateway(&format!("{TIGHT}streams = 3\n[session]\nstall_s = 1\n"));
    let to = gateway.public();
    // Live; behind, so that it never comes to live; and by hyper, since it expects something.
    let live = sse::get(to, STREAM, &[]).expect("an answer");
    write(to, 3000, 1600);
    let behind = sse::get(to, &format!("{STREAM}?since=0"), &[]).expect("an answer");
    let expects = [("expect", "nothing")];
    let body = sse::get(to, &format!("{STREAM}?since=0"), &expects).expect("an answer");
    assert_eq!((live.status, behind.status, body.status), (200, 200, 200));
    nobody_is_here(&gateway);
    let stalled = gateway.metric_of("tidegate_streams_ended_total", "reason=\"stalled\"");
    assert_eq!(stalled, 3.0, "whoever delivers says why");
    let next: Vec<_> = (0..3).map(|_| sse::get(to, STREAM, &[]).expect("an answer")).collect();
    assert!(next.iter().all(|response| response.status == 200), "their slots are free");
    for response in [live, behind, body] {
        let mut bytes = response.bytes();
        let end = std::iter::repeat_with(|| bytes.next()).find_map(Result::err);
        assert!(matches!(end, Some(End::Cut(_))), "who misses something is cut: {end:?}");
    }
}

#[test]
fn a_slot_is_free_when_its_client_hangs_up_or_resets_on_a_quiet_stream() {
    let gateway = gateway("[limits]\nstreams = 1\n");
    for n in 0..20 {
        let way = all_ways().nth(n % 8).expect("eight");
        let reading = Reading::open(gateway.public(), way, "");
        assert_eq!(gateway.metric("eventstreams_connected_clients"), 1.0);
        let socket = reading.socket();
        match n % 3 {
            0 => socket.shutdown(Shutdown::Write).expect("half of it is closed"),
            1 => reset_on_close(socket),
            _ => {}
        }
        let half_open = (n % 3 == 0).then_some(reading);
        nobody_is_here(&gateway);
        drop(half_open);
    }
    let ended = gateway.metric_of("tidegate_streams_ended_total", "reason=\"client_closed\"");
    assert_eq!(ended, 20.0);
}

fn reset_on_close(socket: &TcpStream) {
    let now = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(socket, now).expect("a socket");
}

#[test]
fn a_client_may_say_a_little_while_it_reads_and_not_more() {
    let gateway = gateway("");
    for way in all_ways() {
        let mut reading = Reading::open(gateway.public(), way, "&since=0");
        let before = offsets(reading.text()).len();
        let mut socket = reading.socket();
        socket.write_all(&[b'x'; 4000]).expect("heard");
        write(gateway.public(), 1, 100);
        let seen = gateway.metric("tidegate_intake_events_total") as u64;
        reading.until("what is said changes nothing", has(seen - 1));
        assert!(before < seen as usize);
        let mut socket = reading.socket();
        socket.write_all(&[b'x'; 97]).expect("heard");
        let end = reading.ends();
        match way.0 {
            Http::V1_1 => assert!(matches!(end, End::Cut(_)), "{end:?}"),
            Http::V1_0 => {}
        }
    }
    nobody_is_here(&gateway);
    let ended = gateway.metric_of("tidegate_streams_ended_total", "reason=\"client_talks\"");
    assert_eq!(ended, 8.0);
}

#[test]
fn a_reader_that_comes_while_the_last_one_goes_is_kept() {
    let gateway = gateway("");
    let to = gateway.public();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                write(to, 1, 200);
            }
        });
        let mut last = Reading::open(to, (Http::V1_1, None), "");
        for _ in 0..400 {
            let gone = last;
            reset_on_close(gone.socket());
            let goes = scope.spawn(move || drop(gone));
            last = Reading::open(to, (Http::V1_1, None), "");
            goes.join().expect("nothing to fail");
            last.until("an event", |text| text.contains("\ndata: "));
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    nobody_is_here(&gateway);
}

/// One of the thousand: comes, reads or not, and vanishes.
fn vanish(to: SocketAddr, rng: &mut StdRng) {
    let Ok(mut socket) = TcpStream::connect(to) else { return };
    let patience = Some(Duration::from_millis(200));
    socket
        .set_read_timeout(patience)
        .and_then(|()| socket.set_write_timeout(patience))
        .expect("set");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 16 * 1024).expect("a socket");
    let name = ENCODINGS[rng.random_range(0..4)].map_or("identity", Encoding::as_str);
    let since = if rng.random() { "&since=0" } else { "" };
    let version = if rng.random() { "1.1\r\nhost: t" } else { "1.0" };
    let request = format!("GET {STREAM}?encoding={name}{since} HTTP/{version}\r\n\r\n");
    let sent = if rng.random_range(0..10) == 0 {
        rng.random_range(0..request.len())
    } else {
        request.len()
    };
    let _ = socket.write_all(&request.as_bytes()[..sent]);
    let mut bytes = vec![0; 4096];
    for _ in 0..[0, 1, 3, 40][rng.random_range(0..4)] {
        match socket.read(&mut bytes) {
            Ok(1..) => {}
            _ => break,
        }
    }
    match rng.random_range(0..5) {
        0 => {}
        1 => reset_on_close(&socket),
        2 => {
            let _ = socket.shutdown(Shutdown::Write);
            std::thread::sleep(Duration::from_millis(rng.random_range(0..30)));
        }
        3 => {
            // Takes nothing for a while, and goes with its socket full.
            std::thread::sleep(Duration::from_millis(rng.random_range(0..100)));
            reset_on_close(&socket);
        }
        _ => {
            let _ = socket.write_all(&vec![b'x'; rng.random_range(0..20_000)]);
        }
    }
}

#[test]
fn after_a_thousand_readers_that_vanish_every_slot_is_free() {
    const SLOTS: usize = 60;
    let gateway = gateway(&format!("{TIGHT}streams = {SLOTS}\n[session]\nkeepalive_s = 1\n"));
    let to = gateway.public();
    write(to, 2000, 1600);
    let mut stays = Reading::open(to, (Http::V1_1, Some(Encoding::Gzip)), "");
    let (written, vanished) = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..20)
            .map(|seed| {
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(seed);
                    (0..50).for_each(|_| vanish(to, &mut rng));
                })
            })
            .collect();
        let mut written = 2000;
        while crowd.iter().any(|thread| !thread.is_finished()) {
            write(to, 50, 1600);
            written += 50;
            std::thread::sleep(Duration::from_millis(20));
        }
        (written, crowd.into_iter().map(|thread| thread.join().expect("it vanished")).count())
    });
    assert_eq!(vanished, 20);
    stays.until("who stays gets all", has(written - 1));
    are_all(&offsets(stays.text()), 2000, written);
    drop(stays);
    nobody_is_here(&gateway);
    let opened = gateway.metric("eventstreams_client_connections_total");
    assert_eq!(gateway.metric("tidegate_streams_ended_total"), opened, "one reason for each");
    assert!(opened > 500.0, "{opened} were let in");
    let open: Vec<_> = (0..SLOTS).map(|_| sse::get(to, STREAM, &[]).expect("an answer")).collect();
    assert!(open.iter().all(|response| response.status == 200), "all slots can be had");
    assert_eq!(sse::get(to, STREAM, &[]).expect("an answer").status, 503, "and no more");
}

#[test]
fn keepalives_reach_every_reader_and_its_stream_goes_on() {
    let mut gateway = gateway("[session]\nkeepalive_s = 1\n");
    let to = gateway.public();
    let readers: Vec<_> = all_ways().map(|way| Reading::open(to, way, "")).collect();
    write(to, 3, 400);
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut reading| {
            std::thread::spawn(move || {
                reading.until("three keepalives", |text| {
                    text.matches("\n:\n").count() >= 3 || text.matches(":\n:\n:\n").count() >= 1
                });
                reading
            })
        })
        .collect();
    let readers: Vec<_> = threads.into_iter().map(|t| t.join().expect("it was told")).collect();
    // Enough for all to be back in their shared run, and another keepalive.
    for _ in 0..3 {
        write(to, 60, 400);
        std::thread::sleep(Duration::from_millis(1300));
    }
    let all = readers.len() as f64 * 183.0;
    eventually("all have got all", || gateway.metric("tidegate_events_delivered_total") == all);
    assert!(gateway.terminate().success());
    for mut reading in readers {
        let text = reading.read_to_the_end();
        are_all(&offsets(&text), 0, 183);
    }
}

#[test]
fn lifetimes_end_whole_in_every_encoding_also_in_the_middle_of_a_crowd_of_events() {
    let gateway = gateway("[session]\nlifetime_s = 1\n");
    let to = gateway.public();
    write(to, 100, 1600);
    let read = move |way, since: &'static str| {
        std::thread::spawn(move || offsets(&Reading::open(to, way, since).read_to_the_end()))
    };
    let threads: Vec<_> =
        all_ways().flat_map(|way| ["", "&since=0"].map(|since| read(way, since))).collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        write(to, 20, 1600);
    }
    for thread in threads {
        let seen = thread.join().expect("a whole end");
        let last = *seen.last().expect("some events");
        are_all(&seen, last, last + 1);
    }
    nobody_is_here(&gateway);
    let ended = gateway.metric_of("tidegate_streams_ended_total", "reason=\"lifetime\"");
    assert_eq!(ended, 16.0);
}
