// What is on the screen as part of the page's address, so that it can be sent to somebody:
//   #recentchange,page-create?since=2026-01-01T00:00:00.000Z&q=-canary&view=raw

export function read(hash) {
  const [names = "", query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const all = new URLSearchParams(query);
  const since = Date.parse(all.get("since") ?? "");
  return {
    names: names.split(",").map(decoded).filter(Boolean),
    since: Number.isNaN(since) ? null : since,
    after: all.get("after") ?? "",
    filter: all.get("q") ?? "",
    raw: all.get("view") === "raw",
  };
}

export function write({ names, since, after, filter, raw }) {
  const all = new URLSearchParams();
  if (since !== null) all.set("since", new Date(since).toISOString());
  if (after) all.set("after", after);
  if (filter) all.set("q", filter);
  if (raw) all.set("view", "raw");
  const query = String(all);
  return `#${names.map(encodeURIComponent).join(",")}${query && `?${query}`}`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
