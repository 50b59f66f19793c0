//! The table against a list that is searched from end to end.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn change(prefix: &str, at: i64, verdict: Verdict) -> Change {
    Change {
        at: TimestampMs(at),
        host: "gw1:8092".into(),
        verdict,
        prefix: prefix.parse().expect("a prefix"),
        by: "ann".into(),
        reason: None,
    }
}

const FOR_EVER: Verdict = Verdict::Blocked { until: None };

fn until(ms: i64) -> Verdict {
    Verdict::Blocked { until: Some(TimestampMs(ms)) }
}

fn under(blocks: &Blocks, address: &str, now: i64) -> Option<String> {
    let address = address.parse().expect("an address");
    blocks.blocking(address, TimestampMs(now)).map(|change| change.prefix.to_string())
}

#[test]
fn the_longest_prefix_in_force_counts_and_the_next_one_when_it_is_over() {
    let mut blocks = Blocks::default();
    assert!(blocks.learn(change("198.51.0.0/16", 1, FOR_EVER)));
    assert!(blocks.learn(change("198.51.100.0/24", 2, until(100))));
    assert!(blocks.learn(change("2001:db8:1:2::/64", 3, FOR_EVER)));
    let said = |address, now| under(&blocks, address, now);
    assert_eq!(said("198.51.100.7", 99).as_deref(), Some("198.51.100.0/24"));
    assert_eq!(said("198.51.100.7", 100).as_deref(), Some("198.51.0.0/16"), "to the millisecond");
    assert_eq!(said("198.51.101.7", 99).as_deref(), Some("198.51.0.0/16"));
    assert_eq!(said("198.52.0.1", 99), None);
    assert_eq!(said("::ffff:198.51.100.7", 99).as_deref(), Some("198.51.100.0/24"));
    assert_eq!(said("2001:db8:1:2:ffff::9", 99).as_deref(), Some("2001:db8:1:2::/64"));
    assert_eq!(said("2001:db8:1:3::9", 99), None);
}

#[test]
fn all_of_ipv6_is_not_all_of_ipv4() {
    let mut blocks = Blocks::default();
    blocks.learn(change("::/0", 1, FOR_EVER));
    assert_eq!(under(&blocks, "192.0.2.1", 5), None);
    assert!(under(&blocks, "2001:db8::1", 5).is_some());
    blocks.learn(change("0.0.0.0/0", 1, FOR_EVER));
    assert!(under(&blocks, "192.0.2.1", 5).is_some());
}

#[test]
fn a_removal_wins_over_the_older_block_whenever_that_turns_up() {
    let mut blocks = Blocks::default();
    let block = change("192.0.2.0/24", 10, FOR_EVER);
    blocks.learn(block.clone());
    assert!(blocks.learn(change("192.0.2.0/24", 11, Verdict::Removed)));
    assert!(!blocks.learn(block), "it comes again");
    assert_eq!(under(&blocks, "192.0.2.1", 20), None);
    assert!(blocks.learn(change("192.0.2.0/24", 12, FOR_EVER)));
    assert!(under(&blocks, "192.0.2.1", 20).is_some());
}

#[test]
fn prefixes_have_one_form() {
    let form = |text: &str| canonical(text.parse().expect("a prefix")).to_string();
    assert_eq!(form("198.51.100.7/24"), "198.51.100.0/24");
    assert_eq!(form("::ffff:198.51.100.7/120"), "198.51.100.0/24");
    assert_eq!(form("::ffff:198.51.100.7/128"), "198.51.100.7/32");
    assert_eq!(form("2001:db8:1:2:3::/64"), "2001:db8:1:2::/64");
    assert_eq!(form("::/64"), "::/64", "wider than the mapped addresses: IPv6");
}

#[test]
fn what_is_over_is_history_after_a_while_and_what_is_in_force_never() {
    let late = TimestampMs(BLOCK_KNOWN_AFTER_MS + 1000);
    assert!(change("192.0.2.0/24", 10, Verdict::Removed).is_history(late));
    assert!(change("192.0.2.0/24", 10, until(500)).is_history(late));
    assert!(!change("192.0.2.0/24", 10, until(1001)).is_history(late));
    assert!(!change("192.0.2.0/24", 10, FOR_EVER).is_history(late));
}

