//! Any `Last-Event-ID` is read or refused with an error of bounded length, and what was read as
//! exact positions can be printed and is read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::position::{LastEventId, PartitionPosition, ResumeAt, parse_last_event_id, write_id};

fuzz_target!(|text: &[u8]| {
    let entries = match parse_last_event_id(text) {
        Ok(Some(LastEventId::Positions(entries))) => entries,
        Ok(Some(LastEventId::Names(names))) => {
            assert!(!names.is_empty() && names.iter().all(|name| !name.trim().is_empty()));
            return;
        }
        Ok(None) => return,
        Err(error) => {
            assert!(error.to_string().chars().count() < 1000);
            return;
        }
    };
    assert!(!entries.is_empty());
    let exact: Option<Vec<_>> = entries
        .iter()
        .map(|entry| match entry.at {
            ResumeAt::Offset(next, Some(time)) => {
                Some((&entry.tp, PartitionPosition { log: entry.log, next, time }))
            }
            _ => None,
        })
        .collect();
    if let Some(exact) = exact {
        let mut id = Vec::new();
        write_id(&mut id, exact.iter().map(|(tp, position)| (*tp, position)));
        assert_eq!(parse_last_event_id(&id), Ok(Some(LastEventId::Positions(entries))));
    }
});
