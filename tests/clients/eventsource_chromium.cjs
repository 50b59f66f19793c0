// Chromium's EventSource in a page of another origin: reconnects by itself and sends the last id
// back.
"use strict";

const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { open } = require("./chromium.cjs");
const { show } = require("./report.cjs");

(async () => {
  const { page } = await open();
  await page.exposeFunction("opened", () => console.log("open"));
  await page.exposeFunction("seen", show);
  const html = pathToFileURL(path.join(__dirname, "eventsource.html"));
  await page.goto(`${html}#${encodeURIComponent(process.argv[2])}`);
})();
