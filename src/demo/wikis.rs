//! The wikis of the demo: which there are, how busy each is, and what each remembers (its next
//! ids, the pages that were touched last, the people who edit).

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;

use super::people::Person;
use crate::event::TimestampMs;

/// Pages that a wiki remembers; the next edits often go to one of them.
const PAGES_MAX: usize = 48;
/// 2026-01-01T00:00:00Z. Ids grow from here, so that those of a later run are higher.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// Revisions a second of all wikis together that the growth of ids assumes.
const REVISIONS_PER_S: i64 = 20;

/// What a wiki's pages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Wikidata's items.
    Items,
    /// Commons' files.
    Files,
    /// Articles of an encyclopedia.
    Articles,
    /// Single words.
    Words,
}

/// One wiki, as it is for ever.
#[derive(Debug)]
pub(super) struct Wiki {
    pub(super) db: &'static str,
    pub(super) domain: &'static str,
    pub(super) language: &'static str,
    pub(super) kind: Kind,
    /// Its share of edits, new pages and log entries.
    pub(super) edits: u32,
    /// Its share of category changes.
    pub(super) categories: u32,
    /// Millions of revisions that it had in 2026.
    revisions_millions: u32,
}

const fn wiki(
    db: &'static str,
    domain: &'static str,
    language: &'static str,
    kind: Kind,
    shares: (u32, u32),
    revisions_millions: u32,
) -> Wiki {
    Wiki { db, domain, language, kind, edits: shares.0, categories: shares.1, revisions_millions }
}

use Kind::{Articles, Files, Items, Words};

/// All wikis, the busiest first.
pub(super) static WIKIS: [Wiki; 32] = [
    wiki("wikidatawiki", "www.wikidata.org", "en", Items, (460, 0), 2400),
    wiki("commonswiki", "commons.wikimedia.org", "en", Files, (180, 400), 1170),
    wiki("enwiki", "en.wikipedia.org", "en", Articles, (110, 200), 1330),
    wiki("frwiki", "fr.wikipedia.org", "fr", Articles, (30, 50), 232),
    wiki("dewiki", "de.wikipedia.org", "de", Articles, (28, 45), 262),
    wiki("ruwiki", "ru.wikipedia.org", "ru", Articles, (20, 40), 148),
    wiki("eswiki", "es.wikipedia.org", "es", Articles, (20, 30), 171),
    wiki("itwiki", "it.wikipedia.org", "it", Articles, (16, 25), 148),
    wiki("jawiki", "ja.wikipedia.org", "ja", Articles, (16, 25), 108),
    wiki("zhwiki", "zh.wikipedia.org", "zh", Articles, (14, 20), 91),
    wiki("ukwiki", "uk.wikipedia.org", "uk", Articles, (11, 15), 47),
    wiki("plwiki", "pl.wikipedia.org", "pl", Articles, (10, 15), 79),
    wiki("ptwiki", "pt.wikipedia.org", "pt", Articles, (10, 15), 71),
    wiki("arwiki", "ar.wikipedia.org", "ar", Articles, (10, 20), 73),
    wiki("fawiki", "fa.wikipedia.org", "fa", Articles, (9, 15), 43),
    wiki("nlwiki", "nl.wikipedia.org", "nl", Articles, (8, 10), 70),
    wiki("arzwiki", "arz.wikipedia.org", "ar", Articles, (4, 5), 11),
    wiki("simplewiki", "simple.wikipedia.org", "en", Articles, (4, 5), 10),
    wiki("glwiki", "gl.wikipedia.org", "pt", Articles, (3, 4), 7),
    wiki("barwiki", "bar.wikipedia.org", "de", Articles, (1, 1), 1),
    wiki("enwiktionary", "en.wiktionary.org", "en", Words, (10, 30), 88),
    wiki("frwiktionary", "fr.wiktionary.org", "fr", Words, (6, 8), 39),
    wiki("dewiktionary", "de.wiktionary.org", "de", Words, (3, 3), 11),
    wiki("ruwiktionary", "ru.wiktionary.org", "ru", Words, (3, 3), 14),
    wiki("plwiktionary", "pl.wiktionary.org", "pl", Words, (2, 2), 9),
    wiki("enwikisource", "en.wikisource.org", "en", Articles, (4, 3), 15),
    wiki("frwikisource", "fr.wikisource.org", "fr", Articles, (3, 2), 15),
    wiki("plwikisource", "pl.wikisource.org", "pl", Articles, (2, 2), 4),
    wiki("itwikiquote", "it.wikiquote.org", "it", Articles, (1, 1), 2),
    wiki("eswikinews", "es.wikinews.org", "es", Articles, (1, 1), 1),
    wiki("metawiki", "meta.wikimedia.org", "en", Articles, (4, 3), 30),
    wiki("incubatorwiki", "incubator.wikimedia.org", "en", Articles, (2, 2), 7),
];

