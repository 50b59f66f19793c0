//! What an operator asks for, and why it may be refused: a slip of the finger must not lock out the
//! world, the proxies, or the operator.
//!
//! Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::config;
use crate::gate::blocks::canonical;
use crate::limits::{BLOCK_BITS_MIN, BLOCK_SECONDS_MAX, BLOCK_TEXT_MAX};

/// A prefix as it will be blocked, and what the operator should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Without host bits.
    pub prefix: IpNet,
    /// In words.
    pub notes: Vec<String>,
}

/// Reads an address or a prefix.
///
/// # Errors
/// What was found and what is accepted.
pub fn read_prefix(text: &str) -> Result<Asked, String> {
    let given =
        config::prefix(text).ok_or_else(|| format!("found \"{}\"; {PREFIX}", shown(text)))?;
    let prefix = canonical(given);
    let mut notes = Vec::new();
    let is_mapped = given.addr().is_ipv6() && prefix.addr().is_ipv4();
    if is_mapped {
        notes.push(format!("{text} is IPv4: it is {prefix}"));
    } else if given.addr() != prefix.addr() {
        notes.push(format!("{text} names one address of its prefix: all of {prefix} is meant"));
    }
    if let IpNet::V6(v6) = prefix
        && v6.prefix_len() > 64
    {
        notes.push("who has one IPv6 address has a /64 of them, and can use the others".to_owned());
    }
    Ok(Asked { prefix, notes })
}

const PREFIX: &str =
    "an address or a prefix such as 198.51.100.0/24 or 2001:db8:1:2::/64 is accepted";
const DURATION: &str =
    "a duration such as 30m, 12h, 2d or 4w is accepted, up to ten years, or `ever`";

/// Reads for how many seconds a block is to last; `ever` is `None`.
///
/// # Errors
/// What was found and what is accepted.
pub fn read_duration(text: &str) -> Result<Option<i64>, String> {
    if text == "ever" {
        return Ok(None);
    }
    let wrong = || format!("found \"{}\"; {DURATION}", shown(text));
    let span: Span = text.parse().map_err(|_| wrong())?;
    let days = SpanRelativeTo::days_are_24_hours();
    let duration: SignedDuration = span.to_duration(days).map_err(|_| wrong())?;
    match duration.as_secs() {
        seconds @ 1..=BLOCK_SECONDS_MAX => Ok(Some(seconds)),
        _ => Err(wrong()),
    }
}

/// Takes what is said of a block: one line, of bounded length.
///
/// # Errors
/// What was found and what is accepted.
pub fn read_text(text: &str, chars_max: usize) -> Result<String, String> {
    let (text, length) = (text.trim(), text.trim().chars().count());
    if text.chars().any(char::is_control) {
        return Err("has a control character; one line of text is accepted".to_owned());
    }
    if length > chars_max {
        return Err(format!("has {length} characters; {chars_max} are accepted"));
    }
    Ok(text.to_owned())
}

/// The reason, if one is given.
///
/// # Errors
/// As `read_text`.
pub fn read_reason(text: &str) -> Result<Option<String>, String> {
    let reason = read_text(text, BLOCK_TEXT_MAX.0)?;
    Ok((!reason.is_empty()).then_some(reason))
}

/// Who asks.
///
/// # Errors
/// As `read_text`, and when nobody does.
pub fn read_name(text: &str) -> Result<String, String> {
    let name = read_text(text, BLOCK_TEXT_MAX.1)?;
    if name.is_empty() { Err("is empty; say who decides it".to_owned()) } else { Ok(name) }
}

