"""One run of indexing: read and decode ahead, embed in batches, store, and tell what was done.

Order is what makes a run safe to kill: a changed file leaves its old picture before it joins its new one, and
only what the store has acknowledged is counted. What is missing afterwards, the next run finds and does.

Shape legend: N pictures of a batch, C channels, H W pixels, E components of the joint space.
"""

from __future__ import annotations

import itertools
import stat
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.errors import BadFileError, ParameterError
from data.pages import pages
from data.path_globs import PathGlobs
from data.photo_walk import PHOTO_EXTENSIONS, folder_of
from data.photos import PhotoFile
from vision.retrieval.decode_pool import DecodePool, Reading
from vision.retrieval.embedder import NOT_EMBEDDED, Embedder, Pixels, embed_pixels
from vision.retrieval.picture import PATH_FIELD, Picture, Place, content_id, folder_tags, path_to_text
from vision.retrieval.picture_reader import PictureReader
from vision.retrieval.summary import Failure, IndexSummary
from vision.store.place import DecodeMode
from vision.store.vector_store import Row, VectorStore

LOOKUP = 256  # paths asked of the store at once

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """How a run goes about it; none of it changes the vectors.

    Args:
        batch_size: pictures embedded and acknowledged together.
        decode_workers: processes that read and decode ahead of the model; None for one per core, at most 8.
        rehash: read every file again, also where size and time of change are those of the last run.
        include: patterns, as of `data.path_globs.PathGlobs`, of the files to look at; none for all.
        exclude: patterns of files and folders to pass over.
    """

    batch_size: int = 16
    decode_workers: int | None = None
    rehash: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("batch_size", "decode_workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ParameterError(name, must_be="a whole number of at least 1", got=value)
        PathGlobs(self.include, self.exclude)  # which checks them


@dataclass(kw_only=True)
class _Arrival:
    """A file whose picture the store does not hold; `replaces` says that the index knows its path."""

    picture: Picture
    place: Place
    replaces: bool
    pixels_CHW: Pixels


class Ingest:
    """One run into a store.

    Args:
        store: where the pictures go.
        embedder: the model.
        options: how to go about it.
        decode: how pictures are decoded; that of the collection.
        roots: absolute folders that the files lie under; the folders between are their tags.
        progress: told the number of files dealt with so far.
    """

    def __init__(
        self,
        store: VectorStore,
        embedder: Embedder,
        options: IngestOptions,
        *,
        decode: DecodeMode = "exact",
        roots: Sequence[Path] = (),
        progress: Progress | None = None,
    ):
        self.store, self.embedder, self.options, self.roots = store, embedder, options, roots
        self.reader = PictureReader(preprocess=embedder.preprocess, decode=decode)
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
        waiting: deque[tuple[Path, bool, Future[Reading]]] = deque()
        with (
            warnings.catch_warnings(),
            DecodePool(self.reader, workers=self.options.decode_workers) as pool,
        ):
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged metadata and very large pictures
            ahead = 2 * pool.workers + self.options.batch_size
            for path, replaces in self._changed(paths):
                waiting.append((path, replaces, pool.submit(path, self._is_new)))
                if len(waiting) > ahead:
                    self._take(*waiting.popleft())
            while waiting:
                self._take(*waiting.popleft())
            self._commit()

    def prune(self) -> None:
        """Drop what lies under the roots but is gone, or passed over by the options' patterns."""
        globs = PathGlobs(self.options.include, self.options.exclude)

        def stays(path: Path) -> bool:
            root = folder_of(path, self.roots)
            return root is None or (globs.takes_file(path.relative_to(root)) and not is_gone(path))

        for row in self.store.scan():
            picture = _picture(row)
            paths = [place.path for place in picture.places if not stays(place.path)]
            self.summary.removed += len(paths)
            if paths or not picture.places:  # an interrupted run may have left some without files
                self._put_back(picture.without(paths))

    def forget(self, paths: Sequence[Path]) -> None:
        """Drop those of the files, and the files in those of the folders, that are gone."""
        gone = {path for path in paths if not path.exists()}
        if all(path.suffix.lower() in PHOTO_EXTENSIONS for path in gone):
            rows: Iterable[Row] = self.store.find(PATH_FIELD, [path_to_text(path) for path in gone])
        else:
            rows = self.store.scan()
        for picture in map(_picture, rows):
            here = [place.path for place in picture.places if gone & {place.path, *place.path.parents}]
            self.summary.removed += len(here)
            if here:
                self._put_back(picture.without(here))

    def finish(self) -> IndexSummary:
        """Delete the pictures that no file holds any more, and give the counts."""
        left = [row.id for row in self.store.get(sorted(self._emptied)) if not row.payload["files"]]
        if left:
            self.store.delete(left)
        self.summary.seconds = time.monotonic() - self._started
        return self.summary

    def _changed(self, paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
        """The files to read, each with whether the index knows its path; counts the unchanged ones."""
        for group in pages(paths, LOOKUP):
            known = self._known(group)
            for path in group:
                picture = known.get(path)
                if picture is not None and not self.options.rehash and is_fresh(path, picture):
                    self.summary.unchanged += 1
                    self._advance(1)
                else:
                    yield path, picture is not None

    def _known(self, paths: Sequence[Path]) -> dict[Path, Picture]:
        pictures = map(_picture, self.store.find(PATH_FIELD, [path_to_text(path) for path in paths]))
        return {place.path: picture for picture in pictures for place in picture.places}

    def _is_new(self, file: PhotoFile) -> bool:
        """Asked in other threads."""
        return not self.store.get([content_id(file.content)])

    def _take(self, path: Path, replaces: bool, future: Future[Reading]) -> None:
        try:
            reading = future.result()
        except BadFileError as error:
            self._give_up(Failure.of(path, error), replaces)
            return
        tags = folder_tags(path, folder_of(path, self.roots))
        place = Place(path=path, mtime_ns=reading.file.mtime_ns, tags=tags)
        stored = self.store.get([content_id(reading.file.content)])
        if reading.decoded is None or stored:
            self._join(_picture(stored[0]), place, replaces)
            return
        picture, pixels_CHW = reading.decoded
        arrival = _Arrival(picture=picture, place=place, replaces=replaces, pixels_CHW=pixels_CHW)
        self._batch.setdefault(picture.content, []).append(arrival)
        if len(self._batch) >= self.options.batch_size:
            self._commit()

    def _give_up(self, failure: Failure, replaces: bool) -> None:
        self.summary.failed.append(failure)
        if replaces:
            self._forget([failure.path])
        self._advance(1)

    def _join(self, stored: Picture, place: Place, replaces: bool) -> None:
        """One more file of a picture that the store holds: no need of the model."""
        if stored.lies_at(place.path):
            (known,) = (other for other in stored.places if other.path == place.path)
            place = replace(place, tags=place.tags or known.tags)  # a single file comes without a root
            self.store.replace_payload(stored.id, stored.with_place(place).to_payload())
            self.summary.unchanged += 1
            self._advance(1)
            return
        if replaces:
            self._forget([place.path])
        gone = [] if replaces else [other.path for other in stored.places if is_gone(other.path)][:1]
        self.store.replace_payload(stored.id, stored.without(gone).with_place(place).to_payload())
        self._count(replaces, moved=bool(gone))
        self._advance(1)

    def _commit(self) -> None:
        """Embed and store the batch; when this returns, it is acknowledged."""
        groups, self._batch = list(self._batch.values()), {}
        if not groups:
            return
        vectors_NE = embed_pixels(self.embedder, np.stack([group[0].pixels_CHW for group in groups]))
        usable = [bool(np.isfinite(vector_E).all()) for vector_E in vectors_NE]
        for group in itertools.compress(groups, (not good for good in usable)):
            for arrival in group:
                self._give_up(Failure(arrival.place.path, NOT_EMBEDDED), arrival.replaces)
        groups = list(itertools.compress(groups, usable))
        self._forget([arrival.place.path for group in groups for arrival in group if arrival.replaces])
        pictures = [_gathered(group) for group in groups]
        payloads = [picture.to_payload() for picture in pictures]
        self.store.upsert([picture.id for picture in pictures], vectors_NE[usable], payloads)
        for arrival in itertools.chain.from_iterable(groups):
            self._count(arrival.replaces, moved=False)
        self.summary.embedded += len(groups)
        self._advance(sum(map(len, groups)))

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

    def _count(self, replaces: bool, *, moved: bool) -> None:
        kind = "changed" if replaces else "moved" if moved else "added"
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


def is_fresh(path: Path, picture: Picture) -> bool:
    """Same size and time of change as when it was read: taken for unchanged, as rsync and make do.

    A file rewritten to the same length with its time set back is missed; `rehash` finds it.
    """
    try:
        status = path.stat()
    except OSError:
        return False
    known = any(place.path == path and place.mtime_ns == status.st_mtime_ns for place in picture.places)
    return known and status.st_size == picture.size


def _picture(row: Row) -> Picture:
    return Picture.from_payload(row.payload)


def _gathered(group: Sequence[_Arrival]) -> Picture:
    """One picture that lies wherever the files of the group lie."""
    picture = group[0].picture
    for arrival in group:
        picture = picture.with_place(arrival.place)
    return picture
