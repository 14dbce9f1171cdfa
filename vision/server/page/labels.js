// Labels of one's own, put on the pictures shown by the model without any training.

import * as api from "./api.js";
import { at, counted, make } from "./element.js";
import * as grid from "./grid.js";
import { on, results } from "./search.js";
import { hold } from "./states.js";

const PAUSE = 450; // ms after the last key
const AT_ONCE = 500;
const MOST = 100;
const HINT = "Separate them by commas; each picture gets the one that fits best.";
const NONE = "none of these";

let labels = [];
let verdicts = new Map(); // id -> {label, probability}
let only = null; // the label whose pictures alone are shown
let abort = null;
let typing;

/** Labels from what was typed: each once, in order. */
function labelsIn(text) {
  const words = text
    .split(/[,;\n]/)
    .map((word) => word.trim())
    .filter(Boolean);
  return [...new Set(words)].slice(0, MOST);
}

/** Show or hide the row of labels. Hidden, it labels nothing. */
export function toggle(shown = at("labels").hidden) {
  at("labels").hidden = !shown;
  at("show-labels").setAttribute("aria-expanded", String(shown));
  if (shown) {
    at("label-words").focus();
    begin();
  } else forget();
}

const nameOf = ({ label }) => label ?? NONE;
const note = (sentence) => (at("label-note").textContent = sentence);

function forget() {
  abort?.abort();
  for (const id of verdicts.keys()) grid.badge(id, "");
  verdicts = new Map();
  only = null;
  grid.narrow();
  hold(false);
  tally();
}

function begin() {
  forget();
  labels = labelsIn(at("label-words").value);
  if (labels.length === 1) note("One more label, please: a picture gets the one that fits best.");
  else if (!labels.length) note(HINT);
  else ask();
}

async function ask() {
  if (at("labels").hidden || labels.length < 2) return;
  abort?.abort();
  abort = new AbortController();
  const { signal } = abort;
  const ids = results.pictures.map((picture) => picture.id).filter((id) => !verdicts.has(id));
  note("Labelling…");
  try {
    for (let start = 0; start < ids.length; start += AT_ONCE) {
      const body = {
        labels,
        ids: ids.slice(start, start + AT_ONCE),
        none: at("label-none").checked,
        templates: "simple",
      };
      const answer = await api.classify(body, signal);
      if (signal.aborted) return;
      take(answer.verdicts);
    }
    note(results.pictures.length ? "" : HINT);
  } catch (problem) {
    if (problem.name !== "AbortError") note(`The pictures could not be labelled. ${problem.message}`);
  }
}

function take(come) {
  for (const verdict of come) {
    verdicts.set(verdict.id, verdict);
    grid.badge(verdict.id, nameOf(verdict), verdict.label === null);
  }
  tally();
  if (only !== null) show(only);
}

function show(label) {
  only = label;
  grid.narrow(
    label === null ? undefined : ({ id }) => verdicts.has(id) && nameOf(verdicts.get(id)) === label,
  );
  hold(label !== null);
  tally();
}

function tally() {
  const counts = new Map([...labels, NONE].map((label) => [label, 0]));
  for (const verdict of verdicts.values())
    counts.set(nameOf(verdict), (counts.get(nameOf(verdict)) ?? 0) + 1);
  if (!at("label-none").checked) counts.delete(NONE);
  const held = at("tally").contains(document.activeElement) && document.activeElement.dataset.label;
  const button = (text, label, count) =>
    make(
      "button",
      {
        class: "chip",
        "aria-pressed": String(only === label),
        "data-label": label ?? "",
        onclick: () => show(label),
        "aria-label": `${text}: ${counted(count, "picture", "pictures")}`,
      },
      text,
      make("span", { class: "many" }, count.toLocaleString("en-GB")),
    );
  at("tally").replaceChildren(
    button("All", null, verdicts.size),
    ...[...counts].map(([label, count]) => button(label, label, count)),
  );
  at("tally").hidden = !verdicts.size;
  if (held !== false)
    at("tally")
      .querySelector(`[data-label="${CSS.escape(held)}"]`)
      ?.focus();
}

/** Begin. */
export function start() {
  at("show-labels").addEventListener("click", () => toggle());
  at("label-form").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    begin();
  });
  at("label-words").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(begin, PAUSE);
  });
  at("label-none").addEventListener("change", begin);
  at("label-clear").addEventListener("click", () => {
    at("label-words").value = "";
    begin();
    at("label-words").focus();
  });
  on("begin", () => {
    abort?.abort();
    verdicts = new Map();
    only = null;
    hold(false);
    tally();
  });
  on("page", ask);
}
