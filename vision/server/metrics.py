"""What Prometheus is told: requests, batches of sentences, pictures, and the process itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of one server; each has a registry of its own, so that tests may start several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "chiasm_requests", "Answers given", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "chiasm_request_seconds",
            "Time to the end of the answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.at_work = Gauge("chiasm_requests_at_work", "Requests being answered", registry=self.registry)
        self.text_batch = Histogram(
            "chiasm_text_batch_sentences",
            "Sentences in one call of the text tower",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )

    def watch_pictures(self, count: Callable[[], float]) -> None:
        """Report how many pictures there are, counted when it is asked."""
        Gauge("chiasm_pictures", "Pictures in the index", registry=self.registry).set_function(count)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, its answers counted."""

        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status: int | None = None  # nobody is answered who has gone meanwhile
            began = time.perf_counter()

            async def sending(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            with self.at_work.track_inprogress():
                try:
                    await app(scope, receive, sending)
                except Exception:
                    status = status or 500
                    raise
                finally:
                    if status is not None:
                        self._count(scope, status, time.perf_counter() - began)

        return layer

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern, not the path: what anyone may write would make a series each.
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.requests.labels(method, route, f"{status}").inc()
        self.seconds.labels(route).observe(seconds)
