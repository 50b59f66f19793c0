//! One thing that happens on a wiki, and the events that tell of it: an edit and a new page are a
//! recent change and a revision (a new page also a page), the rest a recent change alone.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::language::{self, Language};
use super::people::{self, Person, date_time};
use super::prose::{self, Comment};
use super::shape::{LogEntry, OldNew, RecentChange, Revert, RevisionCreate, Slot, Slots};
use super::wikis::{Kind, Page, State};
use crate::event::TimestampMs;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Edit,
    New,
    Categorize,
    Log,
    External,
}

/// What happened, as its events tell it.
pub(super) struct Change {
    pub(super) uri: String,
    pub(super) recent: RecentChange,
    pub(super) revision: Option<RevisionCreate>,
}

/// Lets it happen on a wiki at a time. A wiki without a known page begins with an edit.
pub(super) fn happen(state: &mut State, act: Act, at: TimestampMs, rng: &mut StdRng) -> Change {
    match act {
        Act::Edit => edit(state, at, rng),
        Act::New => new(state, at, rng),
        Act::Log => log(state, at, rng),
        Act::External => external(state, at, rng),
        Act::Categorize => match state.recent(rng) {
            Some(page) => categorize(state, page, at, rng),
            None => edit(state, at, rng),
        },
    }
}

/// Summaries and titles of the big shared wikis come in many languages.
fn spoken(state: &State, rng: &mut StdRng) -> &'static Language {
    match state.wiki.kind {
        Kind::Items | Kind::Files => {
            let codes = ["en", "de", "fr", "es", "it", "nl", "pl", "ru", "ja", "ar", "uk", "zh"];
            language::of(codes.choose(rng).copied().unwrap_or("en"))
        }
        Kind::Articles | Kind::Words => language::of(state.wiki.language),
    }
}

fn known_page(state: &mut State, rng: &mut StdRng) -> Page {
    let again = if state.wiki.kind == Kind::Items { 0.3 } else { 0.5 };
    if rng.random_bool(again)
        && let Some(at) = state.recent(rng)
    {
        return state.pages[at].clone();
    }
    let (namespace, title) = named(state, rng);
    let (id, rev, parent) = state.past(rng);
    let len = rng.random_range(400..60_000);
    Page { id, namespace, title, rev, parent, len, redirect: rng.random_bool(0.02) }
}

fn named(state: &State, rng: &mut StdRng) -> (i32, String) {
    let spoken = spoken(state, rng);
    match state.wiki.kind {
        Kind::Items => (0, format!("Q{}", rng.random_range(10_000..139_000_000))),
        Kind::Files => (6, prose::file(spoken, rng)),
        Kind::Words => (0, prose::word(spoken, rng)),
        Kind::Articles => {
            let title = prose::title(spoken, rng);
            let [talk, user, user_talk, template, category] = spoken.namespaces;
            let account = |rng: &mut StdRng| people::account_name(spoken, rng);
            match rng.random_range(0..100) {
                0..=8 => (1, format!("{talk}:{title}")),
                9..=12 => (2, format!("{user}:{}", account(rng))),
                13..=17 => (3, format!("{user_talk}:{}", account(rng))),
                18..=20 => (10, format!("{template}:{title}")),
                21..=23 => (14, format!("{category}:{title}")),
                _ => (0, title),
            }
        }
    }
}

/// What all recent changes have.
fn recent(state: &State, page: (i32, &str), who: &Person, said: &Comment, s: i64) -> RecentChange {
    let wiki = state.wiki;
    RecentChange {
        namespace: page.0,
        title: page.1.to_owned(),
        title_url: url(state, page.1),
        comment: said.text.clone(),
        timestamp: s,
        user: who.name.clone(),
        bot: who.bot,
        server_url: format!("https://{}", wiki.domain),
        server_name: wiki.domain,
        server_script_path: "/w",
        wiki: wiki.db,
        parsedcomment: said.html.clone(),
        ..RecentChange::default()
    }
}

fn url(state: &State, title: &str) -> String {
    format!("https://{}/wiki/{}", state.wiki.domain, prose::path(title))
}

fn notify(state: &State, query: &str, rc: u64) -> Option<String> {
    Some(format!("https://{}/w/index.php?{query}&rcid={rc}", state.wiki.domain))
}

/// The second at which it was done; its event comes up to two seconds later.
fn second(at: TimestampMs, rng: &mut StdRng) -> i64 {
    at.0 / 1000 - [0, 0, 0, 1, 1, 2].choose(rng).copied().unwrap_or(0)
}

