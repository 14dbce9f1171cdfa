// The server's REST interface, one function per call. Whatever goes wrong comes out as a Problem.

const BASE = "/api/v1";

/** What went wrong, in a sentence for people. `status` is 0 where the server did not answer at all. */
export class Problem extends Error {
  constructor({ status, title = "", detail = "", type = "", errors = [] }, retryAfter = null) {
    super(detail || title || `The server answered ${status}.`);
    Object.assign(this, { name: "Problem", status, title, type, errors, retryAfter });
  }

  get unreachable() {
    return this.status === 0;
  }

  /** Too many requests, or too busy: asking again a little later helps. */
  get passing() {
    return this.status === 429 || this.status === 503;
  }

  /** Whether one of the fields named by the server contains `name`. */
  concerns(name) {
    return this.errors.some((error) => String(error.at).includes(name));
  }
}

async function problemOf(response) {
  let said = {};
  try {
    said = await response.json();
  } catch {
    // Something before the server answered, a proxy perhaps: its status is all that is known.
  }
  const seconds = Number.parseInt(response.headers.get("Retry-After"), 10);
  return new Problem({ ...said, status: response.status }, Number.isFinite(seconds) ? seconds : null);
}

async function call(method, path, { json, body, type, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    const content = json === undefined ? body : JSON.stringify(json);
    response = await fetch(BASE + path, {
      method,
      headers,
      body: content,
      signal,
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ status: 0, title: "No answer", detail: "The server does not answer." });
  }
  if (response.status === 401 && path !== "/session") signIn();
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

function signIn() {
  sessionStorage.setItem("chiasm-return", location.pathname + location.search);
  location.replace("/sign-in");
}

const key = encodeURIComponent;

export const search = (json, signal) => call("POST", "/search", { json, signal });
export const picture = (id, signal) => call("GET", `/pictures/${key(id)}`, { signal });
export const classify = (json, signal) => call("POST", "/classify", { json, signal });
export const explain = (json, signal) => call("POST", "/explain", { json, signal });
export const collections = () => call("GET", "/collections");
export const facets = (collection) => call("GET", `/collections/${key(collection)}/facets`);
export const health = () => call("GET", "/health");
export const startJob = () => call("POST", "/jobs", { json: { prune: false } });
export const jobs = () => call("GET", "/jobs");
export const job = (id) => call("GET", `/jobs/${key(id)}`);
export const cancelJob = (id) => call("DELETE", `/jobs/${key(id)}`);
export const openSession = (token) => call("POST", "/session", { json: { token } });

/** Send a picture to search by. @param {Blob} file */
export function upload(file) {
  const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  return call("POST", "/uploads", { body: file, type });
}

/** The events of a job as they come: `progress` and `end`, each with the job as JSON. */
export const jobEvents = (id) => new EventSource(`${BASE}/jobs/${key(id)}/events`);

/** Address of the smallest stored size that is at least `pixels` on its longest side. */
export function thumbnail(id, pixels) {
  return `${BASE}/pictures/${key(id)}/thumbnail?side=${sideFor(pixels)}`;
}

/** The stored size (longest side, pixels) for a picture shown with `pixels` on its longest side. */
export function sideFor(pixels) {
  // A few pixels too few are not seen, and are half the bytes.
  return [160, 320, 640, 1280].find((side) => side * 1.1 >= pixels) ?? 2560;
}

export const uploadThumbnail = (id) => `${BASE}/uploads/${key(id)}/thumbnail?side=160`;
export const original = (id) => `${BASE}/pictures/${key(id)}/original`;

/** The problem that an address answers with, or null: an image that fails to load does not tell why. */
export async function problemAt(address) {
  try {
    const response = await fetch(address, { credentials: "same-origin" });
    return response.ok ? null : await problemOf(response);
  } catch {
    return new Problem({ status: 0, detail: "The server does not answer." });
  }
}
