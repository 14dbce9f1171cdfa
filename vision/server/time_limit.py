"""How long a request may take, and how many may be worked on at once."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vision.server.options import Limits
from vision.server.problems import Problem, internal


def with_time_limit(app: ASGIApp, limits: Limits) -> ASGIApp:
    """Give a request up after its time, turn it away where too many are at work, and own up to bugs.

    Streams of events end by themselves.
    """
    at_work = 0

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal at_work
        if scope["type"] != "http" or scope["path"].endswith("/events"):
            await app(scope, receive, send)
            return
        if at_work >= limits.waiting:
            busy = Problem("busy", "Too many requests are being worked on.", headers={"Retry-After": "1"})
            await busy.response()(scope, receive, send)
            return
        at_work += 1
        try:
            await _within(limits.timeout_s, app, scope, receive, send)
        finally:
            at_work -= 1

    return layer


async def _within(timeout_s: float, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    has_begun = False

    async def sending(message: Message) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    async def answer(problem: Problem) -> None:
        await problem.response()(scope, receive, send)

    try:
        async with asyncio.timeout(timeout_s):
            await app(scope, receive, sending)
    except TimeoutError:
        if not has_begun:
            await answer(Problem("timeout", f"It was not done within {timeout_s:g} seconds."))
    except Exception as error:
        if not has_begun:  # or else the application has told of it already
            await answer(internal(error))
