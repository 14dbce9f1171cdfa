// What the page has to say beside the pictures: notices that stay until they are dealt with, and one quiet
// live region for what a screen reader should hear.

import { at, icon, make } from "./element.js";

let hearing;

/** Say a sentence to screen readers; of several in quick succession only the last. */
export function say(sentence) {
  clearTimeout(hearing);
  hearing = setTimeout(() => (at("said").textContent = sentence), 400);
}

/**
 * Show a notice, in place of the one with the same name.
 * @param {string} name
 * @param {string} sentence
 * @param {{action?: [string, Function], closable?: boolean, grave?: boolean}} [options]
 */
export function notify(name, sentence, { action, closable = true, grave = false } = {}) {
  const text = make("p", { role: grave ? "alert" : "status" });
  const notice = make(
    "div",
    { class: `notice${grave ? " grave" : ""}`, "data-name": name },
    icon("note"),
    text,
  );
  if (action) notice.append(make("button", { class: "text", onclick: action[1] }, action[0]));
  if (closable) {
    const close = { class: "quiet", "aria-label": `Close: ${sentence}`, onclick: () => dismiss(name) };
    notice.append(make("button", close, icon("close")));
  }
  const old = shown(name);
  if (old) old.replaceWith(notice);
  else at("notices").append(notice);
  // A live region speaks of what changes in it, not of what it came with.
  requestAnimationFrame(() => (text.textContent = sentence));
}

/** Take a notice away, if it is there. */
export function dismiss(name) {
  shown(name)?.remove();
}

const shown = (name) => at("notices").querySelector(`[data-name="${CSS.escape(name)}"]`);

/** A listener that copies a text, and says so. */
export const copied = (text) => async (event) => {
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  } catch {
    say("The browser did not allow copying.");
  }
};
