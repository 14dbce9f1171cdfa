// The search page: puts its parts together.

import * as api from "./api.js";
import * as chips from "./chips.js";
import { whenBack } from "./connection.js";
import { at } from "./element.js";
import * as filters from "./filters.js";
import * as grid from "./grid.js";
import * as intake from "./intake.js";
import * as jobs from "./jobs.js";
import * as labels from "./labels.js";
import { follow } from "./query.js";
import { search } from "./search.js";
import * as shortcuts from "./shortcuts.js";
import * as states from "./states.js";
import { themeButton } from "./theme.js";
import * as viewer from "./viewer.js";

/** What the index is: whether its model reads words, and what its pictures can be filtered by. */
async function introduce() {
  try {
    const { collections } = await api.collections();
    const [collection] = collections;
    chips.readsWords(collection?.has_text ?? true);
    states.readsWords(collection?.has_text ?? true);
    at("show-labels").hidden = collection?.has_text === false;
    if (collection) states.servedFrom(collection.address);
    if (collection) await filters.refresh(collection.key);
  } catch (problem) {
    if (problem.unreachable) whenBack("collection", introduce);
    // Else the pictures can be searched all the same, and a search tells what is wrong.
  }
}

function focusSearch() {
  at("words").focus();
  at("words").select();
}

// What gets the focus must not be hidden below the bar, which grows with the chips.
new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty("--bar", `${target.offsetHeight}px`);
}).observe(at("bar"));

themeButton(at("theme"));
chips.start();
filters.start();
labels.start();
states.start();
intake.start();
grid.start(viewer.open);
viewer.start();
shortcuts.start({
  "/": focusSearch,
  f: () => filters.toggle(),
  l: () => at("show-labels").hidden || labels.toggle(),
});
jobs.start(() => {
  search({ anew: true });
  introduce();
});
follow(() => search());
search();
introduce();
