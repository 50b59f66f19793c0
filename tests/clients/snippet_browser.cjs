// A snippet of the documents in a page of the gateway, as a script of that page. Arguments: the
// gateway's address, the file of the snippet.
"use strict";

const { open } = require("./chromium.cjs");

(async () => {
  const { page } = await open();
  page.on("console", (message) => console.log(message.text()));
  await page.goto(`${process.argv[2]}/robots.txt`);
  await page.addScriptTag({ path: process.argv[3] });
})();
