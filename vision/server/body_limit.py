"""Bodies are read before anything looks at them, up to a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vision.server.options import Limits
from vision.server.places import UPLOADS
from vision.server.problems import Problem


def with_body_limit(app: ASGIApp, limits: Limits) -> ASGIApp:
    """Read the body before anything else does, up to its limit, and within the time for a request.

    All bodies together have a limit, too: many that are allowed one by one would fill the memory.
    """
    held = 0

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal held
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        taken = 0

        def take(size: int) -> None:
            nonlocal held, taken
            held, taken = held + size, taken + size
            if held > limits.bodies_bytes:
                raise Problem("busy", "Too much is being sent at once.", headers={"Retry-After": "1"})

        most = limits.upload_bytes if scope["path"] == UPLOADS else limits.body_bytes
        try:
            body = await _read_body(scope, receive, most, limits.timeout_s, take)
            if body is not None:
                await app(scope, _replay(body, receive), send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        finally:
            held -= taken

    return layer


async def _read_body(
    scope: Scope, receive: Receive, most: int, timeout_s: float, take: Callable[[int], None]
) -> bytes | None:
    """The whole body; None where the client has gone. `take` is told how many bytes have come."""
    stated = Headers(scope=scope).get("content-length", "0")
    if stated.isdecimal() and int(stated) > most:
        raise Problem("too-large", f"The body must be at most {most:,} bytes, got {int(stated):,}.")
    parts, size = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                take(len(parts[-1]))
                size += len(parts[-1])
                if size > most:
                    raise Problem("too-large", f"The body must be at most {most:,} bytes.")
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Problem("timeout", "The body did not arrive in time.") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return pending.pop() if pending else await receive()

    return receiving