fn edit(state: &mut State, at: TimestampMs, rng: &mut StdRng) -> Change {
    let mut page = known_page(state, rng);
    let who = people::pick(&mut state.people, rng.random_bool(0.45), rng);
    let old = OldNew { old: Some(page.len), new: page.rev };
    let reverts = state.wiki.kind == Kind::Articles && !who.bot && rng.random_bool(0.05);
    let said = match state.wiki.kind {
        _ if reverts => {
            let whose = people::pick(&mut state.people, false, rng).name;
            prose::undone(page.rev, &whose, &page.title)
        }
        Kind::Items => prose::claim(spoken(state, rng), rng),
        Kind::Files | Kind::Articles | Kind::Words => {
            prose::summary(spoken(state, rng), &page.title, rng)
        }
    };
    let (grown, shrunk) = (rng.random_range(1..900), rng.random_range(0..300));
    page.len =
        if rng.random_bool(0.75) { page.len + grown } else { page.len.saturating_sub(shrunk) };
    (page.parent, page.rev) = (page.rev, state.next_rev(rng));
    let (rc, s) = (state.next_rc(rng), second(at, rng));
    let query = format!("diff={}&oldid={}", page.rev, page.parent);
    let recent = RecentChange {
        id: rc,
        kind: "edit",
        notify_url: notify(state, &query, rc),
        minor: Some(rng.random_bool(0.25)),
        patrolled: state.patrolled(who.bot, rng),
        length: Some(OldNew { old: old.old, new: page.len }),
        revision: Some(OldNew { old: Some(page.parent), new: page.rev }),
        ..recent(state, (page.namespace, &page.title), &who, &said, s)
    };
    let reverted = reverts.then(|| vec![old.new]);
    told(state, recent, page, &who, reverted, rng)
}

fn new(state: &mut State, at: TimestampMs, rng: &mut StdRng) -> Change {
    let (namespace, title) = named(state, rng);
    let title = match state.wiki.kind {
        // The newest item has the highest number.
        Kind::Items => format!("Q{}", 139_000_000 + state.next_page() % 1_000_000),
        Kind::Files | Kind::Articles | Kind::Words => title,
    };
    let who = people::pick(&mut state.people, rng.random_bool(0.25), rng);
    let text = match state.wiki.kind {
        Kind::Items => "/* wbeditentity-create-item:0| */".to_owned(),
        Kind::Files => "Uploaded own work with UploadWizard".to_owned(),
        Kind::Articles | Kind::Words => spoken(state, rng).remarks[0].to_owned(),
    };
    let html = match state.wiki.kind {
        Kind::Items => {
            "<span dir=\"auto\"><span class=\"autocomment\">Created a new Item</span></span>".into()
        }
        Kind::Files | Kind::Articles | Kind::Words => prose::rendered(&text, &title),
    };
    let (id, rev, len) = (state.next_page(), state.next_rev(rng), rng.random_range(60..9000));
    let page = Page { id, namespace, title, rev, parent: 0, len, redirect: rng.random_bool(0.1) };
    let (rc, s) = (state.next_rc(rng), second(at, rng));
    let recent = RecentChange {
        id: rc,
        kind: "new",
        notify_url: notify(state, &format!("oldid={rev}"), rc),
        minor: Some(false),
        patrolled: Some(who.bot),
        length: Some(OldNew { old: None, new: len }),
        revision: Some(OldNew { old: None, new: rev }),
        ..recent(state, (namespace, &page.title), &who, &Comment { text, html }, s)
    };
    told(state, recent, page, &who, None, rng)
}

/// The revision that goes with an edit or a new page; the page is remembered.
fn told(
    state: &mut State,
    recent: RecentChange,
    page: Page,
    who: &Person,
    reverted: Option<Vec<u64>>,
    rng: &mut StdRng,
) -> Change {
    let (model, format) = match state.wiki.kind {
        Kind::Items => ("wikibase-item", "application/json"),
        Kind::Files | Kind::Articles | Kind::Words => ("wikitext", "text/x-wiki"),
    };
    let sha1 = base36(rng);
    let slot = |model, sha1: String, size, rev| Slot {
        rev_slot_content_model: model,
        rev_slot_sha1: sha1,
        rev_slot_size: size,
        rev_slot_origin_rev_id: rev,
    };
    let depicts = state.wiki.kind == Kind::Files && page.parent > 0 && rng.random_bool(0.5);
    let mediainfo = depicts
        .then(|| slot("wikibase-mediainfo", base36(rng), rng.random_range(300..4000), page.parent));
    let is_revert = reverted.is_some();
    let details = |revs| Revert {
        rev_revert_method: "undo",
        rev_is_exact_revert: true,
        rev_reverted_revs: revs,
    };
    let written = date_time(TimestampMs(recent.timestamp * 1000), 0);
    let said = (!recent.comment.is_empty())
        .then(|| (recent.comment.clone(), recent.parsedcomment.clone()))
        .unzip();
    let revision = RevisionCreate {
        database: state.wiki.db,
        page_id: page.id,
        page_title: page.title.replace(' ', "_"),
        page_namespace: page.namespace,
        rev_id: page.rev,
        rev_timestamp: written.clone(),
        rev_sha1: sha1.clone(),
        rev_minor_edit: recent.minor.unwrap_or(false),
        rev_len: page.len,
        rev_content_model: model,
        rev_content_format: format,
        performer: who.performer(),
        page_is_redirect: page.redirect,
        comment: said.0,
        parsedcomment: said.1,
        dt: written,
        rev_parent_id: (page.parent > 0).then_some(page.parent),
        rev_content_changed: true,
        rev_is_revert: is_revert,
        rev_revert_details: reverted.map(details),
        rev_slots: Slots { main: slot(model, sha1, page.len, page.rev), mediainfo },
    };
    let uri = url(state, &page.title);
    state.touched(page);
    Change { uri, recent, revision: Some(revision) }
}

