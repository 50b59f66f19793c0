// eventsource-client: reconnects by itself and sends the last id back.
"use strict";

const { createEventSource } = require("eventsource-client");
const { show } = require("./report.cjs");

createEventSource({ url: process.argv[2], onMessage: ({ data }) => show(data) });
