// Debian's Chromium without a window, kept to this machine, and ended with stdin.
"use strict";

const { chromium } = require("playwright-core");

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

// A page of a fresh browser, and what went wrong on it.
exports.open = async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // Its crash handler writes below HOME; the tests run it in a folder that goes with them.
  const env = { ...process.env, HOME: process.cwd() };
  const browser = await chromium.launch({ executablePath, args: ARGS, env });
  process.stdin.resume().on("end", async () => {
    await browser.close();
    process.exit(0);
  });
  const page = await (await browser.newContext()).newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") wrong.push(`${message.text()} (${message.location().url})`);
  });
  return { browser, page, wrong };
};
