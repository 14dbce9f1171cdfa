// What stands in place of pictures: nothing indexed, nothing found, waiting, an error. And the lines around them.

import * as api from "./api.js";
import * as grid from "./grid.js";
import { drop } from "./chips.js";
import { at, counted, icon, make } from "./element.js";
import { copied, say } from "./notices.js";
import { change, current, inWords, isFiltered, NO_FILTERS } from "./query.js";
import { more, on, results, retry, search } from "./search.js";

const PLAIN = /^[\w./:~@-]+$/; // what a shell takes as it is
let store = "STORE";

/** Show a state in place of pictures; without a title, none. */
function show(title, sentences = [], actions = [], { name = "", grave = false } = {}) {
  const box = at("state");
  box.hidden = !title;
  box.dataset.name = name;
  box.setAttribute("role", grave ? "alert" : "group");
  if (!title) return box.replaceChildren();
  const buttons = actions.map(([label, action], number) =>
    make("button", { class: number ? "" : "primary", onclick: action }, label),
  );
  box.replaceChildren(
    make("h2", {}, title),
    ...sentences.map((sentence) => (typeof sentence === "string" ? make("p", {}, sentence) : sentence)),
    make("div", { class: "row centre" }, ...buttons),
  );
}

let held = false;
let watch = () => {};

function command() {
  const line = `vision index ~/Pictures --store ${store}`;
  const button = { class: "quiet", "aria-label": "Copy the command", onclick: copied(line) };
  return make("p", {}, make("code", {}, line), make("button", button, icon("copy")));
}

const showAll = () => change({ all: true });
const choose = () => at("choose").click();
const unfilter = () => change(NO_FILTERS);

function nothing() {
  const state = current();
  if (results.leftOut) {
    const among = counted(results.fits, "picture", "pictures");
    const sentence = `Among ${among} none stands out enough to be called relevant.`;
    const actions = [["Show them all the same", showAll]];
    if (isFiltered(state)) actions.push(["Remove the filters", unfilter]);
    return show("Nothing stands out", [sentence, "Other words may help, or fewer of them."], actions, {
      name: "nothing",
    });
  }
  if (isFiltered(state)) {
    return show(
      "No picture fits the filters",
      ["They may be too narrow together."],
      [["Remove the filters", unfilter]],
      { name: "nothing" },
    );
  }
  if (state.chips.length)
    return show("Nothing found", ["Try other words."], [["Show all pictures", () => change({ chips: [] })]], {
      name: "nothing",
    });
  const sentences = ["Stop the server, index a folder of them, and start it again:", command()];
  show("No pictures yet", sentences, [["Look again", () => search({ anew: true })]], { name: "empty" });
}

async function failed(problem, seconds) {
  grid.clear();
  at("count").textContent = "";
  const state = current();
  if (problem.unreachable) {
    return show(
      "The server does not answer",
      ["The search goes on as soon as it is back."],
      [["Try now", retry]],
      { name: "gone" },
    );
  }
  if (seconds !== null) {
    const title = problem.status === 429 ? "A little too fast" : "The server is busy";
    const sentence = `Searching again in ${counted(seconds, "second", "seconds")}.`;
    return show(title, [problem.message, sentence], [["Try now", retry]], { name: "busy" });
  }
  if ([404, 410, 422].includes(problem.status) && (await dropLost(state))) return;
  if (current() !== state) return;
  const actions = [["Try again", retry]];
  if (state.where && (problem.concerns("where") || problem.status === 400 || problem.status === 422)) {
    actions.unshift(["Remove the filter", () => change({ where: "" })]);
    return show("The filter cannot be read", [problem.message], actions, { name: "error", grave: true });
  }
  if (isFiltered(state)) actions.push(["Remove the filters", unfilter]);
  show(problem.title || "The search failed", [problem.message], actions, { name: "error", grave: true });
}

/** Chips whose pictures the server does not have any more are taken out; false if there are none. */
async function dropLost(state) {
  const chips = state.chips.filter((chip) => chip.kind !== "text");
  const problems = await Promise.all(
    chips.map((chip) =>
      api.problemAt(
        chip.kind === "upload" ? api.uploadThumbnail(chip.value) : api.thumbnail(chip.value, 160),
      ),
    ),
  );
  const lost = chips.filter((_, number) => [404, 410, 422].includes(problems[number]?.status));
  if (!lost.length || current() !== state) return false;
  drop(lost);
  return true;
}

