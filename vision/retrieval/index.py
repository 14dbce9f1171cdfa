"""`ImageIndex`: folders of photographs that can be searched by words, by pictures, or by both.

    with ImageIndex.create("my-index", load_backbone("embedded:lite")) as index:
        print(index.add_folder(["~/Pictures"]))
        for hit in index.search("a dog on a beach", k=5):
            print(f"{hit.score:.3f}", hit.path)

Shape legend: T texts, E components of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from PIL import Image

from data.errors import BadFileError, ParameterError
from data.photos import absolute_path, photo_folder, walk_photos
from vision.retrieval.embedder import Embedder
from vision.retrieval.encoder import QueryEncoder, check_same_model
from vision.retrieval.hits import Hit, live_hits
from vision.retrieval.ingest import Ingest, IngestOptions
from vision.retrieval.picture_reader import DecodeMode
from vision.retrieval.place import CollectionModel, IndexPlace
from vision.retrieval.query import Content, Query, combine
from vision.retrieval.store import Vectors, VectorStore
from vision.retrieval.store_folder import StoreFolder
from vision.retrieval.summary import IndexSummary


class ImageIndex:
    """Photographs and their vectors in a place of their own, made by one model.

    Open it with `create` or `open`, and close it (or use `with`): one process at a time can hold a folder.
    """

    def __init__(
        self, place: IndexPlace, store: VectorStore, model: CollectionModel, backbone: Embedder | None
    ):
        self._place, self._store = place, store
        self.model = model
        self._encoder = QueryEncoder(model, place.address, backbone)

    @classmethod
    def open(cls, path: str | Path, backbone: Embedder | None = None) -> ImageIndex:
        """Open the index at `path`.

        Args:
            backbone: the model that made it; None loads it by the name that the index remembers, once a text
                or a picture asks for it.

        Raises:
            BadFileError: no index there, a damaged one, or one that another process holds.
            FingerprintMismatchError: `backbone` is not the model that made the index.
        """
        place = StoreFolder.open(path)
        try:
            model = place.current()
            if model is None:
                do = "run `vision index` again"
                raise BadFileError("index", must_be="finished", got="one begun only", do=do, path=path)
            if backbone is not None:
                check_same_model(place.address, model, backbone)
            return cls(place, place.store(model), model, backbone)
        except BaseException:
            place.close()
            raise

    @classmethod
    def create(cls, path: str | Path, backbone: Embedder) -> ImageIndex:
        """Make an index at `path`, a new or empty folder, or go on with the one that is there.

        Raises:
            BadFileError: something else lies there, or another process holds it.
            FingerprintMismatchError: the index there was made by another model.
        """
        place = StoreFolder.create(path)
        try:
            model = place.current()
            if model is not None:
                check_same_model(place.address, model, backbone)
                return cls(place, place.store(model), model, backbone)
            model = CollectionModel(
                name=backbone.name, fingerprint=backbone.fingerprint, dim=backbone.output_dim
            )
            store = place.begin(model)
            place.finish(model)
            return cls(place, store, model, backbone)
        except BaseException:
            place.close()
            raise

    @property
    def backbone(self) -> Embedder:
        """The model that made the index; loaded when it is first asked for.

        Raises:
            FingerprintMismatchError: the model of that name is no longer what it was.
        """
        return self._encoder.backbone

    def __len__(self) -> int:
        """How many different pictures there are."""
        return self._store.count()

    def add_folder(
        self,
        roots: Sequence[str | Path],
        *,
        options: IngestOptions | None = None,
        prune: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> IndexSummary:
        """Bring the index up to date with everything under `roots`; files elsewhere stay as they are.

        Interrupted at any point it loses nothing that it had acknowledged: run it again to go on.

        Args:
            prune: forget what is gone, or passed over by the options' patterns; until then it stays in the
                store, though what is gone never comes up in results.
            progress: called with the number of files dealt with, and of files in all.

        Raises:
            BadFileError: a root is missing or no folder, or the store cannot be written.
        """
        options, folders = options or IngestOptions(), [photo_folder(root) for root in roots]
        walk = partial(walk_photos, folders, include=options.include, exclude=options.exclude)
        report = _with_total(progress, sum(1 for _ in walk()) if progress else 0)
        run = self._ingest(options, folders, report)
        run.add(walk(on_error=run.fail))
        if prune:
            run.prune()
        return run.finish()

    def add_files(
        self,
        files: Iterable[str | Path],
        *,
        options: IngestOptions | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> IndexSummary:
        """Add single files, or bring them up to date; nothing else is looked at."""
        paths = [absolute_path(file) for file in files]
        report = _with_total(progress, len(paths))
        run = self._ingest(options or IngestOptions(), [], report)
        run.add(paths)
        return run.finish()

    def search(self, query: Query | Content, k: int = 10) -> list[Hit]:
        """The `k` pictures nearest to a text, a picture, a vector (E,) or a sum of such, best first.

        Files that have gone since the last `add_folder` are passed over.

        Raises:
            ParameterError: `k` below 1, an empty text, a vector that does not fit, or a text for a model that
                knows none.
        """
        if k < 1:
            raise ParameterError("k", must_be="a whole number of at least 1", got=k)
        return self._nearest(self._vector(Query.of(query)), k)

    def close(self) -> None:
        """Write everything out and let other processes in; a second call does nothing."""
        try:
            self._store.close()
        finally:
            self._place.close()

    def __enter__(self) -> ImageIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ingest(
        self, options: IngestOptions, roots: Sequence[Path], progress: Callable[[int], None] | None
    ) -> Ingest:
        decode: DecodeMode = "fast" if self.model.decode == "fast" else "exact"
        return Ingest(self._store, self.backbone, options, decode=decode, roots=roots, progress=progress)

    def _nearest(self, vector_E: Vectors, k: int) -> list[Hit]:
        hits: list[Hit] = []
        offset = 0
        while len(hits) < k and (rows := self._store.search(vector_E, k, offset=offset)):
            offset += len(rows)
            hits += live_hits(rows)
        return hits[:k]

    def _vector(self, query: Query) -> Vectors:
        import numpy as np

        vectors_TE = np.stack([self._term(term.content) for term in query.terms])
        return combine(vectors_TE, [term.weight for term in query.terms])

    def _term(self, content: Content) -> Vectors:
        if isinstance(content, str):
            return self._encoder.texts([content])[0]
        if isinstance(content, Image.Image):
            return self._encoder.picture(content)
        return self._encoder.given(content)


def _with_total(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    progress(0, total)
    return lambda done: progress(done, max(done, total))
