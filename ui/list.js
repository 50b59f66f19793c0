// The list on the screen: only the rows that can be seen exist, and a row that stays moves instead
// of being made again. A listbox whose active option is named by the box, so that rows may come
// and go below a screen reader. Knows the buffer by index; asks nothing of the layout as it draws.

import { clock, signed } from "./describe.js";
import { make } from "./element.js";

// Rows above and below what is seen, for a scroll that is ahead of the next frame.
const SPARE = 4;
// More often than this a list that moves cannot be read anyway.
const DRAW_EVERY_MS = 100;

// Text is only written where it differs: each write costs a layout of its own.
const write = (element, text) => {
  if (element.firstChild?.data !== text) element.textContent = text;
};

class Row {
  constructor() {
    const names = ["time", "kind", "where", "title", "bytes", "who", "said"];
    this.cells = Object.fromEntries(names.map((name) => [name, make("span", name)]));
    this.element = document.createElement("div");
    this.element.setAttribute("role", "option");
    this.element.append(...Object.values(this.cells));
  }

  show(entry, raw) {
    this.entry = entry;
    this.version = entry.version;
    this.raw = raw;
    this.element.id = `e${entry.seq}`;
    const { time, kind, where, title, bytes, who, said } = this.cells;
    write(time, clock(entry.at));
    if (entry.mark || raw) {
      this.element.className = entry.mark ? `row mark ${entry.mark}` : "row raw";
      for (const cell of [kind, where, bytes, who, said]) write(cell, "");
      write(title, entry.mark ? entry.text : entry.text.slice(0, 400));
      return;
    }
    const { says } = entry;
    this.element.className = says.canary ? "row canary" : "row";
    kind.dataset.kind = says.kind;
    write(kind, says.kind);
    write(where, says.where ?? "");
    write(title, says.title);
    write(bytes, signed(says.bytes));
    bytes.dataset.sign = Math.sign(says.bytes ?? 0);
    // Isolated, so that a name in another direction does not pull "bot" to its other side.
    write(who, says.who === undefined ? "" : `\u2068${says.who}\u2069`);
    who.classList.toggle("bot", says.bot === true);
    write(said, says.said ?? "");
  }
}

export class List {
  #box;
  #space;
  #buffer;
  #on;
  #rows = new Map();
  #free = [];
  #height = 36;
  #view = 600;
  #drawn = 0;
  #timer = 0;
  #frame = 0;
  #top = 0;
  // While it is, nothing moves away between a press and its release, or no row would be clicked.
  #pressed = false;

  raw = false;
  chosen = null;

  // `on.scrolled(top)`: the reader went away from the newest, or came back; `on.chose(entry)`.
  constructor(box, buffer, on) {
    this.#box = box;
    this.#space = box.firstElementChild;
    this.#buffer = buffer;
    this.#on = on;
    new ResizeObserver(() => this.#measure()).observe(box);
    box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    box.addEventListener("pointerdown", ({ target }) => {
      this.#pressed = target.closest("[role=option]") !== null;
    });
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => this.#released());
    box.addEventListener("click", ({ target }) => {
      const id = target.closest("[role=option]")?.id;
      const entry = id && this.#rows.get(Number(id.slice(1)))?.entry;
      if (entry && !entry.mark) this.choose(entry);
    });
    box.addEventListener("keydown", (event) => this.#key(event));
  }

  // Draws with the next frame, unless the list was drawn a moment ago; `now`: somebody waits.
  draw(now = false) {
    if (this.#pressed || this.#frame !== 0 || (this.#timer !== 0 && !now)) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    const wait = now ? 0 : this.#drawn + DRAW_EVERY_MS - performance.now();
    if (wait > 0) {
      this.#timer = setTimeout(() => this.draw(true), wait);
      return;
    }
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#pressed) return;
      this.#drawn = performance.now();
      this.#render();
    });
  }

  choose(entry) {
    this.chosen = entry;
    this.#on.chose(entry);
    this.draw(true);
  }

  toTop() {
    this.#box.scrollTop = this.#top = 0;
  }

  #measure() {
    const style = getComputedStyle(this.#box);
    this.#height = Number.parseFloat(style.getPropertyValue("--row")) || 36;
    this.#view = this.#box.clientHeight;
    this.draw(true);
  }

  #released() {
    if (!this.#pressed) return;
    this.#pressed = false;
    this.draw(true);
  }

  #scrolled() {
    this.#top = this.#box.scrollTop;
    this.#on.scrolled(this.#top);
    this.draw(true);
  }

  #render() {
    const height = this.#height;
    const length = this.#buffer.length;
    const from = Math.max(Math.floor(this.#top / height) - SPARE, 0);
    const until = Math.min(Math.ceil((this.#top + this.#view) / height) + SPARE, length);
    this.#space.style.height = `${length * height}px`;
    const wanted = new Map();
    for (let i = from; i < until; i += 1) wanted.set(this.#buffer.at(i).seq, i);
    for (const [seq, row] of this.#rows) {
      if (wanted.has(seq)) continue;
      this.#rows.delete(seq);
      this.#free.push(row);
    }
    for (const [seq, i] of wanted) this.#place(seq, i, length);
    for (const row of this.#free.splice(0)) row.element.remove();
    const active = this.chosen && this.#rows.has(this.chosen.seq) ? `e${this.chosen.seq}` : null;
    if (active) this.#box.setAttribute("aria-activedescendant", active);
    else this.#box.removeAttribute("aria-activedescendant");
  }

  #place(seq, i, length) {
    const entry = this.#buffer.at(i);
    let row = this.#rows.get(seq);
    if (row === undefined) {
      row = this.#free.pop();
      if (row === undefined) {
        row = new Row();
        this.#space.append(row.element);
      }
      this.#rows.set(seq, row);
      row.show(entry, this.raw);
    } else if (row.version !== entry.version || row.raw !== this.raw) {
      row.show(entry, this.raw);
    }
    const { element } = row;
    element.style.transform = `translateY(${i * this.#height}px)`;
    element.setAttribute("aria-selected", this.chosen?.seq === seq);
    element.setAttribute("aria-posinset", i + 1);
    element.setAttribute("aria-setsize", length);
  }

  #key(event) {
    const page = Math.max(Math.floor(this.#view / this.#height) - 1, 1);
    const steps = {
      ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page,
      Home: -Infinity, End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#move(step);
  }

  #move(step) {
    const { length } = this.#buffer;
    if (length === 0) return;
    const at = this.chosen ? this.#buffer.indexOf(this.chosen.seq) : -1;
    let next = Math.min(Math.max(at + step, 0), length - 1);
    // Marks are told by the live region, and not walked over.
    while (this.#buffer.at(next)?.mark) next += step < 0 ? -1 : 1;
    const entry = this.#buffer.at(next);
    if (entry === undefined) return;
    const y = next * this.#height;
    const box = this.#box;
    if (y < this.#top) box.scrollTop = y;
    else if (y + this.#height > this.#top + this.#view) {
      box.scrollTop = y + this.#height - this.#view;
    }
    this.choose(entry);
  }
}
