//! Any `since` is a time from 1970 on, or an error of bounded length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::position::parse_since;

fuzz_target!(|text: &str| {
    match parse_since(text) {
        Ok(time) => {
            assert!(time.0 >= 0);
            assert_eq!(parse_since(&time.to_string()), Ok(time));
        }
        Err(error) => assert!(error.to_string().chars().count() < 500),
    }
});
