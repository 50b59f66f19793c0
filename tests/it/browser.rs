//! A real Chromium: its `EventSource`, which misses nothing from the moment on at which it is open,
//! and the gateway's own page.

use std::collections::BTreeMap;

use crate::clients::{CONFIG, HALF, STREAM, Served, cuts, until_all_is_seen};
use crate::support::checker::{self, Trace};
use crate::support::client::{self, Client};
use crate::support::cutter::Cutter;

/// The first cut is inside the very first event, so the only id that it has is the one that a
/// browser is given before all events.
#[test]
fn chromium_misses_nothing_also_when_it_has_seen_nothing_yet() {
    let mut served = Served::new(CONFIG);
    let (calm, plan) = cuts([0, 30_000, 50_000]);
    let cutter = Cutter::after(HALF, served.gateway.public(), plan);
    let mut command = client::script("eventsource_chromium.cjs");
    command.arg(format!("http://{}{STREAM}", cutter.address()));
    let mut client = Client::start(command);
    client.wait_for_line("open");
    let before = served.ledger.lock().expect("sound").clone();
    let next = |(place, offsets): (_, Vec<i64>)| (place, offsets.last().map_or(0, |o| o + 1));
    let start: BTreeMap<_, _> = before.into_iter().map(next).collect();
    served.go_on();
    let seen = until_all_is_seen(&mut served, &cutter, &calm, client);
    let report = checker::check(&Trace { start, ..seen }, &served.finish());
    println!("{report:?}, {} cuts", cutter.cuts());
    assert!(report.is_clean() && report.unacknowledged == 0, "{report:?}");
}

#[test]
fn the_page_shows_the_events_of_the_chosen_stream() {
    let config = format!("{CONFIG}[streams.quiet]\ntopics = [\"eqiad.quiet\"]\n");
    let mut served = Served::new(&config);
    served.go_on();
    let pictures = tempfile::tempdir().expect("a folder");
    let mut command = client::script("ui.cjs");
    command.arg(format!("http://{}", served.gateway.public())).arg(pictures.path());
    let mut person = Client::start(command);
    assert!(person.succeeds(), "the page is not as it should be");
}
