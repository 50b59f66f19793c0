// The gateway's page, used as a person would: streams are chosen, events looked at and searched, with
// the mouse, the keyboard alone, and on a telephone. Arguments: the gateway's address, and where
// pictures of the page are to go.
"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");
const { received, run, text, until, untilReceived, untilText } = require("./page.cjs");

const pictures = process.argv[3];
const picture = (page, name) => page.screenshot({ path: path.join(pictures, `${name}.png`) });
const rows = (page) => page.locator("[role=option]:not(.mark)");

async function chooses(page, origin) {
  await page.goto(origin);
  assert.equal(page.url(), `${origin}/v2/ui/`);
  // Not the first by its name, which is quiet.
  await untilText(page, "#names", /^recentchange$/);
  await untilText(page, "#state-text", /^Live$/);
  await untilReceived(page, 20);
  assert.match(await rows(page).first().locator(".title").textContent(), /^Page \d+$/);
  console.log("it opens where most is to be seen");

  await page.locator("#streams").click();
  await page.locator("#picker li").nth(1).waitFor();
  const names = await page.locator("#picker .name").allTextContents();
  assert.deepEqual(names, ["recentchange", "quiet"], "the busiest first");
  assert.match(await text(page, "#picker li:first-child .about"), /Every change/);
  assert.match(await text(page, "#picker li:first-child .often b"), /^[\d.,]+ \/s$/);
  assert.equal(await text(page, "#picker li:last-child .often b"), "quiet");
  await page.locator("#picker input[type=search]").fill("qui");
  assert.deepEqual(await page.locator("#picker li:visible .name").allTextContents(), ["quiet"]);
  await page.keyboard.press("Enter");
  await untilText(page, "#empty-title", /Connected, and waiting/);
  assert.match(page.url(), /#quiet$/);
  console.log("a quiet stream says that it is");

  await page.locator("#streams").click();
  await page.locator("#picker li", { hasText: "recentchange" }).locator("input").check();
  await untilText(page, "#watch", /^Watch 2 streams as one$/);
  await page.locator("#watch").click();
  await untilReceived(page, 20);
  assert.match(page.url(), /#quiet,recentchange$/);
  await page.goBack();
  await untilText(page, "#names", /^quiet$/);
  await page.goForward();
  await untilText(page, "#names", /^quiet \+ recentchange$/);
  console.log("two are watched as one, and the address leads back and forth");
  await picture(page, "live");
}

async function looks(page, origin) {
  await page.goto(`${origin}/v2/ui/#recentchange`);
  await untilReceived(page, 20);
  // A press may last while much arrives: what was under it is opened.
  await rows(page).nth(5).waitFor({ state: "attached" });
  const list = await page.locator("#list").boundingBox();
  await page.mouse.move(list.x + list.width / 2, list.y + 100);
  await page.mouse.down();
  await untilReceived(page, await received(page) + 100);
  await page.mouse.up();
  await page.locator("#inspector").waitFor();
  const title = await text(page, "#inspector h2");
  await page.locator("#copy-json").click();
  await untilText(page, "#toast", /The event is copied/);
  const copied = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
  assert.equal(copied.title, title);
  const meta = page.locator("#inspector .json details details", { hasText: "meta" });
  assert.equal(await meta.locator(".inner").count(), 0, "what is folded is not there");
  await meta.locator("summary").click();
  await meta.getByText(`"${copied.meta.topic}"`).waitFor();
  await page.locator("#copy-id").click();
  await untilText(page, "#toast", /The id is copied/);
  const id = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
  const after = id.find(({ topic, partition }) =>
    topic === copied.meta.topic && partition === copied.meta.partition);
  assert.equal(after.offset, copied.meta.offset + 1);
  await picture(page, "event");
  console.log("an event can be opened, unfolded and copied");

  await page.locator("#after").click();
  await page.locator("#raw").click();
  await untilReceived(page, 1);
  assert.match(page.url(), /after=/);
  await until(page, () => document.querySelector("[role=option] .title"));
  await page.locator("#pause").click();
  console.log("it goes on right after an event");
}

async function searches(page, origin) {
  await page.goto(`${origin}/v2/ui/?#recentchange?view=raw`);
  await untilReceived(page, 50);
  await page.locator("#filter").fill("meta.partition=1 -\"no such words\"");
  await untilText(page, "#matches", /^\d+ match/);
  const shown = () => page.locator("[role=option] .title").allTextContents();
  await until(page, () => {
    const all = [...document.querySelectorAll("[role=option] .title")];
    return all.length > 3 && all.every((row) => row.textContent.includes("\"partition\":1"));
  });
  assert.match(page.url(), /q=meta.partition/);
  await page.locator("#filter").fill("no such words");
  await untilText(page, "#empty-title", /Nothing matches yet/);
  assert.deepEqual(await shown(), []);
  await page.locator("#filter").press("Escape");
  await until(page, () => document.querySelectorAll("[role=option]").length > 3);
  console.log("what is shown can be searched");

  // The address has it all: another tab shows the same.
  await page.locator("#filter").fill("meta.partition=0");
  await until(page, () => location.hash.includes("partition%3D0"));
  await page.locator("#share").click();
  await untilText(page, "#toast", /address of this view is copied/);
  const other = await page.context().newPage();
  await other.goto(await page.evaluate(() => navigator.clipboard.readText()));
  await untilReceived(other, 20);
  assert.equal(await other.locator("#filter").inputValue(), "meta.partition=0");
  assert.equal(await other.locator("#raw").getAttribute("aria-pressed"), "true");
  await other.close();
  console.log("a view can be sent to somebody");
}

// Only with keys.
async function types(page, origin) {
  await page.goto(`${origin}/v2/ui/#recentchange`);
  await untilReceived(page, 50);
  const focused = () => page.evaluate(() => document.activeElement.id);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "list");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.locator("#inspector").waitFor();
  const active = await page.locator("#list").getAttribute("aria-activedescendant");
  assert.equal(await page.locator(`#${active}`).getAttribute("aria-selected"), "true");
  const box = await page.locator(`#${active} .title`).textContent();
  assert.equal(box, await text(page, "#inspector h2"));
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#inspector").isHidden());
  assert.equal(await focused(), "list");
  await page.keyboard.press("Space");
  await untilText(page, "#state-text", /^Paused$/);
  await page.keyboard.press("Space");
  await untilText(page, "#state-text", /^Live$/);
  await page.keyboard.press("/");
  assert.equal(await focused(), "filter");
  await page.keyboard.type("r s");
  assert.equal(await page.locator("dialog[open]").count(), 0, "what is typed is no command");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  await page.keyboard.press("?");
  await page.locator("#keys[open]").waitFor();
  await page.locator("#keys-on").uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("c");
  assert.equal(await page.locator("dialog[open]").count(), 0, "single keys are off");
  await page.evaluate(() => localStorage.clear());
  console.log("it can be used with keys alone");
}

async function dresses(page, origin) {
  const dark = () => page.evaluate(() =>
    getComputedStyle(document.body).backgroundColor === "rgb(13, 18, 23)");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.goto(`${origin}/v2/ui/#recentchange`);
  assert.ok(await dark(), "as the system has it");
  await page.locator("#theme").click();
  assert.ok(!await dark());
  await page.reload();
  assert.ok(!await dark(), "what was chosen stays");
  await page.locator("#theme").click();
  assert.ok(await dark());
  console.log("it is dark or light, as the system has it or as one likes");

  // On a telephone nothing is wider than the screen.
  await page.setViewportSize({ width: 360, height: 640 });
  const fits = async (what) => {
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${what} is ${width} wide`);
    await picture(page, `small-${what}`);
  };
  await untilReceived(page, 20);
  await fits("list");
  await rows(page).first().click();
  await page.locator("#inspector").waitFor();
  await fits("event");
  await page.locator("#close").click();
  for (const dialog of ["streams", "code-open", "keys-open"]) {
    await page.locator(`#${dialog}`).click();
    await page.locator("dialog[open]").waitFor();
    await fits(dialog);
    await page.keyboard.press("Escape");
  }
  await page.locator("nav a").click();
  await page.locator("h1", { hasText: "Event streams over HTTP" }).waitFor();
  await fits("documentation");
  console.log("it fits a telephone, and leads to the documentation");
}

run(async (page, origin) => {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin });
  await chooses(page, origin);
  await looks(page, origin);
  await searches(page, origin);
  await types(page, origin);
  await dresses(page, origin);
});
