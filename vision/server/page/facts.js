// What is known of a picture, as a list of terms.

import { icon, make } from "./element.js";
import { copied } from "./notices.js";

const SIZES = ["bytes", "kB", "MB", "GB"];

/** 123456 -> "123 kB", in steps of a thousand as cameras and shops count. */
function sized(bytes) {
  const step = Math.min(SIZES.length - 1, Math.max(0, Math.floor(Math.log10(bytes || 1) / 3)));
  const value = bytes / 1000 ** step;
  return `${value.toFixed(value < 10 && step ? 1 : 0)} ${SIZES[step]}`;
}

/** A time as people write it; a camera's own time has no zone, and gets none. */
function timed(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  return date.toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
}

function paths({ path, copies }) {
  const line = (one) => {
    const button = {
      class: "quiet",
      "aria-label": `Copy the path ${one}`,
      title: "Copy the path",
      onclick: copied(one),
    };
    return make("span", { class: "path" }, make("span", {}, one), make("button", button, icon("copy")));
  };
  return [path, ...copies.filter((copy) => copy !== path)].map(line);
}

const link = (text, action) => make("button", { class: "text", onclick: action }, text);

/**
 * The list's rows, as dt and dd elements; what is not known is left out.
 * @param {Object} picture as the server tells of it
 * @param {{filterTag: (tag: string) => void, filterPlace: (lat: number, lon: number) => void}} actions
 */
export function factsOf(picture, { filterTag, filterPlace }) {
  const { width, height, size, format, lat, lon, relevance, score } = picture;
  const rows = [
    ["Caption", picture.caption],
    ["Relevance", relevance !== null && `${(100 * relevance).toFixed(0)} %`],
    [
      "Score",
      score !== null && `${score.toFixed(3)} (cosine)${picture.by_caption ? ", found by its caption" : ""}`,
    ],
    ["Taken", picture.taken_at && timed(picture.taken_at)],
    ["Camera", picture.camera],
    [
      "Place",
      lat !== null &&
        lon !== null &&
        make(
          "span",
          {},
          `${lat.toFixed(4)}, ${lon.toFixed(4)} `,
          link("within 5 km", () => filterPlace(lat, lon)),
        ),
    ],
    ["Folders", picture.tags.length > 0 && picture.tags.map((tag) => link(tag, () => filterTag(tag)))],
    ["Size", `${width} × ${height}, ${format}, ${sized(size)}`],
    ["Changed", picture.mtime && timed(picture.mtime)],
    ["Path", paths(picture)],
    ...Object.entries(picture.columns).map(([name, value]) => [name.replaceAll("_", " "), String(value)]),
  ];
  return rows
    .filter(([, value]) => value)
    .flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, ...[value].flat())]);
}
