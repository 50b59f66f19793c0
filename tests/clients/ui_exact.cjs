// Whether the page shows every event once and in order: through a pause, through the ends that the
// gateway makes every second, through a cut, and through the past in steps. The rows are read off
// the list, so this does not believe what the page says of itself; it also checks what it says.
// Arguments: the gateway's address, and `now` or `past`.
"use strict";

const assert = require("node:assert/strict");
const { allRows, received, run, text, until, untilReceived, untilText } = require("./page.cjs");

// Every partition's offsets go up by one from row to row.
function areWhole(rows) {
  const next = new Map();
  let events = 0;
  for (const row of rows.filter(({ mark }) => !mark).reverse()) {
    const found = /"topic":"([^"]+)","partition":(\d+),"offset":(\d+)/.exec(row.text);
    assert.ok(found, `no place in ${row.text}`);
    const [, topic, partition, offset] = found;
    const key = `${topic}/${partition}`;
    assert.equal(Number(offset), next.get(key) ?? Number(offset), `in ${key}`);
    next.set(key, Number(offset) + 1);
    events += 1;
  }
  return events;
}

async function throughPausesAndCuts(page, origin) {
  await page.goto(`${origin}/v2/ui/#recentchange?view=raw`);
  await untilReceived(page, 50);
  await page.locator("#pause").click();
  const first = page.locator("[role=option]:not(.mark)").first();
  const before = await first.textContent();
  const held = await received(page);
  await untilReceived(page, held + 100);
  assert.equal(await first.textContent(), before, "what is paused stands still");
  await untilText(page, "#notice-text", /^[\d,]+ events wait\. Nothing is lost\.$/);
  await page.locator("[data-action=go]").click();
  await untilText(page, "#state-text", /^Live$/);
  await until(page, (old) =>
    document.querySelector("[role=option]:not(.mark)").textContent !== old, before);
  console.log("what came in a pause comes after it");

  await page.locator("#cut").click();
  await untilText(page, "#notice-title", /The connection was lost/);
  await untilText(page, "#notice-text", /goes on right after the last event/);
  await page.locator("[data-action=retry]").click();
  await until(page, () => [...document.querySelectorAll(".mark .title")].some((row) =>
    /^Connected again\. Nothing missed, nothing twice \(.*\/\d+ went on at \d+/.test(row.textContent)));
  await untilText(page, "#proof", /none missed, through \d+ reconnects?$/);
  await untilReceived(page, await received(page) + 300);
  await page.locator("#pause").click();
  const rows = await allRows(page);
  const cuts = rows.filter(({ mark, text: said }) => mark && /cut/.test(said)).length;
  assert.ok(cuts >= 1, "cuts are marked");
  const events = areWhole(rows);
  assert.ok(events > 400, `${events} events`);
  console.log(`${events} rows through ${cuts} cuts and ends: each once, in order`);
}

async function throughTheNetwork(page) {
  await page.locator("#pause").click();
  await untilText(page, "#state-text", /^Live$/);
  await page.context().setOffline(true);
  await untilText(page, "#notice-title", /This computer is offline/);
  await page.context().setOffline(false);
  await untilText(page, "#state-text", /^Live$/);
  await untilReceived(page, await received(page) + 100);
  await page.locator("#pause").click();
  areWhole(await allRows(page));
  assert.match(await text(page, "#proof"), /none missed/);
  console.log("a network that goes and comes loses nothing");
}

async function throughThePast(page, origin) {
  await page.goto(`${origin}/v2/ui/#recentchange?view=raw`);
  await untilText(page, "#state-text", /^Live$/);
  await page.locator("#since").selectOption("3600000");
  await untilText(page, "#notice-title", /^Stopped after 500 events$/);
  assert.match(page.url(), /since=20/);
  assert.match(await text(page, "#since-shown"), /^since \d\d:\d\d:\d\d$/);
  const events = areWhole(await allRows(page));
  assert.equal(events, 500);
  await page.locator("[data-action=step]").click();
  await untilText(page, "#notice-title", /^Stopped after 500 events$/);
  const twice = areWhole(await allRows(page));
  assert.ok(twice >= 1000, `${twice} events`);
  console.log("the past comes in steps");
  await page.locator("[data-action=through]").click();
  await untilText(page, "#behind", /now|^0\.\d s|^1\.\d s/);
  await untilText(page, "#state-text", /^Live$/);
  await page.locator("#pause").click();
  const all = areWhole(await allRows(page));
  assert.ok(all > twice, `${all} events`);
  console.log(`${all} rows from the past to now: each once, in order`);
}

run(async (page, origin) => {
  // Tall, so that fewer steps lead through a long list.
  await page.setViewportSize({ width: 1000, height: 2400 });
  if (process.argv[3] === "past") return throughThePast(page, origin);
  await throughPausesAndCuts(page, origin);
  await throughTheNetwork(page);
}, { expected: [/ERR_INTERNET_DISCONNECTED/, /ERR_NETWORK_CHANGED/] });
