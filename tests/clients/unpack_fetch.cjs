// Node's fetch: reads one compressed response and says each event as it comes, and `whole` after a
// clean end. Arguments: the URL, what to ask for.
"use strict";

const { show } = require("./report.cjs");

(async () => {
  const [url, encoding] = process.argv.slice(2);
  const response = await fetch(url, { headers: { "accept-encoding": encoding } });
  if (response.headers.get("content-encoding") !== encoding) throw new Error("another encoding");
  let rest = "";
  for await (const data of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) show(line.slice(6));
  }
  console.log("whole");
  process.stdin.destroy();
})();
