// What has to be said above the list, and what happens next: refusals, cuts, holds, the past. Of
// several the most urgent is said. Pure: a model in, words and actions out.

import { clock, plural, rate, span } from "./describe.js";

// Behind by more than this, a stream that began in the past is still in the past.
const PAST_MS = 15_000;

// In words what trying again cannot mend.
function refused({ problem }) {
  const next = {
    403: "Trying again does not help. Whoever runs this server can say more.",
    404: "Choose other streams, or start at the newest.",
    400: "Choose other streams, or start at the newest.",
  }[problem.status] ?? "Trying again does not help.";
  return {
    tone: "bad",
    title: problem.title,
    text: `${problem.detail} ${next}`.trim(),
    actions: ["streams", "live"],
  };
}

function waiting(state, now, count, online) {
  const s = Math.max(Math.ceil((state.retryAt - now) / 1000), 0);
  const goes = count > 0 ? "It goes on right after the last event, so nothing is missed." : "";
  const next = `Next try ${s === 0 ? "now" : `in ${s} s`}. ${goes}`.trim();
  const { problem } = state;
  if (problem) {
    return {
      tone: "bad",
      title: problem.title,
      text: `${problem.detail} ${next}`.trim(),
      actions: ["retry"],
    };
  }
  return {
    tone: "warn",
    title: online ? "The connection was lost" : "This computer is offline",
    text: state.tries > 2 ? `The server does not answer. ${next}` : next,
    actions: ["retry"],
  };
}

const HOLDS = {
  pause: "Paused",
  scroll: "Standing still while you read",
};

function held({ frozen, full, waitingCount, shownWaiting, filter, step }) {
  if (frozen === "step") {
    return {
      tone: "calm",
      title: `Stopped after ${filter ? plural(step, "match", "matches") : plural(step, "event")}`,
      text: "The rest is still to come, from right here on.",
      actions: ["step", "through", "live"],
    };
  }
  const what = filter
    ? `${shownWaiting.toLocaleString("en")} of ${plural(waitingCount, "event")} that wait match`
    : waitingCount === 1 ? "1 event waits" : `${plural(waitingCount, "event")} wait`;
  const rest = full
    ? "That is as many as are kept here, so the connection was let go; the rest comes from the "
      + "server, from the last id on."
    : "Nothing is lost.";
  return { tone: "calm", title: HOLDS[frozen], text: `${what}. ${rest}`, actions: ["go"] };
}

function past({ behindMs, at, perSecond }) {
  return {
    tone: "calm",
    title: `In the past: ${clock(at)}`,
    text: `${span(behindMs)} behind now, ${rate(perSecond)} events a second.`,
    actions: ["pause", "live"],
    live: true,
  };
}

// `{ tone, title, text, actions }`, or nothing.
export function notice(model, now) {
  const { state } = model;
  if (state.kind === "refused") return refused(state);
  if (state.kind === "waiting") return waiting(state, now, model.received, model.online);
  if (model.frozen) return held(model);
  if (model.fromPast && model.behindMs > PAST_MS && state.kind === "open") return past(model);
  return null;
}

// The state in two words, for the bar that is always there.
export function stateWords(model) {
  const { state, frozen } = model;
  if (frozen && ["open", "held"].includes(state.kind)) {
    return { tone: "warn", text: state.kind === "held" ? "Held" : "Paused" };
  }
  return {
    idle: { tone: "off", text: "Not connected" },
    connecting: { tone: "warn", text: "Connecting" },
    open: { tone: "good", text: model.fromPast && model.behindMs > PAST_MS ? "Past" : "Live" },
    waiting: { tone: "bad", text: state.problem ? "Refused" : "Cut off" },
    refused: { tone: "bad", text: "Refused" },
    held: { tone: "warn", text: "Held" },
  }[state.kind];
}

// A gap, as the server tells it.
export function gapText({ topic, partition, from, to, reason }) {
  const why = {
    retention: "older than what is kept",
    recreated: "the topic was made anew",
    truncated: "the log became shorter",
    no_partition: "the partition does not exist",
    out_of_range: "the position is not in the log",
    foreign_log: "the position is of another log",
  }[reason] ?? reason;
  const what = Number.isInteger(to)
    ? `${plural(Math.max(to - from, 0), "record")} (offsets ${from} to ${to - 1})`
    : `What came after offset ${from}`;
  return `Gap in ${topic}/${partition}: ${what} cannot be given: ${why}`;
}
