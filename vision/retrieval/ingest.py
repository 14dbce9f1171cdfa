"""One run of indexing: read, decode ahead in threads, embed in batches, store, and tell what was done.

Order is what makes a run safe to kill: a changed file leaves its old picture before it joins its new one, and
only what the store has acknowledged is counted. What is missing afterwards, the next run finds and does.

Shape legend: N pictures of a batch, C channels, H W pixels, E components of the joint space.
"""

from __future__ import annotations

import itertools
import os
import stat
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import BadFileError, ParameterError
from data.photos import decode_photo, read_photo
from vision.retrieval.embedder import Embedder
from vision.retrieval.picture import PATH_FIELD, Picture, Place, content_id, path_to_text
from vision.retrieval.store import Row, Vectors, VectorStore
from vision.retrieval.summary import Failure, IndexSummary

if TYPE_CHECKING:
    import torch

LOOKUP = 256  # paths asked of the store at once

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """How a run goes about it; none of it changes the vectors.

    Args:
        batch_size: pictures embedded and acknowledged together.
        decode_workers: threads that read and decode ahead of the model; None for one per core, at most 8.
        rehash: read every file again, also where size and time of change are those of the last run.
    """

    batch_size: int = 16
    decode_workers: int | None = None
    rehash: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "decode_workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ParameterError(name, must_be="a whole number of at least 1", got=value)


@dataclass(kw_only=True)
class _Arrival:
    """A file that was read; `pixels_CHW` is None where the store knew its picture already."""

    picture: Picture
    place: Place
    replaces: bool
    pixels_CHW: torch.Tensor | None


