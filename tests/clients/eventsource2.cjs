// eventsource 2: reconnects by itself and sends the last id back.
"use strict";

const EventSource = require("eventsource2");
const { show } = require("./report.cjs");

new EventSource(process.argv[2]).onmessage = (event) => show(event.data);
