// The page: brings what is watched onto the screen, and what somebody does there to what is
// watched. The address says what is on the screen, so every change goes through it.

import * as address from "./address.js";
import { Chart } from "./chart.js";
import { clock, plural, rate, span } from "./describe.js";
import { codeDialog, copy, dialogs, keys, timeDialog, toast } from "./dialogs.js";
import { Inspector } from "./inspector.js";
import { List } from "./list.js";
import { notice, stateWords } from "./notices.js";
import { Picker, busiest, catalogue } from "./picker.js";
import { STEP, Watch, shortId } from "./watch.js";

const $ = (id) => document.getElementById(id);
const TICK_MS = 250;
const AGAIN_MS = 3000;
const TYPING_MS = 120;
// What is said to those who do not see the screen, at most so often.
const SAY_MS = 1500;
// A list that was scrolled by more than this is being read.
const SCROLLED_PX = 24;

// A catalogue that is older than this says nothing about how much comes now.
const FRESH_MS = 1500;

let known = { skew: 0, at: 0, streams: [] };
let screen = { names: [], since: null, after: "", filter: "", raw: false };

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

// --- The parts -----------------------------------------------------------------------------------

const chart = new Chart($("chart"), (text) => $("chart").setAttribute("aria-label", text),
  ({ most, seconds }) => {
    write($("rate"), rate(chart.rate()));
    write($("peak"), `peak ${most.toLocaleString("en")}/s`);
    write($("reach"), `${span(seconds * 1000)}`);
  });
const watch = new Watch(chart, { changed: () => list.draw(), state, say });
const list = new List($("list"), watch.buffer, {
  scrolled: (top) => {
    if (top > SCROLLED_PX) watch.freeze("scroll");
    else if (watch.frozen === "scroll" && !inspector.open) watch.go();
  },
  chose: (entry) => {
    watch.freeze("scroll");
    inspector.show(entry, chart.now);
  },
});
const inspector = new Inspector($("inspector"), {
  copy,
  after: (entry) => go({ ...screen, since: null, after: entry.id }),
  closed: () => {
    list.chosen = null;
    $("list").focus();
    if (watch.frozen === "scroll" && $("list").scrollTop <= SCROLLED_PX) watch.go();
    list.draw(true);
  },
});
const picker = new Picker($("picker"), { chosen: (names) => go({ ...screen, names, after: "" }) });
const showCode = codeDialog(() => ({ origin: location.origin, ...screen }));
const askTime = timeDialog((since) => go({ ...screen, since, after: "" }));

// --- What is said --------------------------------------------------------------------------------

let sayTimer = null;
let toSay = "";
function say(text) {
  toSay = text;
  sayTimer ??= setTimeout(() => {
    sayTimer = null;
    write($("live"), toSay);
  }, SAY_MS);
}

function state() {
  const { text } = stateWords(watch.model());
  const said = notice(watch.model(), Date.now());
  say(said ? `${said.title}. ${said.text}` : text);
  tell();
}

const ACTIONS = {
  streams: ["Choose streams", () => openPicker()],
  live: ["Skip to now", () => go({ ...screen, since: null, after: "" }, true)],
  retry: ["Try now", () => watch.stream.go()],
  go: ["Go on", () => goOn()],
  pause: ["Pause", () => watch.freeze("pause")],
  step: [`Next ${STEP}`, () => goOn(STEP)],
  through: ["Read on to now", () => goOn()],
};

let shownNotice = "";
function tell() {
  const model = watch.model();
  const said = notice(model, Date.now());
  const place = $("notice");
  place.hidden = said === null;
  place.dataset.tone = said?.tone ?? "calm";
  write($("notice-title"), said?.title ?? "");
  write($("notice-text"), said?.text ?? "");
  // Buttons are only made anew when they are others, or the one with the focus would go.
  const actions = said?.actions.join() ?? "";
  if (actions !== shownNotice) {
    shownNotice = actions;
    $("notice-actions").replaceChildren(...(said?.actions ?? []).map((name) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: ACTIONS[name][0] });
      button.dataset.action = name;
      button.onclick = ACTIONS[name][1];
      return button;
    }));
  }
  const words = stateWords(model);
  $("state").dataset.tone = words.tone;
  write($("state-text"), words.text);
  const paused = watch.frozen !== null;
  $("pause").setAttribute("aria-pressed", paused);
  write($("pause-text"), paused ? "Go on" : "Pause");
}

