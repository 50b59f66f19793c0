//! Reads `?since=`: ISO 8601, or milliseconds since the epoch.
//!
//! Dates and times are split here and read by jiff, since URLs bring forms that no parser takes:
//! the `+` of an offset arrives as a space, and a space may stand for `T`.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset as ZoneOffset;

use super::shortened;
use crate::event::TimestampMs;

/// Why a `since` cannot be read. The text is meant for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSince {
    /// No form of a time that is known.
    #[error("since is `{0}`; {ACCEPTED}")]
    Unreadable(String),
    /// A number that is no time: negative, or beyond the year 9999.
    #[error("since is `{0}`, which is no time from 1970 to 9999; {ACCEPTED}")]
    OutOfRange(String),
}

/// The forms that are read, in words.
pub const ACCEPTED: &str = "accepted are ISO 8601 times such as 2026-01-31, \
    2026-01-31T12:00:00Z or 2026-01-31T12:00:00.123+02:00 (without a zone: UTC), and milliseconds \
    since 1970";

/// Reads a point in time, cut down to the millisecond (so nothing at that time is left out). A
/// text of digits only is milliseconds since the epoch. A date before 1970 is 1970: no record is
/// older, so it asks for the same.
///
/// # Errors
/// When it is none of the accepted forms, or a number that is no time.
pub fn parse_since(text: &str) -> Result<TimestampMs, BadSince> {
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix('-').unwrap_or(trimmed);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let ms = trimmed.parse().ok().filter(|&ms: &i64| ms >= 0);
        let time = ms.filter(|&ms| Timestamp::from_millisecond(ms).is_ok());
        return time.map(TimestampMs).ok_or_else(|| BadSince::OutOfRange(shortened(trimmed)));
    }
    let ms = iso_ms(trimmed).ok_or_else(|| BadSince::Unreadable(shortened(trimmed)))?;
    Ok(TimestampMs(ms.max(0)))
}

fn iso_ms(text: &str) -> Option<i64> {
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let date: Date = date.parse().ok()?;
    let (time, zone) = match rest {
        Some(rest) => time_and_zone(rest)?,
        None => (Time::midnight(), ZoneOffset::UTC),
    };
    let timestamp = zone.to_timestamp(date.to_datetime(time)).ok()?;
    // `as_millisecond` cuts towards zero; what lies before 1970 becomes 1970 anyway.
    Some(timestamp.as_millisecond())
}

/// `12:00`, `12:00:00`, `12:00:00.123456`, each followed by nothing, `Z` or an offset.
fn time_and_zone(text: &str) -> Option<(Time, ZoneOffset)> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | ':' | '.' | ','));
    let (time, zone) = text.split_at(end.unwrap_or(text.len()));
    let zone = match zone {
        "" | "Z" | "z" => ZoneOffset::UTC,
        offset => zone_offset(offset)?,
    };
    Some((time_of_day(time)?, zone))
}

fn time_of_day(text: &str) -> Option<Time> {
    let Some(point) = text.find(['.', ',']) else { return text.parse().ok() };
    let (whole, fraction) = (&text[..point], &text[point + 1..]);
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Only milliseconds count; any number of digits may stand behind them.
    let ms = format!("{:0<3.3}", fraction).parse().ok()?;
    whole.parse::<Time>().ok()?.with().millisecond(ms).build().ok()
}

/// `+02:00`, `-0230`, `+02`, and the same with the space that a `+` becomes in a query.
fn zone_offset(text: &str) -> Option<ZoneOffset> {
    let sign = match text.as_bytes().first()? {
        b'+' | b' ' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text[1..].replacen(':', "", usize::from(text.as_bytes().get(3) == Some(&b':')));
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = digits.get(2..4).map_or(Some(0), |m| m.parse().ok())?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    ZoneOffset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_769_860_800_000;

    #[test]
    fn iso_8601_is_read_in_its_usual_forms() {
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00",
            "2026-01-31 12:00",
            " 2026-01-31T12:00:00Z\n",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00+0000",
            "2026-01-31T12:00:00+00",
            "2026-01-31T12:00:00-00:00",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T14:30:00 02:30",
            "2026-01-31T14:30:00 0230",
            "2026-01-31 12:00:00 00:00",
            "2026-01-31T09:30:00-0230",
            "2026-01-31T12:00:00.0Z",
            "2026-01-31T12:00:00,000Z",
            "2026-01-31T12:00:00.000999999999999999999999+00:00",
            "20260131T120000Z",
            "1769860800000",
            "0001769860800000",
        ] {
            assert_eq!(parse_since(text), Ok(TimestampMs(NOON)), "{text}");
        }
        assert_eq!(parse_since("2026-01-31"), Ok(TimestampMs(NOON - 12 * 3_600_000)));
    }

    #[test]
    fn fractions_are_cut_to_the_millisecond() {
        for (fraction, ms) in [("5", 500), ("05", 50), ("123", 123), ("1239", 123), ("9999", 999)] {
            let text = format!("2026-01-31T12:00:00.{fraction}Z");
            assert_eq!(parse_since(&text), Ok(TimestampMs(NOON + ms)), "{text}");
        }
    }

    #[test]
    fn what_lies_before_1970_is_1970() {
        assert_eq!(parse_since("1969-12-31T23:59:59.5Z"), Ok(TimestampMs(0)));
        assert_eq!(parse_since("0001-01-01"), Ok(TimestampMs(0)));
        assert_eq!(parse_since("1970-01-01T00:00:00+02:00"), Ok(TimestampMs(0)));
        assert_eq!(parse_since("0"), Ok(TimestampMs(0)));
    }

    #[test]
    fn a_number_that_is_no_time_is_refused() {
        for text in ["-1", "253402300800000", "9223372036854775807", "99999999999999999999999"] {
            let error = parse_since(text).expect_err(text);
            assert!(matches!(error, BadSince::OutOfRange(_)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_named_and_what_is_accepted_is_told() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-30T00:00:00Z",
            "2026-01-31T25:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.1.2Z",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00+02:60",
            "2026-01-31T12:00:00+2",
            "2026-01-31T12:00:00+é0",
            "2026-01-31T12:00:00+0é",
            "2026-01-31T",
            "12:00:00Z",
            "1769860800.5",
            "+1769860800000",
            "--5",
            "9999-12-31T23:59:59-23:59",
        ] {
            let error = parse_since(text).expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("accepted are ISO 8601"), "{error}");
        }
        let long = parse_since(&"é".repeat(5000)).expect_err("no time").to_string();
        assert!(long.chars().count() < 400, "{long}");
    }

    proptest! {
        #[test]
        fn any_time_is_read_back_from_its_iso_form(ms in 0..253_402_207_200_000_i64) {
            let iso = Timestamp::from_millisecond(ms).expect("in range").to_string();
            prop_assert_eq!(parse_since(&iso), Ok(TimestampMs(ms)));
            prop_assert_eq!(parse_since(&ms.to_string()), Ok(TimestampMs(ms)));
        }

        #[test]
        fn any_text_is_a_time_or_an_error(text in any::<String>()) {
            let _ = parse_since(&text);
        }

        #[test]
        fn any_text_like_a_time_is_a_time_or_an_error(text in "[0-9TtZz:., +\\-é]{0,40}") {
            if let Ok(time) = parse_since(&text) {
                prop_assert!(time.0 >= 0);
            }
        }
    }
}
