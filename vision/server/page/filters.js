// Filters from what is known of the pictures: boxes to tick, a width, and the filter language itself.

import * as api from "./api.js";
import { at, make } from "./element.js";
import { change, current, follow } from "./query.js";
import { on } from "./search.js";
import { remember, remembered } from "./theme.js";

const FEW = 6; // values shown of a field before "Show all"
const KEPT = "chiasm-filters";
const TITLES = { year: "Year", camera: "Camera", format: "Format", tags: "Folder" };

const wide = matchMedia("(min-width: 900px)");
const unfolded = new Set();
let fields = [];

const titleOf = (field) => TITLES[field] ?? capital(field.slice("columns.".length).replaceAll("_", " "));
const capital = (text) => text.charAt(0).toLocaleUpperCase() + text.slice(1);

/** Read anew what can be filtered by. @param {string} collection its key */
export async function refresh(collection) {
  const answer = await api.facets(collection);
  // An address holds texts, and so does every column that is listed by its values.
  fields = Object.entries(answer.fields).map(([field, values]) => [
    field,
    values.map(({ value, count }) => ({ value: String(value), count })),
  ]);
  paint(current());
}

function tick(field, value, wanted) {
  const { facets } = current();
  const others = (facets[field] ?? []).filter((one) => one !== value);
  change({ facets: { ...facets, [field]: wanted ? [...others, value] : others } });
}

function group([field, values], state) {
  const chosen = state.facets[field] ?? [];
  const all = unfolded.has(field);
  const isChosen = (value) => chosen.includes(value);
  const shown = values.filter(({ value }, place) => all || place < FEW || isChosen(value));
  const boxes = shown.map(({ value, count }) =>
    make(
      "label",
      { class: "check" },
      make("input", {
        type: "checkbox",
        checked: isChosen(value),
        "data-box": `${field} ${value}`,
        onchange: (event) => tick(field, value, event.target.checked),
      }),
      make("span", { class: "what" }, value),
      make("span", { class: "many" }, count.toLocaleString("en-GB")),
    ),
  );
  const unfold = () => {
    unfolded.add(field);
    paint(current());
    at("facets")
      .querySelectorAll(`fieldset[data-field="${CSS.escape(field)}"] input`)
      [shown.length]?.focus();
  };
  const rest =
    shown.length < values.length &&
    make("button", { type: "button", class: "text", onclick: unfold }, `Show all ${values.length}`);
  return make("fieldset", { "data-field": field }, make("legend", {}, titleOf(field)), ...boxes, rest);
}

function paint(state) {
  const held = document.activeElement?.dataset?.box;
  at("facets").replaceChildren(...fields.map((entry) => group(entry, state)));
  if (held)
    at("facets")
      .querySelector(`[data-box="${CSS.escape(held)}"]`)
      ?.focus({ preventScroll: true });
  if (document.activeElement !== at("where")) at("where").value = state.where;
  if (document.activeElement !== at("min-width")) at("min-width").value = state.width ?? "";
}

function wrong(sentence) {
  at("where-error").textContent = sentence;
  at("where-error").hidden = !sentence;
  if (sentence) at("where").setAttribute("aria-invalid", "true");
  else at("where").removeAttribute("aria-invalid");
}

const isShown = () => at("show-filters").getAttribute("aria-expanded") === "true";

/** Show or hide the filters: beside the pictures where there is room, else over them. */
export function toggle(shown = !isShown()) {
  remember(KEPT, shown && wide.matches ? "shown" : null);
  display(shown);
  if (shown) at("panel").querySelector("h2").focus();
}

function display(shown) {
  const [side, drawer, panel] = [at("side"), at("drawer"), at("panel")];
  at("show-filters").setAttribute("aria-expanded", String(shown));
  const home = wide.matches ? side : drawer;
  if (panel.parentElement !== home) home.append(panel);
  side.hidden = !shown || !wide.matches;
  if (shown && !wide.matches && !drawer.open) drawer.showModal();
  if ((!shown || wide.matches) && drawer.open) drawer.close();
}

/** Begin. */
export function start() {
  const apply = () => change({ where: at("where").value.trim().replace(/\s+/g, " ") });
  at("where").addEventListener("change", apply);
  at("where").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    apply();
  });
  at("where-form").addEventListener("submit", (event) => event.preventDefault());
  at("min-width").addEventListener("change", (event) =>
    change({ width: Math.max(0, Math.round(event.target.valueAsNumber)) || null }),
  );
  at("show-filters").addEventListener("click", () => toggle());
  at("hide-filters").addEventListener("click", () => toggle(false));
  at("drawer-done").addEventListener("click", () => toggle(false));
  at("drawer").addEventListener("close", () => wide.matches || display(false));
  at("drawer").addEventListener("click", (event) => event.target === at("drawer") && toggle(false));
  wide.addEventListener("change", () => display(wide.matches && remembered(KEPT) === "shown"));
  on("begin", () => wrong(""));
  on("fail", (problem) => {
    const ours =
      current().where && (problem.concerns("where") || problem.status === 400 || problem.status === 422);
    if (ours) wrong(problem.message);
  });
  follow(paint);
  paint(current());
  display(wide.matches && remembered(KEPT) === "shown");
}