// Four times a second: everything that is a number.
function tick() {
  watch.tick();
  tell();
  const { buffer, proof, received, stream } = watch;
  write($("received"), received.toLocaleString("en"));
  const behind = chart.now - watch.newest;
  const ago = behind < 1000 ? "just now" : `${span(behind)} ago`;
  write($("behind"), watch.newest === null ? "–" : ago);
  write($("since-open"), stream.state.kind === "open"
    ? `for ${span(Date.now() - stream.state.since)}` : "");
  write($("last-id"), shortId(watch.lastId));
  $("last-id").title = watch.lastId;
  const joints = proof.joints === 0 ? "" : `, through ${plural(proof.joints, "reconnect")}`;
  write($("proof"), received === 0 ? "" : proof.clean
    ? `${plural(proof.events, "event")}, none missed${joints}`
    : `${plural(proof.lost, "record")} lost, ${proof.repeated} repeated${joints}`);
  $("proof").dataset.tone = proof.clean ? "good" : "bad";
  write($("matches"), screen.filter ? plural(buffer.events, "match", "matches") : "");
  empty();
}

// Why there is nothing to see.
function empty() {
  const none = watch.buffer.events === 0;
  $("empty").hidden = !none;
  $("list").setAttribute("aria-busy", watch.buffer.length === 0);
  if (!none) return;
  const waits = watch.stream.state.kind === "open";
  if (screen.filter && watch.received > 0) {
    write($("empty-title"), "Nothing matches yet");
    write($("empty-text"), `${plural(watch.received, "event")} came and none is like `
      + `“${screen.filter}”. What matches from now on appears here.`);
  } else if (waits) {
    const last = known.streams.filter(({ name }) => screen.names.includes(name))
      .map((stream) => stream.last).filter(Number.isFinite);
    write($("empty-title"), "Connected, and waiting for the next event");
    write($("empty-text"), last.length === 0 ? "Nothing has come to these streams yet."
      : `The last one was ${span(chart.now - Math.max(...last))} ago.`);
  } else {
    write($("empty-title"), stateWords(watch.model()).text);
    write($("empty-text"), "");
  }
  $("empty").classList.toggle("over", watch.stream.state.kind === "refused");
  $("empty-past").hidden = !(waits && screen.since === null && !screen.filter);
}

// --- What is on the screen -----------------------------------------------------------------------

// Shows another screen; the address changes with it. `anew`: also where it is the same.
function go(next, anew = false) {
  const hash = address.write(next);
  if (hash !== location.hash) history.pushState(null, "", hash);
  show(next, anew);
}

function show(next, anew = false) {
  const same = !anew && next.names.join() === screen.names.join() && next.since === screen.since
    && next.after === screen.after;
  screen = next;
  if (watch.filter !== next.filter) {
    if ($("filter").value.trim() !== next.filter) $("filter").value = next.filter;
    watch.setFilter(next.filter);
  }
  list.raw = next.raw;
  $("raw").setAttribute("aria-pressed", next.raw);
  write($("names"), next.names.join(" + "));
  document.title = `${next.names.join(" + ")} · Tidegate`;
  const about = known.streams.find(({ name }) => name === next.names[0])?.description ?? "";
  write($("about"), next.names.length === 1 ? about : `${next.names.length} streams as one`);
  const past = next.after ? "after an event" : `since ${next.since && clock(next.since)}`;
  $("since-shown").textContent = next.since === null && !next.after ? "Now" : past;
  $("since").value = "shown";
  if (!same) {
    inspector.close();
    list.toTop();
    begin(next);
  }
  list.draw(true);
}

