"""What goes wrong, as RFC 9457 wants it told: `application/problem+json`, one kind of problem a name."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from data.errors import (
    BadFileError,
    ChiasmError,
    FingerprintMismatchError,
    HubUnreachableError,
    MissingDependencyError,
    ParameterError,
)
from vision.server.places import API

MEDIA_TYPE = "application/problem+json"

# Name -> status and title; the name is the last part of the problem's `type`.
KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be read"),
    "unauthorised": (401, "A token is needed"),
    "forbidden": (403, "This page may not ask here"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This cannot be done there"),
    "conflict": (409, "Something else is in the way"),
    "gone": (410, "The picture is no longer there"),
    "too-large": (413, "The request is too large"),
    "misdirected": (421, "This server does not go by that name"),
    "unprocessable": (422, "The request makes no sense"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "Something broke"),
    "busy": (503, "The server has too much to do"),
    "unavailable": (503, "What is needed for this is not at hand"),
    "timeout": (504, "It took too long"),
}
# Starlette's own errors have a status and no name.
_NAMES = {status: name for name, (status, _) in reversed(KINDS.items())}

log = logging.getLogger("chiasm.server")


class Problem(Exception):  # noqa: N818 (RFC 9457's word)
    """An answer that is an error.

    Args:
        name: key of `KINDS`.
        detail: one sentence for people.
        headers: to send with it.
        errors: where in the request each error is, and what it is.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ):
        super().__init__(detail)
        self.name, self.detail, self.headers, self.errors = name, detail, dict(headers or {}), list(errors)

    def response(self) -> Response:
        """As it goes out; in ASCII, since a detail may name a file whose name is no text."""
        status, title = KINDS[self.name]
        body: dict[str, Any] = {
            "type": f"urn:chiasm:problem:{self.name}",
            "title": title,
            "status": status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        return Response(json.dumps(body), status, self.headers, MEDIA_TYPE)


def as_problem(error: ChiasmError) -> Problem:
    """An error of the project's family, told to someone who sees no command line."""
    if isinstance(error, MissingDependencyError | HubUnreachableError | FingerprintMismatchError):
        return Problem("unavailable", str(error))
    if isinstance(error, BadFileError):
        log.error("%s", error)
        return Problem("internal", str(error))
    return Problem("unprocessable" if isinstance(error, ParameterError) else "internal", str(error))


def tell_problems(app: FastAPI) -> None:
    """Have every error of the application told as a problem."""
    app.add_exception_handler(Problem, _known)
    app.add_exception_handler(ChiasmError, _chiasm)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


def internal(error: Exception) -> Problem:
    """A bug: its traceback goes into the log, and nothing of it to the caller."""
    log.error("a bug", exc_info=error)
    return Problem("internal", "An error that nobody expected; the server's log has more.")


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _chiasm(request: Request, error: Exception) -> Response:
    assert isinstance(error, ChiasmError)
    return as_problem(error).response()


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return Problem("bad-request", "The body must be JSON.").response()
    errors = [{"at": ".".join(map(str, one["loc"])), "message": str(one["msg"])} for one in error.errors()]
    first = errors[0]
    return Problem("unprocessable", f"{first['at']}: {first['message']}.", errors=errors).response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    name = _NAMES.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    detail = f"Nothing is at {request.url.path}" if name == "not-found" else str(error.detail).rstrip(".")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request) or headers.get("Allow", "")
    return Problem(name, f"{detail}.", headers=headers).response()


def _allowed(request: Request) -> str:
    """All methods of a place, each of which has a route of its own; nothing where none is described."""
    pattern = getattr(request.scope.get("route"), "path", "")
    described = request.app.openapi()["paths"].get(f"{API}{pattern}", {})
    return ", ".join(sorted(method.upper() for method in described))


async def _bug(request: Request, error: Exception) -> Response:
    return internal(error).response()
