// The page's parts by themselves, in the browser that they are for: parser, search, words, proof, and
// the buffer's bounds. Arguments: the gateway's address.
"use strict";

const assert = require("node:assert/strict");
const { run } = require("./page.cjs");

// Runs in the page, with all modules at hand. (As text: the page's policy lets no `eval` in.)
const inPage = (page, work, arg = null) =>
  page.evaluate(`(${work})(window.parts, ${JSON.stringify(arg)})`);

async function parses(page) {
  const text = ":ok\n\nretry: 7\nid: a\n\nevent: message\r\nid: b\r\ndata: {\"x\":1}\r\n\r\n:\n"
    + "data: one\ndata: two\nid: c\n\nid: d\ndata: cut in half";
  const seen = await inPage(page, ({ Parser }, all) => {
    const runs = [];
    for (let cut = 0; cut <= all.length; cut += 1) {
      const parser = new Parser("");
      const events = [...parser.push(all.slice(0, cut)), ...parser.push(all.slice(cut))];
      runs.push(JSON.stringify([events, parser.lastId, parser.retryMs]));
    }
    return [...new Set(runs)];
  }, text);
  assert.equal(seen.length, 1, `wherever it is cut: ${seen}`);
  assert.deepEqual(JSON.parse(seen[0]), [[
    { type: "id", data: "", id: "a" },
    { type: "message", data: "{\"x\":1}", id: "b" },
    { type: "message", data: "one\ntwo", id: "c" },
  ], "c", 7]);
  console.log("an event that was cut in half gives no id, and cuts elsewhere change nothing");
}

async function searches(page) {
  // The same that `tidegate tail --filter` is tried against.
  const { event, asked } = require("../filter_cases.json");
  const said = await inPage(page, ({ matcher }, [one, texts]) => texts.map((text) => {
    const entry = { plain: JSON.stringify(one), event: () => one };
    return matcher(text)?.(entry) ?? null;
  }), [event, Object.keys(asked)]);
  assert.deepEqual(Object.fromEntries(Object.keys(asked).map((k, i) => [k, said[i]])), asked);
  console.log("the search means what it says");
}

async function describes(page) {
  const cases = [
    [{ title: "A_b", wiki: "w", type: "edit", user: "U", length: { old: 5, new: 3 }, bot: true },
      { kind: "edit", title: "A b", where: "w", who: "U", bytes: -2, bot: true }],
    [{ meta: { stream: "mediawiki.page-create", domain: "d" }, page_title: "T",
      performer: { user_text: "P" } }, { kind: "new", title: "T", where: "d", who: "P" }],
    [{ page: { page_title: "T" }, wiki_id: "w", page_change_kind: "edit", revision: { rev_size: 9 },
      prior_state: { revision: { rev_size: 2 } } }, { kind: "edit", title: "T", bytes: 7 }],
    [{ name: "sensor 7", level: "warn", celsius: 21.5, host: "h" },
      { kind: "warn", title: "sensor 7", where: "h", said: "level: warn · celsius: 21.5 · host: h" }],
    [{ meta: { domain: "canary" } }, { kind: "canary", canary: true }],
    [{ meta: null, title: 7, link: "x" }, { kind: "event", title: "7" }],
    [{ uri: "javascript:alert(1)" }, { link: undefined }],
    [{}, { kind: "event", title: "event" }],
  ];
  const said = await inPage(page, ({ describe }, events) => events.map(describe),
    cases.map(([event]) => event));
  for (const [i, [, expected]] of cases.entries()) {
    const found = Object.fromEntries(Object.keys(expected).map((key) => [key, said[i][key]]));
    assert.deepEqual(found, expected);
  }
  console.log("any event can be said in words");
}

async function proves(page) {
  const said = await inPage(page, ({ Proof, jointText }) => {
    const proof = new Proof();
    const at = (offset, partition = 0) => ({ topic: "t", partition, offset });
    proof.from(JSON.stringify([{ topic: "t", partition: 0, offset: 5 }]));
    proof.take(at(5), 1);
    proof.take(at(6), 2);
    const clean = [proof.clean, proof.events];
    proof.reopened(10);
    proof.take(at(7), 3);
    const good = jointText(proof.take(at(8), 11));
    proof.reopened(20);
    proof.take(at(8), 12);
    const bad = jointText(proof.settle());
    const repeated = [proof.clean, proof.repeated];
    proof.gap({ topic: "t", partition: 0, from: 9, to: 12 });
    proof.take(at(0), 30);
    return { clean, good, bad, repeated, lost: proof.lost, passed: proof.passed };
  });
  assert.deepEqual(said, {
    clean: [true, 2],
    good: "Nothing missed, nothing twice (1 caught up): t/0 went on at 7",
    bad: "1 came twice (1 caught up): t/0 began again at 8",
    repeated: [false, 1],
    lost: 3,
    passed: 0,
  });
  console.log("what comes twice or is lost is not called clean");
}

async function bounds(page) {
  const said = await inPage(page, async ({ Buffer }) => {
    const buffer = new Buffer(() => {});
    let seq = 0;
    const push = (n, size = 10) => {
      for (let i = 0; i < n; i += 1) buffer.push({ seq: (seq += 1), size, text: "x" });
    };
    push(20_000);
    const live = buffer.length;
    buffer.freeze();
    const newest = buffer.at(0).seq;
    push(4999);
    const almost = [buffer.full, buffer.at(0).seq === newest, buffer.waiting];
    push(1);
    const { full } = buffer;
    await buffer.filter((entry) => entry.seq % 2 === 0);
    const halved = [buffer.at(0).seq <= newest, buffer.shownWaiting];
    await buffer.filter(null);
    buffer.thaw();
    const gone = [buffer.at(0).seq === seq, buffer.length <= 5256];
    push(100, 1_000_000);
    return { live: live <= 5256, almost, full, halved, gone, big: buffer.length <= 25 };
  });
  assert.deepEqual(said, {
    live: true, almost: [false, true, 4999], full: true, halved: [true, 2500], gone: [true, true],
    big: true,
  });
  console.log("what is kept is bounded by number and by size");
}

async function addresses(page) {
  const screens = [
    { names: ["a", "b ü,/?"], since: 1_790_000_000_000, after: "", filter: "-x \"y&z\"", raw: true },
    { names: ["a"], since: null, after: "[{\"topic\":\"t#?\"}]", filter: "", raw: false },
  ];
  const said = await inPage(page, ({ read, write }, all) =>
    all.map((one) => read(write(one))), screens);
  assert.deepEqual(said, screens);
  console.log("an address gives back what was written into it");
}

async function ails(page) {
  const said = await inPage(page, ({ ailing }) => [
    { health: "ok", cause: "none" },
    { health: "degraded", cause: "starting" },
    { health: "critical", cause: "silent" },
    { health: null, cause: null },
  ].map(ailing));
  const text = "broken: it was lively and has fallen silent";
  assert.deepEqual(said, [null, null, { tone: "critical", text }, null]);
  console.log("a stream that is not well is said to be, with the cause");
}

run(async (page, origin) => {
  await page.goto(`${origin}/v2/ui/`);
  await page.evaluate(async () => {
    const names = ["sse", "filter", "describe", "proof", "buffer", "address", "picker"];
    const modules = await Promise.all(names.map((name) => import(`/v2/ui/${name}.js`)));
    window.parts = Object.assign({}, ...modules);
  });
  for (const part of [parses, searches, describes, proves, bounds, addresses, ails]) {
    await part(page);
  }
});
