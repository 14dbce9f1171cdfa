// One picture, as large as the screen allows, with what is known of it and what can be done from it.

import * as api from "./api.js";
import { at } from "./element.js";
import * as explain from "./explain.js";
import { factsOf } from "./facts.js";
import * as grid from "./grid.js";
import { notify } from "./notices.js";
import { addChip, change, closePicture, current, follow, isFiltered } from "./query.js";
import { moreCame, on, results } from "./search.js";
import { singleKeys } from "./shortcuts.js";

const ENLARGED = 2; // a small picture is shown at most so much larger than it is

const dialog = at("viewer");
const shot = at("shot");
let picture = null;
let abort = null;

/** Open a picture of the grid. */
export const open = ({ id }) => change({ open: id });

async function follows({ open: id }) {
  abort?.abort();
  if (!id) {
    if (dialog.open) dialog.close();
    return;
  }
  if (picture?.id === id && dialog.open) return;
  const known = results.pictures.find((one) => one.id === id);
  if (known) return show(known);
  abort = new AbortController();
  try {
    show(await api.picture(id, abort.signal));
  } catch (problem) {
    if (problem.name === "AbortError") return;
    notify(
      "opened",
      problem.status === 404 ? "The picture of this link is not in the index." : problem.message,
    );
    closePicture();
  }
}

function show(next) {
  picture = next;
  if (!dialog.open) {
    dialog.showModal();
    at("close").focus();
  }
  at("shot-name").textContent = picture.name;
  at("facts").replaceChildren(...factsOf(picture, { filterTag, filterPlace }));
  at("original").href = api.original(picture.id);
  shot.alt = picture.caption || picture.name;
  at("shot-gone").hidden = true;
  at("frame").hidden = false;
  shot.src = api.thumbnail(picture.id, 320); // what the grid has shown is there at once
  fit();
  place();
  explain.explainPicture(picture);
}

/** Which one it is of those shown; only with its neighbours can one walk on. */
function place() {
  const shown = grid.visible();
  const number = shown.findIndex((one) => one.id === picture.id);
  at("shot-place").textContent =
    number < 0 ? "" : `${number + 1} of ${shown.length}${results.next ? "+" : ""}`;
  at("before").disabled = number < 1;
  at("after").disabled = number < 0 || (number === shown.length - 1 && !results.next);
}

/** Give the frame the picture's shape, as large as the stage allows, and load it in that size. */
function fit() {
  if (!picture || !dialog.open) return;
  const { clientWidth: wide, clientHeight: high } = at("stage");
  const scale = Math.min(wide / picture.width, high / picture.height, ENLARGED);
  const [width, height] = [picture.width * scale, picture.height * scale];
  Object.assign(at("frame").style, { width: `${width}px`, height: `${height}px` });
  load(api.thumbnail(picture.id, Math.max(width, height) * devicePixelRatio));
  explain.redraw();
}

/** Exchange the small picture for the large one once that is there. */
async function load(address) {
  const wanted = picture;
  const large = new Image();
  large.src = address;
  try {
    await large.decode();
    if (picture === wanted) shot.src = address;
  } catch {
    const problem = await api.problemAt(address);
    if (picture !== wanted || !problem) return;
    at("frame").hidden = true;
    at("shot-gone").hidden = false;
    at("shot-gone").textContent =
      problem.status === 404 || problem.status === 410
        ? "The file is no longer there, or is another one now. “Update” brings the index up to date."
        : problem.message;
  }
}

async function walk(step) {
  const here = picture;
  const next = () => {
    const shown = grid.visible();
    return shown[shown.findIndex((one) => one.id === here.id) + step];
  };
  if (step > 0 && at("after").disabled) return;
  if (step < 0 && at("before").disabled) return;
  if (!next() && step > 0 && !(await moreCame())) return place();
  if (picture === here && next()) change({ open: next().id }, { replace: true });
}

const feedback = (minus) => addChip({ kind: "like", value: picture.id, minus }, { replace: true });

function similar() {
  const chips = [{ kind: "picture", value: picture.id, minus: false }];
  change({ chips, all: false, open: null }, { replace: true });
}

function filterTag(tag) {
  const { facets } = current();
  change({ facets: { ...facets, tags: [tag] }, open: null }, { replace: true });
}

function filterPlace(lat, lon) {
  const near = `near(${lat}, ${lon}, 5)`;
  const { where } = current();
  change(
    {
      where: where && isFiltered({ facets: {}, width: null, where }) ? `(${where}) and ${near}` : near,
      open: null,
    },
    { replace: true },
  );
}

function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea"))
    return;
  const steps = { ArrowLeft: () => walk(-1), ArrowRight: () => walk(1) };
  const single = {
    e: () => explain.toggle(),
    s: similar,
    "+": () => feedback(false),
    "-": () => feedback(true),
  };
  const action = steps[event.key] ?? (singleKeys() && single[event.key]);
  if (!action) return;
  event.preventDefault();
  action();
}

/** Begin. */
export function start() {
  explain.start();
  at("before").addEventListener("click", () => walk(-1));
  at("after").addEventListener("click", () => walk(1));
  at("close").addEventListener("click", closePicture);
  at("more-like").addEventListener("click", () => feedback(false));
  at("less-like").addEventListener("click", () => feedback(true));
  at("similar").addEventListener("click", similar);
  at("stage").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) closePicture();
  });
  dialog.addEventListener("keydown", keys);
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    closePicture();
  });
  dialog.addEventListener("close", () => {
    if (dialog.open) return; // opened again before this was told
    const { id } = picture;
    picture = null;
    shot.removeAttribute("src");
    // The browser itself closes a dialog at the second Esc in a row: then the address still has to follow.
    if (current().open) closePicture();
    grid.focus(id);
  });
  new ResizeObserver(fit).observe(at("stage"));
  on("page", () => picture && place());
  follow(follows);
  follows(current());
}
