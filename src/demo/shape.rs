//! The shapes of the demo's events, field for field in the order in which the real ones have
//! them. Data only; what stands in them is decided elsewhere.

use serde::Serialize;
use serde_json::Value;

pub(super) const RECENTCHANGE: &str = "/mediawiki/recentchange/1.0.1";
pub(super) const REVISION_CREATE: &str = "/mediawiki/revision/create/2.0.0";

/// What every event says of itself.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Meta {
    pub(super) uri: String,
    pub(super) request_id: String,
    pub(super) id: String,
    pub(super) domain: String,
    pub(super) stream: String,
    pub(super) dt: String,
}

/// An event of `recentchange`. What its type does not have is left out.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct RecentChange {
    pub(super) id: u64,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) namespace: i32,
    pub(super) title: String,
    pub(super) title_url: String,
    pub(super) comment: String,
    /// Seconds since 1970.
    pub(super) timestamp: i64,
    pub(super) user: String,
    pub(super) bot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notify_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minor: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) patrolled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) length: Option<OldNew>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<OldNew>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<LogEntry>,
    pub(super) server_url: String,
    pub(super) server_name: &'static str,
    pub(super) server_script_path: &'static str,
    pub(super) wiki: &'static str,
    pub(super) parsedcomment: String,
}

/// Before and after; a new page has no before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct OldNew {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) old: Option<u64>,
    pub(super) new: u64,
}

/// What only an event of type `log` has.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LogEntry {
    pub(super) log_id: u64,
    pub(super) log_type: &'static str,
    pub(super) log_action: &'static str,
    pub(super) log_params: Value,
    pub(super) log_action_comment: String,
}

/// An event of `revision-create` and of `page-create`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RevisionCreate {
    pub(super) database: &'static str,
    pub(super) page_id: u64,
    pub(super) page_title: String,
    pub(super) page_namespace: i32,
    pub(super) rev_id: u64,
    pub(super) rev_timestamp: String,
    pub(super) rev_sha1: String,
    pub(super) rev_minor_edit: bool,
    pub(super) rev_len: u64,
    pub(super) rev_content_model: &'static str,
    pub(super) rev_content_format: &'static str,
    pub(super) performer: Performer,
    pub(super) page_is_redirect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parsedcomment: Option<String>,
    pub(super) dt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rev_parent_id: Option<u64>,
    pub(super) rev_content_changed: bool,
    pub(super) rev_is_revert: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rev_revert_details: Option<Revert>,
    pub(super) rev_slots: Slots,
}

/// Who did it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Performer {
    pub(super) user_text: String,
    pub(super) user_groups: Vec<&'static str>,
    pub(super) user_is_bot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_registration_dt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_edit_count: Option<u64>,
}

/// What was reverted.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Revert {
    pub(super) rev_revert_method: &'static str,
    pub(super) rev_is_exact_revert: bool,
    pub(super) rev_reverted_revs: Vec<u64>,
}

/// The parts of a revision.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Slots {
    pub(super) main: Slot,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mediainfo: Option<Slot>,
}

/// One part of a revision.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Slot {
    pub(super) rev_slot_content_model: &'static str,
    pub(super) rev_slot_sha1: String,
    pub(super) rev_slot_size: u64,
    pub(super) rev_slot_origin_rev_id: u64,
}

/// An event as it is written: its schema, its `meta`, then its own fields.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a, T> {
    #[serde(rename = "$schema")]
    pub(super) schema: &'static str,
    pub(super) meta: &'a Meta,
    #[serde(flatten)]
    pub(super) body: &'a T,
}
