// The lines of code that give what is on the screen: curl, JavaScript, Python. What is filtered
// here is filtered there in the same way.

import { escaped, parse } from "./filter.js";

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const js = (text) => JSON.stringify(text);
// JSON's strings are Python's too, as long as nothing is outside the basic plane.
const python = (text) => JSON.stringify(text)
  .replace(/[\u{80}-\u{10ffff}]/gu, (c) => (c.codePointAt(0) > 0xffff
    ? `\\U${c.codePointAt(0).toString(16).padStart(8, "0")}`
    : `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`));

export function address({ origin, names, since }) {
  const path = `${origin}/v2/stream/${names.map(encodeURIComponent).join(",")}`;
  return since === null ? path : `${path}?since=${new Date(since).toISOString()}`;
}

// A field as jq has it; what lies in something that is no object is null, as on the page.
function jqField(path) {
  const isPlain = (key) => /^[a-z_]\w*$/i.test(key);
  const keys = path.split(".").map((key) => (isPlain(key) ? `.${key}` : `.[${js(key)}]`));
  return keys.length === 1 ? keys[0] : `[${keys.join("")}?][0]`;
}

function jq(term) {
  const value = term.value === undefined ? "" : js(term.value.toLowerCase());
  const holds = {
    ":": `text | contains(${value})`,
    "=": `text == ${value}`,
    ">": `type == "number" and . > ${term.number}`,
    "<": `type == "number" and . < ${term.number}`,
  }[term.op];
  return `(${jqField(term.path)} | ${holds}${term.not ? " | not" : ""})`;
}

const JQ_TEXT = "def text: if . == null then \"\" else tostring end | ascii_downcase;";

export function curl(screen) {
  const lines = [`curl -sN ${shell(address(screen))}`];
  if (screen.after) lines.push(`-H ${shell(`Last-Event-ID: ${screen.after}`)}`);
  const terms = parse(screen.filter);
  if (terms.length === 0) return lines.join(" \\\n  ");
  lines.push("-H 'Accept: application/x-ndjson'");
  const pipes = [lines.join(" \\\n  ")];
  for (const { word, not } of terms.filter((term) => term.word !== undefined)) {
    pipes.push(`grep --line-buffered -${not ? "v" : ""}iF -e ${shell(word)}`);
  }
  const asked = terms.filter((term) => term.word === undefined).map(jq);
  if (asked.length > 0) {
    const texts = terms.some((term) => term.path !== undefined && term.value !== undefined);
    const program = `${texts ? `${JQ_TEXT} ` : ""}select(${asked.join(" and ")})`;
    pipes.push(`jq -c --unbuffered ${shell(program)}`);
  }
  return pipes.join(" \\\n  | ");
}

function jsTerm(term) {
  if (term.word !== undefined) {
    return `${term.not ? "!" : ""}/${escaped(term.word)}/iu.test(data)`;
  }
  const place = `event${term.path.split(".").map((key) => `?.[${js(key)}]`).join("")}`;
  const text = `String(${place} ?? "").toLowerCase()`;
  const value = term.value === undefined ? "" : js(term.value.toLowerCase());
  const holds = {
    ":": `${text}.includes(${value})`,
    "=": `${text} === ${value}`,
    ">": `${place} > ${term.number}`,
    "<": `${place} < ${term.number}`,
  }[term.op];
  return term.not ? `!(${holds})` : holds;
}

export function javascript(screen) {
  const asked = parse(screen.filter).map(jsTerm);
  const only = asked.length === 0 ? [] : [`  if (!(${asked.join(" && ")})) return;`];
  const show = [
    "function show(data) {",
    "  const event = JSON.parse(data);",
    ...only,
    "  console.log(event);",
    "}",
  ];
  if (!screen.after) {
    return [
      "// In a browser. It goes on from the last event by itself after a cut.",
      ...show,
      `const source = new EventSource(${js(address(screen))});`,
      "source.onmessage = ({ data }) => show(data);",
    ].join("\n");
  }
  return [
    "// An EventSource cannot be given an id to begin after; fetch can.",
    ...show,
    `const headers = { Accept: "application/x-ndjson", "Last-Event-ID": ${js(screen.after)} };`,
    `const { body } = await fetch(${js(address(screen))}, { headers });`,
    "let rest = \"\";",
    "for await (const text of body.pipeThrough(new TextDecoderStream())) {",
    "  const lines = (rest + text).split(\"\\n\");",
    "  rest = lines.pop();",
    "  lines.filter(Boolean).forEach(show);",
    "}",
  ].join("\n");
}

function pythonTerm(term) {
  if (term.word !== undefined) {
    return `${python(term.word.toLowerCase())} ${term.not ? "not in" : "in"} data.lower()`;
  }
  const place = `field(event, ${term.path.split(".").map(python).join(", ")})`;
  const value = term.value === undefined ? "" : python(term.value.toLowerCase());
  const holds = {
    ":": `${value} in text(${place})`,
    "=": `text(${place}) == ${value}`,
    ">": `number(${place}) and ${place} > ${term.number}`,
    "<": `number(${place}) and ${place} < ${term.number}`,
  }[term.op];
  return term.not ? `not (${holds})` : holds;
}

function pythonHelpers(terms) {
  const fields = terms.filter((term) => term.path !== undefined);
  const texts = fields.some((term) => term.value !== undefined);
  const numbers = fields.some((term) => term.number !== undefined);
  return [
    ...(fields.length === 0 ? [] : [
      "def field(event, *path):",
      "    for key in path:",
      "        event = event.get(key) if isinstance(event, dict) else None",
      "    return event",
      "",
    ]),
    ...(texts ? [
      "def text(value):",
      "    if value is None or isinstance(value, str):",
      "        return (value or \"\").lower()",
      "    return json.dumps(value, ensure_ascii=False, separators=(\",\", \":\")).lower()",
      "",
    ] : []),
    ...(numbers ? [
      "def number(value):",
      "    return isinstance(value, (int, float)) and not isinstance(value, bool)",
      "",
    ] : []),
  ];
}

function pythonCode(screen) {
  const terms = parse(screen.filter);
  const asked = terms.map(pythonTerm);
  const pad = " ".repeat(16);
  const show = [
    "    event = json.loads(data)",
    ...(asked.length === 0 ? [] : [`    if not (${asked.join(" and ")}):`, "        return"]),
    "    print(json.dumps(event, ensure_ascii=False), flush=True)",
  ];
  return [
    "import http.client, json, time, urllib.request",
    "",
    ...pythonHelpers(terms),
    "def show(data):",
    ...show,
    "",
    `url = ${python(address(screen))}`,
    `last_id = ${python(screen.after ?? "")}`,
    "while True:  # goes on right after the last event, however often it is cut",
    "    request = urllib.request.Request(url, headers={\"Last-Event-ID\": last_id})",
    "    try:",
    "        with urllib.request.urlopen(request, timeout=60) as stream:",
    "            for line in map(bytes.decode, stream):",
    `${pad}if line.startswith("id: "):`,
    `${pad}    next_id = line[4:].strip()`,
    `${pad}elif line.startswith("data: ") and line.endswith("\\n"):`,
    `${pad}    show(line[6:])`,
    `${pad}    last_id = next_id`,
    "    except (OSError, http.client.HTTPException):",
    "        pass",
    "    time.sleep(2)",
  ].join("\n");
}

export const LANGUAGES = [["curl", curl], ["JavaScript", javascript], ["Python", pythonCode]];
