// The documentation in a browser: nothing is asked of another host, its script does what it says,
// and axe-core finds nothing serious, wide and on a telephone. Arguments: the gateway's address, and
// `light` or `dark`.
"use strict";

const assert = require("node:assert");
const axe = require("axe-core");
const { run, until } = require("./page.cjs");

async function grave(page, state) {
  // The policy of the page lets no script in; what a debugger runs is not asked.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    window.axe.run({ resultTypes: ["violations"] }));
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id} (${state}): ${nodes.map((node) => node.html)}`);
}

run(async (page, origin) => {
  const found = [];
  await page.emulateMedia({ colorScheme: process.argv[3] });
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 800 });
    await page.goto(`${origin}/?doc&${width}#stream-recentchange`);
    await until(page, () => document.querySelector("#stream-recentchange").open);
    const line = await page.locator("#stream-recentchange pre").first().textContent();
    assert.strictEqual(line, `curl -N ${origin}/v2/stream/recentchange`);
    found.push(...await grave(page, `${width}`));
    await page.evaluate(() => {
      for (const one of document.querySelectorAll("details")) one.open = true;
    });
    found.push(...await grave(page, `${width}, all open`));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `the page is ${wide} px wider than the screen`);
    await page.locator("#find").fill("revision");
    await until(page, () => /^1 of/.test(document.querySelector("#found").textContent));
    assert.strictEqual(await page.locator(".stream:visible").count(), 1);
    const colours = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const before = await colours();
    await page.locator("#theme").click();
    assert.notStrictEqual(await colours(), before);
    await page.locator("#theme").click();
  }
  if (found.length > 0) throw new Error(found.join("\n"));
});
