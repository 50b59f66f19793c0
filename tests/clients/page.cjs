// The live page in a browser, for the scripts that use it as a person would: what is on it, and how
// long one waits for it. Every script says each step and fails at the first that is not as it
// should be.
"use strict";

const { open } = require("./chromium.cjs");

const PATIENCE_MS = 30_000;

const until = (page, what, arg = null) => page.waitForFunction(what, arg, { timeout: PATIENCE_MS });
const text = (page, selector) => page.locator(selector).textContent();
exports.until = until;
exports.text = text;

exports.untilText = (page, selector, pattern) => until(page, ([selector_, source]) =>
  new RegExp(source).test(document.querySelector(selector_)?.textContent ?? ""),
[selector, pattern.source]);

exports.received = async (page) =>
  Number((await text(page, "#received")).replaceAll(",", ""));

exports.untilReceived = (page, more) => until(page, (n) =>
  Number(document.querySelector("#received").textContent.replaceAll(",", "")) >= n, more);

// All rows from the newest to the oldest, by scrolling through a list that stands still: their
// texts, as they are shown raw; marks as `{ mark }`. What stands still may have to be drawn first:
// until then its rows have other places, and it is read again.
exports.allRows = async (page) => {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const rows = await rowsOnce(page);
    if (rows.every(({ of }) => of === rows.length)) return rows;
    if (Date.now() < deadline) continue;
    throw new Error(`${rows.length} rows were shown, of ${rows.map(({ of }) => of)}`);
  }
};

async function rowsOnce(page) {
  const seen = new Map();
  const box = page.locator("#list");
  const size = (name) => box.evaluate((list, key) => list[key], name);
  const view = await size("clientHeight");
  for (let top = 0; top <= await size("scrollHeight"); top += view) {
    await box.evaluate((list, y) => { list.scrollTop = y; }, top);
    await until(page, () => {
      const list = document.querySelector("#list");
      const tall = Number.parseFloat(getComputedStyle(list).getPropertyValue("--row"));
      const shown = new Set([...document.querySelectorAll("[role=option]")]
        .map((row) => Number(row.getAttribute("aria-posinset")) - 1));
      const last = Number(document.querySelector("[role=option]").getAttribute("aria-setsize")) - 1;
      const [first, end] = [list.scrollTop, list.scrollTop + list.clientHeight]
        .map((y) => Math.min(Math.floor(y / tall), last));
      return shown.has(first) && shown.has(end);
    });
    const rows = await page.locator("[role=option]").evaluateAll((all) => all.map((row) => ({
      place: Number(row.getAttribute("aria-posinset")),
      of: Number(row.getAttribute("aria-setsize")),
      mark: row.classList.contains("mark"),
      text: row.querySelector(".title").textContent,
    })));
    for (const row of rows) seen.set(row.place, row);
  }
  await box.evaluate((list) => { list.scrollTop = 0; });
  return [...seen.values()].sort((a, b) => a.place - b.place);
}

// Runs a script over a fresh page. `expected`: what the browser may complain about.
exports.run = async (script, { expected = [] } = {}) => {
  const { browser, page, wrong } = await open();
  const outside = [];
  const origin = process.argv[2];
  page.on("request", (request) => {
    if (!request.url().startsWith(`${origin}/`)) outside.push(request.url());
  });
  try {
    await script(page, origin, browser);
    const unexpected = wrong.filter((line) => !expected.some((known) => known.test(line)));
    if (unexpected.length > 0) throw new Error(`the browser complains: ${unexpected}`);
    if (outside.length > 0) throw new Error(`other hosts were asked: ${outside}`);
  } catch (error) {
    console.error(error, wrong);
    process.exitCode = 1;
  }
  await browser.close();
  process.stdin.destroy();
};
