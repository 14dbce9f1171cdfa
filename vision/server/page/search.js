// The search that runs: pages of results for the current state, older answers never over newer ones.

import * as api from "./api.js";
import { giveUp, whenBack } from "./connection.js";
import { bodyOf, current } from "./query.js";

const SKELETON_AFTER = 200; // ms: below that, grey boxes would only flicker
const WORD_AFTER = 4000;

/**
 * What has come so far. `complete` is false until the first page is there.
 * @typedef {{pictures: Object[], next: string|null, fits: number, leftOut: number, recall: string|null,
 *            complete: boolean, busy: boolean}} Results
 */

/** @type {Results} */
export let results = fresh();

const listeners = { begin: [], slow: [], wait: [], page: [], fail: [] };
let running = null;
let key = null;
let again = null;

function fresh() {
  return { pictures: [], next: null, fits: 0, leftOut: 0, recall: null, complete: false, busy: false };
}

/**
 * Hear of what happens: `begin`, `slow` (no answer yet), `wait` (for long: a sentence that tells why),
 * `page` (the pictures that are new; whether it is the first page), `fail` (a Problem; seconds until it is
 * tried again, or null).
 */
export const on = (event, listener) => listeners[event].push(listener);

const tell = (event, ...details) => listeners[event].forEach((listener) => listener(...details));

/** Search for the current state, unless that is what is shown already. */
export function search({ anew = false } = {}) {
  const wanted = JSON.stringify(bodyOf(current()));
  if (wanted === key && !anew) return;
  key = wanted;
  stop();
  results = fresh();
  tell("begin");
  ask();
}

/** The next page, where there is one and none is on its way. */
export function more() {
  if (!results.busy && results.next) return ask();
}

/** Wait for the page on its way, then say whether more pictures have come. */
export async function moreCame() {
  const before = results.pictures.length;
  await (running?.answer ?? more());
  return results.pictures.length > before;
}

function stop() {
  running?.abort.abort();
  running?.timers.forEach(clearTimeout);
  clearTimeout(again);
  giveUp("search");
  running = null;
}

function ask() {
  const abort = new AbortController();
  const run = { abort, timers: [], answer: null };
  running = run;
  results.busy = true;
  if (!results.complete) {
    run.timers.push(setTimeout(() => tell("slow"), SKELETON_AFTER));
    run.timers.push(setTimeout(() => explainWait(run), WORD_AFTER));
  }
  run.answer = fetchPage(run).finally(() => run.timers.forEach(clearTimeout));
  return run.answer;
}

async function fetchPage(run) {
  const first = !results.complete;
  try {
    const page = await api.search(bodyOf(current(), results.next), run.abort.signal);
    if (running === run) take(page, first);
  } catch (problem) {
    if (running !== run || problem.name === "AbortError") return;
    fail(problem);
  } finally {
    if (running === run) {
      running = null;
      results.busy = false;
    }
  }
}

function take(page, first) {
  // The pictures that are asked with need not be shown as their own best answers.
  const known = new Set(results.pictures.map((picture) => picture.id));
  for (const chip of current().chips) if (chip.kind === "picture") known.add(chip.value);
  const come = page.pictures.filter((picture) => !known.has(picture.id) && known.add(picture.id));
  results.pictures.push(...come);
  results.leftOut += page.left_out;
  // Below the cut there is nothing further to show: no need to leaf through the rest of a large collection.
  results.next = page.left_out && !page.pictures.length ? null : page.next;
  Object.assign(results, { fits: page.fits, recall: page.recall, complete: true, busy: false });
  running = null;
  tell("page", come, first);
}

function fail(problem) {
  running = null;
  results.busy = false;
  if (problem.unreachable) {
    tell("fail", problem, null);
    return whenBack("search", retry);
  }
  const seconds = problem.passing ? (problem.retryAfter ?? 3) : null;
  if (seconds !== null) again = setTimeout(retry, 1000 * seconds);
  tell("fail", problem, seconds);
}

/** Ask again for what failed. */
export function retry() {
  clearTimeout(again);
  if (results.complete) return more();
  search({ anew: true });
}

async function explainWait(run) {
  let sentence = "This takes longer than usual…";
  try {
    const { model_state: state } = await api.health();
    if (state === "loading" || state === "not loaded") {
      sentence = "The model is being loaded: the first search takes longer, the next ones do not.";
    } else if (state === "failed")
      sentence = "The model could not be loaded. What the server answers is shown as soon as it comes.";
  } catch {
    // What is wrong with the server is told by the search itself.
  }
  if (running === run) tell("wait", sentence);
}
