// The page under axe-core: wide and on a telephone, in each of its states. Arguments: the gateway's
// address, and `light` or `dark`.
"use strict";

const axe = require("axe-core");
const { run, untilReceived, untilText } = require("./page.cjs");

const STATES = {
  live: async () => {},
  event: async (page) => {
    await page.locator("[role=option]:not(.mark)").first().click();
    await page.locator("#inspector").waitFor();
  },
  raw: async (page) => {
    await page.locator("#raw").click();
    await page.locator(".row.raw").first().waitFor();
  },
  cut: async (page) => {
    await page.locator("#cut").click();
    await untilText(page, "#notice-title", /lost/);
  },
  empty: async (page) => {
    await page.locator("#filter").fill("no such words");
    await untilText(page, "#empty-title", /Nothing matches/);
  },
  streams: (page) => page.locator("#streams").click(),
  code: (page) => page.locator("#code-open").click(),
  keys: (page) => page.locator("#keys-open").click(),
  time: (page) => page.locator("#since").selectOption("at"),
};

run(async (page, origin) => {
  const found = [];
  let checks = 0;
  await page.emulateMedia({ colorScheme: process.argv[3] });
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 800 });
    for (const [state, enter] of Object.entries(STATES)) {
      await page.goto(`${origin}/v2/ui/?${checks}#recentchange`);
      await untilReceived(page, 5);
      await enter(page);
      // The policy of the page lets no script in; what a debugger runs is not asked.
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() =>
        window.axe.run({ resultTypes: ["violations"] }));
      const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      found.push(...grave.map(({ id, nodes }) =>
        `${id} (${state}, ${width}): ${nodes.map((node) => node.html)}`));
      for (const { id, impact, nodes } of violations) {
        if (!grave.some((one) => one.id === id)) console.log(state, impact, id, nodes[0].html);
      }
      checks += 1;
    }
  }
  if (found.length > 0) throw new Error(found.join("\n"));
  console.log(`${checks} checks, no serious finding`);
});