// Begins to watch, with what the server says came until now.
let begins = 0;
async function begin(next) {
  const mine = (begins += 1);
  if (Date.now() - known.at > FRESH_MS) {
    watch.stream.stop();
    try {
      known = await catalogue();
    } catch { /* what is known has to do; the stream will say what is wrong */ }
    if (mine !== begins) return;
  }
  watch.begin(next, known);
}

function goOn(steps) {
  inspector.close();
  list.toTop();
  watch.go(steps);
  list.draw(true);
  tell();
}

// What nobody has chosen is the busiest stream.
function wanted() {
  const asked = address.read(location.hash);
  const { streams } = known;
  if (asked.names.length === 0 && streams.length > 0) asked.names = [busiest(streams).name];
  return asked;
}

async function openPicker() {
  try {
    known = await catalogue();
  } catch {
    toast("The list of streams cannot be had now");
    if (known.streams.length === 0) return;
  }
  picker.open(known, screen.names);
}

// --- What somebody does --------------------------------------------------------------------------

function wire() {
  dialogs();
  $("skip").onclick = (event) => {
    // The part of the address after # says what is on the screen.
    event.preventDefault();
    $("list").focus();
  };
  $("streams").onclick = openPicker;
  $("code-open").onclick = showCode;
  $("keys-open").onclick = () => $("keys").showModal();
  $("share").onclick = () => copy(location.href, "The address of this view");
  $("copy-last").onclick = () => copy(watch.lastId, "The last id");
  $("cut").onclick = () => watch.stream.cut();
  $("pause").onclick = () => (watch.frozen === null ? watch.freeze("pause") : goOn());
  $("raw").onclick = () => go({ ...screen, raw: !screen.raw });
  $("clear").onclick = () => {
    inspector.close();
    watch.frozen = null;
    watch.buffer.clear();
    list.toTop();
  };
  const back = (ms) => go({ ...screen, since: Math.round(chart.now - ms), after: "" });
  $("empty-past").onclick = () => back(3600_000);
  $("since").onchange = ({ target }) => {
    const { value } = target;
    target.value = "shown";
    if (value === "now") go({ ...screen, since: null, after: "" }, true);
    else if (value === "at") askTime(chart.now);
    else back(Number(value));
  };
  let typing = null;
  $("filter").oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      const next = { ...screen, filter: $("filter").value.trim() };
      // Each letter would be a step back otherwise.
      history.replaceState(null, "", address.write(next));
      show(next);
    }, TYPING_MS);
  };
  $("filter").onkeydown = ({ key }) => {
    if (key !== "Escape") return;
    $("filter").value = "";
    $("filter").oninput();
  };
  $("chart").onfocus = () => chart.describe();
  addEventListener("popstate", () => show(wanted()));
  addEventListener("themechange", () => chart.recolor());
  document.addEventListener("visibilitychange", () => list.draw(true));
  keys({
    " ": () => $("pause").click(),
    "/": () => $("filter").focus(),
    r: () => $("raw").click(),
    s: openPicker,
    c: showCode,
    l: () => $("list").focus(),
    n: () => say(`${chart.describe()}. ${$("proof").textContent}`),
    t: () => $("theme").click(),
    "?": () => $("keys").showModal(),
    Escape: () => inspector.close(),
  });
}

async function arrive() {
  try {
    known = await catalogue();
  } catch {
    write($("empty-title"), "The list of streams cannot be had");
    write($("empty-text"), "The server does not answer. Trying again soon.");
    setTimeout(arrive, AGAIN_MS);
    return;
  }
  if (known.streams.length === 0 && address.read(location.hash).names.length === 0) {
    write($("empty-title"), "There are no streams");
    write($("empty-text"), "The configuration of this server names none.");
    return;
  }
  show(wanted(), true);
  setInterval(tick, TICK_MS);
  setInterval(() => chart.describe(), 10_000);
}

wire();
arrive();
