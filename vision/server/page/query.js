// What is asked for: query chips, filters, the opened picture. The address bar holds all of it, so that back,
// forward, bookmarks and shared links work; everything else on the page follows from here.

import { listed } from "./element.js";
import { whereOf } from "./where.js";

/**
 * One part of a query. `like` is feedback on a result (Rocchio), the others are terms.
 * @typedef {{kind: "text"|"picture"|"upload"|"like", value: string, minus: boolean}} Chip
 * @typedef {{chips: Chip[], facets: Object<string, string[]>, width: number|null, where: string,
 *            all: boolean, open: string|null}} State
 */

const CUT = 0.5;
const PAGE = 60;
const NAMES = {
  q: ["text", false],
  minus: ["text", true],
  picture: ["picture", false],
  "minus-picture": ["picture", true],
  upload: ["upload", false],
  "minus-upload": ["upload", true],
  more: ["like", false],
  less: ["like", true],
};
const FACETS = /^(year|camera|format|tags|columns\..+)$/;

let state = read(location.search);
const listeners = [];

/** @returns {State} */
export const current = () => state;

/** Call `listener(state)` after each change, and when back or forward bring another state. */
export const follow = (listener) => listeners.push(listener);

/**
 * Change some of the state; a new entry in the history unless `replace`.
 * @param {Partial<State>} patch
 */
export function change(patch, { replace = false } = {}) {
  const next = { ...state, ...patch };
  const address = addressOf(next);
  if (address === addressOf(state)) return;
  const mark = { opened: replace ? Boolean(history.state?.opened) : Boolean(next.open && !state.open) };
  state = next;
  history[replace ? "replaceState" : "pushState"](next.open ? mark : null, "", address);
  tell();
}

/** Close the opened picture: the way back where the page itself opened it, so that the history stays short. */
export function closePicture() {
  if (history.state?.opened) history.back();
  else change({ open: null }, { replace: true });
}

/** With one more chip; one that is there already only takes its sign. @param {Chip} chip */
export function withChip(chips, chip) {
  const place = chips.findIndex((one) => one.kind === chip.kind && one.value === chip.value);
  return place < 0 ? [...chips, chip] : chips.with(place, chip);
}

/** Add a chip to the query. What is searched starts from above the cut again. @param {Chip} chip */
export function addChip(chip, options) {
  change({ chips: withChip(state.chips, chip), all: false, open: null }, options);
}

/** @param {State} asked @returns {string} an address with all of the state, in the order of the chips */
function addressOf(asked) {
  const words = new URLSearchParams();
  for (const { kind, value, minus } of asked.chips) {
    words.append(
      Object.keys(NAMES).find((name) => NAMES[name][0] === kind && NAMES[name][1] === minus),
      value,
    );
  }
  for (const [field, values] of Object.entries(asked.facets)) {
    for (const value of values) words.append(field, value);
  }
  if (asked.width) words.set("width", asked.width);
  if (asked.where) words.set("where", asked.where);
  if (asked.all) words.set("all", "1");
  if (asked.open) words.set("open", asked.open);
  return words.size ? `/?${words}` : "/";
}

/** @param {string} search @returns {State} what an address asks for; what it does not know is left out */
export function read(search) {
  const asked = { chips: [], facets: {}, width: null, where: "", all: false, open: null };
  for (const [name, value] of new URLSearchParams(search)) {
    if (!value.trim()) continue;
    if (NAMES[name]) {
      const [kind, minus] = NAMES[name];
      asked.chips = withChip(asked.chips, { kind, value, minus });
    } else if (FACETS.test(name)) {
      if (name !== "year" || /^\d{4}$/.test(value)) (asked.facets[name] ??= []).push(value);
    } else if (name === "width") asked.width = Math.max(0, Number.parseInt(value, 10)) || null;
    else if (name === "where") asked.where = value.trim();
    else if (name === "all") asked.all = true;
    else if (name === "open") asked.open = value;
  }
  return asked;
}

const termOf = ({ kind, value, minus }) => ({
  [kind === "text" ? "text" : kind === "upload" ? "upload" : "id"]: value,
  weight: minus ? -1 : 1,
});

const termsOf = (chips) => {
  const liked = chips.filter((chip) => chip.kind === "like");
  return {
    terms: chips.filter((chip) => chip.kind !== "like").map(termOf),
    more_like: liked.filter((chip) => !chip.minus).map((chip) => chip.value),
    less_like: liked.filter((chip) => chip.minus).map((chip) => chip.value),
  };
};

/** The body of POST /search for a page of results. @param {State} asked @param {string|null} cursor */
export function bodyOf(asked, cursor = null) {
  return {
    ...termsOf(asked.chips),
    where: whereOf(asked),
    k: PAGE,
    cut: asked.all ? 0 : CUT,
    cursor,
  };
}

/** What to explain: one chip, as if it were wanted, or the whole query. @param {Chip|null} only */
export const toExplain = (asked, only) =>
  only ? { terms: [termOf({ ...only, minus: false })] } : termsOf(asked.chips);

/** A chip in words. @param {Chip} chip */
export function named({ kind, value, minus }) {
  if (kind === "text") return value;
  if (kind === "like") return minus ? "less like this picture" : "more like this picture";
  return kind === "upload" ? "your picture" : "a picture";
}

/** The query in words, without its filters: "dog and beach, without people". @param {State} asked */
export function inWords({ chips }) {
  const of = (minus) =>
    listed(chips.filter((chip) => chip.kind !== "like" && chip.minus === minus).map(named));
  const liked = chips.filter((chip) => chip.kind === "like").map(named);
  const [wanted, unwanted] = [of(false), of(true)];
  const parts = [
    wanted,
    unwanted && `${wanted ? "without" : "Without"} ${unwanted}`,
    listed([...new Set(liked)]),
  ];
  return parts.filter(Boolean).join(", ");
}

/** Whether anything narrows what is searched. @param {State} asked */
export const isFiltered = (asked) => whereOf(asked) !== null;
export const NO_FILTERS = Object.freeze({ facets: {}, width: null, where: "" });

function tell() {
  for (const listener of listeners) listener(state);
}

addEventListener("popstate", () => {
  state = read(location.search);
  tell();
});
