// The small dialogs: the code for what is on the screen, a time in the past, the keys; copying, and
// the words that tell that something was done.

import { LANGUAGES } from "./snippets.js";

const $ = (id) => document.getElementById(id);
const TOAST_MS = 2500;
let toastTimer = null;

export function toast(text) {
  const place = $("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    place.classList.remove("shown");
    place.textContent = "";
  }, TOAST_MS);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages over plain HTTP from another host have no clipboard of that kind.
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return toast("The browser does not let this page copy");
  }
  toast(`${what} is copied`);
}

// A dialog closes when one clicks beside it, and with its own button.
export function dialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
    dialog.querySelector(".close").onclick = () => dialog.close();
  }
}

// The tabs with the lines of code; `screen()` says what is on the screen.
export function codeDialog(screen) {
  const tabs = LANGUAGES.map(([name, write], i) => {
    const tab = document.createElement("button");
    Object.assign(tab, { type: "button", id: `tab-${i}`, textContent: name });
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "code-text");
    tab.onclick = () => choose(i);
    return { tab, name, write };
  });
  const list = $("code-tabs");
  list.replaceChildren(...tabs.map(({ tab }) => tab));
  list.onkeydown = ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) choose((now + step + tabs.length) % tabs.length, true);
  };
  let now = 0;
  const choose = (i, focus = false) => {
    now = i;
    tabs.forEach(({ tab }, n) => {
      tab.setAttribute("aria-selected", n === i);
      tab.tabIndex = n === i ? 0 : -1;
    });
    if (focus) tabs[i].tab.focus();
    $("code-text").textContent = tabs[i].write(screen());
    $("code-text").setAttribute("aria-labelledby", `tab-${i}`);
  };
  $("code-copy").onclick = () => copy($("code-text").textContent, `The ${tabs[now].name} code`);
  return () => {
    choose(now);
    $("code").showModal();
  };
}

// Asks for a time; gives it in ms.
export function timeDialog(chosen) {
  $("time-form").onsubmit = (event) => {
    event.preventDefault();
    const at = new Date($("time-at").value).getTime();
    $("time").close();
    if (!Number.isNaN(at)) chosen(at);
  };
  return (now) => {
    // The control has the local time, without a zone.
    const local = (ms) => {
      const at = new Date(ms);
      return new Date(ms - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
    };
    $("time-at").max = local(now);
    $("time-at").value = local(now - 10 * 60_000);
    $("time").showModal();
  };
}

// Single keys, for those who have not turned them off.
export function keys(actions) {
  const KEY = "tidegate-keys";
  const box = $("keys-on");
  try { box.checked = localStorage.getItem(KEY) !== "off"; } catch { /* they are on */ }
  box.onchange = () => {
    try { localStorage.setItem(KEY, box.checked ? "on" : "off"); } catch { /* for now, then */ }
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) {
      return;
    }
    const writes = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape") return actions.Escape?.(event);
    if (writes || !box.checked) return;
    if (event.key === " " && event.target.closest("button, a, summary")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
