"""The application: an index in, something that a web server can run out."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from vision.retrieval import ImageIndex
from vision.server import page_files
from vision.server.body_limit import with_body_limit
from vision.server.guard import Guard
from vision.server.library import Library
from vision.server.metrics import Metrics
from vision.server.options import ServerOptions
from vision.server.places import API
from vision.server.problems import tell_problems
from vision.server.rate_limit import with_rate
from vision.server.routes import classify, collections, explain, jobs, pictures, search, service
from vision.server.schemas import ProblemDetail
from vision.server.security_headers import with_headers
from vision.server.time_limit import with_time_limit

DESCRIPTION = """\
Search a person's own pictures by words, by pictures, and by sums of these; label them; see why one came up.

Errors are `application/problem+json` (RFC 9457). Pictures are named by identifiers, which are hashes of their
bytes; no path that a caller writes reaches the file system.
"""


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The description, and in it the problems, which no route answers with by name."""
        if self.openapi_schema is None:
            schema = super().openapi()
            schema["components"]["schemas"]["ProblemDetail"] = ProblemDetail.model_json_schema()
        return self.openapi_schema or {}


def create_app(
    index: ImageIndex,
    options: ServerOptions,
    *,
    warm_up: bool = True,
    ending: threading.Event | None = None,
) -> ASGIApp:
    """A server of the index, which it closes at its end.

    Args:
        warm_up: load the model at the start, in the background, instead of at the first picture query.
        ending: streams of events end when it is set.
    """
    metrics, guard = Metrics(), Guard(options)
    library = Library(index, options.limits, metrics, ending)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if warm_up:
            library.warm_up()
        yield
        library.close()

    app = _Api(
        title="Chiasm picture search",
        version=metadata.version("chiasm"),
        description=DESCRIPTION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # both of FastAPI's pages fetch their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # what is written otherwise is another place, where nothing is
        lifespan=lifespan,
    )
    app.state.library, app.state.guard, app.state.page = library, guard, page_files.read_page()
    tell_problems(app)
    for part in (search, pictures, classify, explain, collections, jobs, service):
        app.include_router(part.router, prefix=API)
    app.include_router(page_files.router)
    limits = options.limits
    timed = with_body_limit(with_time_limit(app, limits), limits)
    # Guesses at a token use up what one may ask; what pages of other sites send does not.
    counted = with_rate(guard.with_token(timed), limits)
    return with_headers(metrics.around(guard.of_own_pages(counted)))
