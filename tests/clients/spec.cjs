// The OpenAPI document under a validator, and against what is really answered: every example fits
// its schema, errors are what the document says, and so are the events of each stream.
// Arguments: the gateway's address, and streams that have events.
"use strict";

const assert = require("node:assert");
const { Validator } = require("@seriousme/openapi-schema-validator");
const Ajv = require("ajv/dist/2020");
const addFormats = require("ajv-formats");

const [origin, ...streams] = process.argv.slice(2);

// The value at a local reference, as deep as it goes.
function resolved(spec, value) {
  let at = value;
  while (at?.$ref) {
    const parts = at.$ref.slice(2).split("/").map((p) => p.replaceAll("~1", "/").replaceAll("~0", "~"));
    at = parts.reduce((inside, part) => inside[part], spec);
  }
  return at;
}

async function main() {
  const answer = await fetch(`${origin}/?spec`);
  assert.match(answer.headers.get("content-type"), /^application\/json/);
  const spec = await answer.json();
  const { valid, errors } = await new Validator().validate(structuredClone(spec));
  assert.ok(valid, JSON.stringify(errors, null, 1));
  assert.ok(!JSON.stringify(spec).includes("\"$id\""));

  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema(spec, "spec");
  const fits = (schema, value, what) => {
    const rooted = JSON.parse(JSON.stringify(schema).replaceAll("\"#/", "\"spec#/"));
    assert.ok(ajv.validate(rooted, value), `${what}: ${ajv.errorsText()}\n${JSON.stringify(value)}`);
  };

  let examples = 0;
  const ids = new Set();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      assert.ok(!ids.has(operation.operationId), operation.operationId);
      ids.add(operation.operationId);
      for (const [status, refer] of Object.entries(operation.responses)) {
        const response = resolved(spec, refer);
        for (const [type, content] of Object.entries(response.content)) {
          const all = Object.values(content.examples ?? {}).map((example) => example.value);
          for (const value of content.example ? [content.example, ...all] : all) {
            fits(content.schema, value, `${method} ${path} ${status} ${type}`);
            if (status >= 400) assert.strictEqual(String(value.status), status, path);
            examples += 1;
          }
        }
      }
    }
  }
  assert.ok(examples > 50, `${examples} examples`);

  const problem = { $ref: "#/components/schemas/Problem" };
  for (const [uri, status] of [["/v2/stream/no-such", 400], ["/nowhere", 404]]) {
    const refused = await fetch(origin + uri);
    assert.strictEqual(refused.status, status);
    fits(problem, await refused.json(), uri);
  }

  for (const stream of streams) {
    const { schema } = spec.paths[`/v2/stream/${stream}`].get.responses[200]
      .content["application/json"];
    assert.ok(schema.allOf, `the schema of ${stream} is known`);
    const stop = new AbortController();
    const body = await fetch(`${origin}/v2/stream/${stream}?since=1`, {
      headers: { accept: "application/json" }, signal: stop.signal,
    });
    let text = "";
    for await (const bytes of body.body) {
      text += Buffer.from(bytes).toString();
      if (text.trim().includes("\n")) break;
    }
    const events = text.slice(0, text.lastIndexOf("\n")).split("\n").filter(Boolean);
    for (const event of events) fits(schema, JSON.parse(event), stream);
    console.log(`${stream}: ${events.length} events fit`);
  }
  console.log(`${examples} examples fit`);
}

main().then(() => process.stdin.destroy(), (error) => {
  console.error(error);
  process.exitCode = 1;
  process.stdin.destroy();
});
process.stdin.resume().on("end", () => process.exit(0));
