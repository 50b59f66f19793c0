// Pictures of the live page for the documents: light, dark with an event, a telephone, and a cut;
// and of the documentation.
// Arguments: the address of a demo, and the folder that they go to. WebP, for its size.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { run, untilReceived, untilText } = require("./page.cjs");

const folder = process.argv[3];

async function picture(page, name) {
  // Nobody points at anything.
  await page.mouse.move(0, 0);
  const devtools = await page.context().newCDPSession(page);
  const { data } = await devtools.send("Page.captureScreenshot", { format: "webp", quality: 88 });
  const file = path.join(folder, `${name}.webp`);
  fs.writeFileSync(file, Buffer.from(data, "base64"));
  console.log(`${file}: ${Math.round(fs.statSync(file).size / 1024)} KB`);
}

run(async (page, origin) => {
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(`${origin}/v2/ui/`);
  await untilReceived(page, 200);
  await page.waitForTimeout(1200);
  await picture(page, "live-light");

  await page.emulateMedia({ colorScheme: "dark" });
  await page.locator("[role=option]", { hasText: "+" }).nth(3).click();
  await page.waitForTimeout(600);
  await picture(page, "live-dark");
  await page.locator("#close").click();

  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(`${origin}/v2/ui/#page-create`);
  await untilReceived(page, 10);
  await page.locator("#cut").click();
  await page.waitForTimeout(300);
  await untilText(page, "#state-text", /^Live$/);
  await page.waitForTimeout(4000);
  await picture(page, "live-cut");

  await page.setViewportSize({ width: 360, height: 640 });
  await page.goto(`${origin}/v2/ui/?phone`);
  await untilReceived(page, 100);
  await page.waitForTimeout(600);
  await picture(page, "live-phone");

  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto(`${origin}/?doc#stream-page-create`);
  await picture(page, "doc-light");
});
