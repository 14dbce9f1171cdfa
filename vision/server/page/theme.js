// Light or dark: the system's choice until a person makes their own. Loaded first, so that no page flashes.

const KEPT = "chiasm-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

/** What localStorage holds under a key; null where a browser forbids it. */
export function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Keep a value for the next visit; null forgets it. */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // A browser that forbids storage forgets, and everything else works.
  }
}

const isDark = () => (remembered(KEPT) ?? (system.matches ? "dark" : "light")) === "dark";

function paint() {
  const kept = remembered(KEPT);
  if (kept) document.documentElement.dataset.theme = kept;
  else delete document.documentElement.dataset.theme;
  document.getElementById("theme")?.setAttribute("aria-pressed", String(isDark()));
}

/** Make `button` switch between light and dark; back at the system's own choice, nothing is kept. */
export function themeButton(button) {
  button.addEventListener("click", () => {
    const wanted = isDark() ? "light" : "dark";
    remember(KEPT, wanted === (system.matches ? "dark" : "light") ? null : wanted);
    paint();
  });
  system.addEventListener("change", paint);
  paint();
}

paint();
