// Server-Sent Events out of text as it comes: whole events only, as the standard's parser has them
// (line ends are \n or \r\n; this server sends no other). Knows nothing of the network.

export class Parser {
  #rest = "";
  #type = "";
  #data = null;
  #id = null;

  // The id to go on from: that of the last whole event (or of a block with an id and no data).
  lastId;
  // Milliseconds that the server wants to be left alone after a cut, once it has said so.
  retryMs = null;

  constructor(lastId) {
    this.lastId = lastId;
  }

  // The events that are whole now: `{ type, data, id }`. An id without data (which the server gives
  // before all events, so that one knows where one stands) comes as type `id`.
  push(text) {
    const events = [];
    const all = this.#rest + text;
    let from = 0;
    // What is left over from before has no line end.
    let end = all.indexOf("\n", this.#rest.length);
    while (end !== -1) {
      this.#line(all.slice(from, all[end - 1] === "\r" ? end - 1 : end), events);
      from = end + 1;
      end = all.indexOf("\n", from);
    }
    this.#rest = all.slice(from);
    return events;
  }

  #line(line, events) {
    if (line === "") return this.#dispatch(events);
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon === -1 ? line : line.slice(0, colon);
    let value = colon === -1 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (field === "data") this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    else if (field === "event") this.#type = value;
    else if (field === "id") this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(events) {
    // Only now: the id of an event that was cut in half must not be sent back.
    if (this.#id !== null) this.lastId = this.#id;
    if (this.#data !== null) {
      events.push({ type: this.#type || "message", data: this.#data, id: this.lastId });
    } else if (this.#id !== null) {
      events.push({ type: "id", data: "", id: this.lastId });
    }
    this.#type = "";
    this.#data = this.#id = null;
  }
}
