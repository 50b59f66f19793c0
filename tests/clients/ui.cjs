// The gateway's page, used as a person would. Arguments: the gateway's address, and where pictures
// of the page are to go. Says each step; fails at the first that is not as it should be.
"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");
const { open } = require("./chromium.cjs");

const [origin, pictures] = process.argv.slice(2);

const until = (page, what) => page.waitForFunction(what, null, { timeout: 30_000 });
const number = async (page) => Number(await page.locator("#count").textContent());
const picture = (page, name) => page.screenshot({ path: path.join(pictures, `${name}.png`) });

async function use(page) {
  await page.goto(origin);
  assert.equal(page.url(), `${origin}/v2/ui/`);
  await until(page, () => document.querySelectorAll("#stream option").length > 1);
  const names = await page.locator("#stream option").allTextContents();
  assert.deepEqual(names, ["quiet", "recentchange"]);
  console.log("the streams are there, by their names");

  await page.locator("#stream").selectOption("quiet");
  await until(page, () => document.querySelector("#state").textContent === "connected");
  assert.equal(await number(page), 0);
  await page.locator("#stream").selectOption("recentchange");
  await until(page, () => Number(document.querySelector("#count").textContent) >= 20);
  assert.match(page.url(), /#recentchange$/);
  const line = await page.locator("#events summary span").first().textContent();
  assert.match(line, /Page \d+/);
  console.log("events of the chosen stream appear");
  await picture(page, "live");

  await page.locator("#toggle").click();
  assert.equal(await page.locator("#state").textContent(), "paused");
  const paused = await number(page);
  await page.locator("#events summary").first().click();
  await page.locator("#events pre").waitFor();
  const event = JSON.parse(await page.locator("#events pre").textContent());
  assert.equal(event.meta.topic, "eqiad.mediawiki.recentchange");
  await page.waitForTimeout(500);
  assert.equal(await number(page), paused);
  console.log("a pause is one, and an event can be opened");
  await picture(page, "paused");

  await page.locator("#toggle").click();
  await until(page, () => document.querySelector("#state").textContent === "connected");
  await page.waitForFunction((n) => Number(document.querySelector("#count").textContent) > n + 20,
    paused, { timeout: 30_000 });
  await page.locator("#clear").click();
  assert.ok(await number(page) < paused);
  console.log("it goes on, and forgets what it is told to forget");

  // Also in the dark, and on a telephone: nothing is wider than the screen.
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 360, height: 640 });
  await until(page, () => Number(document.querySelector("#count").textContent) >= 20);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 360, `the page is ${width} wide`);
  await picture(page, "small");
  await page.locator("header a").click();
  await page.locator("h1", { hasText: "Event streams over HTTP" }).waitFor();
  await picture(page, "documentation");
  console.log("it fits a telephone, and leads to the documentation");
}

(async () => {
  const { browser, page, wrong } = await open();
  try {
    await use(page);
    assert.deepEqual(wrong, []);
  } catch (error) {
    console.error(error, wrong);
    process.exitCode = 1;
  }
  await browser.close();
  process.stdin.destroy();
})();
