// The stream browser: one EventSource, the newest events on top, never more than SHOWN_MAX.
"use strict";

const SHOWN_MAX = 200;
const RETRY_MS = 5000;
const $ = (id) => document.getElementById(id);

let source = null;   // the open EventSource
let retry = null;    // the timer of the next try after a refusal
let lastId = "";     // survives a pause and a refusal
let count = 0;

function say(text, open) {
  $("state").textContent = text;
  $("state").classList.toggle("open", Boolean(open));
  $("toggle").textContent = source || retry ? "Pause" : "Go on";
}

// An EventSource sends its own last id when it reconnects, but a new one cannot be given one:
// the newest time in the id is the nearest that can be asked for.
function since() {
  try {
    const times = JSON.parse(lastId).map((p) => p.timestamp).filter(Number.isFinite);
    return times.length ? "?since=" + Math.max(...times) : "";
  } catch {
    return "";
  }
}

function stop() {
  if (source) source.close();
  clearTimeout(retry);
  source = retry = null;
}

function start() {
  stop();
  const path = "/v2/stream/" + encodeURIComponent($("stream").value);
  $("curl").textContent = "curl -N '" + location.origin + path + "'";
  const mine = source = new EventSource(path + since());
  say("connecting");
  mine.onopen = () => say("connected", true);
  mine.onmessage = show;
  mine.onerror = () => {
    if (mine !== source) return;
    if (mine.readyState === EventSource.CLOSED) {
      // Refused: the browser does not try again by itself.
      stop();
      retry = setTimeout(start, RETRY_MS);
      say("refused, trying again soon");
    } else {
      say("reconnecting");
    }
  };
}

function show(message) {
  lastId = message.lastEventId;
  $("last").textContent = lastId || "none yet";
  $("count").textContent = ++count;
  let event = null;
  try { event = JSON.parse(message.data); } catch { /* shown as it is */ }

  const item = document.createElement("li");
  const details = document.createElement("details");
  const head = document.createElement("summary");
  const time = document.createElement("time");
  const line = document.createElement("span");
  time.textContent = clock(event);
  line.textContent = event ? summary(event) : message.data;
  head.append(time, line);
  details.append(head);
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const raw = document.createElement("pre");
    raw.textContent = event ? JSON.stringify(event, null, 2) : message.data;
    details.append(raw);
  });
  item.append(details);
  $("events").prepend(item);
  while ($("events").childElementCount > SHOWN_MAX) $("events").lastElementChild.remove();
}

function clock(event) {
  const at = new Date(event?.meta?.dt ?? Date.now());
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString();
}

// The words that MediaWiki's events have; of anything else its first plain values.
function summary(event) {
  const page = event.title ?? event.page_title ?? event.page?.page_title;
  const known = [
    event.type ?? event.changelog_kind ?? event.page_change_kind,
    event.wiki ?? event.database ?? event.wiki_id,
    page,
    event.user ?? event.performer?.user_text,
    event.comment,
  ].filter((value) => typeof value === "string" && value !== "");
  if (page !== undefined && known.length > 1) return known.join(" · ");
  const plain = Object.entries(event).filter(([key, v]) => key !== "$schema" && Object(v) !== v);
  return plain.slice(0, 6).map(([key, value]) => key + ": " + value).join(" · ");
}

function forget() {
  lastId = "";
  count = 0;
  $("events").replaceChildren();
  $("last").textContent = "none yet";
  $("count").textContent = "0";
}

function choose(name) {
  const known = [...$("stream").options].some((option) => option.value === name);
  if (known) $("stream").value = name;
  forget();
  start();
}

async function main() {
  const wanted = () => {
    try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
  };
  let names = [];
  try {
    const spec = await (await fetch("/?spec")).json();
    const all = spec.paths["/v2/stream/{streams}"].get.parameters[0].schema.items.enum;
    names = all.filter((name) => !spec.paths["/v2/stream/" + name]?.get["x-alias-of"]);
  } catch {
    setTimeout(main, RETRY_MS);
    return say("the list of streams cannot be had, trying again soon");
  }
  $("stream").replaceChildren(...names.map((name) => new Option(name)));
  $("stream").onchange = () => { location.hash = encodeURIComponent($("stream").value); };
  $("clear").onclick = forget;
  $("toggle").onclick = () => {
    if (!source && !retry) return start();
    stop();
    say("paused");
  };
  addEventListener("hashchange", () => choose(wanted()));
  if (names.length) choose(wanted()); else say("there are no streams");
}

main();
