// eventsource 4: reconnects by itself and sends the last id back.
"use strict";

const { EventSource } = require("eventsource4");
const { show } = require("./report.cjs");

const source = new EventSource(process.argv[2]);
source.addEventListener("message", (event) => show(event.data));
