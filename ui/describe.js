// An event in words: what, where, who, when, how many bytes. The words that wiki events have; of
// anything else its name-like and plain values. Every value may be missing or of another kind.

const text = (value) => (typeof value === "string" && value !== "" ? value : undefined);
const number = (value) => (Number.isFinite(value) ? value : undefined);

const NAMES = ["title", "name", "subject", "summary", "message", "text", "label", "url", "id"];
const KINDS = ["type", "kind", "action", "event", "status", "level"];
const PEOPLE = ["user", "username", "author", "actor", "performer", "owner"];
const PLACES = ["wiki", "database", "domain", "host", "server", "service", "region", "site"];
const FEW = 6;

const first = (event, keys) => {
  const found = keys.find((key) => text(event[key]) !== undefined || number(event[key]));
  return found === undefined ? undefined : String(event[found]);
};

// Bytes by which a page changed, where the event says both lengths.
function delta(event) {
  const now = number(event.length?.new ?? event.revision?.rev_size);
  const before = number(event.length?.old ?? event.prior_state?.revision?.rev_size);
  if (now !== undefined && before !== undefined) return now - before;
  const isNew = event.type === "new" || event.page_change_kind === "create";
  return now !== undefined && isNew ? now : undefined;
}

function link(event) {
  const uri = text(event.title_url) ?? text(event.meta?.uri) ?? text(event.uri);
  // Only what a browser opens and cannot run.
  return uri !== undefined && /^https?:\/\//i.test(uri) ? uri : undefined;
}

function wiki(event) {
  const page = text(event.title) ?? text(event.page_title) ?? text(event.page?.page_title);
  const known = event.meta?.stream?.startsWith?.("mediawiki.") || text(event.database)
    || text(event.wiki) || text(event.wiki_id);
  if (page === undefined || !known) return null;
  const stream = text(event.meta?.stream)?.replace(/^mediawiki\./, "") ?? "";
  const guessed = { "revision-create": "edit", "page-create": "new" }[stream];
  const created = stream === "revision-create" && event.rev_parent_id === undefined;
  return {
    kind: text(event.type) ?? text(event.page_change_kind) ?? text(event.changelog_kind)
      ?? (created ? "new" : guessed) ?? stream.replace(/^page[-_]/, ""),
    // Some streams have titles as in addresses.
    title: page.replaceAll("_", " "),
    where: text(event.server_name) ?? text(event.meta?.domain) ?? text(event.wiki)
      ?? text(event.database) ?? text(event.wiki_id),
    who: text(event.user) ?? text(event.performer?.user_text),
    said: text(event.comment) ?? text(event.revision?.comment) ?? logged(event),
    bytes: delta(event),
    minor: event.minor === true || event.rev_minor_edit === true,
    bot: event.bot === true || event.performer?.user_is_bot === true,
  };
}

const logged = (event) =>
  [text(event.log_type), text(event.log_action)].filter(Boolean).join(" / ") || undefined;

function anything(event) {
  const plain = Object.entries(event)
    .filter(([key, value]) => key !== "$schema" && Object(value) !== value && value !== null);
  const title = first(event, NAMES) ?? text(event.meta?.uri);
  return {
    kind: first(event, KINDS) ?? "event",
    title: title ?? text(event.meta?.stream) ?? "event",
    where: first(event, PLACES) ?? text(event.meta?.domain),
    who: first(event, PEOPLE),
    said: plain.filter(([, value]) => String(value) !== title).slice(0, FEW)
      .map(([key, value]) => `${key}: ${value}`).join(" · "),
    bytes: undefined,
  };
}

// `{ kind, title, where, who, said, bytes, minor, bot, canary, link, at }`; `at` in ms, if known.
export function describe(event) {
  const at = Date.parse(text(event.meta?.dt) ?? text(event.dt) ?? "");
  const canary = event.meta?.domain === "canary";
  return {
    ...(wiki(event) ?? anything(event)),
    ...(canary ? { kind: "canary" } : {}),
    canary,
    link: link(event),
    at: Number.isNaN(at) ? undefined : at,
  };
}

const two = (n) => String(n).padStart(2, "0");
export const clock = (ms) => {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
};

export const signed = (bytes) => {
  if (bytes === undefined) return "";
  const sign = bytes > 0 ? "+" : bytes < 0 ? "−" : "±";
  return sign + Math.abs(bytes).toLocaleString("en");
};

// A span in words: "0.4 s", "12 s", "5 min", "3 h", "2 days".
export function span(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 90 * 60) return `${Math.round(s / 60)} min`;
  return s < 36 * 3600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86_400)} days`;
}

// Events a second, as precise as it is worth.
export function rate(perSecond) {
  if (perSecond >= 9.95) return Math.round(perSecond).toLocaleString("en");
  if (perSecond >= 0.95) return perSecond.toFixed(1);
  return perSecond === 0 ? "0" : perSecond.toFixed(2);
}

export const plural = (n, word, words = `${word}s`) =>
  `${n.toLocaleString("en")} ${n === 1 ? word : words}`;
