//! Who edits in the demo: made-up account names, bots among them, and people without an account.

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::language::Language;
use super::shape::Performer;
use crate::event::TimestampMs;

/// Accounts of a wiki; the first are the busiest.
const PEOPLE: usize = 32;
const BOTS: usize = 10;
/// How often somebody who is no bot has no account either.
const VISITOR_SHARE: f64 = 0.12;
const BOT_WORK: [&str; 8] =
    ["Link", "Archive", "Cleanup", "Import", "Date", "Category", "Citation", "Label"];

/// One account, or one visitor without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) bot: bool,
    account: Option<Account>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    id: u64,
    registered: String,
    edits: u64,
    sysop: bool,
}

/// The accounts of a wiki, first people, then bots.
pub(super) fn accounts(language: &Language, now: TimestampMs, rng: &mut StdRng) -> Vec<Person> {
    let account = |n: usize| {
        let bot = n >= PEOPLE;
        let name = if bot { bot_name(language, n, rng) } else { account_name(language, rng) };
        let age = SignedDuration::from_hours(rng.random_range(24 * 30..24 * 365 * 18));
        let registered = TimestampMs(now.0.saturating_sub(age.as_secs() * 1000));
        let account = Account {
            id: rng.random_range(100..50_000_000),
            registered: date_time(registered, 0),
            edits: rng.random_range(5..if bot { 2_000_000 } else { 90_000 }),
            sysop: !bot && rng.random_bool(0.1),
        };
        Person { name, bot, account: Some(account) }
    };
    (0..PEOPLE + BOTS).map(account).collect()
}

/// Picks who does the next thing: an account, the first of its kind the likeliest, or somebody
/// without one.
pub(super) fn pick(people: &mut [Person], bot: bool, rng: &mut StdRng) -> Person {
    if !bot && rng.random_bool(VISITOR_SHARE) {
        return visitor(rng);
    }
    let count = people.iter().filter(|p| p.bot == bot).count();
    let nth = (rng.random::<f64>().powi(2) * count as f64) as usize;
    match people.iter_mut().filter(|p| p.bot == bot).nth(nth) {
        Some(person) => {
            if let Some(account) = &mut person.account {
                account.edits += 1;
            }
            person.clone()
        }
        None => visitor(rng),
    }
}

/// Somebody without an account: a temporary name, or an address of those set aside for examples.
fn visitor(rng: &mut StdRng) -> Person {
    let name = match rng.random_range(0..10) {
        0 => format!("203.0.113.{}", rng.random_range(1..255)),
        1 => format!("2001:DB8:{:X}:0:0:0:0:{:X}", rng.random::<u16>(), rng.random::<u16>()),
        _ => format!("~2026-{}-{:02}", rng.random_range(1000..99999), rng.random_range(0..100)),
    };
    Person { name, bot: false, account: None }
}

/// A name nobody has yet, as far as dice go.
pub(super) fn account_name(language: &Language, rng: &mut StdRng) -> String {
    let mut word = || language.nicks.choose(rng).copied().unwrap_or("Example");
    let (first, second) = (word(), word());
    match rng.random_range(0..4) {
        0 => format!("{first} {second} {}", rng.random_range(2..100)),
        1 => format!("{first}{}", rng.random_range(100..9999)),
        2 => format!("{first}-{second}-{}", rng.random_range(2..100)),
        _ => format!("{first}{second}{}", rng.random_range(2..1000)),
    }
}

fn bot_name(language: &Language, n: usize, rng: &mut StdRng) -> String {
    let word = language.nicks.choose(rng).copied().unwrap_or("Example");
    format!("{word}{}Bot", BOT_WORK[n % BOT_WORK.len()])
}

impl Person {
    /// The person as `revision-create` names it.
    pub(super) fn performer(&self) -> Performer {
        let mut groups = vec!["*"];
        if let Some(account) = &self.account {
            groups.extend(["user", "autoconfirmed"]);
            groups.extend(account.sysop.then_some("sysop"));
            groups.extend(self.bot.then_some("bot"));
        }
        let account = self.account.as_ref();
        Performer {
            user_text: self.name.clone(),
            user_groups: groups,
            user_is_bot: self.bot,
            user_id: account.map(|a| a.id),
            user_registration_dt: account.map(|a| a.registered.clone()),
            user_edit_count: account.map(|a| a.edits),
        }
    }
}

/// ISO 8601 in UTC, with so many digits after the second.
pub(super) fn date_time(at: TimestampMs, digits: usize) -> String {
    let at = Timestamp::from_millisecond(at.0.max(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.digits$}")
}