/// Why a block is refused unless it is forced.
#[must_use]
pub fn danger(prefix: &IpNet, proxies: &[IpNet], operator: &[IpAddr]) -> Option<String> {
    let (bits, fewest) = match prefix {
        IpNet::V4(_) => (prefix.prefix_len(), BLOCK_BITS_MIN.0),
        IpNet::V6(_) => (prefix.prefix_len(), BLOCK_BITS_MIN.1),
    };
    if bits < fewest {
        return Some(format!(
            "{prefix} is a large part of all addresses; prefixes from /{fewest} on are accepted"
        ));
    }
    if let Some(own) = operator.iter().find(|own| prefix.contains(&own.to_canonical())) {
        return Some(format!("{prefix} holds {}, from where you ask", own.to_canonical()));
    }
    let meets = |proxy: &&IpNet| prefix.contains(*proxy) || proxy.contains(prefix);
    proxies.iter().find(meets).map(|proxy| {
        format!(
            "{prefix} and {proxy} of limits.trusted_proxies meet: a block is of clients by their \
             own addresses, and a proxy's clients would notice nothing"
        )
    })
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpNet {
        read_prefix(text).expect("a prefix").prefix
    }

    #[test]
    fn a_prefix_is_taken_without_its_host_bits_and_that_is_said() {
        let asked = read_prefix("198.51.100.7/24").expect("a prefix");
        assert_eq!(asked.prefix.to_string(), "198.51.100.0/24");
        assert!(asked.notes[0].contains("all of 198.51.100.0/24"), "{:?}", asked.notes);
        assert!(read_prefix("198.51.100.0/24").expect("a prefix").notes.is_empty());
        assert_eq!(prefix("198.51.100.7").to_string(), "198.51.100.7/32");
        let mapped = read_prefix("::ffff:198.51.100.0/120").expect("a prefix");
        assert_eq!(mapped.prefix.to_string(), "198.51.100.0/24");
        assert_eq!(mapped.notes.len(), 1);
        assert!(read_prefix("2001:db8::1").expect("one").notes[0].contains("/64"));
        assert!(read_prefix("2001:db8:1:2::/64").expect("one").notes.is_empty());
        for bad in ["", "198.51.100.0/33", "198.51.100", "fe80::1%eth0", "all", "1.2.3.4/-1"] {
            let says = read_prefix(bad).expect_err(bad);
            assert!(says.contains(bad) && says.contains("198.51.100.0/24"), "{says}");
        }
    }

    #[test]
    fn a_duration_is_a_time_of_known_length_or_ever() {
        assert_eq!(read_duration("2d"), Ok(Some(2 * 86_400)));
        assert_eq!(read_duration("90m"), Ok(Some(5400)));
        assert_eq!(read_duration("1d 12h"), Ok(Some(36 * 3600)));
        assert_eq!(read_duration("4w"), Ok(Some(28 * 86_400)));
        assert_eq!(read_duration("ever"), Ok(None));
        for bad in ["", "2", "-2d", "0s", "soon", "3 months", "1000y", "999999999w", "1ms"] {
            let says = read_duration(bad).expect_err(bad);
            assert!(says.contains("30m"), "{says}");
        }
    }

    #[test]
    fn a_text_is_one_line_and_has_its_length() {
        assert_eq!(read_reason("  scrapes "), Ok(Some("scrapes".to_owned())));
        assert_eq!(read_reason(" "), Ok(None));
        assert!(read_reason("a\nb").is_err() && read_reason("a\u{1b}[2J").is_err());
        assert_eq!(read_reason(&"\u{e4}".repeat(500)).map(|r| r.is_some()), Ok(true));
        assert!(read_reason(&"x".repeat(501)).expect_err("long").contains("501"));
        assert!(read_name(" ").is_err() && read_name("ann").is_ok());
    }

    #[test]
    fn what_would_hit_the_world_the_operator_or_a_proxy_is_a_danger() {
        let proxies = [prefix("10.1.0.0/16")];
        let operator = ["127.0.0.1".parse().expect("an address")];
        let says = |text: &str| danger(&prefix(text), &proxies, &operator);
        assert_eq!(says("198.51.100.0/24"), None);
        for (bad, why) in [
            ("0.0.0.0/0", "/8 on"),
            ("198.0.0.0/7", "/8 on"),
            ("::/0", "/16 on"),
            ("127.0.0.0/8", "from where you ask"),
            ("::ffff:127.0.0.1", "from where you ask"),
            ("10.0.0.0/8", "trusted_proxies"),
            ("10.1.2.3", "trusted_proxies"),
        ] {
            let says = says(bad).expect(bad);
            assert!(says.contains(why), "{bad}: {says}");
        }
        assert_eq!(says("10.2.0.0/16"), None);
    }
}
