// Exchange the server's token for a cookie that scripts cannot read, then go back to where one came from.

import { openSession } from "./api.js";
import { at } from "./element.js";

const KEPT = "chiasm-return";

/** Only a place on this server: what was kept could have been written by anyone who had the page. */
function back() {
  // A link to a search may have led here first, with what it asks for.
  const kept = sessionStorage.getItem(KEPT) ?? `/${location.search}`;
  sessionStorage.removeItem(KEPT);
  location.replace(/^\/(\?|$)/.test(kept) ? kept : "/");
}

async function signIn(token) {
  at("token-error").textContent = "";
  try {
    await openSession(token);
    back();
  } catch (problem) {
    at("token-error").textContent = problem.message;
    at("token").select();
  }
}

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(at("token").value.trim());
});

/** Sign in with the token of a link, if it brought one. */
function follow() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  // The token shall stay neither in the address bar nor in the history.
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  if (token) signIn(token);
}

addEventListener("hashchange", follow);
at("token").focus();
follow();
