"""Updates of the index, one at a time, in a thread of their own; the newest are remembered."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from data.errors import ChiasmError
from vision.retrieval import ImageIndex, IndexSummary
from vision.server.problems import Problem, internal
from vision.server.schemas import Job, JobFailure, JobSummary
from vision.server.words import words_of

REMEMBERED = 20
FAILURES = 200  # files that a summary lists


class Jobs:
    """Brings an index up to date with the folders that it knows: no caller can name another.

    Args:
        index: what is to be brought up to date.
        changed: called when it has been.
    """

    def __init__(self, index: ImageIndex, changed: Callable[[], None]):
        self._index, self._changed = index, changed
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()

    def start(self, *, prune: bool) -> Job:
        """Begin one.

        Raises:
            Problem: one is under way, or the index knows no folder.
        """
        if any(job.state == "running" for job in self._jobs.values()):
            raise Problem("conflict", "An update is under way; wait for it, or cancel it.")
        roots = [Path(root) for root in self._index.notes.roots]
        if not roots:
            raise Problem("conflict", "The index knows no folder; run `vision index DIR --store …` once.")
        job = Job(
            id=secrets.token_hex(8),
            state="running",
            stage="loading the model",
            done=0,
            total=None,
            started_at=_now(),
        )
        self._jobs[job.id] = job
        while len(self._jobs) > REMEMBERED:
            self._jobs.popitem(last=False)
        self._thread.submit(self._run, job.id, roots, prune)
        return job

    def get(self, id: str) -> Job:
        """One as it is now.

        Raises:
            Problem: none of that name.
        """
        if id not in self._jobs:
            raise Problem("not-found", "There is no such update.")
        return self._jobs[id]

    def all(self) -> list[Job]:
        """Newest first."""
        return list(reversed(self._jobs.values()))

    def cancel(self, id: str) -> Job:
        """Ask one to end; it does before the next picture, and keeps what it has done."""
        if self.get(id).state == "running":
            self._cancelled.add(id)
            self._update(id, stage="stopping")
        return self._jobs[id]

    def close(self) -> None:
        """Cancel what is under way, and wait for its end."""
        self._cancelled.update(self._jobs)
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _run(self, id: str, roots: list[Path], prune: bool) -> None:
        try:
            self._heed(id)
            _ = self._index.backbone  # loaded here, while the stage says so
            self._update(id, stage="looking for pictures")
            summary = self._index.add_folder(
                roots, prune=prune, progress=lambda done, total: self._progress(id, done, total)
            )
            end = {"state": "done", "stage": "done", "summary": _summary(summary)}
        except _CancelledError:
            end = {"state": "cancelled", "stage": "cancelled"}
        except ChiasmError as error:
            end = {"state": "failed", "stage": "failed", "detail": words_of(str(error))}
        except Exception as error:  # a bug must not leave a job that runs for ever
            end = {"state": "failed", "stage": "failed", "detail": internal(error).detail}
        self._changed()
        self._update(id, ended_at=_now(), **end)

    def _progress(self, id: str, done: int, total: int) -> None:
        self._heed(id)
        self._update(id, stage="indexing", done=done, total=total)

    def _heed(self, id: str) -> None:
        if id in self._cancelled:
            raise _CancelledError

    def _update(self, id: str, **changes: object) -> None:
        # Replaced, never changed: whoever reads one in another thread has a whole one.
        with self._lock:
            if self._jobs[id].ended_at is None:  # it may have ended just before it was to be cancelled
                self._jobs[id] = self._jobs[id].model_copy(update=changes)


class _CancelledError(Exception):
    """The job is to end."""


def _summary(summary: IndexSummary) -> JobSummary:
    failed = [
        JobFailure(path=words_of(path), reason=words_of(reason)) for path, reason in summary.failed[:FAILURES]
    ]
    return JobSummary(
        added=summary.added,
        changed=summary.changed,
        moved=summary.moved,
        unchanged=summary.unchanged,
        removed=summary.removed,
        failed=failed,
        seconds=round(summary.seconds, 2),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
