"""Who may ask: the name the server is asked by, the page that asks, and the token.

- **Name.** A page of another site can have its own name point at this machine (DNS rebinding) and would then
  be of the same origin. So only plain addresses, `localhost` and the names that were given are answered: an
  attacker has none of these.
- **Page.** Browsers say which site a request comes from; what another site sends is turned away.
- **Token**, where there is one: in the header `Authorization: Bearer`, or as a cookie that `sign_in` gave.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vision.server.options import ServerOptions, as_address, is_loopback
from vision.server.places import SESSION, SIGN_IN
from vision.server.problems import Problem

COOKIE = "chiasm_session"
COOKIE_DAYS = 30
# What the page for signing in is made of; nothing in it is about the pictures.
PAGE = ("sign-in.js", "api.js", "element.js", "theme.js", "style.css", "mark.svg")
OPEN = (SIGN_IN, SESSION, *(f"/page/{name}" for name in PAGE))


class Guard:
    """Answers those who may not ask, and knows the token."""

    def __init__(self, options: ServerOptions):
        self._token = options.token
        self._is_local = is_loopback(options.host)
        self._names = {"localhost", options.host.lower(), *(name.lower() for name in options.names)}
        # Another one in each process: cookies end with it.
        self._secret = secrets.token_bytes(32)

    def of_own_pages(self, app: ASGIApp) -> ASGIApp:
        """The application for those who ask by its name, and not from a page of another site."""
        return _guarded(app, self._refuse_stranger)

    def with_token(self, app: ASGIApp) -> ASGIApp:
        """The application for those who have the token, where there is one."""
        return _guarded(app, self._refuse_without_token)

    def sign_in(self, token: str, response: Response, *, is_secure: bool) -> None:
        """Put the cookie of a session on an answer.

        Raises:
            Problem: another token.
        """
        if self._token is None or not _equal(token, self._token):
            raise Problem("unauthorised", "This is not the token that the server was started with.")
        response.set_cookie(
            COOKIE,
            self._session(),
            max_age=COOKIE_DAYS * 86_400,
            httponly=True,
            samesite="strict",
            secure=is_secure,
        )

    def _refuse_stranger(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_our_name(host):
            detail = f"This server is not called {host[:100]!r}; start it with --name to say that it is."
            return Problem("misdirected", detail).response()
        if self._is_of_another_site(scope, headers, host):
            return Problem("forbidden", "A page of another site asks; only this server's own may.").response()
        return None

    def _refuse_without_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None or scope["path"] in OPEN or self._has_token(headers):
            return None
        if scope["path"] == "/" and scope["method"] == "GET":
            asked = scope["query_string"].decode("ascii", "ignore")  # to come back to what was asked
            return RedirectResponse(f"{SIGN_IN}?{asked}" if asked else SIGN_IN, 303)
        detail = "Send the server's token as `Authorization: Bearer TOKEN`, or sign in."
        return Problem("unauthorised", detail, headers={"WWW-Authenticate": "Bearer"}).response()

    def _is_our_name(self, host: str) -> bool:
        name = _name_of(host)
        address = as_address(name)
        if address is None:
            return name in self._names
        # At loopback nobody asks by the address of another interface.
        return address.is_loopback or not self._is_local

    def _is_of_another_site(self, scope: Scope, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            return True
        if headers.get("sec-fetch-site", "none") not in ("cross-site", "same-site"):
            return False
        # A link on another site may lead here; its pictures and scripts may not come from here.
        is_link = headers.get("sec-fetch-mode") == "navigate" and scope["path"] in ("/", SIGN_IN)
        return not (is_link and scope["method"] == "GET")

    def _has_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _equal(given.strip(), self._token or ""):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return _equal(cookie, self._session())

    def _session(self) -> str:
        return hmac.new(self._secret, (self._token or "").encode(), hashlib.sha256).hexdigest()


def _guarded(app: ASGIApp, refuse: Callable[[Scope, Headers], Response | None]) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = refuse(scope, Headers(scope=scope)) if scope["type"] == "http" else None
        await (app if refusal is None else refusal)(scope, receive, send)

    return layer


def _name_of(host: str) -> str:
    """`Host`, without its port; nothing where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.netloc == host and "@" not in host else ""
    except ValueError:
        return ""


def _host_of(origin: str) -> str:
    """What `Host` says to a page of that origin; nothing where there is no such page."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _equal(given: str, wanted: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
