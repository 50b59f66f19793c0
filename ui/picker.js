// The catalogue: which streams there are, what is in them and how busy they are; and the dialog in
// which some of them are chosen.

import { spark } from "./chart.js";
import { plural, rate, span } from "./describe.js";
import { make } from "./element.js";

const SKEW_MS_MIN = 3000;

// Everything that there is, with what came to it lately. Throws where it cannot be had.
export async function catalogue() {
  const response = await fetch("streams.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { now, streams } = await response.json();
  const skew = now - Date.now();
  return {
    at: Date.now(),
    // What this computer's clock is behind, where it matters: the answer may be a second old.
    skew: Math.abs(skew) < SKEW_MS_MIN ? 0 : skew,
    streams: streams.map((stream) => ({ ...stream, rate: perSecond(stream.recent) })),
  };
}

// Over the last minute, or since the first event: a server that has just begun knows no others.
export function perSecond(all) {
  const recent = all.slice(-60);
  const begun = recent.findIndex((count) => count > 0);
  if (begun === -1) return 0;
  const sum = recent.reduce((total, count) => total + count, 0);
  return sum / Math.max(recent.length - begun, 5);
}

// Why a stream is not as it should be, for people.
const CAUSES = {
  not_heard_of: "the server does not know how it is",
  unreachable: "its source does not answer",
  no_topic: "there is nothing behind it (yet)",
  silent: "it was lively and has fallen silent",
  canary_lost: "test events get lost on the way",
  canary_unwritten: "test events cannot be written",
  canary_unread: "test events cannot be read",
  canary_absent: "its test events have stopped",
};

// A word on a stream that is not well; of the others, and while the server begins, nothing.
export function ailing({ health, cause }) {
  if (!["degraded", "critical"].includes(health) || cause === "starting") return null;
  const word = health === "critical" ? "broken" : "ailing";
  return { tone: health, text: `${word}: ${CAUSES[cause] ?? cause}` };
}

// What is looked at where nobody has chosen: where most is to be seen.
export const busiest = (streams) =>
  streams.reduce((best, stream) => (stream.rate > best.rate ? stream : best), streams[0]);

export class Picker {
  #dialog;
  #list;
  #search;
  #watch;
  #chosen = new Set();
  #streams = [];
  #on;

  // `on.chosen(names)`.
  constructor(dialog, on) {
    this.#dialog = dialog;
    this.#on = on;
    this.#list = dialog.querySelector("ul");
    this.#search = dialog.querySelector("input");
    this.#watch = dialog.querySelector("#watch");
    this.#search.oninput = () => this.#narrow();
    this.#watch.onclick = () => this.#done([...this.#chosen]);
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      const only = this.#list.querySelector("li:not([hidden])");
      if (only) this.#done([only.dataset.name]);
    };
  }

  open({ at, skew, streams }, names) {
    const now = at + skew;
    this.#streams = streams;
    this.#chosen = new Set(names);
    const busyFirst = [...streams].sort((a, b) => b.rate - a.rate || (a.name < b.name ? -1 : 1));
    this.#list.replaceChildren(...busyFirst.map((stream) => this.#item(stream, now)));
    this.#search.value = "";
    this.#narrow();
    this.#say();
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  #item(stream, now) {
    const box = make("input");
    box.type = "checkbox";
    box.checked = this.#chosen.has(stream.name);
    box.setAttribute("aria-label", `Watch ${stream.name} with the others`);
    box.onchange = () => {
      if (box.checked) this.#chosen.add(stream.name);
      else this.#chosen.delete(stream.name);
      this.#say();
    };
    const often = stream.rate > 0 ? `${rate(stream.rate)} /s` : "quiet";
    const last = stream.last === null ? "nothing seen yet" : `last ${span(now - stream.last)} ago`;
    const ail = ailing(stream);
    const pick = make("button", "pick",
      make("span", "name", stream.name, ...(ail ? [make("em", ail.tone, ail.text)] : [])),
      make("span", "about", stream.description || stream.topics.join(", ")),
      make("span", "often", make("b", "", often), spark(stream.recent), make("small", "", last)));
    pick.type = "button";
    pick.onclick = () => this.#done([stream.name]);
    const item = make("li", "", box, pick);
    item.dataset.name = stream.name;
    item.dataset.text = [stream.name, ...stream.aliases, stream.description, ...stream.topics]
      .join(" ").toLowerCase();
    return item;
  }

  #narrow() {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const item of this.#list.children) {
      item.hidden = !words.every((word) => item.dataset.text.includes(word));
      left += item.hidden ? 0 : 1;
    }
    const none = this.#dialog.querySelector("#none");
    none.textContent = left === 0 ? `No stream of ${this.#streams.length} is like that.` : "";
  }

  #say() {
    this.#watch.disabled = this.#chosen.size === 0;
    this.#watch.textContent = this.#chosen.size > 1
      ? `Watch ${plural(this.#chosen.size, "stream")} as one` : "Watch";
  }

  #done(names) {
    this.#dialog.close();
    this.#on.chosen(names);
  }
}
