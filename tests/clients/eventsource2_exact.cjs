// eventsource 2, exactly: it takes an id for seen when it has read the id's line, so an event that
// is cut in half is lost to it. Who must miss nothing opens a new one with the id of the last event
// that was given out.
"use strict";

const EventSource = require("eventsource2");
const { show } = require("./report.cjs");

let lastId = "";

function open() {
  const headers = lastId ? { "Last-Event-ID": lastId } : {};
  const source = new EventSource(process.argv[2], { headers });
  source.onmessage = (event) => {
    show(event.data);
    lastId = event.lastEventId;
  };
  source.onerror = () => {
    source.close();
    setTimeout(open, 100);
  };
}

open();