/// A page as its wiki remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) id: u64,
    pub(super) namespace: i32,
    /// With the namespace in front, words apart by spaces.
    pub(super) title: String,
    /// Its newest revision, and the one before.
    pub(super) rev: u64,
    pub(super) parent: u64,
    /// Bytes of its text.
    pub(super) len: u64,
    pub(super) redirect: bool,
}

/// One wiki, as it is now.
#[derive(Debug)]
pub(super) struct State {
    pub(super) wiki: &'static Wiki,
    pub(super) pages: VecDeque<Page>,
    pub(super) people: Vec<Person>,
    rev: u64,
    rc: u64,
    page: u64,
    log: u64,
}

impl State {
    /// A wiki as it is at `now`, with the people given and no page remembered.
    pub(super) fn new(wiki: &'static Wiki, people: Vec<Person>, now: TimestampMs) -> Self {
        let total: i64 = WIKIS.iter().map(|w| i64::from(w.edits)).sum();
        let age_s = (now.0 - EPOCH_MS).max(0) / 1000;
        let grown = age_s * REVISIONS_PER_S * i64::from(wiki.edits) / total;
        let rev = u64::from(wiki.revisions_millions) * 1_000_000 + grown.unsigned_abs();
        let pages = VecDeque::with_capacity(PAGES_MAX);
        Self { wiki, pages, people, rev, rc: rev + rev / 20, page: rev / 12 + 1000, log: rev / 9 }
    }

    pub(super) fn next_rev(&mut self, rng: &mut StdRng) -> u64 {
        // Real ids leave some out: what happens elsewhere on the wiki takes them.
        self.rev += rng.random_range(1..=2);
        self.rev
    }

    pub(super) fn next_rc(&mut self, rng: &mut StdRng) -> u64 {
        self.rc += rng.random_range(1..=2);
        self.rc
    }

    pub(super) fn next_log(&mut self) -> u64 {
        self.log += 1;
        self.log
    }

    pub(super) fn next_page(&mut self) -> u64 {
        self.page += 1;
        self.page
    }

    /// Ids of a page that was there before anyone looked: page, newest revision, the one before.
    pub(super) fn past(&self, rng: &mut StdRng) -> (u64, u64, u64) {
        let rev = rng.random_range(self.rev / 2..self.rev);
        (rng.random_range(1..self.page), rev, rng.random_range(self.rev / 4..rev))
    }

    /// A page touched lately, the latest the likeliest.
    pub(super) fn recent(&self, rng: &mut StdRng) -> Option<usize> {
        let far = rng.random::<f64>() * rng.random::<f64>();
        let count = self.pages.len();
        (count > 0).then(|| ((far * count as f64) as usize).min(count - 1))
    }

    /// Remembers a page as the one touched last.
    pub(super) fn touched(&mut self, page: Page) {
        self.pages.retain(|known| known.id != page.id);
        self.pages.truncate(PAGES_MAX - 1);
        self.pages.push_front(page);
    }
}
