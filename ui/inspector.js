// One event, whole: in words, as folded JSON, and what can be done with it. The text is kept as it
// came: numbers are shown with the digits that they have, and what is copied is what was received.

import { plural, signed, span } from "./describe.js";
import { make } from "./element.js";

const OPEN_DEPTH = 1;

// JSON whose numbers keep their digits, where the browser tells them (others show what they read).
class Literal {
  constructor(source) {
    this.source = source;
  }
}
const exact = (text) => JSON.parse(text, (key, value, context) => (
  typeof value === "number" && context?.source !== undefined && String(value) !== context.source
    ? new Literal(context.source) : value));

function leaf(value) {
  if (value instanceof Literal) return make("span", "number", value.source);
  const kind = value === null ? "null" : typeof value;
  const text = JSON.stringify(value);
  if (kind === "string" && /^https?:\/\/\S+$/i.test(value)) {
    const link = make("a", "string", text);
    link.href = value;
    link.rel = "noreferrer noopener";
    link.target = "_blank";
    return link;
  }
  return make("span", kind, text);
}

// What is folded is only made when it is opened.
function node(key, value, depth) {
  const label = key === null ? [] : [make("span", "key", key), ": "];
  if (Object(value) !== value || value instanceof Literal) {
    return make("div", "leaf", ...label, leaf(value));
  }
  const entries = Object.entries(value);
  const list = Array.isArray(value);
  const size = list ? plural(entries.length, "item") : plural(entries.length, "key");
  const folded = make("span", "size", list ? `[${size}]` : `{${size}}`);
  const head = make("summary", "", ...label, folded);
  const details = make("details", "", head);
  const fill = () => {
    if (details.childElementCount > 1) return;
    details.append(make("div", "inner", ...entries.map(([k, v]) => node(k, v, depth + 1))));
  };
  details.addEventListener("toggle", () => details.open && fill());
  if (depth < OPEN_DEPTH) {
    fill();
    details.open = true;
  }
  return details;
}

function tree(text) {
  try {
    return node(null, exact(text), 0);
  } catch {
    return make("pre", "", text);
  }
}

// The event's parts in words, as pairs.
function facts(entry, now) {
  const { says } = entry;
  const notes = [says.minor && "minor", says.bot && "bot"].filter(Boolean).join(", ");
  const { topic, partition, offset } = entry.place;
  return [
    ["What", [says.kind, notes && `(${notes})`].filter(Boolean).join(" ")],
    ["Where", says.where],
    ["Who", says.who],
    ["When", `${new Date(entry.at).toLocaleString()} (${span(now - entry.at)} ago)`],
    ["Bytes", signed(says.bytes)],
    ["Says", says.said],
    ["Position", topic === undefined ? "" : `${topic} / ${partition} @ ${offset}`],
  ].filter(([, value]) => value);
}

export class Inspector {
  #panel;
  #on;

  // `on.copy(text, what)`, `on.after(entry)`, `on.closed()`.
  constructor(panel, on) {
    this.#panel = panel;
    this.#on = on;
    panel.querySelector("#close").onclick = () => this.close();
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  get open() {
    return !this.#panel.hidden;
  }

  show(entry, now) {
    this.entry = entry;
    const part = (name) => this.#panel.querySelector(name);
    part("h2").textContent = entry.says.title;
    part("dl").replaceChildren(...facts(entry, now).flatMap(([name, value]) => [
      make("dt", "", name), make("dd", "", value),
    ]));
    const visit = part("#visit");
    visit.hidden = entry.says.link === undefined;
    if (!visit.hidden) visit.href = entry.says.link;
    part("#copy-json").onclick = () => this.#on.copy(entry.text, "The event");
    part("#copy-id").onclick = () => this.#on.copy(entry.id, "The id");
    part("#after").onclick = () => this.#on.after(entry);
    part(".json").replaceChildren(tree(entry.text));
    this.#panel.hidden = false;
    document.body.classList.add("inspecting");
    part(".scroll").scrollTop = 0;
  }

  close() {
    if (this.#panel.hidden) return;
    this.#panel.hidden = true;
    document.body.classList.remove("inspecting");
    this.#on.closed();
  }
}
