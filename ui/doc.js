// The documentation's script: the page says everything without it. It puts this host's address into
// the lines to copy, finds streams, and opens what the address names.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const all = (selector) => [...document.querySelectorAll(selector)];

  for (const pre of all("pre")) {
    pre.textContent = pre.textContent.replaceAll("THIS.HOST", location.origin);
    const frame = document.createElement("div");
    frame.className = "code";
    pre.replaceWith(frame);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(pre);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    frame.append(pre, button);
  }

  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const streams = all(".stream");
  find.parentElement.hidden = streams.length < 2;
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const stream of streams) {
      stream.hidden = !words.every((word) => stream.dataset.find.includes(word));
    }
    const shown = streams.filter((stream) => !stream.hidden).length;
    found.textContent = words.length > 0 ? `${shown} of ${streams.length}` : "";
  });

  const open = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
});
