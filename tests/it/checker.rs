//! The test of the checker: what it is to find, it finds. A checker that cannot fail proves
//! nothing.

use serde_json::Value;

use crate::support::checker::{self, Goal, Ledger, Manner, Place, Reader, Report, Trace, check};
use crate::support::gateway::Gateway;
use crate::support::sse;

fn place(partition: i32) -> Place {
    ("t".to_owned(), partition)
}

/// One partition was written and read from its beginning.
fn one(written: &[i64], seen: &[i64]) -> Report {
    from(0, written, seen)
}

fn from(start: i64, written: &[i64], seen: &[i64]) -> Report {
    let trace = Trace {
        start: [(place(0), start)].into(),
        seen: [(place(0), seen.to_vec())].into(),
        ..Trace::default()
    };
    check(&trace, &[(place(0), written.to_vec())].into())
}

#[test]
fn what_came_once_and_in_order_is_clean() {
    let report = one(&[0, 1, 2], &[0, 1, 2]);
    assert_eq!(report, Report { deliveries: 3, ..Report::default() });
    assert!(report.is_clean());
    assert!(one(&[0, 1, 7, 9], &[0, 1, 7, 9]).is_clean(), "a hole in the offsets is no loss");
    assert!(from(2, &[0, 1, 2], &[2]).is_clean(), "what was before its start is no loss");
}

#[test]
fn what_did_not_come_is_lost_at_every_place_of_the_log() {
    for missing in 0..5 {
        let seen: Vec<i64> = (0..5).filter(|o| *o != missing).collect();
        let report = one(&[0, 1, 2, 3, 4], &seen);
        assert_eq!(report, Report { deliveries: 4, lost: 1, ..Report::default() });
        assert!(!report.is_clean());
    }
    assert_eq!(from(2, &[0, 1, 2, 3], &[3]).lost, 1, "the first of its start");
}

#[test]
fn a_partition_that_never_came_is_lost_from_its_start_or_from_its_beginning() {
    let ledger: Ledger = [(place(0), vec![0, 1]), (place(1), vec![0, 1, 2])].into();
    let seen = [(place(0), vec![0, 1])].into();
    let mut trace = Trace { seen, ..Trace::default() };
    assert_eq!(check(&trace, &ledger).lost, 3, "it was made after the start: all of it");
    trace.start = [(place(1), 2)].into();
    assert_eq!(check(&trace, &ledger).lost, 1);
}

#[test]
fn what_came_twice_is_repeated_also_where_it_came_late() {
    let at_once = one(&[0, 1, 2], &[0, 1, 1, 2]);
    assert_eq!(at_once, Report { deliveries: 4, repeated: 1, ..Report::default() });
    let later = one(&[0, 1, 2], &[0, 1, 2, 1, 2]);
    assert_eq!((later.repeated, later.disordered, later.lost), (2, 1, 0));
    assert!(!at_once.is_clean() && !later.is_clean());
}

#[test]
fn what_came_after_a_later_one_is_disordered() {
    let report = one(&[0, 1, 2], &[0, 2, 1]);
    assert_eq!(report, Report { deliveries: 3, disordered: 1, ..Report::default() });
    assert!(!report.is_clean());
}

#[test]
fn an_id_that_does_not_name_its_event_is_wrong() {
    let trace = Trace { wrong_ids: 2, ..Trace::default() };
    let report = check(&trace, &Ledger::new());
    assert_eq!(report, Report { wrong_ids: 2, ..Report::default() });
    assert!(!report.is_clean());
}

#[test]
fn what_nobody_acknowledged_is_counted_and_may_come_once() {
    let report = one(&[0, 2], &[0, 1, 2]);
    assert_eq!(report, Report { deliveries: 3, unacknowledged: 1, ..Report::default() });
    assert!(report.is_clean(), "it may have been written all the same");
    assert!(!one(&[0, 2], &[0, 1, 1, 2]).is_clean(), "but not twice");
}

/// The id with every offset moved by `by`, and nothing by which the gateway could tell.
fn shifted(id: &str, by: i64) -> String {
    let mut entries: Vec<Value> = serde_json::from_str(id).expect("an id");
    for entry in &mut entries {
        let offset = entry["offset"].as_i64().expect("an offset");
        entry["offset"] = (offset + by).max(0).into();
        entry.as_object_mut().expect("an entry").remove("timestamp");
    }
    Value::from(entries).to_string()
}

/// What the checker says of a reader with this manner, over a real gateway.
fn report_of(tamper: fn(&str) -> String) -> Report {
    const EVENTS: i64 = 300;
    let gateway = Gateway::embedded(&[("s", &["t"])], "");
    let events: Vec<_> =
        (0..EVENTS).map(|n| format!(r#"{{"meta":{{"stream":"s"}},"n":{n}}}"#)).collect();
    let events = format!("[{}]", events.join(","));
    let answer = sse::post(gateway.public(), "/v1/events", events.as_bytes()).expect("answered");
    assert_eq!(answer.0, 201);
    // A reader that skips may never see the last one: what comes after the goal is not judged.
    let ledger: Ledger = [(place(0), (0..EVENTS - 20).collect())].into();
    let goal = Goal::default();
    goal.set(checker::goal(&ledger)).expect("set once");
    let reader = Reader {
        to: gateway.public(),
        path: "/v2/stream/s?since=0".to_owned(),
        seed: 7,
        manner: Manner { events_max: 30, tamper, ..Manner::default() },
        goal,
    };
    let trace = reader.run(|| ());
    let report = check(&trace, &ledger);
    assert!(trace.connections >= 5, "{trace:?}");
    report
}

#[test]
fn an_honest_reader_that_is_cut_is_found_clean() {
    let report = report_of(str::to_owned);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn an_id_one_too_high_is_found_as_loss() {
    let report = report_of(|id| shifted(id, 1));
    assert!(report.lost >= 4 && report.repeated == 0, "one for each cut: {report:?}");
}

#[test]
fn an_id_one_too_low_is_found_as_repetition() {
    let report = report_of(|id| shifted(id, -1));
    assert!(report.repeated >= 4 && report.lost == 0, "one for each cut: {report:?}");
}
