// Events a second as bars, drawn four times a second: what the server says of the time
// before this page came, then what arrived. An event counts for the second at which it happened,
// so what is caught up after a cut fills the hole that the cut had left.

import { rate } from "./describe.js";

// Seconds, one bar each; fewer where there is no room for them.
const BARS_MAX = 120;
const BAR_PX_MIN = 4;
const SPARK_BARS = 20;
const DRAW_EVERY_MS = 250;
// How long a rate is an average of.
const RATE_S = 5;

const second = (ms) => Math.floor(ms / 1000);

export class Chart {
  #canvas;
  #bins = new Map();
  #marks = new Map();
  #peak = 1;
  #drawn;
  #label;
  #colors = {};
  #size = { width: 0, height: 0 };
  // Until when the server's own counts stand, in seconds.
  #known = 0;
  // What this page's clock is behind the server's, in ms.
  #skew = 0;

  constructor(canvas, label, drawn) {
    this.#canvas = canvas;
    this.#label = label;
    this.#drawn = drawn;
    new ResizeObserver(([{ contentRect }]) => this.#fit(contentRect)).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolor());
    setInterval(() => document.hidden || this.draw(), DRAW_EVERY_MS);
  }

  get now() {
    return Date.now() + this.#skew;
  }

  // Begins anew, with what the server says came in each of the seconds before `at` (by this clock).
  reset({ at, skew }, recent) {
    this.#skew = skew;
    this.#bins.clear();
    this.#marks.clear();
    this.#peak = 1;
    this.#known = second(at + skew);
    recent.forEach((count, i) => this.#bins.set(this.#known - recent.length + i, count));
  }

  // One event that happened at `at` and has arrived now.
  count(at) {
    const now = second(this.now);
    const happened = second(at);
    // Of the past beyond this picture: it counts for when it came.
    const bin = happened > now || happened <= now - BARS_MAX ? now : happened;
    if (bin < this.#known) return;
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + 1);
  }

  mark(kind) {
    this.#marks.set(second(this.now), kind);
  }

  // Events a second in the last whole seconds.
  rate() {
    const now = second(this.now);
    let sum = 0;
    for (let i = 1; i <= RATE_S; i += 1) sum += this.#bins.get(now - i) ?? 0;
    return sum / RATE_S;
  }

  recolor() {
    const style = getComputedStyle(this.#canvas);
    for (const name of ["bar", "bar-now", "bad", "good", "line"]) {
      this.#colors[name] = style.getPropertyValue(`--${name}`);
    }
    this.draw();
  }

  #fit({ width, height }) {
    const scale = devicePixelRatio;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    this.#size = { width, height };
    this.recolor();
  }

  draw() {
    const { width, height } = this.#size;
    if (width === 0) return;
    const pen = this.#canvas.getContext("2d");
    const now = second(this.now);
    const bars = Math.min(Math.floor(width / BAR_PX_MIN), BARS_MAX);
    const wide = width / bars;
    const gap = wide > 6 ? 2 : 1;
    for (const old of this.#bins.keys()) if (old <= now - BARS_MAX) this.#bins.delete(old);
    for (const old of this.#marks.keys()) if (old <= now - BARS_MAX) this.#marks.delete(old);
    const counts = Array.from({ length: bars }, (_, i) => this.#bins.get(now - i) ?? 0);
    const most = Math.max(...counts, 1);
    // The scale grows at once and shrinks slowly, so that the picture does not jump.
    this.#peak = Math.max(most, this.#peak * 0.96);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = this.#colors.line;
    pen.fillRect(0, height - 1, width, 1);
    counts.forEach((count, i) => {
      const x = width - (i + 1) * wide;
      const mark = this.#marks.get(now - i);
      if (mark) {
        pen.fillStyle = this.#colors[mark];
        pen.fillRect(x + 1, 0, 2, height);
      }
      if (count === 0) return;
      const tall = Math.max((count / this.#peak) * (height - 6), 2);
      pen.fillStyle = i === 0 ? this.#colors["bar-now"] : this.#colors.bar;
      pen.fillRect(x, height - tall, wide - gap, tall);
    });
    this.#drawn({ rate: this.rate(), most, seconds: bars });
  }

  // For those who do not see it; said when asked for, not each second.
  describe() {
    const now = second(this.now);
    const minute = Array.from({ length: 60 }, (_, i) => this.#bins.get(now - 1 - i) ?? 0);
    const [least, most] = [Math.min(...minute), Math.max(...minute)];
    const text = `${rate(this.rate())} events a second; in the last minute between ${least} and `
      + `${most}`;
    this.#label(text);
    return text;
  }
}

// A small picture of what came lately, for the list of streams.
export function spark(counts) {
  const joined = [];
  const step = counts.length / SPARK_BARS;
  for (let i = 0; i < SPARK_BARS; i += 1) {
    const part = counts.slice(Math.floor(i * step), Math.floor((i + 1) * step));
    joined.push(part.reduce((sum, n) => sum + n, 0));
  }
  const most = Math.max(...joined, 1);
  const bars = joined.map((n, i) => {
    const tall = n === 0 ? 0 : Math.max((n / most) * 18, 1.5);
    return `M${i * 4 + 1.5} 20v${-tall.toFixed(1)}`;
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 80 20");
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", bars.join(""));
  svg.append(path);
  return svg;
}
