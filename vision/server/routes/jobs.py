"""Updates of the index: begin one, follow it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from vision.server.library import Library
from vision.server.routes.needs import TheLibrary, problems
from vision.server.schemas import Job, JobList, JobRequest

router = APIRouter(prefix="/jobs", tags=["jobs"])
JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", examples=["9f86d081884c7d65"])]
EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": ["progress", "end"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Job"},
        },
    },
    "required": ["event", "data"],
}
# Before version 3.2 of OpenAPI the schema of such a stream is that of one event.
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`progress` events and one `end`, each with the update as JSON.",
        "content": {"text/event-stream": {"schema": EVENT}},
    }
}
LOOK_S = 0.2  # between two looks at a job
SILENCE_S = 15.0  # after which a stream says that it is still there


@router.post(
    "",
    summary="Update the index",
    status_code=202,
    responses=problems("bad-request", "conflict", "unprocessable", "too-large"),
)
async def start_job(library: TheLibrary, request: JobRequest, response: Response) -> Job:
    """Bring the index up to date with the folders that it knows; no other can be named."""
    job = library.jobs.start(prune=request.prune)
    response.headers["Location"] = f"{router.prefix.strip('/')}/{job.id}"
    return job


@router.get("", summary="Updates", responses=problems())
async def list_jobs(library: TheLibrary) -> JobList:
    """The newest ones, newest first."""
    return JobList(jobs=library.jobs.all())


@router.get("/{id}", summary="One update", responses=problems("not-found", "unprocessable"))
async def show_job(library: TheLibrary, id: JobId) -> Job:
    """How far it is."""
    return library.jobs.get(id)


@router.delete(
    "/{id}", summary="End an update", status_code=202, responses=problems("not-found", "unprocessable")
)
async def cancel_job(library: TheLibrary, id: JobId) -> Job:
    """It ends before its next picture, and what it has done stays."""
    return library.jobs.cancel(id)


@router.get(
    "/{id}/events",
    summary="Follow an update",
    response_class=StreamingResponse,
    responses=EVENTS | problems("not-found", "unprocessable"),
)
async def follow_job(library: TheLibrary, id: JobId) -> StreamingResponse:
    """Server-sent events until it is over, or the server ends."""
    library.jobs.get(id)
    return StreamingResponse(_events(library, id), media_type="text/event-stream")


async def _events(library: Library, id: str) -> AsyncIterator[str]:
    said: Job | None = None
    silent_s = 0.0
    while not library.ending.is_set():
        job = library.jobs.get(id)
        if job is not said:
            said, silent_s = job, 0.0
            name = "progress" if job.state == "running" else "end"
            yield f"event: {name}\ndata: {job.model_dump_json()}\n\n"
            if name == "end":
                return
        elif silent_s >= SILENCE_S:
            silent_s = 0.0
            yield ": still there\n\n"
        await asyncio.sleep(LOOK_S)
        silent_s += LOOK_S
