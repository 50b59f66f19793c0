// Dark or light: as the system has it until somebody chooses. No module, and in the head, so that
// the first picture already has its colours.
"use strict";

(() => {
  const KEY = "tidegate-theme";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const show = (theme) => {
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  show(chosen());

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    const say = () =>
      button.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
    say();
    dark.addEventListener("change", say);
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      show(theme);
      say();
      // What the system has anyway is no choice: it may change.
      try {
        if (theme === (dark.matches ? "dark" : "light")) localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, theme);
      } catch { /* then it lasts as long as the page */ }
      dispatchEvent(new Event("themechange"));
    });
  });
})();
