// The connection: opens a stream, goes on from the last id after every cut, and knows why it is not
// open when it is not. `fetch` and not `EventSource`, since that can neither be given an id to
// begin with nor tell what a refusal said.
//
//   idle ─▶ connecting ─▶ open ─▶ waiting (cut, 429, 503) ─▶ connecting …
//                              ├▶ refused (what trying again cannot mend)
//                              └▶ held (on purpose; goes on exactly there)

import { Parser } from "./sse.js";

const RETRY_MS = 2000;
const RETRY_MS_MAX = 30_000;
// Keepalives come every 15 s unless the operator chose otherwise; a dead network says nothing.
const SILENCE_MS_MAX = 90_000;
// What one frame may spend on events that arrive.
const SLICE_MS = 8;

// Until the next frame, or soon where nothing is drawn anyway.
const frame = () =>
  new Promise((go) => (document.hidden ? setTimeout(go) : requestAnimationFrame(go)));

async function problemOf(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch { /* a proxy in between has its own pages */ }
  const after = Number(response.headers.get("retry-after"));
  return {
    status: response.status,
    type: problem.type ?? "",
    title: problem.title ?? `HTTP ${response.status}`,
    detail: problem.detail ?? "",
    retryMs: after > 0 ? after * 1000 : null,
  };
}

export class Stream {
  #on;
  #turn = 0;
  #abort = null;
  #timer = null;
  #failures = 0;
  #path = "";
  #since = null;
  // A problem that came as an event; it is why the stream then ended.
  #told = null;

  state = { kind: "idle" };
  lastId = "";

  // `on.state(state)`, `on.events(list)`: messages, gaps and ids, in order.
  constructor(on) {
    this.#on = on;
    addEventListener("online", () => this.state.kind === "waiting" && this.go());
    addEventListener("offline", () => this.state.kind === "open" && this.cut());
  }

  // Opens streams by name, at the newest, at a time (`since`, ms) or right after an id (`after`).
  start(names, { since = null, after = "" } = {}) {
    this.#path = `/v2/stream/${names.map(encodeURIComponent).join(",")}`;
    this.#since = since;
    this.lastId = after;
    this.#failures = 0;
    this.go();
  }

  // Connects now, from the last id if there is one.
  go() {
    this.#leave();
    this.#read(this.#turn);
  }

  // Lets the connection go and stays where it is; `go` goes on.
  hold() {
    this.#leave();
    this.#say({ kind: "held" });
  }

  stop() {
    this.#leave();
    this.#say({ kind: "idle" });
  }

  // Loses the connection on purpose, as a network would.
  cut() {
    this.#leave();
    this.#wait(null);
  }

  #leave() {
    this.#turn += 1;
    this.#abort?.abort();
    clearTimeout(this.#timer);
  }

  #say(state) {
    this.state = { since: Date.now(), ...state };
    this.#on.state(this.state);
  }

  #wait(problem, serverMs = null) {
    const backoff = Math.min(RETRY_MS * 2 ** this.#failures, RETRY_MS_MAX);
    // Drawn, so that those who lost the same server do not come back together.
    const ms = problem?.retryMs ?? serverMs ?? backoff * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#say({ kind: "waiting", problem, retryAt: Date.now() + ms, tries: this.#failures });
    this.#timer = setTimeout(() => this.go(), ms);
  }

  async #read(turn) {
    const abort = (this.#abort = new AbortController());
    const mine = () => turn === this.#turn;
    this.#told = null;
    this.#say({ kind: "connecting" });
    const parser = new Parser(this.lastId);
    try {
      const headers = { accept: "text/event-stream" };
      if (this.lastId) headers["last-event-id"] = this.lastId;
      const query = this.#since === null || this.lastId ? "" : `&since=${this.#since}`;
      const url = `${this.#path}?gap=event${query}`;
      const response = await fetch(url, { headers, signal: abort.signal, cache: "no-store" });
      if (!mine()) return;
      if (!response.ok) {
        const problem = await problemOf(response);
        return mine() && this.#refused(problem);
      }
      await this.#take(response.body, parser, mine, abort);
    } catch {
      // A cut; where a refusal had been read, that is why.
    }
    if (mine()) this.#wait(this.#told, this.#failures === 0 ? parser.retryMs : null);
  }

  async #take(body, parser, mine, abort) {
    let opened = false;
    let slice = performance.now();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const silence = setTimeout(() => abort.abort(), SILENCE_MS_MAX);
      const { value, done } = await reader.read();
      clearTimeout(silence);
      if (done || !mine()) return;
      const events = parser.push(value);
      this.lastId = parser.lastId;
      const refusal = events.find((event) => event.type === "refused");
      if (refusal) this.#told = { ...problemIn(refusal), retryMs: parser.retryMs };
      if (!opened && !refusal) {
        opened = true;
        this.#say({ kind: "open" });
      }
      this.#give(events);
      if (performance.now() - slice > SLICE_MS) {
        await frame();
        if (!mine()) return;
        slice = performance.now();
      }
    }
  }

  #give(events) {
    const shown = events.filter(({ type }) => ["message", "gap", "id"].includes(type));
    const error = events.find((event) => event.type === "error");
    if (shown.length > 0) {
      if (shown.at(-1).type === "message") this.#failures = 0;
      this.#on.events(shown);
    }
    if (error) this.#told = problemIn(error);
  }

  #refused(problem) {
    const passes = problem.status === 429 || problem.status >= 500 || problem.status === 408;
    if (passes) this.#wait(problem);
    else this.#say({ kind: "refused", problem });
  }
}

function problemIn(event) {
  const problem = { status: 0, title: "The server ended the stream", detail: "" };
  try {
    return { ...problem, ...JSON.parse(event.data) };
  } catch {
    return { ...problem, detail: event.data };
  }
}
