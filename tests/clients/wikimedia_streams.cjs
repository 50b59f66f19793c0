// wikimedia-streams: knows one host only, so ours is given to it as its proxy. It opens a new
// connection after an end, with the id of the last event that it gave out.
"use strict";

const { default: WikimediaStream } = require("wikimedia-streams");
const { show } = require("./report.cjs");

const { origin, searchParams } = new URL(process.argv[2]);
const since = searchParams.get("since") ?? undefined;
const stream = new WikimediaStream("recentchange", { proxy: origin, since });
// It says each cut as an error, and then goes on.
stream.on("error", () => {});
stream.on("mediawiki.recentchange", (change) => show(JSON.stringify(change)));
