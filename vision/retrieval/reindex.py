"""Turn an index over to another model: embed everything anew beside what is there, then swap.

What a payload says of a picture does not depend on the model, so each row keeps its identifier and payload
and gets another vector. Rows that an interrupted run has done are there already and are passed over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from data.errors import BadFileError, ParameterError
from data.pages import pages
from data.photos import PhotoFile
from vision.retrieval.decode_pool import DecodePool, Reading
from vision.retrieval.embedder import NOT_EMBEDDED, Embedder, Pixels, embed_pixels
from vision.retrieval.ingest import IngestOptions, is_gone
from vision.retrieval.models import describe_model, refuse_taken_in
from vision.retrieval.picture import Picture, content_id
from vision.retrieval.picture_reader import PictureReader
from vision.retrieval.summary import Failure, IndexSummary
from vision.store.addresses import open_place
from vision.store.place import CollectionModel, DecodeMode, IndexPlace
from vision.store.vector_store import Row, VectorStore

PAGE = 256

Progress = Callable[[int, int], None]


class Reindexing:
    """An index that is to get the vectors of another model; close it, or use `with`."""

    def __init__(self, place: IndexPlace, old: CollectionModel):
        self._place, self.old = place, old

    @classmethod
    def open(cls, address: str | Path) -> Reindexing:
        """Take hold of the index at `address`.

        Raises:
            BadFileError: no index there, a damaged one, or one that another process holds.
        """
        place = open_place(address)
        try:
            old = place.current()
            if old is None:
                do = "run `vision index` again"
                raise BadFileError("index", must_be="finished", got="one begun only", do=do, path=address)
            refuse_taken_in(place.address, old, "another model")
            return cls(place, old)
        except BaseException:
            place.close()
            raise

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders that were indexed."""
        return self._place.notes(self.old).roots

    def run(
        self,
        embedder: Embedder,
        decode: DecodeMode,
        options: IngestOptions | None = None,
        progress: Progress | None = None,
    ) -> IndexSummary:
        """Embed all pictures with `embedder`, and make its vectors the current ones.

        Interrupted at any point, the index is what it was; run it again to go on.

        Raises:
            ParameterError: it is the model that the index has already.
            BadFileError: not one picture could be read (an unplugged disk, say): nothing is swapped.
        """
        new = describe_model(embedder, decode)
        if new.fingerprint == self.old.fingerprint:
            do = "name another model, decode or precision"
            raise ParameterError("model", must_be="another one than now", got=new.fingerprint, do=do)
        source, target = self._place.store(self.old), self._place.begin(new)
        try:
            work = _Work(
                source, target, embedder, PictureReader(preprocess=embedder.preprocess, decode=decode)
            )
            summary = work.run(options or IngestOptions(), progress or (lambda done, total: None))
            if source.count() and not target.count():
                found = f"none of {source.count():,} that could be read"
                raise BadFileError("pictures", must_be="readable", got=found, path=self._place.address)
            self._place.write_notes(new, replace(self._place.notes(self.old), recall=None, sampled_of=0))
        finally:
            source.close()
            target.close()
        self._place.finish(new)
        return summary

    def close(self) -> None:
        """Let other processes in."""
        self._place.close()

    def __enter__(self) -> Reindexing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Work:
    """Rows of `source` into `target`, a batch at a time."""

    def __init__(self, source: VectorStore, target: VectorStore, embedder: Embedder, reader: PictureReader):
        self.source, self.target, self.embedder, self.reader = source, target, embedder, reader
        self.summary = IndexSummary()

    def run(self, options: IngestOptions, progress: Progress) -> IndexSummary:
        began, total, done = time.monotonic(), self.source.count(), 0
        waiting: deque[tuple[Row, Path, Future[Reading]]] = deque()
        batch: list[tuple[Row, Pixels]] = []
        with DecodePool(self.reader, workers=options.decode_workers) as pool:
            ahead = 2 * pool.workers + options.batch_size
            todo = self._due()
            while True:
                while len(waiting) < ahead and (item := next(todo, None)) is not None:
                    row, path = item
                    waiting.append((row, path, pool.submit(path, _same_as(row))))
                if not waiting:
                    break
                row, path, future = waiting.popleft()
                pixels_CHW = self._pixels(path, future)
                if pixels_CHW is not None:
                    batch.append((row, pixels_CHW))
                if len(batch) == options.batch_size:
                    self._commit(batch)
                done += 1
                progress(self.summary.unchanged + done, total)
            self._commit(batch)
        self.summary.seconds = time.monotonic() - began
        return self.summary

    def _due(self) -> Iterator[tuple[Row, Path]]:
        """Rows that the target lacks, each with a file to read it from."""
        for page in pages(self.source.scan(), PAGE):
            there = {row.id for row in self.target.get([row.id for row in page])}
            self.summary.unchanged += len(there)
            for row in page:
                picture = Picture.from_payload(row.payload)
                path = next((place.path for place in picture.places if not is_gone(place.path)), None)
                if path is None:
                    self.summary.removed += 1
                elif row.id not in there:
                    yield row, path

    def _pixels(self, path: Path, future: Future[Reading]) -> Pixels | None:
        try:
            reading = future.result()
        except BadFileError as error:
            self.summary.failed.append(Failure.of(path, error))
            return None
        if reading.decoded is None:
            self.summary.failed.append(Failure(path, "changed since; `vision index` takes it in"))
            return None
        return reading.decoded[1]

    def _commit(self, batch: list[tuple[Row, Pixels]]) -> None:
        if batch:
            vectors_NE = embed_pixels(self.embedder, np.stack([pixels_CHW for _, pixels_CHW in batch]))
            usable_N = np.array([np.isfinite(vector_E).all() for vector_E in vectors_NE])
            rows = [row for (row, _), usable in zip(batch, usable_N, strict=True) if usable]
            self.target.upsert([row.id for row in rows], vectors_NE[usable_N], [row.payload for row in rows])
            for (row, _), usable in zip(batch, usable_N, strict=True):
                if not usable:
                    path = Picture.from_payload(row.payload).places[0].path
                    self.summary.failed.append(Failure(path, NOT_EMBEDDED))
            self.summary.added += len(rows)
            self.summary.embedded += len(rows)
            batch.clear()


def _same_as(row: Row) -> Callable[[PhotoFile], bool]:
    return lambda file: content_id(file.content) == row.id