fn categorize(state: &mut State, page: usize, at: TimestampMs, rng: &mut StdRng) -> Change {
    let page = state.pages[page].clone();
    let spoken = spoken(state, rng);
    let local = language::of(state.wiki.language);
    let category = format!("{}:{}", local.namespaces[4], prose::title(spoken, rng));
    let who = people::pick(&mut state.people, rng.random_bool(0.38), rng);
    let said = prose::categorized(local, &page.title, rng.random_bool(0.8));
    let (rc, s) = (state.next_rc(rng), second(at, rng));
    let query = format!("diff={}&oldid={}", page.rev, page.parent);
    let recent = RecentChange {
        id: rc,
        kind: "categorize",
        notify_url: notify(state, &query, rc),
        ..recent(state, (14, &category), &who, &said, s)
    };
    Change { uri: url(state, &category), recent, revision: None }
}

fn external(state: &mut State, at: TimestampMs, rng: &mut StdRng) -> Change {
    let page = known_page(state, rng);
    let who = people::pick(&mut state.people, rng.random_bool(0.3), rng);
    let said = prose::claim(language::of(state.wiki.language), rng);
    let (rc, s) = (state.next_rc(rng), second(at, rng));
    let recent = RecentChange {
        id: rc,
        kind: "external",
        minor: Some(false),
        ..recent(state, (page.namespace, &page.title), &who, &said, s)
    };
    Change { uri: url(state, &page.title), recent, revision: None }
}

fn log(state: &mut State, at: TimestampMs, rng: &mut StdRng) -> Change {
    let page = known_page(state, rng);
    let local = language::of(state.wiki.language);
    let account = people::account_name(local, rng);
    let of_user = format!("{}:{account}", local.namespaces[1]);
    let roll = rng.random_range(0..100);
    // Bots upload, move and delete; they open no accounts, block and thank nobody.
    let bot = (35..85).contains(&roll) && rng.random_bool(0.3);
    let who = people::pick(&mut state.people, bot, rng);
    let moved = named(state, rng).1;
    let (log_type, log_action, target, params, action): (_, _, _, Value, _) = match roll {
        0..=34 => {
            let action = format!("New user account [[{of_user}]]");
            let params = json!({"userid": state.next_page()});
            ("newusers", "create", (2, of_user), params, action)
        }
        35..=54 => {
            let (action, params) = (format!("uploaded [[{}]]", page.title), upload(at, rng));
            ("upload", "upload", (page.namespace, page.title), params, action)
        }
        55..=69 => {
            let action = format!("moved [[{}]] to [[{moved}]]", page.title);
            let params = json!({"target": moved, "noredir": "0"});
            ("move", "move", (page.namespace, page.title), params, action)
        }
        70..=84 => {
            let action = format!("deleted [[{}]]", page.title);
            ("delete", "delete", (page.namespace, page.title), json!([]), action)
        }
        85..=94 => {
            let action = format!("blocked [[{of_user}]] with an expiration time of 31 hours");
            let flags = "nocreate,noemail";
            let params = json!({"duration": "31 hours", "flags": flags, "sitewide": true});
            ("block", "block", (2, of_user), params, action)
        }
        _ => {
            let action = format!("thanked [[{of_user}]]");
            ("thanks", "thank", (2, of_user), json!([]), action)
        }
    };
    let remark = prose::summary(local, &target.1, rng);
    let (log_id, rc, s) = (state.next_log(), state.next_rc(rng), second(at, rng));
    let log_action_comment = match remark.text.as_str() {
        "" => action,
        text => format!("{action}: {text}"),
    };
    let entry = LogEntry { log_id, log_type, log_action, log_params: params, log_action_comment };
    let recent = RecentChange {
        id: rc,
        kind: "log",
        log: Some(entry),
        ..recent(state, (target.0, &target.1), &who, &remark, s)
    };
    Change { uri: url(state, &target.1), recent, revision: None }
}

fn upload(at: TimestampMs, rng: &mut StdRng) -> Value {
    let digits = date_time(at, 0).replace(['-', ':', 'T', 'Z'], "");
    json!({"img_sha1": base36(rng), "img_timestamp": digits})
}

/// 31 digits to the base 36, as the wikis write a SHA-1.
fn base36(rng: &mut StdRng) -> String {
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
    (0..31).map(|_| char::from(digits[rng.random_range(0..digits.len())])).collect()
}

impl State {
    /// Where somebody looks over edits: whether this one needs it.
    fn patrolled(&self, bot: bool, rng: &mut StdRng) -> Option<bool> {
        let looks = matches!(self.wiki.kind, Kind::Items | Kind::Files | Kind::Words);
        looks.then(|| bot || rng.random_bool(0.7))
    }
}
