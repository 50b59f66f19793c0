// Whether anything was missed, from what the events themselves say: each has its partition and
// offset, and after a cut every partition must go on right after its last one.
//
// An offset at which no event came is no loss by itself (records that are no events are passed
// over); what the server could not give it says as a gap. So there are three counts, and no guess.

export class Proof {
  // By "topic/partition": the offset that comes next.
  #next = new Map();
  #joint = null;

  events = 0;
  repeated = 0;
  passed = 0;
  lost = 0;
  joints = 0;

  // A place that an id names, before any event came from it.
  from(id) {
    for (const { topic, partition, offset } of places(id)) {
      const key = `${topic}/${partition}`;
      if (offset >= 0 && !this.#next.has(key)) this.#next.set(key, offset);
    }
  }

  // One event; what has to be said about the last joint, once it is known.
  take({ topic, partition, offset }, at) {
    if (topic === undefined || !Number.isInteger(offset)) return null;
    this.events += 1;
    const key = `${topic}/${partition}`;
    const next = this.#next.get(key);
    if (next !== undefined && offset < next) this.repeated += 1;
    if (next !== undefined && offset > next) this.passed += offset - next;
    const joint = this.#joint;
    if (joint !== null) {
      if (next !== undefined && !joint.places.has(key)) joint.places.set(key, { next, offset });
      if (next !== undefined && offset < next) joint.repeated += 1;
      if (at < joint.at) joint.caughtUp += 1;
    }
    this.#next.set(key, Math.max(offset + 1, next ?? 0));
    return joint !== null && at >= joint.at ? this.settle() : null;
  }

  // A topic goes on elsewhere: its old offsets say nothing about the new ones.
  gap({ topic, partition, from, to }) {
    if (Number.isInteger(to)) this.lost += Math.max(to - from, 0);
    this.#next.delete(`${topic}/${partition}`);
  }

  // The stream is open again; what came meanwhile comes first.
  reopened(at) {
    this.joints += 1;
    this.#joint = { at, caughtUp: 0, repeated: 0, places: new Map() };
  }

  // What the last joint was like; nothing if there is none that is not told yet.
  settle() {
    const joint = this.#joint;
    this.#joint = null;
    return joint;
  }

  get clean() {
    return this.repeated === 0 && this.lost === 0;
  }
}

// The entries of an id that can be read.
export function places(id) {
  try {
    const all = JSON.parse(id);
    return Array.isArray(all) ? all.filter((place) => Object(place) === place) : [];
  } catch {
    return [];
  }
}

// A joint in words.
export function jointText({ caughtUp, repeated, places: seen }) {
  const one = [...seen].map(([key, { next, offset }]) =>
    offset === next
      ? `${key} went on at ${offset}`
      : offset > next
        ? `${key} went on at ${offset}, after ${offset - next} records that are no events`
        : `${key} began again at ${offset}`);
  const where = one.length === 0 ? "" : `: ${one.slice(0, 3).join(", ")}`;
  const more = one.length > 3 ? ` and ${one.length - 3} more` : "";
  const caught = caughtUp === 0 ? "nothing came meanwhile" : `${caughtUp} caught up`;
  const verdict = repeated === 0 ? "Nothing missed, nothing twice" : `${repeated} came twice`;
  return `${verdict} (${caught})${where}${more}`;
}
