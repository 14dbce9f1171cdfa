// Why a picture was found: a map over it of what speaks for the query, or for one part of it.

import * as api from "./api.js";
import { at, make } from "./element.js";
import { isBlank, isCropped, painter } from "./heat.js";
import { current, inWords, named, toExplain } from "./query.js";

let on = false;
let picture = null;
let method = null;
let only = ""; // the place of a chip in the query, or all of it
let abort = null;
let paint = null;

const heat = at("heat");

/** Explain this picture from now on, if explaining is switched on. */
export function explainPicture(next) {
  picture = next;
  if (on) ask();
}

/** The picture is shown in another size. */
export function redraw() {
  if (on && paint) paint(heat, at("why-strength").value / 100);
}

/** Switch explaining on or off. */
export function toggle(wanted = !on) {
  on = wanted;
  at("explain").setAttribute("aria-pressed", String(on));
  at("why").hidden = !on;
  hideMap();
  abort?.abort();
  if (on) ask();
}

function hideMap() {
  paint = null;
  heat.hidden = true;
  at("why-scale").hidden = true;
}

function choices() {
  const { chips } = current();
  const select = at("why-of");
  if (!chips[only]) only = "";
  const options = chips.map((chip, number) =>
    make("option", { value: number }, chip.minus ? `${named(chip)} (taken away)` : named(chip)),
  );
  select.replaceChildren(make("option", { value: "" }, "the whole query"), ...options);
  select.value = only;
  select.parentElement.hidden = chips.length < 2;
}

async function ask() {
  abort?.abort();
  abort = new AbortController();
  const { signal } = abort;
  choices();
  const chip = current().chips[only] ?? null;
  const asked = current().chips.length > 0;
  at("why").querySelector(".controls").hidden = !asked;
  if (!asked) {
    hideMap();
    at("why-text").textContent =
      "Nothing has been asked yet. Search by words or by a picture, then see what speaks for it.";
    return;
  }
  const slow = setTimeout(() => (at("why-text").textContent = "Looking for what speaks for it…"), 150);
  try {
    show(await api.explain({ id: picture.id, ...toExplain(current(), chip), method }, signal), chip);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    hideMap();
    at("why-text").textContent = `This cannot be explained. ${problem.message}`;
  } finally {
    clearTimeout(slow);
  }
}

function show(explanation, chip) {
  const { map, box, score, method: used, methods } = explanation;
  const blank = isBlank(map);
  const asked = chip ? named(chip) : inWords(current());
  const sentences = [
    `Asked: ${asked}.`,
    `Cosine ${score.toFixed(3)}.`,
    blank ? "Nothing in the picture speaks for it." : "The bright parts speak for it.",
    isCropped(box) && "The model did not see the striped edge.",
  ];
  at("why-text").textContent = sentences.filter(Boolean).join(" ");
  at("why-by").replaceChildren(
    ...methods.map((name) => make("option", { value: name }, name.replaceAll("_", " "))),
  );
  at("why-by").value = used;
  at("why-by-label").hidden = methods.length < 2;
  at("why-scale").hidden = blank;
  at("why-strength").parentElement.hidden = blank;
  heat.hidden = false;
  paint = painter(explanation);
  redraw();
}

/** Begin. */
export function start() {
  at("explain").addEventListener("click", () => toggle());
  at("why-of").addEventListener("change", (event) => {
    only = event.target.value;
    ask();
  });
  at("why-by").addEventListener("change", (event) => {
    method = event.target.value;
    ask();
  });
  at("why-strength").addEventListener("input", redraw);
}
