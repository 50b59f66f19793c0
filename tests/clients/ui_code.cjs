// The lines of code that the page gives, run as they stand: what they put out is what the page
// shows. Arguments: the gateway's address, and Python.
"use strict";

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { run, text, untilReceived, untilText } = require("./page.cjs");

const python = process.argv[3];
const EVENTS = 5;

// The first lines that a program says, or the first events that it reads over SSE.
function firstOf(command, args, code) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { detached: true, stdio: ["pipe", "pipe", "inherit"] });
    const events = [];
    let rest = "";
    const end = () => {
      // With all that the line has started.
      try { process.kill(-child.pid, "SIGKILL"); } catch { /* it is gone */ }
    };
    const late = setTimeout(() => {
      end();
      fail(new Error(`${command} said too little: ${events.length} events\n${code}`));
    }, 30_000);
    child.stdout.on("data", (bytes) => {
      const lines = (rest + bytes).split("\n");
      rest = lines.pop();
      const data = lines.map((line) => line.replace(/^data: /, "")).filter((l) => l[0] === "{");
      events.push(...data.map((line) => JSON.parse(line)));
      if (events.length < EVENTS) return;
      clearTimeout(late);
      end();
      done(events);
    });
    child.stdin.end();
  });
}

async function codeOf(page, tab) {
  await page.locator("#code-open").click();
  await page.locator("#code-tabs button", { hasText: tab }).click();
  await page.locator("#code-copy").click();
  await untilText(page, "#toast", /code is copied/);
  const code = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(code, await text(page, "#code-text"));
  await page.keyboard.press("Escape");
  return code;
}

// In a page of its own, as somebody would paste it into the console.
async function inBrowser(page, origin, code) {
  const other = await page.context().newPage();
  const events = [];
  let enough;
  const seen = new Promise((done) => { enough = done; });
  await other.goto(`${origin}/robots.txt`);
  await other.exposeFunction("shown", (event) => {
    if (events.push(event) === EVENTS) enough();
  });
  await other.evaluate((js) => {
    console.log = (event) => window.shown(event);
    // What begins with `await` needs a function around it, as the console has.
    (0, eval)(`(async () => { ${js}\n })()`);
  }, code);
  await Promise.race([seen, other.waitForTimeout(30_000)]);
  await other.close();
  assert.ok(events.length >= EVENTS, `the browser's code said ${events.length} events\n${code}`);
  return events;
}

async function runsAll(page, origin, hash, holds) {
  await page.goto(`${origin}/v2/ui/?${Math.random()}${hash}`);
  await untilReceived(page, 1);
  for (const [tab, runs] of [
    ["curl", (code) => firstOf("bash", ["-c", code], code)],
    ["Python", (code) => firstOf(python, ["-c", code], code)],
    ["JavaScript", (code) => inBrowser(page, origin, code)],
  ]) {
    const code = await codeOf(page, tab);
    const events = await runs(code);
    assert.ok(events.every(holds), `${tab}: ${JSON.stringify(events.map((e) => e.meta))}\n${code}`);
    console.log(`${tab} does what is on the screen for ${hash.slice(0, 60)}`);
  }
}

run(async (page, origin) => {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin });
  await runsAll(page, origin, "#recentchange", (event) => event.title);
  const filter = "meta.partition=1 -meta.topic:codfw meta.offset>20 PAGE -\"it's\" -title:\"ge 7\" "
    + "-nothing.at.all:x";
  const since = new Date(Date.now() - 3600_000).toISOString();
  await runsAll(page, origin, `#recentchange?since=${since}&q=${encodeURIComponent(filter)}`,
    ({ meta, title }) => meta.partition === 1 && meta.offset > 20 && !title.startsWith("Page 7"));

  // After an event: the first that comes is the next one.
  await page.goto(`${origin}/v2/ui/#recentchange`);
  await untilReceived(page, 20);
  const id = await page.locator("#last-id").getAttribute("title");
  const next = new Map(JSON.parse(id).map((p) => [`${p.topic}/${p.partition}`, p.offset]));
  await runsAll(page, origin, `#recentchange?after=${encodeURIComponent(id)}`, ({ meta }) => {
    const from = next.get(`${meta.topic}/${meta.partition}`);
    return meta.offset >= from && meta.offset < from + EVENTS + 200;
  });
});
