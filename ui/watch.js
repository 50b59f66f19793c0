// What is being watched: the streams, from where on, what came of them, and why the view stands
// still when it does. Between the connection and the screen; touches no element.
//
//   stream ─▶ proof, chart ─▶ buffer ─▶ (changed)

import { Buffer } from "./buffer.js";
import { describe } from "./describe.js";
import { matcher } from "./filter.js";
import { gapText } from "./notices.js";
import { Proof, jointText, places } from "./proof.js";
import { Stream } from "./stream.js";

// Of the past, so much is shown at a time.
export const STEP = 500;
// A stream that is opened at the newest begins with about so many events of a moment ago, so that
// there is something to see at once.
const FILL = 120;
const FILL_MS = [2000, 30 * 60_000];
// A quiet stream begins with its last event, if it is not older than this.
const LAST_MS_MAX = 24 * 3600_000;
// When a joint is told, though no event has come since.
const JOINT_MS = 2500;

const PLAIN = /\\u/;

export class Watch {
  #seq = 0;
  #on;
  #chart;
  #stepLeft = Infinity;
  #wasOpen = false;
  #begun = false;
  #jointMark = null;
  #arrived = 0;
  #arrivedAt = performance.now();

  names = [];
  since = null;
  after = "";
  filter = "";
  received = 0;
  // Why the view stands still: pause, scroll, step; or nothing.
  frozen = null;
  perSecond = 0;
  newest = null;
  proof = new Proof();
  cuts = 0;

  // `on.changed()`: something is to be drawn; `on.state()`: the connection's state is another;
  // `on.say(text)`: for those who do not see the screen.
  constructor(chart, on) {
    this.#chart = chart;
    this.#on = on;
    this.buffer = new Buffer(() => on.changed());
    this.stream = new Stream({
      state: (state) => this.#state(state),
      events: (events) => this.#take(events),
    });
  }

  // Begins anew. `known` is the catalogue.
  begin({ names, since, after }, known) {
    Object.assign(this, { names, since, after, received: 0, frozen: null, newest: null, cuts: 0 });
    this.proof = new Proof();
    this.#wasOpen = this.#begun = false;
    this.#jointMark = null;
    this.#stepLeft = since === null && !after ? Infinity : STEP;
    this.buffer.clear();
    const of = known.streams.filter(({ name, aliases }) =>
      [name, ...aliases].some((any) => names.includes(any)));
    const recent = of[0]?.recent.map((_, i) => of.reduce((sum, s) => sum + s.recent[i], 0)) ?? [];
    // Of the past a picture of now would say nothing.
    this.#chart.reset(known, this.fromPast ? [] : recent);
    const from = since ?? (after ? null : fill(of, known.at + known.skew));
    this.stream.start(names, { since: from, after });
    this.#on.changed();
  }

  get fromPast() {
    return this.since !== null || this.after !== "";
  }

  get lastId() {
    return this.stream.lastId;
  }

  model() {
    const { buffer, stream, newest } = this;
    return {
      state: stream.state,
      received: this.received,
      online: navigator.onLine,
      frozen: this.frozen,
      full: buffer.full || stream.state.kind === "held",
      waitingCount: buffer.waiting,
      shownWaiting: buffer.shownWaiting,
      filter: this.filter,
      fromPast: this.fromPast,
      at: newest,
      behindMs: newest === null ? 0 : this.#chart.now - newest,
      perSecond: this.perSecond,
      step: STEP,
    };
  }

  setFilter(text) {
    this.filter = text;
    return this.buffer.filter(matcher(text));
  }

  freeze(reason) {
    if (this.frozen === "pause" || (this.frozen !== null && reason !== "pause")) return;
    if (this.frozen === null) this.buffer.freeze();
    this.frozen = reason;
    this.#on.changed();
  }

  // Goes on, in steps of the past or all through to now.
  go(steps = Infinity) {
    this.frozen = null;
    this.#stepLeft = steps;
    this.buffer.thaw();
    if (this.stream.state.kind === "held") this.stream.go();
  }

