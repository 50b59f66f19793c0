//! The pure part of the demo: from a seed and the time to records. Same seed, same times asked,
//! same records. No I/O, no clock.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::f64::consts::TAU;
use std::time::Duration;

use super::change::{Act, Change, happen};
use super::people::{accounts, date_time};
use super::shape::{Event, Meta, Performer, RECENTCHANGE, REVISION_CREATE, RevisionCreate};
use super::shape::{Slot, Slots};
use super::wikis::{Kind, State, WIKIS};
use super::{PAGE_CREATE, REVISION, STREAMS, language};
use crate::event::{TimestampMs, TopicName};
use crate::source::NewRecord;

/// Recent changes a second, on average and how far it drifts to both sides.
const RATE_PER_S: f64 = 31.0;
const RATE_DRIFT_PER_S: f64 = 4.0;
/// One round of the drift.
const DRIFT_MS: f64 = 600_000.0;
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Each quiet topic gets a canary this often.
const CANARY_EVERY_MS: i64 = 60_000;

/// Makes the demo's events.
pub struct Generator {
    rng: StdRng,
    /// Made at the first event: ids go on from the time then.
    wikis: Vec<State>,
    last: TimestampMs,
    canary_due: TimestampMs,
}

impl Generator {
    /// A generator; equal seeds make equal events.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (last, canary_due) = (TimestampMs(0), TimestampMs(0));
        Self { rng: StdRng::seed_from_u64(seed), wikis: Vec::new(), last, canary_due }
    }

    /// What happens next, at `now`: one recent change with the revision and the page that belong
    /// to it, and the canaries that are due.
    pub fn next(&mut self, now: TimestampMs) -> Vec<NewRecord> {
        if self.wikis.is_empty() {
            self.settle(now);
        }
        let mut records = Vec::new();
        if now >= self.canary_due {
            self.canary_due = TimestampMs(now.0.saturating_add(CANARY_EVERY_MS));
            records.extend(self.canaries(now));
        }
        let at = self.time(now);
        let act = self.act();
        let which = self.wiki(act);
        let change = happen(&mut self.wikis[which], act, at, &mut self.rng);
        self.tell(change, at, WIKIS[which].domain, &mut records);
        records
    }

    /// How long to wait until the next: exponential, so that events come in bunches as real ones
    /// do, around a rate that drifts within 10 minutes.
    pub fn pause(&mut self, now: TimestampMs) -> Duration {
        let phase = now.0.rem_euclid(DRIFT_MS as i64) as f64 / DRIFT_MS;
        let rate_per_s = RATE_PER_S + RATE_DRIFT_PER_S * (phase * TAU).sin();
        // 1 - [0, 1) is never 0.
        let wait_s = -(1.0 - self.rng.random::<f64>()).ln() / rate_per_s;
        Duration::from_secs_f64(wait_s).min(PAUSE_MAX)
    }

    fn settle(&mut self, now: TimestampMs) {
        for wiki in &WIKIS {
            let people = accounts(language::of(wiki.language), now, &mut self.rng);
            self.wikis.push(State::new(wiki, people, now));
        }
    }

    /// The event's time: now, but now and then the same as the last one's, or a little before.
    fn time(&mut self, now: TimestampMs) -> TimestampMs {
        let at = match self.rng.random_range(0..1000) {
            0..=7 if self.last.0 > 0 => self.last,
            8..=19 => self.last.min(now).less(self.rng.random_range(1..=5)),
            _ => now,
        };
        // After a long pause the last time is too old for either.
        let at = if now.0 - at.0 > 1000 { now } else { at };
        self.last = at;
        at
    }

    fn act(&mut self) -> Act {
        match self.rng.random_range(0..1000) {
            0..530 => Act::Edit,
            530..870 => Act::Categorize,
            870..940 => Act::Log,
            940..980 => Act::New,
            _ => Act::External,
        }
    }

    fn wiki(&mut self, act: Act) -> usize {
        let share = |w: &super::wikis::Wiki| match act {
            Act::Edit | Act::New | Act::Log => w.edits,
            // Items have no categories.
            Act::Categorize => w.categories,
            // Items change, and the articles about them with them.
            Act::External if w.kind == Kind::Articles => w.edits,
            Act::External => 0,
        };
        let mut left = self.rng.random_range(0..WIKIS.iter().map(share).sum());
        let found = WIKIS.iter().position(|wiki| {
            let here = left < share(wiki);
            left = left.saturating_sub(share(wiki));
            here
        });
        found.expect("the number is below the sum of all shares")
    }

    fn tell(&mut self, change: Change, at: TimestampMs, domain: &str, out: &mut Vec<NewRecord>) {
        let request_id = self.uuid();
        let mut meta = |stream: &str, at| Meta {
            uri: change.uri.clone(),
            request_id: request_id.clone(),
            id: self.uuid(),
            domain: domain.to_owned(),
            stream: alias(stream),
            dt: date_time(at, 3),
        };
        out.push(busy(STREAMS[0], RECENTCHANGE, &meta(STREAMS[0], at), &change.recent, at));
        let Some(revision) = &change.revision else { return };
        out.push(busy(REVISION, REVISION_CREATE, &meta(REVISION, at), revision, at));
        if revision.rev_parent_id.is_none() {
            out.push(busy(PAGE_CREATE, REVISION_CREATE, &meta(PAGE_CREATE, at), revision, at));
        }
    }

    /// One canary for each stream's quiet topic: its schema's example, with a domain that says so.
    fn canaries(&mut self, now: TimestampMs) -> Vec<NewRecord> {
        let mut canary = |stream: &str| {
            let meta = Meta {
                uri: "https://examplewiki.wikipedia.org/wiki/TestPage10".to_owned(),
                request_id: self.uuid(),
                id: self.uuid(),
                domain: "canary".to_owned(),
                stream: alias(stream),
                dt: date_time(now, 3),
            };
            let topic = topic("codfw", stream);
            if stream == STREAMS[0] {
                return record(topic, RECENTCHANGE, &meta, &serde_json::json!({}), now);
            }
            record(topic, REVISION_CREATE, &meta, &example_revision(now), now)
        };
        STREAMS.map(&mut canary).into()
    }

    fn uuid(&mut self) -> String {
        let bytes = self.rng.random::<u128>().to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// What `meta.stream` says.
fn alias(stream: &str) -> String {
    format!("mediawiki.{stream}")
}

pub(super) fn topic(site: &str, stream: &str) -> TopicName {
    TopicName::new(&format!("{site}.mediawiki.{stream}")).expect("letters, dots and dashes")
}

fn busy<T: Serialize>(
    stream: &str,
    schema: &'static str,
    meta: &Meta,
    body: &T,
    at: TimestampMs,
) -> NewRecord {
    record(topic("eqiad", stream), schema, meta, body, at)
}

fn record<T: Serialize>(
    topic: TopicName,
    schema: &'static str,
    meta: &Meta,
    body: &T,
    time: TimestampMs,
) -> NewRecord {
    let event = serde_json::to_vec(&Event { schema, meta, body });
    let value = Bytes::from(event.expect("all keys are strings"));
    NewRecord { topic, key: None, value, time }
}

fn example_revision(now: TimestampMs) -> RevisionCreate {
    let (dt, sha1) = (date_time(now, 0), "mr0szy90m5qbn6tek7ch3nebaild3tm".to_owned());
    let main = Slot {
        rev_slot_content_model: "wikitext",
        rev_slot_sha1: sha1.clone(),
        rev_slot_size: 20,
        rev_slot_origin_rev_id: 123,
    };
    RevisionCreate {
        database: "examplewiki",
        page_id: 123,
        page_title: "TestPage10".to_owned(),
        page_namespace: 0,
        rev_id: 123,
        rev_timestamp: dt.clone(),
        rev_sha1: sha1,
        rev_minor_edit: false,
        rev_len: 3,
        rev_content_model: "wikitext",
        rev_content_format: "text/x-wiki",
        performer: Performer {
            user_text: "example_user_text".to_owned(),
            user_groups: vec!["*", "user", "autoconfirmed"],
            user_is_bot: false,
            user_id: Some(123),
            user_registration_dt: Some("2016-01-29T21:13:24Z".to_owned()),
            user_edit_count: Some(1),
        },
        page_is_redirect: false,
        comment: None,
        parsedcomment: None,
        dt,
        rev_parent_id: Some(122),
        rev_content_changed: true,
        rev_is_revert: false,
        rev_revert_details: None,
        rev_slots: Slots { main, mediainfo: None },
    }
}

#[cfg(test)]
mod tests;
