"""How often one client may ask: a bucket of tokens for each."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from vision.server.options import Limits
from vision.server.problems import Problem

CLIENTS = 4096  # that are remembered; those that asked longest ago are forgotten first


def with_rate(app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic) -> ASGIApp:
    """Turn away clients that ask too often: a bucket of `burst` for each, filled at `rate` a second."""
    buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> what is left, and as of when

    def seconds_to_wait(client: str) -> float:
        now = clock()
        left, since = buckets.pop(client, (float(limits.burst), now))
        left = min(float(limits.burst), left + (now - since) * limits.rate)
        is_free = left >= 1
        buckets[client] = (left - is_free, now)
        while len(buckets) > CLIENTS:
            buckets.popitem(last=False)
        return 0.0 if is_free else (1 - left) / limits.rate

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and limits.rate:
            wait_s = seconds_to_wait((scope.get("client") or ("",))[0])
            if wait_s:
                detail = f"At most {limits.rate:g} requests a second, please."
                headers = {"Retry-After": f"{int(wait_s) + 1}"}
                await Problem("too-many-requests", detail, headers=headers).response()(scope, receive, send)
                return
        await app(scope, receive, send)

    return layer
