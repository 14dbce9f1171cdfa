// Bringing the index up to date: one job at a time, its progress as the server tells of it.

import * as api from "./api.js";
import { whenBack } from "./connection.js";
import { at, counted, icon, listed, make } from "./element.js";
import { dismiss, notify, say } from "./notices.js";

const AGAIN = 2000; // ms until a broken stream of events is opened again
const MOST = 200; // failures listed

let stream = null;
let box = null;
let ended = () => {};

async function begin() {
  dismiss("update");
  try {
    watch(await api.startJob());
  } catch (problem) {
    if (problem.status === 409 && (await pickUp())) return;
    notify("update", `The index was not updated. ${problem.message}`, {
      grave: true,
      action: ["Try again", begin],
    });
  }
}

/** Show the job that runs already, if one does. */
async function pickUp() {
  const { jobs } = await api.jobs();
  const running = jobs.find((job) => job.state === "running");
  if (running) watch(running);
  return Boolean(running);
}

function watch(job) {
  stream?.close();
  paint(job);
  if (job.state !== "running") return end(job);
  stream = api.jobEvents(job.id);
  stream.addEventListener("progress", (event) => paint(JSON.parse(event.data)));
  stream.addEventListener("end", (event) => {
    stream.close();
    end(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => {
    stream.close();
    setTimeout(() => look(job.id), AGAIN);
  });
}

async function look(id) {
  try {
    watch(await api.job(id));
  } catch (problem) {
    if (problem.unreachable) return whenBack("job", () => look(id));
    box?.remove(); // a server that was started anew knows nothing of the job
    box = null;
    at("update").disabled = false;
  }
}

function panel() {
  box?.remove();
  const text = make("p", {});
  const bar = make("progress", { "aria-label": "Progress of the update" });
  const button = make("button", { class: "text" }, "Cancel");
  box = make("div", { class: "notice job", "data-name": "job" }, icon("update"), text, bar, button);
  Object.assign(box, { text, bar, button });
  at("notices").append(box);
}

function paint(job) {
  if (!box?.bar?.isConnected) {
    panel();
    say(`Updating the index: ${job.stage}.`);
  }
  at("update").disabled = true;
  const { done, total, stage, id } = job;
  const count =
    total === null
      ? done
        ? ` ${done.toLocaleString("en-GB")}`
        : ""
      : ` ${done.toLocaleString("en-GB")} of ${total.toLocaleString("en-GB")}`;
  box.text.textContent = `Updating the index: ${stage}${count}`;
  if (total) Object.assign(box.bar, { max: total, value: done });
  else box.bar.removeAttribute("value");
  box.button.onclick = async () => {
    box.button.disabled = true;
    try {
      await api.cancelJob(id);
    } catch (problem) {
      box.button.disabled = false;
      say(problem.message);
    }
  };
}

/** What an update did, in a sentence. */
function summed(summary) {
  const { added, changed, moved, removed, unchanged, failed, seconds } = summary;
  const parts = [
    [added, "added"],
    [changed, "changed"],
    [moved, "moved"],
    [removed, "removed"],
  ]
    .filter(([count]) => count)
    .map(([count, what]) => `${count.toLocaleString("en-GB")} ${what}`);
  const what = parts.length
    ? listed(parts)
    : `nothing new, ${counted(unchanged, "picture", "pictures")} as before`;
  const bad = failed.length ? ` ${counted(failed.length, "file", "files")} could not be read.` : "";
  return `The index is up to date: ${what}, in ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s.${bad}`;
}

function end(job) {
  at("update").disabled = false;
  box?.remove();
  const sentence = {
    done: () => summed(job.summary),
    cancelled: () => "The update was cancelled. What it had done is kept; the next one goes on from there.",
    failed: () => `The update failed. ${job.detail ?? ""}`,
  }[job.state]();
  const close = {
    class: "quiet",
    "aria-label": "Close the summary",
    onclick: () => (box.remove(), at("update").focus()),
  };
  box = make(
    "div",
    { class: `notice job${job.state === "failed" ? " grave" : ""}`, "data-name": "job" },
    icon("note"),
    make("p", {}, sentence),
    make("button", close, icon("close")),
  );
  const failed = job.summary?.failed ?? [];
  if (failed.length) {
    const rows = failed
      .slice(0, MOST)
      .map(({ path, reason }) => make("li", {}, make("span", { class: "what" }, path), `: ${reason}`));
    if (failed.length > MOST) rows.push(make("li", {}, `and ${failed.length - MOST} more`));
    box.append(make("details", {}, make("summary", {}, "What could not be read"), make("ul", {}, ...rows)));
  }
  at("notices").append(box);
  say(sentence);
  const { added, changed, moved, removed } = job.summary ?? {};
  if (!job.summary || added + changed + moved + removed) ended();
}

/** Begin: `whenEnded()` is called after each update that may have changed something. */
export function start(whenEnded) {
  ended = whenEnded;
  at("update").addEventListener("click", begin);
  pickUp().catch(() => {}); // a server that does not answer is told of by the search
}
