// What the page says when a stream cannot be had, and what happens next. Arguments: the address of
// a gateway at which a client may hold one stream.
"use strict";

const assert = require("node:assert/strict");
const { run, text, until, untilReceived, untilText } = require("./page.cjs");

// A mark in the list; or, where what came with it has moved it out of sight already, as it was said.
const hasMark = (page, pattern) => until(page, (source) =>
  [...document.querySelectorAll(".mark .title, #live")].some((row) =>
    new RegExp(source).test(row.textContent)), pattern.source);

run(async (page, origin) => {
  // What does not mend itself.
  await page.goto(`${origin}/v2/ui/#no-such-stream`);
  await untilText(page, "#notice-title", /^Stream Not Found$/);
  await untilText(page, "#notice-text", /^Invalid streams: no-such-stream Choose other streams/);
  assert.equal(await text(page, "#state-text"), "Refused");
  await untilText(page, "#live", /Stream Not Found/);
  await page.locator("[data-action=streams]").click();
  await page.locator("#picker .pick", { hasText: "recentchange" }).click();
  await untilText(page, "#state-text", /^Live$/);
  await untilReceived(page, 5);
  assert.ok(await page.locator("#notice").isHidden());
  console.log("an unknown stream is said, and another one chosen");

  // What mends itself: the only seat is taken by the first page.
  const other = await page.context().newPage();
  await other.goto(`${origin}/v2/ui/#recentchange`);
  await untilText(other, "#notice-title", /^Too Many Concurrent Connections/);
  await untilText(other, "#notice-text", /Your address (or token )?holds 1 streams; 1 are accepted/);
  await untilText(other, "#notice-text", /Next try in \d+ s\./);
  await page.close();
  await other.locator("[data-action=retry]").click();
  await untilText(other, "#state-text", /^Live$/);
  await untilReceived(other, 5);
  assert.ok(await other.locator("#notice").isHidden());
  console.log("a full client is told when it is tried again, and comes in when there is room");

  // What could not be given.
  const lost = [{ topic: "eqiad.mediawiki.recentchange", partition: 0, offset: 4_000_000_000 }];
  const after = encodeURIComponent(JSON.stringify(lost));
  await other.goto(`${origin}/v2/ui/?gap#recentchange?after=${after}`);
  await hasMark(other, /^Gap in eqiad\.mediawiki\.recentchange\/0: .*not in the log/);
  console.log("a gap is shown where it is");

  // A position that cannot be read.
  await other.goto(`${origin}/v2/ui/?bad#recentchange?after=nonsense`);
  await untilText(other, "#notice-title", /^Invalid Last-Event-ID$/);
  await other.locator("[data-action=live]").click();
  await untilText(other, "#state-text", /^Live$/);
  console.log("a position that cannot be read leads back to now");
}, { expected: [/status of 400/] });
