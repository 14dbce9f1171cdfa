// Pictures to search by: dropped anywhere, pasted, or chosen.

import * as api from "./api.js";
import { sending } from "./chips.js";
import { at } from "./element.js";
import { dismiss, notify } from "./notices.js";
import { addChip } from "./query.js";

const LARGEST = 20 * 2 ** 20; // bytes, as the server allows
const MOST = 5;
const PICTURES = /^image\/|^application\/octet-stream$|^$/; // HEIC comes without a type from some systems

/** Send pictures, and search by them. @param {Iterable<File>} files */
async function searchBy(files) {
  dismiss("intake");
  const all = [...files];
  const pictures = all.filter((file) => PICTURES.test(file.type)).slice(0, MOST);
  if (!pictures.length) {
    notify("intake", all.length ? `${all[0].name} is not a picture.` : "Only pictures can be searched by.", {
      grave: true,
    });
  }
  for (const file of pictures) {
    if (file.size > LARGEST) notify("intake", `${file.name} is larger than 20 MB.`, { grave: true });
    else await send(file);
  }
}

async function send(file) {
  sending(1);
  let sent;
  try {
    sent = await api.upload(file);
  } catch (problem) {
    const name = file.name || "The picture";
    notify("intake", `${name} could not be searched by. ${problem.message}`, {
      grave: true,
      action: ["Try again", () => searchBy([file])],
    });
  } finally {
    sending(-1);
  }
  if (sent) addChip({ kind: "upload", value: sent.id, minus: false });
}

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** Begin. */
export function start() {
  const show = (over) => (at("drop").hidden = !over);
  // A picture of the page itself can be dragged too; that is not one to search by.
  let ours = false;
  addEventListener("dragstart", () => (ours = true));
  addEventListener("dragend", () => (ours = false));
  addEventListener("dragover", (event) => {
    if (!hasFiles(event) || ours) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) show(false);
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event) || ours) return;
    event.preventDefault();
    show(false);
    searchBy(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    searchBy(files);
  });
  at("choose").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", () => {
    searchBy(at("file").files);
    at("file").value = ""; // the same file may be chosen again
  });
}
