// The filter's language: what was typed, as terms that are asked of events and written as code.
//
//   berlin "new page"     words and phrases anywhere in the event, in any case
//   wiki:enwiki           a field holds the text; meta.domain:wikipedia goes deeper
//   type=edit  bot=true   a field is exactly this
//   length.new>5000       a number is above (or below) another
//   -canary -bot=true     not

const TERM = /(-?)(?:([\w$][\w$.]*)([:=<>]))?(?:"([^"]*)"|([^\s"]+))/gu;

// All terms; every one of them has to hold.
export function parse(text) {
  const terms = [];
  for (const [, minus, path, op, quoted, plain] of text.matchAll(TERM)) {
    const value = quoted ?? plain;
    const not = minus === "-";
    if (path === undefined) terms.push({ not, word: value });
    else if (op === "<" || op === ">") {
      const number = Number(value);
      if (Number.isFinite(number)) terms.push({ not, path, op, number });
    } else terms.push({ not, path, op, value });
  }
  return terms;
}

// What stands in a field, or nothing.
export const field = (event, path) => path.split(".").reduce((at, key) => at?.[key], event);

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
const asText = (value) => (value === undefined || value === null ? "" : String(value));

function asked(term) {
  if (term.word !== undefined) {
    const word = new RegExp(escaped(term.word), "iu");
    return ({ plain }) => word.test(plain);
  }
  const { path, op, number } = term;
  const value = term.value?.toLowerCase();
  return (entry) => {
    const found = field(entry.event(), path);
    if (op === ":") {
      const text = Object(found) === found ? JSON.stringify(found) : asText(found);
      return text.toLowerCase().includes(value);
    }
    if (op === "=") return asText(found).toLowerCase() === value;
    return typeof found === "number" && (op === ">" ? found > number : found < number);
  };
}

// One question for an entry, or nothing where nothing was typed.
export function matcher(text) {
  const terms = parse(text).map((term) => [asked(term), term.not]);
  if (terms.length === 0) return null;
  return (entry) => terms.every(([holds, not]) => holds(entry) !== not);
}

export { escaped };
