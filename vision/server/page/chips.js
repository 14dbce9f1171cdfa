// The search box, and the query and filters in use as chips: each can be flipped or removed, by keyboard too.

import * as api from "./api.js";
import { at, icon, make } from "./element.js";
import { notify, say } from "./notices.js";
import { addChip, change, current, follow, named, NO_FILTERS, withChip } from "./query.js";

let hasText = true;
let pending = 0; // pictures on their way to the server

/** Tell whether the model reads words; without, the box takes pictures only. */
export function readsWords(does) {
  hasText = does;
  at("words").placeholder = does ? "What is in the picture?" : "Drop a picture here";
}

/** Show how many more pictures are being sent. */
export function sending(change) {
  pending += change;
  paint(current());
}

/** Take chips out of the query whose pictures the server no longer has. @param {Chip[]} lost */
export function drop(lost) {
  const chips = current().chips.filter((chip) => !lost.includes(chip));
  const uploads = lost.some((chip) => chip.kind === "upload");
  const why = uploads
    ? "A picture searched with is no longer kept by the server, and was taken out of the search."
    : "A picture of this search is no longer in the index, and was taken out of the search.";
  notify("lost", why);
  change({ chips }, { replace: true });
}

function submit(event) {
  event.preventDefault();
  const box = at("words");
  const typed = box.value.trim();
  const minus = at("sign").getAttribute("aria-pressed") === "true";
  const words = typed.replace(/^[-−+]\s*/, "");
  if (!words) return;
  if (!hasText) {
    notify("no-text", "This model does not read words: search by a picture instead.");
    return;
  }
  const taken = minus || /^[-−]/.test(typed);
  box.value = "";
  setSign(false);
  addChip({ kind: "text", value: words, minus: taken });
  say(`${taken ? "Without" : "With"} ${words}.`);
}

function setSign(minus) {
  at("sign").setAttribute("aria-pressed", String(minus));
  at("sign")
    .querySelector("use")
    .setAttribute("href", minus ? "#i-minus" : "#i-plus");
}

function flip(chip) {
  change({ chips: withChip(current().chips, { ...chip, minus: !chip.minus }), all: false });
}

function remove(chip) {
  change({
    chips: current().chips.filter((one) => one.kind !== chip.kind || one.value !== chip.value),
    all: false,
  });
}

function queryChip(chip) {
  const words = named(chip);
  const sign = chip.minus ? "minus" : "plus";
  const state = chip.minus ? "taken away" : "wanted";
  const flipper = make(
    "button",
    {
      class: "sign",
      "aria-label": `${words}: ${state}. Turn round`,
      title: chip.minus ? "Search with it" : "Take it away",
      "data-part": "sign",
      onclick: () => flip(chip),
    },
    icon(sign),
  );
  const shown = chip.kind === "text" ? make("span", { class: "words" }, chip.value) : thumbnailOf(chip);
  const text =
    chip.kind === "like" && make("span", { class: "words" }, chip.minus ? "less like" : "more like");
  const closer = remover(words, () => remove(chip));
  return make(
    "li",
    { class: `chip ${sign}`, "data-chip": `${chip.kind} ${chip.value}` },
    flipper,
    text,
    shown,
    closer,
  );
}

function thumbnailOf(chip) {
  const source = chip.kind === "upload" ? api.uploadThumbnail(chip.value) : api.thumbnail(chip.value, 160);
  return make("img", {
    src: source,
    alt: named(chip),
    onerror: (event) => event.target.replaceWith(icon("picture")),
  });
}

function remover(words, action) {
  return make(
    "button",
    { class: "remove", "aria-label": `Remove ${words}`, "data-part": "remove", onclick: action },
    icon("close"),
  );
}

function filterChips({ facets, width, where }) {
  const chips = [];
  const add = (label, patch) =>
    chips.push(
      make(
        "li",
        { class: "chip filter", "data-chip": `filter ${label}` },
        make("span", { class: "words" }, label),
        remover(label, () => change(patch)),
      ),
    );
  for (const [field, values] of Object.entries(facets)) {
    for (const value of values) {
      const left = values.filter((one) => one !== value);
      const name = field.startsWith("columns.")
        ? `${field.slice(8)}: ${value}`
        : field === "tags"
          ? `in ${value}`
          : value;
      add(String(name), { facets: { ...facets, [field]: left } });
    }
  }
  if (width) add(`at least ${width} pixels wide`, { width: null });
  if (where) add(where, { where: "" });
  return chips;
}

function paint(state) {
  const focused = document.activeElement;
  const held = focused?.closest("#asked") && {
    chip: focused.closest("li")?.dataset.chip,
    part: focused.dataset.part,
  };
  const old = [...at("asked").querySelectorAll("li")].findIndex((node) => node.dataset.chip === held?.chip);
  const chips = state.chips.map(queryChip);
  for (let count = 0; count < pending; count += 1) {
    chips.push(
      make("li", { class: "chip pending" }, icon("picture"), make("span", { class: "words" }, "Sending…")),
    );
  }
  if (chips.length > 1) {
    const clear = { class: "text", "data-part": "clear", onclick: () => change({ chips: [], all: false }) };
    chips.push(make("li", {}, make("button", clear, "Clear")));
  }
  const filters = filterChips(state);
  if (filters.length > 1) {
    filters.push(
      make("li", {}, make("button", { class: "text", onclick: () => change(NO_FILTERS) }, "Remove filters")),
    );
  }
  at("chips").replaceChildren(...chips);
  at("active").replaceChildren(...filters);
  at("chips").hidden = !chips.length;
  at("active").hidden = !filters.length;
  at("asked").hidden = !chips.length && !filters.length;
  if (held) refocus(held, old);
}

/** The focus was in the chips: keep it on the same one, or on what took its place. */
function refocus({ chip, part }, old) {
  const nodes = [...at("asked").querySelectorAll("li[data-chip]")];
  const node = nodes.find((one) => one.dataset.chip === chip) ?? nodes[Math.min(old, nodes.length - 1)];
  (node?.querySelector(`[data-part="${part}"]`) ?? node?.querySelector("button") ?? at("words")).focus();
}

function walk(event) {
  const node = event.target.closest("li[data-chip]");
  if (!node) return;
  const buttons = [...at("asked").querySelectorAll("button")];
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) {
    const next = buttons[buttons.indexOf(event.target) + step] ?? (step > 0 ? at("words") : null);
    next?.focus();
  } else if (event.key === "Delete" || event.key === "Backspace") {
    node.querySelector('[data-part="remove"]')?.click();
  } else return;
  event.preventDefault();
}

/** Begin. */
export function start() {
  at("search").addEventListener("submit", submit);
  at("sign").addEventListener("click", () => {
    setSign(at("sign").getAttribute("aria-pressed") !== "true");
    at("words").focus();
  });
  at("words").addEventListener("keydown", (event) => {
    if (event.key !== "Backspace" || event.target.value || event.repeat) return;
    at("chips").querySelector("li:last-of-type button, li[data-chip]:nth-last-of-type(2) button")?.focus();
  });
  at("asked").addEventListener("keydown", walk);
  follow(paint);
  paint(current());
}
