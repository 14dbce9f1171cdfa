// The pictures found, as a list of buttons in justified rows that the arrow keys walk through.

import * as api from "./api.js";
import { whenBack } from "./connection.js";
import { at, icon, make } from "./element.js";
import { justified, shape } from "./layout.js";

const TRIES = 3;
const SKELETON = [
  1.5, 0.75, 1.33, 1.5, 1, 1.78, 0.67, 1.5, 1.33, 0.75, 1.5, 1.33, 1, 1.5, 0.8, 1.6, 1.4, 1.33,
];

const list = at("grid");
let items = []; // {picture, node, button, image, badge, box, side}, in the order of the results
let shown = []; // those of them that a label lets through
let fits = () => true;
let current = null; // the one item that Tab reaches
let width = 0;

const percent = (share) => `${Math.round(100 * share)} %`;

/** How a picture came here: in words for a screen reader, in short for the eye; empty while browsing. */
function verdictOf({ relevance, by_caption: byCaption, score }) {
  if (byCaption) return ["found by its caption", "caption"];
  if (relevance !== null) return [`relevance ${percent(relevance)}`, percent(relevance)];
  return score === null ? ["", ""] : [`score ${score.toFixed(3)}`, score.toFixed(3)];
}

/** Empty the grid. The focus, if it was there, stays beside it. */
export function clear() {
  if (list.contains(document.activeElement)) at("results").focus({ preventScroll: true });
  items = [];
  shown = [];
  current = null;
  fits = () => true;
  list.replaceChildren();
  list.classList.remove("waiting");
  list.removeAttribute("aria-busy");
  list.style.height = "0";
}

/** Grey boxes where pictures will be. */
export function skeleton() {
  clear();
  measure();
  const many = Math.ceil(width / 900);
  const { boxes, height } = justified(Array.from({ length: many }, () => SKELETON).flat(), width, gap());
  list.classList.add("waiting");
  list.setAttribute("aria-busy", "true");
  list.style.height = `${height}px`;
  for (const box of boxes) {
    const node = make("li", { class: "cell", "aria-hidden": "true" });
    place(node, box);
    list.append(node);
  }
}

/** Show more pictures, after those that are there. */
export function add(pictures) {
  if (list.classList.contains("waiting")) clear();
  const come = pictures.map(itemOf);
  items.push(...come);
  list.append(...come.map((item) => item.node));
  arrange();
}

/** Show only what `test(picture)` lets through; all without it. */
export function narrow(test = () => true) {
  fits = test;
  arrange();
}

/** The pictures that can be seen now, in order. */
export const visible = () => shown.map((item) => item.picture);

/** Put a badge on a picture; an empty text takes it away. */
export function badge(id, text, faint = false) {
  const item = items.find((one) => one.picture.id === id);
  if (!item) return;
  item.badge.textContent = text;
  item.badge.hidden = !text;
  item.badge.classList.toggle("faint", faint);
  name(item);
}

/** Move the focus to a picture; false where it is not shown. */
export function focus(id) {
  const item = shown.find((one) => one.picture.id === id);
  if (item) reach(item);
  return Boolean(item);
}

function itemOf(picture) {
  const image = make("img", { alt: "", loading: "lazy", decoding: "async" });
  const label = make("span", { class: "badge", hidden: true });
  const [, short] = verdictOf(picture);
  const button = make(
    "button",
    { class: "shot", tabindex: -1, "data-id": picture.id },
    image,
    label,
    make(
      "span",
      { class: "below" },
      make("span", { class: "name" }, picture.name),
      short && make("span", {}, short),
    ),
  );
  const node = make("li", { class: "cell" }, button);
  const item = { picture, node, button, image, badge: label, box: null, side: 0, tries: 0 };
  image.addEventListener("load", () => button.classList.add("loaded"));
  image.addEventListener("error", () => missing(item));
  name(item);
  return item;
}

function name({ picture, button, badge: label }) {
  const parts = [
    picture.caption || picture.name,
    verdictOf(picture)[0],
    label.textContent && `label ${label.textContent}`,
  ];
  button.setAttribute("aria-label", parts.filter(Boolean).join(", "));
}

