//! A real Chromium: its `EventSource`, which misses nothing from the moment on at which it is open,
//! and the gateway's own page.

use std::collections::BTreeMap;

use crate::support::checker::{self, Trace};
use crate::support::client::{self, Client};
use crate::support::cutter::Cutter;
use crate::support::served::{CONFIG, HALF, STREAM, Served, cuts, until_all_is_seen};

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

/// A gateway whose streams last, with one that is quiet, and some 250 events a second.
fn calm(more: &str) -> Served {
    let config = CONFIG.replace("lifetime_s = 1\n", "");
    let about = "aliases = [\"mediawiki.recentchange\"]\ndescription = \"Every change\"";
    let config = config.replace("aliases = [\"mediawiki.recentchange\"]", about);
    served(&format!("{config}[streams.quiet]\ntopics = [\"eqiad.quiet\"]\n{more}"))
}

fn served(config: &str) -> Served {
    let mut served = Served::new(config);
    served.go_on();
    served
}

/// Lets a script use the page; what it says of each step is seen when it fails.
fn is_content(script: &str, served: &Served, more: &[&str]) {
    let mut command = client::script(script);
    command.arg(format!("http://{}", served.gateway.public())).args(more);
    let mut person = Client::start(command);
    assert!(person.succeeds(), "{script}: the page is not as it should be");
}

#[test]
fn the_page_can_be_used_with_the_mouse_the_keys_and_on_a_telephone() {
    let pictures = tempfile::tempdir().expect("a folder");
    is_content("ui.cjs", &calm(""), &[pictures.path().to_str().expect("text")]);
}

#[test]
fn the_page_shows_every_event_once_through_pauses_ends_and_cuts() {
    is_content("ui_exact.cjs", &served(CONFIG), &["now"]);
}

#[test]
fn the_page_shows_every_event_once_from_the_past_to_now() {
    is_content("ui_exact.cjs", &served(CONFIG), &["past"]);
}

#[test]
fn the_code_that_the_page_gives_does_what_is_on_the_screen() {
    is_content("ui_code.cjs", &calm(""), &[client::python().to_str().expect("text")]);
}

#[test]
fn the_page_says_why_a_stream_cannot_be_had_and_what_happens_next() {
    is_content("ui_refused.cjs", &calm("[limits]\nstreams_per_client = 1\n"), &[]);
}

#[test]
fn the_pages_parts_do_what_they_say() {
    is_content("ui_parts.cjs", &calm(""), &[]);
}

#[test]
fn the_light_page_has_no_serious_finding_of_accessibility() {
    is_content("ui_axe.cjs", &calm(""), &["light"]);
}

#[test]
fn the_dark_page_has_no_serious_finding_of_accessibility() {
    is_content("ui_axe.cjs", &calm(""), &["dark"]);
}