class Ingest:
    """One run into `store` with `embedder`; `progress` is told the number of files dealt with so far."""

    def __init__(
        self, store: VectorStore, embedder: Embedder, options: IngestOptions, progress: Progress | None = None
    ):
        self.store, self.embedder, self.options = store, embedder, options
        self.summary = IndexSummary()
        self._progress = progress or (lambda done: None)
        self._done = 0
        self._started = time.monotonic()
        self._batch: dict[str, list[_Arrival]] = {}  # files of each new picture, by content
        self._emptied: set[str] = set()  # pictures that lost their last file in this run

    def fail(self, path: Path, reason: str) -> None:
        """Note a file or folder that could not be read."""
        self.summary.failed.append(Failure(path, reason))

    def add(self, paths: Iterable[Path]) -> None:
        """Index the files; a batch and its forerunners are in memory, however many files there are."""
        workers = self.options.decode_workers or min(8, os.cpu_count() or 1)
        ahead = 2 * workers + self.options.batch_size
        waiting: deque[tuple[Path, bool, Future[_Arrival]]] = deque()
        with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged metadata and very large pictures
            try:
                for path, replaces in self._changed(paths):
                    waiting.append((path, replaces, pool.submit(self._read, path, replaces)))
                    if len(waiting) > ahead:
                        self._take(*waiting.popleft())
                while waiting:
                    self._take(*waiting.popleft())
                self._commit()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def remove_missing(self, roots: Sequence[Path]) -> None:
        """Drop files under `roots` that are gone, and what an interrupted run left without files."""
        for row in self.store.scan():
            picture = Picture.from_payload(row.payload)
            gone = [
                place.path
                for place in picture.places
                if any(place.path.is_relative_to(root) for root in roots) and is_gone(place.path)
            ]
            self.summary.removed += len(gone)
            if gone or not picture.places:
                self._put_back(picture.without(gone))

    def finish(self) -> IndexSummary:
        """Delete the pictures that no file holds any more, and give the counts."""
        left = [row.id for row in self.store.get(sorted(self._emptied)) if not row.payload["files"]]
        if left:
            self.store.delete(left)
        self.summary.seconds = time.monotonic() - self._started
        return self.summary

    def _changed(self, paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
        """The files to read, each with whether the index knows its path; counts the unchanged ones."""
        stream = iter(paths)
        while group := list(itertools.islice(stream, LOOKUP)):
            known = self._known(group)
            for path in group:
                picture = known.get(path)
                if picture is not None and not self.options.rehash and _is_fresh(path, picture):
                    self.summary.unchanged += 1
                    self._advance(1)
                else:
                    yield path, picture is not None

    def _known(self, paths: Sequence[Path]) -> dict[Path, Picture]:
        pictures = map(_picture, self.store.find(PATH_FIELD, [path_to_text(path) for path in paths]))
        return {place.path: picture for picture in pictures for place in picture.places}

    def _read(self, path: Path, replaces: bool) -> _Arrival:
        """In a worker thread: everything that a file needs before the model."""
        file = read_photo(path)
        place = Place(path=path, mtime_ns=file.mtime_ns)
        known = self.store.get([content_id(file.content)])
        if known:
            return _Arrival(picture=_picture(known[0]), place=place, replaces=replaces, pixels_CHW=None)
        photo = decode_photo(file)
        picture = Picture(
            content=file.content,
            size=file.size,
            width=photo.width,
            height=photo.height,
            format=photo.format,
            places=(),
        )
        pixels_CHW = self.embedder.preprocess(photo.image)
        return _Arrival(picture=picture, place=place, replaces=replaces, pixels_CHW=pixels_CHW)

    def _take(self, path: Path, replaces: bool, future: Future[_Arrival]) -> None:
        try:
            arrival = future.result()
        except BadFileError as error:
            self._give_up(path, replaces, str(error.got) + (f"; {error.do}" if error.do else ""))
            return
        stored = self.store.get([arrival.picture.id])
        if stored:
            self._join(_picture(stored[0]), arrival)
            return
        self._batch.setdefault(arrival.picture.content, []).append(arrival)
        if len(self._batch) >= self.options.batch_size:
            self._commit()

    def _give_up(self, path: Path, replaces: bool, reason: str) -> None:
        self.fail(path, reason)
        if replaces:
            self._forget([path])
        self._advance(1)

    def _join(self, stored: Picture, arrival: _Arrival) -> None:
        """One more file of a picture that the store holds: no need of the model."""
        path = arrival.place.path
        if stored.lies_at(path):
            self.store.replace_payload(stored.id, stored.with_place(arrival.place).to_payload())
            self.summary.unchanged += 1
            self._advance(1)
            return
        if arrival.replaces:
            self._forget([path])
        gone = [place.path for place in stored.places if is_gone(place.path)]
        self.store.replace_payload(stored.id, stored.without(gone).with_place(arrival.place).to_payload())
        self._count(arrival, moved=bool(gone))
        self.summary.removed += max(0, len(gone) - 1)
        self._advance(1)

    def _commit(self) -> None:
        """Embed and store the batch; when this returns, it is acknowledged."""
        groups, self._batch = list(self._batch.values()), {}
        if not groups:
            return
        vectors_NE = self._embed([group[0] for group in groups])
        usable = [bool(np.isfinite(vector_E).all()) for vector_E in vectors_NE]
        for group in itertools.compress(groups, (not good for good in usable)):
            for arrival in group:
                self._give_up(arrival.place.path, arrival.replaces, "a picture that the model cannot embed")
        groups = list(itertools.compress(groups, usable))
        self._forget([arrival.place.path for group in groups for arrival in group if arrival.replaces])
        pictures = [_gathered(group) for group in groups]
        payloads = [picture.to_payload() for picture in pictures]
        self.store.upsert([picture.id for picture in pictures], vectors_NE[usable], payloads)
        for arrival in itertools.chain.from_iterable(groups):
            self._count(arrival, moved=False)
        self.summary.embedded += len(groups)
        self._advance(sum(map(len, groups)))

    def _embed(self, arrivals: Sequence[_Arrival]) -> Vectors:
        import torch

        pixels_NCHW = torch.stack([one.pixels_CHW for one in arrivals if one.pixels_CHW is not None])
        vectors_NE: Vectors = self.embedder.encode_image(pixels_NCHW).cpu().numpy()
        return vectors_NE

    def _forget(self, paths: Sequence[Path]) -> None:
        """Take files from the pictures that they held so far."""
        if not paths:
            return
        for row in self.store.find(PATH_FIELD, [path_to_text(path) for path in paths]):
            self._put_back(_picture(row).without(paths))

    def _put_back(self, picture: Picture) -> None:
        # A picture without files stays until the end of the run: two files may have swapped their names.
        self.store.replace_payload(picture.id, picture.to_payload())
        if not picture.places:
            self._emptied.add(picture.id)

    def _count(self, arrival: _Arrival, *, moved: bool) -> None:
        kind = "changed" if arrival.replaces else "moved" if moved else "added"
        setattr(self.summary, kind, getattr(self.summary, kind) + 1)

    def _advance(self, files: int) -> None:
        self._done += files
        self._progress(self._done)


def is_gone(path: Path) -> bool:
    """Whether there is surely no such file; a place that cannot be looked at (no rights, say) may hold it."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _is_fresh(path: Path, picture: Picture) -> bool:
    """Same size and time of change as when it was read: taken for unchanged, as rsync and make do.

    A file rewritten to the same length with its time set back is missed; `rehash` finds it.
    """
    try:
        status = path.stat()
    except OSError:
        return False
    place = Place(path=path, mtime_ns=status.st_mtime_ns)
    return status.st_size == picture.size and place in picture.places


def _picture(row: Row) -> Picture:
    return Picture.from_payload(row.payload)


def _gathered(group: Sequence[_Arrival]) -> Picture:
    """One picture that lies wherever the files of the group lie."""
    picture = group[0].picture
    for arrival in group:
        picture = picture.with_place(arrival.place)
    return picture
