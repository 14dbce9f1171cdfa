// A server that went away comes back: ask it, ever less often, and then do again what had failed.

import * as api from "./api.js";
import { dismiss, notify } from "./notices.js";

const PAUSES = [1, 2, 4, 8, 15]; // seconds
const waiting = new Map();
let asking = false;

/** Call `again` once the server answers; of calls with the same name only the last. */
export function whenBack(name, again) {
  waiting.set(name, again);
  if (asking) return;
  asking = true;
  notify("gone", "The server does not answer. Trying again by itself…", { closable: false, grave: true });
  ask(0);
}

/** Forget what should have been done again: something newer takes its place. */
export const giveUp = (name) => waiting.delete(name);

function ask(count) {
  setTimeout(
    async () => {
      try {
        await api.health();
      } catch (problem) {
        if (problem.unreachable || problem.passing) return ask(count + 1);
        // It answers, if only to complain: that is for the call itself to show.
      }
      asking = false;
      dismiss("gone");
      const calls = [...waiting.values()];
      waiting.clear();
      for (const again of calls) again();
    },
    1000 * PAUSES[Math.min(count, PAUSES.length - 1)],
  );
}