  // Arrivals a second, asked about four times a second.
  tick() {
    const now = performance.now();
    const measured = (this.#arrived * 1000) / Math.max(now - this.#arrivedAt, 1);
    this.perSecond = this.perSecond * 0.7 + measured * 0.3;
    this.#arrived = 0;
    this.#arrivedAt = now;
  }

  #state(state) {
    const now = this.#chart.now;
    if (state.kind === "open") {
      if (this.#begun) this.#reopened(now);
      this.#wasOpen = this.#begun = true;
    } else if (this.#wasOpen && ["waiting", "held"].includes(state.kind)) {
      this.#wasOpen = false;
      if (state.kind === "waiting") {
        this.cuts += 1;
        this.#chart.mark("bad");
        const why = state.problem ? `: ${state.problem.title}. ${state.problem.detail}` : "";
        this.#mark("bad", `The connection was cut${why}`);
      }
    }
    this.#on.state(state);
  }

  #reopened(now) {
    // What was told about the joint before stays as it is.
    this.#settle(this.proof.settle());
    this.proof.reopened(now);
    if (this.cuts > 0) this.#chart.mark("good");
    this.#jointMark = this.#mark("good", "Connected again, from the last id on");
    const mark = this.#jointMark;
    setTimeout(() => mark === this.#jointMark && this.#settle(this.proof.settle()), JOINT_MS);
  }

  #settle(joint) {
    if (joint === null || this.#jointMark === null) return;
    const mark = this.#jointMark;
    this.#jointMark = null;
    mark.text = `Connected again. ${jointText(joint)}`;
    if (joint.repeated > 0) mark.mark = "warn";
    mark.version += 1;
    this.#on.say(mark.text);
    this.#on.changed();
  }

  #mark(kind, text) {
    const mark = {
      seq: (this.#seq += 1), version: 0, size: text.length, mark: kind, text, at: this.#chart.now,
    };
    this.buffer.push(mark);
    this.#on.changed();
    return mark;
  }

  #take(events) {
    for (const event of events) {
      if (event.type === "id") this.proof.from(event.id);
      else if (event.type === "gap") this.#gap(event.data);
      else this.#one(event);
    }
    const { buffer, stream } = this;
    if ((buffer.full || this.frozen === "step") && stream.state.kind === "open") stream.hold();
    this.#on.changed();
  }

  #one({ data, id }) {
    const entry = entryOf(data, id, (this.#seq += 1), this.#chart.now);
    const joint = this.proof.take(entry.place, entry.at);
    this.received += 1;
    this.#arrived += 1;
    this.newest = entry.at;
    this.#chart.count(entry.at);
    const before = this.buffer.length;
    this.buffer.push(entry);
    this.#settle(joint);
    if (this.frozen !== null || this.buffer.length === before) return;
    this.#stepLeft -= 1;
    if (this.#stepLeft === 0) this.freeze("step");
  }

  #gap(data) {
    let gaps = [];
    try {
      ({ gaps } = JSON.parse(data));
    } catch { /* said by nobody we know */ }
    for (const gap of gaps) {
      this.proof.gap(gap);
      this.#mark("bad", gapText(gap));
      this.#on.say(gapText(gap));
    }
  }
}

// One event as it is kept. What is not an object is shown as it came.
function entryOf(text, id, seq, now) {
  let event = {};
  try {
    event = JSON.parse(text);
  } catch { /* the server sends objects only */ }
  if (Object(event) !== event) event = {};
  const says = describe(event);
  const plain = PLAIN.test(text) ? JSON.stringify(event) : text;
  const { topic, partition, offset } = event.meta ?? {};
  return {
    seq,
    version: 0,
    size: text.length,
    text,
    plain,
    id,
    says,
    at: says.at ?? now,
    place: { topic, partition, offset },
    // Made again when it is asked for: texts are kept, and not the objects that they make.
    event: () => JSON.parse(text),
  };
}

// From when on a stream is opened that nobody wants the past of, in ms; null: from the newest.
function fill(streams, now) {
  const perSecond = streams.reduce((sum, stream) => sum + stream.rate, 0);
  const last = Math.max(...streams.map((stream) => stream.last ?? -Infinity));
  if (perSecond > 0) {
    const ms = Math.min(Math.max((FILL / perSecond) * 1000, FILL_MS[0]), FILL_MS[1]);
    return Math.round(now - ms);
  }
  return now - last < LAST_MS_MAX ? last : null;
}

// The newest position of an id in few words: "eqiad.recentchange/0 @ 812".
export function shortId(id) {
  const all = places(id);
  if (all.length === 0) return id === "" ? "none yet" : id;
  const newest = all.reduce((best, place) =>
    ((place.timestamp ?? 0) > (best.timestamp ?? 0) ? place : best));
  const more = all.length > 1 ? ` and ${all.length - 1} more` : "";
  return `${newest.topic}/${newest.partition} @ ${newest.offset ?? "?"}${more}`;
}