/// Few addresses and lengths, so that prefixes meet.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0u32..8, 0u32..4).prop_map(|(a, b)| Ipv4Addr::from(a << 29 | b).into());
    let v6 = (0u128..8, 0u128..4).prop_map(|(a, b)| Ipv6Addr::from(a << 125 | b).into());
    prop_oneof![v4, v6]
}

fn any_change() -> impl Strategy<Value = Change> {
    let verdict = prop_oneof![Just(Verdict::Removed), Just(FOR_EVER), (0i64..20).prop_map(until),];
    let host = prop_oneof![Just("gw1"), Just("gw2")];
    (address(), 0u8..=128, 0i64..6, host, verdict).prop_map(|(address, bits, at, host, verdict)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = [0, 1, 3, bits % (most + 1), most][usize::from(bits) % 5];
        Change {
            host: host.into(),
            prefix: canonical(IpNet::new(address, bits).expect("few enough bits")),
            ..change("192.0.2.0/24", at, verdict)
        }
    })
}

fn learn<'a>(blocks: &mut Blocks, changes: impl Iterator<Item = &'a Change>) {
    for change in changes {
        blocks.learn(change.clone());
    }
}

/// The latest of each prefix; then of those in force the longest that holds the address.
fn naive(changes: &[Change], address: IpAddr, now: TimestampMs) -> Option<Change> {
    let is_latest = |change: &&Change| {
        !changes.iter().any(|other| other.prefix == change.prefix && other > *change)
    };
    let holds = |change: &&Change| change.is_in_force(now) && change.prefix.contains(&address);
    let fits = changes.iter().filter(is_latest).filter(holds);
    fits.max_by_key(|change| change.prefix.prefix_len()).cloned()
}

proptest! {
    #[test]
    fn the_table_says_what_a_list_would(
        changes in proptest::collection::vec(any_change(), 0..40),
        asked in proptest::collection::vec((address(), 0i64..25), 1..20),
    ) {
        let mut blocks = Blocks::default();
        learn(&mut blocks, changes.iter());
        for (address, now) in asked {
            let now = TimestampMs(now);
            let said = blocks.blocking(address, now).cloned();
            prop_assert_eq!(said, naive(&changes, address, now));
        }
    }

    #[test]
    fn whoever_has_seen_the_same_changes_in_any_order_knows_the_same(
        changes in proptest::collection::vec(any_change(), 0..20),
        order in any::<proptest::sample::Index>(),
    ) {
        let (mut here, mut there) = (Blocks::default(), Blocks::default());
        learn(&mut here, changes.iter());
        let mut other = changes.clone();
        if !other.is_empty() {
            let middle = order.index(other.len());
            other.rotate_left(middle);
            other.extend(changes);
        }
        learn(&mut there, other.iter().rev());
        prop_assert_eq!(here.latest, there.latest);
        prop_assert_eq!((here.v4, here.v6), (there.v4, there.v6));
    }

    #[test]
    fn what_is_forgotten_leaves_nothing(changes in proptest::collection::vec(any_change(), 0..20)) {
        let mut blocks = Blocks::default();
        learn(&mut blocks, changes.iter());
        changes.iter().for_each(|change| blocks.forget(change.prefix));
        prop_assert!(blocks.is_empty());
        prop_assert!(blocks.v4.iter().chain(&blocks.v6).all(|count| *count == 0));
    }
}

#[test]
fn ten_thousand_blocks_are_looked_through_without_looking_at_each() {
    let mut blocks = Blocks::default();
    for n in 0..10_000u32 {
        let bits = u8::try_from(16 + n % 17).expect("few");
        let net =
            Ipv4Net::new(Ipv4Addr::from(n.wrapping_mul(0x9E37_79B9)), bits).expect("a length");
        blocks.learn(Change {
            prefix: IpNet::V4(net.trunc()),
            ..change("192.0.2.0/24", i64::from(n), FOR_EVER)
        });
    }
    assert!(blocks.len() > 9000);
    // As many look-ups as there are lengths, not as there are blocks.
    assert_eq!(lengths(&blocks.v4).count(), 17);
    assert_eq!(lengths(&blocks.v6).count(), 0);
}