function headline() {
  const state = current();
  const words = inWords(state);
  at("title").classList.toggle("unseen", state.chips.length > 0); // the chips above say the same
  at("title").textContent = words ? words[0].toLocaleUpperCase() + words.slice(1) : "All pictures";
  document.title = words ? `${words} · Chiasm` : "Chiasm";
}

function counts() {
  const { pictures, next, fits } = results;
  const asked = current().chips.length > 0;
  if (!asked) return counted(fits, "picture", "pictures");
  const found = counted(pictures.length, "picture", "pictures");
  return `${next ? `the first ${found}` : found} of ${fits.toLocaleString("en-GB")}`;
}

function foot() {
  const parts = [];
  const { leftOut, next, recall, pictures, fits } = results;
  if (leftOut && pictures.length && !next) {
    // Pages are ranked, so that the last of them is where all the rest falls below the cut.
    const own = current().chips.filter((chip) => chip.kind === "picture").length;
    const below = Math.max(leftOut, fits - pictures.length - own);
    const show = make("button", { class: "text", onclick: showAll }, below === 1 ? "Show it" : "Show them");
    parts.push(make("p", {}, `${counted(below, "more is", "more are")} below the cut. `, show));
  }
  if (current().all) {
    const action = { class: "text", onclick: () => change({ all: false }) };
    parts.push(
      make(
        "p",
        {},
        "Everything is shown, also what is hardly relevant. ",
        make("button", action, "Only what stands out"),
      ),
    );
  }
  if (held && next) parts.push(make("button", { onclick: () => more() }, "Look at more pictures"));
  if (recall) parts.push(make("p", { class: "hint" }, recall));
  at("foot").replaceChildren(...parts);
}

function arrived(come, first) {
  if (first) {
    show("");
    grid.clear();
  }
  grid.add(come);
  at("count").textContent = counts();
  foot();
  if (results.pictures.length) {
    if (first) say(`${counts()}.`);
  } else if (!results.next) {
    grid.clear();
    at("count").textContent = "";
    nothing();
    say(at("state").querySelector("h2").textContent);
  }
}

/** Begin. */
export function start() {
  on("begin", () => {
    show("");
    headline();
    at("count").textContent = "";
    at("foot").replaceChildren();
    at("grid").classList.add("old");
    scrollTo({ top: 0 });
  });
  on("slow", () => {
    at("grid").classList.remove("old");
    grid.skeleton();
    at("count").textContent = "Searching…";
  });
  on("wait", (sentence) => {
    at("count").textContent = sentence;
    say(sentence);
  });
  on("page", (come, first) => {
    at("grid").classList.remove("old");
    arrived(come, first);
  });
  on("fail", (problem, seconds) => {
    at("grid").classList.remove("old");
    if (!results.complete) return failed(problem, seconds);
    const again = seconds === null ? "" : ` Trying again in ${counted(seconds, "second", "seconds")}.`;
    const line = make(
      "p",
      { role: "alert" },
      `${problem.message}${again} `,
      make("button", { class: "text", onclick: retry }, "Try again"),
    );
    at("foot").replaceChildren(line);
  });
  const observer = new IntersectionObserver(
    ([entry]) => {
      if (entry.isIntersecting && !held) more();
    },
    { rootMargin: "1200px" },
  );
  // An observer speaks up only when something changes: if a page does not fill the screen, let it look again.
  watch = () => {
    observer.unobserve(at("sentinel"));
    observer.observe(at("sentinel"));
  };
  on("page", watch);
}

/**
 * Whether further pages wait for a click: with few of the pictures shown, the end of the page is always near,
 * and a large collection would be leafed through to its end.
 */
export function hold(wanted) {
  if (held === wanted) return;
  held = wanted;
  foot();
  if (!held) watch();
}

/** What is served, for commands to copy. @param {string} address */
export function servedFrom(address) {
  store = PLAIN.test(address) ? address : `'${address.replaceAll("'", "'\\''")}'`;
  if (at("state").dataset.name === "empty" && !at("state").hidden) nothing();
}

/** Say what to do instead where the model reads no words. */
export function readsWords(does) {
  at("no-words").hidden = does;
  at("no-words").replaceChildren(
    "This model knows pictures, not words. Drop a picture anywhere on the page, paste one, or ",
    make("button", { class: "text", onclick: choose }, "choose one"),
    ".",
  );
}
