// Frame times of the live page while events arrive: how evenly it is drawn, and what keeps the
// browser's main thread. Started by bench/page.sh. Arguments: the gateway's address, events a
// second, seconds for each scene.
"use strict";

const { open } = require("../tests/clients/chromium.cjs");

const [origin, rate, seconds] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const SLOTS = 20;

// Some of what a busy wiki says, about as long as its events.
function event(n) {
  const comment = "/* History */ added a source and a sentence about what came of it ".repeat(12);
  return {
    $schema: "/mediawiki/recentchange/1.0.1",
    meta: { stream: "mediawiki.recentchange", domain: "en.wikipedia.org", key: `k${n}` },
    type: ["edit", "new", "log", "categorize"][n % 4],
    title: `Page ${n % 997}`,
    user: `Somebody ${n % 89}`,
    bot: n % 5 === 0,
    wiki: n % 3 === 0 ? "enwiki" : "dewiki",
    server_name: n % 3 === 0 ? "en.wikipedia.org" : "de.wikipedia.org",
    length: { old: 1000 + (n % 700), new: 1000 + (n % 900) },
    comment: comment.slice(0, 300 + (n % 500)),
  };
}

// Writes evenly until it is told to stop; how many it wrote.
function writer() {
  let [n, stopped] = [0, false];
  const begun = performance.now();
  const writing = (async () => {
    while (!stopped) {
      const due = Math.floor(((performance.now() - begun) * rate) / 1000);
      const batch = [];
      for (; n < due; n += 1) batch.push(event(n));
      if (batch.length > 0) {
        const body = JSON.stringify(batch);
        const headers = { "content-type": "application/json" };
        const answer = await fetch(`${origin}/v1/events`, { method: "POST", headers, body });
        if (answer.status !== 201) throw new Error(`the intake says ${answer.status}`);
      }
      await new Promise((go) => setTimeout(go, 1000 / SLOTS));
    }
    return n;
  })();
  return async () => {
    stopped = true;
    return writing;
  };
}

// In the page: every frame's distance to the one before, and every long task.
const watchFrames = (ms) => new Promise((done) => {
  const [frames, tasks] = [[], []];
  const observer = new PerformanceObserver((list) =>
    tasks.push(...list.getEntries().map(({ duration }) => duration)));
  observer.observe({ type: "longtask" });
  let last = performance.now();
  const end = last + ms;
  requestAnimationFrame(function frame(now) {
    frames.push(now - last);
    last = now;
    if (now < end) return requestAnimationFrame(frame);
    observer.disconnect();
    done({ frames, tasks });
  });
});

const SCENES = {
  "an empty page, for comparison": async (page) => {
    await page.goto("about:blank");
  },
  "live, readable": async (page) => {
    await page.goto(`${origin}/v2/ui/#recentchange`);
  },
  "live, raw": async (page) => page.locator("#raw").click(),
  "a filter, typed anew twice a second": async (page) => {
    let n = 0;
    const words = ["enwiki", "user:9 -bot=true", "length.new>1500", "page"];
    const typing = setInterval(() => {
      page.locator("#filter").fill(words[(n += 1) % words.length]).catch(() => {});
    }, 500);
    return () => clearInterval(typing);
  },
  "standing still at an event, others waiting": async (page) => {
    await page.locator("#filter").fill("");
    await page.locator("[role=option]").nth(3).click();
  },
  "catching up from ten minutes ago": async (page) => {
    await page.locator("#close").click();
    await page.locator("#since").selectOption("600000");
    await page.locator("[data-action=through]").click();
  },
};

const at = (sorted, share) => sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)];

function line(name, { frames, tasks }, received) {
  const sorted = [...frames].sort((a, b) => a - b);
  const late = (ms) => `${((frames.filter((f) => f > ms).length / frames.length) * 100).toFixed(2)} %`;
  const longest = Math.max(0, ...tasks);
  return `| ${[
    name, received.toLocaleString("en"), frames.length, `${at(sorted, 0.5).toFixed(1)} ms`,
    `${at(sorted, 0.99).toFixed(1)} ms`, `${sorted.at(-1).toFixed(1)} ms`, late(50),
    `${tasks.length}${tasks.length === 0 ? "" : ` (at most ${Math.round(longest)} ms)`}`,
  ].join(" | ")} |`;
}

(async () => {
  const { browser, page, wrong } = await open();
  await page.setViewportSize({ width: 1280, height: 800 });
  const stop = writer();
  const count = () => page.evaluate(() =>
    Number(document.querySelector("#received")?.textContent.replaceAll(",", "") ?? 0));
  await new Promise((go) => setTimeout(go, 5000));
  console.log("| scene | events | frames | median | 99 % | longest | > 50 ms | long tasks |");
  console.log("|---|--:|--:|--:|--:|--:|--:|--:|");
  for (const [name, enter] of Object.entries(SCENES)) {
    const leave = await enter(page);
    // What a page does once, as it is opened, is no frame of its life.
    await page.waitForTimeout(name.startsWith("catching") ? 0 : 2000);
    const before = await count();
    const seen = await page.evaluate(watchFrames, seconds * 1000);
    leave?.();
    console.log(line(name, seen, await count() - before));
  }
  const heap = await page.evaluate(() => performance.memory?.usedJSHeapSize ?? 0);
  const proof = await page.locator("#proof").textContent();
  const written = await stop();
  console.log(`\n${written.toLocaleString("en")} events were written. At the end the page said `
    + `"${proof}", and its heap was ${Math.round(heap / 1024 / 1024)} MB.`);
  if (wrong.length > 0) throw new Error(`the browser complains: ${wrong}`);
  await browser.close();
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