/** A picture that does not load: gone for good, or the server is only busy. */
async function missing(item) {
  const problem = await api.problemAt(item.image.src);
  const address = item.image.src;
  const again = () => {
    item.image.removeAttribute("src");
    item.image.src = address;
  };
  if (problem?.unreachable) whenBack(`picture ${item.picture.id}`, again);
  else if ((!problem || problem.passing) && item.tries < TRIES) {
    item.tries += 1;
    setTimeout(again, 1000 * (problem?.retryAfter ?? 2 ** item.tries));
  } else if (!item.button.classList.contains("missing")) {
    const words = problem?.status === 404 || problem?.status === 410 ? "No longer there" : "Cannot be shown";
    item.button.classList.add("missing");
    item.image.remove();
    item.button.prepend(icon("gone"), make("span", { class: "hint" }, words));
    item.button.setAttribute("aria-label", `${item.picture.name}, ${words.toLowerCase()}`);
  }
}

const gap = () => (width < 700 ? 4 : 8);
const measure = () => (width = list.clientWidth);

function place(node, { x, y, width: wide, height }) {
  Object.assign(node.style, { left: `${x}px`, top: `${y}px`, width: `${wide}px`, height: `${height}px` });
}

function arrange() {
  measure();
  shown = items.filter((item) => fits(item.picture));
  const kept = new Set(shown);
  for (const item of items) item.node.hidden = !kept.has(item);
  const { boxes, height } = justified(
    shown.map((item) => shape(item.picture)),
    width,
    gap(),
  );
  list.style.height = `${height}px`;
  shown.forEach((item, number) => {
    item.box = boxes[number];
    place(item.node, item.box);
    load(item);
  });
  if (!kept.has(current)) roam(shown[0] ?? null);
}

/** Load a picture in the size it is shown at; one loaded larger stays. */
function load(item) {
  const { box, picture } = item;
  // What the grid cuts off of a panorama has to be there all the same.
  const scale = Math.max(box.width / picture.width, box.height / picture.height);
  const side = api.sideFor(Math.max(picture.width, picture.height) * scale * devicePixelRatio);
  if (side <= item.side) return;
  item.side = side;
  item.image.src = api.thumbnail(picture.id, side);
}

function roam(item) {
  if (current) current.button.tabIndex = -1;
  current = item;
  if (item) item.button.tabIndex = 0;
}

function reach(item) {
  roam(item);
  item.button.focus({ preventScroll: true });
  item.node.scrollIntoView({ block: "nearest" });
}

/** The item in the row above or below whose middle is nearest. */
function across(item, rows) {
  const row = shown.filter((one) => one.box.row === item.box.row + rows);
  const middle = (one) => one.box.x + one.box.width / 2;
  const distance = (one) => Math.abs(middle(one) - middle(item));
  return row.reduce((best, one) => (best && distance(best) <= distance(one) ? best : one), null);
}

function target(event, place) {
  const row = () => shown.filter((one) => one.box.row === shown[place].box.row);
  const whole = event.ctrlKey || event.metaKey;
  switch (event.key) {
    case "ArrowLeft":
      return shown[place - 1];
    case "ArrowRight":
      return shown[place + 1];
    case "ArrowUp":
      return across(shown[place], -1);
    case "ArrowDown":
      return across(shown[place], 1);
    case "Home":
      return whole ? shown[0] : row()[0];
    case "End":
      return whole ? shown.at(-1) : row().at(-1);
    default:
      return undefined;
  }
}

/** Begin: `open(picture)` is called when a picture is chosen. */
export function start(open) {
  const itemAt = (event) => shown.find((item) => item.button === event.target.closest("button.shot"));
  list.addEventListener("click", (event) => {
    const item = itemAt(event);
    if (!item) return;
    roam(item);
    open(item.picture);
  });
  list.addEventListener("focusin", (event) => {
    const item = itemAt(event);
    if (item) roam(item);
  });
  list.addEventListener("keydown", (event) => {
    const item = itemAt(event);
    if (!item || event.altKey || event.shiftKey) return;
    const next = target(event, shown.indexOf(item));
    if (next === undefined) return;
    event.preventDefault();
    if (next) reach(next);
  });
  new ResizeObserver(() => {
    if (list.clientWidth === width) return;
    if (list.classList.contains("waiting")) skeleton();
    else arrange();
  }).observe(list);
}
