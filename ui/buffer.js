// What was received and is kept: a bounded list, the part of it that the filter shows, and a line
// behind which the view stands still while somebody reads.
//
//   all:    oldest … newest │ waiting          at most KEPT_MAX + WAITING_MAX
//   shown:  oldest … newest │ waiting          the same, filtered
//                           └ frozenAt
// A filter is asked of what is kept in slices, so typing never waits for it.

const KEPT_MAX = 5000;
const WAITING_MAX = 5000;
// Characters of events, since some are a thousand times as long as others.
const CHARS_MAX = 24_000_000;
const SLICE_MS = 6;
// Lists are cut from the front this much at a time: cutting one by one would move them each time.
const SLACK = 256;

// Lets input and drawing come first.
const breath = () => new Promise((go) => setTimeout(go));

export class Buffer {
  #all = [];
  #shown = [];
  #chars = 0;
  #matches = null;
  #run = 0;
  #changed;

  frozenAt = null;
  // Nothing more may be taken in until somebody goes on.
  full = false;

  constructor(changed) {
    this.#changed = changed;
  }

  push(entry) {
    this.#all.push(entry);
    this.#chars += entry.size;
    if (entry.mark || this.#matches === null || this.#matches(entry)) this.#shown.push(entry);
    if (this.frozenAt === null) this.#trim();
    else if (this.waiting >= WAITING_MAX || this.#chars > 2 * CHARS_MAX) this.full = true;
  }

  clear() {
    this.#all = [];
    this.#shown = [];
    this.#chars = 0;
    this.#run += 1;
    this.thaw();
  }

  // From now on what comes waits.
  freeze() {
    this.frozenAt = this.#all.length === 0 ? 0 : this.#all.at(-1).seq;
  }

  thaw() {
    this.frozenAt = null;
    this.full = false;
    this.#trim();
    this.#changed();
  }

  // Entries that wait behind the line.
  get waiting() {
    return this.frozenAt === null ? 0 : this.#behind(this.#all);
  }

  // How many are to be seen, and how many of those that wait will be.
  get length() {
    return this.#shown.length - this.shownWaiting;
  }

  get shownWaiting() {
    return this.frozenAt === null ? 0 : this.#behind(this.#shown);
  }

  // Events among those that are to be seen; the others are marks.
  get events() {
    const { length } = this;
    let marks = 0;
    for (let i = 0; i < length; i += 1) marks += this.#shown[i].mark ? 1 : 0;
    return length - marks;
  }

  // The newest that is to be seen is 0.
  at(index) {
    return this.#shown[this.length - 1 - index];
  }

  // Where an entry is to be seen, or -1.
  indexOf(seq) {
    const place = firstAfter(this.#shown, seq - 1);
    return this.#shown[place]?.seq === seq ? this.length - 1 - place : -1;
  }

  // Asks the new question of everything that is kept. What is shown changes when all is answered.
  async filter(matches) {
    const run = (this.#run += 1);
    this.#matches = matches;
    // A copy, since the front is cut meanwhile.
    const all = this.#all.slice();
    const last = all.at(-1)?.seq ?? 0;
    const found = matches === null ? all : [];
    let slice = performance.now();
    for (let i = all.length - 1; matches !== null && i >= 0; i -= 1) {
      if (all[i].mark || matches(all[i])) found.push(all[i]);
      if (performance.now() - slice < SLICE_MS) continue;
      await breath();
      if (run !== this.#run) return;
      slice = performance.now();
    }
    if (matches !== null) found.reverse();
    // What came meanwhile was asked when it came.
    const since = this.#shown.slice(firstAfter(this.#shown, last));
    this.#shown = found.concat(since);
    this.#changed();
  }

  #behind(list) {
    return list.length - firstAfter(list, this.frozenAt);
  }

  #trim() {
    const over = this.#all.length - KEPT_MAX;
    let cut = over >= SLACK ? over : 0;
    let chars = this.#chars;
    for (let i = 0; i < cut; i += 1) chars -= this.#all[i].size;
    while (chars > CHARS_MAX && cut < this.#all.length - 1) chars -= this.#all[cut++].size;
    if (cut > 0) {
      this.#all.splice(0, cut);
      this.#chars = chars;
    }
    // With a filter, what it found stays longer than what it did not.
    const shownOver = this.#shown.length - KEPT_MAX;
    if (shownOver >= SLACK) this.#shown.splice(0, shownOver);
    const oldest = this.#all[0]?.seq ?? 0;
    if (this.#matches === null && this.#shown[0]?.seq < oldest) {
      this.#shown.splice(0, firstAfter(this.#shown, oldest - 1));
    }
    if (cut > 0 && this.#matches !== null) this.#trimChars();
  }

  #trimChars() {
    let chars = 0;
    let keep = this.#shown.length;
    while (keep > 0 && chars < CHARS_MAX) chars += this.#shown[--keep].size;
    if (keep > 0) this.#shown.splice(0, keep);
  }
}

// The place of the first entry with a greater number.
function firstAfter(list, seq) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].seq <= seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
