// Keys that work anywhere on the page. Single keys can be switched off (WCAG 2.1.4).

import { at, make } from "./element.js";
import { remember, remembered } from "./theme.js";

const KEPT = "chiasm-single-keys";
const KEYS = [
  ["/", "Go to the search box"],
  ["− word", "In the box: take the word away"],
  ["Backspace", "In the empty box: go to the chips; on a chip: remove it"],
  ["← → ↑ ↓", "Walk through the pictures"],
  ["Home End", "First and last of a row; with Ctrl, of all"],
  ["Enter", "Open the picture"],
  ["Esc", "Close what is open"],
  ["e", "In the picture: explain it"],
  ["s", "In the picture: find similar ones"],
  ["+ −", "In the picture: more, or less, like this"],
  ["f", "Filters"],
  ["l", "Labels"],
  ["?", "This list"],
];

/** Whether single keys are shortcuts. */
export const singleKeys = () => remembered(KEPT) !== "off";

/** Begin: `actions` by key. @param {Object<string, Function>} actions */
export function start(actions) {
  const help = at("help");
  at("keys").replaceChildren(
    ...KEYS.flatMap(([keys, what]) => [
      make("dt", {}, ...keys.split(" ").map((one) => make("kbd", {}, one))),
      make("dd", {}, what),
    ]),
  );
  at("single-keys").checked = singleKeys();
  at("single-keys").addEventListener("change", (event) =>
    remember(KEPT, event.target.checked ? null : "off"),
  );
  at("show-help").addEventListener("click", () => help.showModal());
  at("hide-help").addEventListener("click", () => help.close());
  help.addEventListener("click", (event) => {
    if (event.target === help) help.close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !singleKeys()) return;
    if (event.target.matches("input, textarea, select") || document.querySelector("dialog:modal")) return;
    const action = event.key === "?" ? () => help.showModal() : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
