"""`ImageIndex`: folders of photographs that can be searched by words, by a picture, or by a vector.

    with ImageIndex.create("my-index", load_backbone("embedded:lite")) as index:
        print(index.add_folder(["~/Pictures"]))
        for hit in index.search("a dog on a beach", k=5):
            print(f"{hit.score:.3f}", hit.path)

Shape legend: E components of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.photos import absolute_path, photo_folder, walk_photos
from vision.retrieval.edge_store import EdgeStore
from vision.retrieval.embedder import Embedder
from vision.retrieval.ingest import Ingest, IngestOptions, is_gone
from vision.retrieval.picture import PATH_FIELD, Picture
from vision.retrieval.store import Vectors, VectorStore
from vision.retrieval.store_folder import CollectionModel, StoreFolder
from vision.retrieval.summary import IndexSummary

Query = str | Image.Image | npt.ArrayLike


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One picture found: its cosine with the query, and its size in pixels.

    `path` is a file that holds it; `copies` are further files with the very same bytes.
    """

    path: Path
    score: float
    copies: tuple[Path, ...]
    width: int
    height: int


class ImageIndex:
    """Photographs and their vectors in a folder of their own, made by one model.

    Open it with `create` or `open`, and close it (or use `with`): one process at a time can hold it.
    """

    def __init__(
        self, folder: StoreFolder, store: VectorStore, model: CollectionModel, backbone: Embedder | None
    ):
        self._folder, self._store, self._backbone = folder, store, backbone
        self.model = model

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
        folder = StoreFolder.open(path)
        try:
            model = folder.current()
            if model is None:
                do = "run `vision index` again"
                raise BadFileError("index", must_be="finished", got="one begun only", do=do, path=path)
            if backbone is not None:
                _check_same_model(Path(path), model, backbone)
            return cls(folder, EdgeStore.open(folder.vectors(model)), model, backbone)
        except BaseException:
            folder.close()
            raise

    @classmethod
    def create(cls, path: str | Path, backbone: Embedder) -> ImageIndex:
        """Make an index at `path`, a new or empty folder, or go on with the one that is there.

        Raises:
            BadFileError: something else lies there, or another process holds it.
            FingerprintMismatchError: the index there was made by another model.
        """
        folder = StoreFolder.create(path)
        try:
            model = folder.current()
            if model is not None:
                _check_same_model(Path(path), model, backbone)
                return cls(folder, EdgeStore.open(folder.vectors(model)), model, backbone)
            model = CollectionModel(
                name=backbone.name, fingerprint=backbone.fingerprint, dim=backbone.output_dim
            )
            store = EdgeStore.create(folder.clear(model), model.dim, keyword_fields=[PATH_FIELD])
            folder.finish(model)
            return cls(folder, store, model, backbone)
        except BaseException:
            folder.close()
            raise

    @property
    def backbone(self) -> Embedder:
        """The model that made the index; loaded when it is first asked for.

        Raises:
            FingerprintMismatchError: the model of that name is no longer what it was.
        """
        if self._backbone is None:
            from vision.backbones import load_backbone

            backbone = load_backbone(self.model.name)
            _check_same_model(self._folder.path, self.model, backbone)
            self._backbone = backbone
        return self._backbone

    def __len__(self) -> int:
        """How many different pictures there are."""
        return self._store.count()

    def add_folder(
        self,
        roots: Sequence[str | Path],
        *,
        options: IngestOptions | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> IndexSummary:
        """Bring the index up to date with everything under `roots`; files elsewhere stay as they are.

        Interrupted at any point it loses nothing that it had acknowledged: run it again to go on.

        Args:
            progress: called with the number of files dealt with, and of files in all.

        Raises:
            BadFileError: a root is missing or no folder, or the store cannot be written.
        """
        report = _with_total(progress, sum(1 for _ in walk_photos(roots)) if progress else 0)
        run = Ingest(self._store, self.backbone, options or IngestOptions(), report)
        run.add(walk_photos(roots, on_error=run.fail))
        run.remove_missing([photo_folder(root) for root in roots])
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
        run = Ingest(self._store, self.backbone, options or IngestOptions(), report)
        run.add(paths)
        return run.finish()

    def search(self, query: Query, k: int = 10) -> list[Hit]:
        """The `k` pictures nearest to a text, a picture or a vector (E,), best first.

        Files that have gone since the last `add_folder` are passed over.

        Raises:
            ParameterError: `k` below 1, an empty text, a vector that does not fit, or a text for a model that
                knows none.
        """
        if k < 1:
            raise ParameterError("k", must_be="a whole number of at least 1", got=k)
        hits: list[Hit] = []
        for hit in self._ranked(self._vector(query), k):
            hits.append(hit)
            if len(hits) == k:
                break
        return hits

    def close(self) -> None:
        """Write everything out and let other processes in; a second call does nothing."""
        try:
            self._store.close()
        finally:
            self._folder.close()

    def __enter__(self) -> ImageIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ranked(self, vector_E: Vectors, page: int) -> Iterator[Hit]:
        offset = 0
        while rows := self._store.search(vector_E, page, offset=offset):
            offset += len(rows)
            for row in rows:
                picture = Picture.from_payload(row.payload)
                paths = sorted(place.path for place in picture.places if not is_gone(place.path))
                if paths:
                    yield Hit(
                        path=paths[0],
                        score=row.score,
                        copies=tuple(paths[1:]),
                        width=picture.width,
                        height=picture.height,
                    )

    def _vector(self, query: Query) -> Vectors:
        if isinstance(query, str):
            return self._text_vector(query)
        if isinstance(query, Image.Image):
            pixels_1CHW = self.backbone.preprocess(query)[None]
            vector_E: Vectors = self.backbone.encode_image(pixels_1CHW)[0].cpu().numpy()
            return vector_E
        vector_E = np.asarray(query, dtype=np.float32)
        if vector_E.shape != (self.model.dim,) or not np.isfinite(vector_E).all() or not vector_E.any():
            raise ParameterError(
                "query",
                must_be=f"a text, a PIL image, or a finite vector of {self.model.dim} numbers, not all zero",
                got=f"an array of shape {vector_E.shape}",
            )
        return vector_E

    def _text_vector(self, text: str) -> Vectors:
        if not text.strip():
            raise ParameterError("query", must_be="some words", got="an empty text")
        if not self.backbone.has_text:
            do = "search with a picture, or index with a clip: model or embedded:lite"
            found = f"a text, which {self.model.name} cannot read"
            raise ParameterError("query", must_be="a picture or a vector", got=found, do=do)
        vector_E: Vectors = self.backbone.encode_text([text])[0].cpu().numpy()
        return vector_E


def _with_total(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    progress(0, total)
    return lambda done: progress(done, max(done, total))


def _check_same_model(path: Path, model: CollectionModel, backbone: Embedder) -> None:
    if model.fingerprint == backbone.fingerprint:
        return
    if model.name == backbone.name:
        do = "its weights, preprocessing or libraries have changed since: index into a new folder"
    else:
        do = f"use {model.name} here, or index into another folder"
    raise FingerprintMismatchError(
        "model",
        must_be=f"the one that made the index, {model.name} ({model.fingerprint})",
        got=f"{backbone.name} ({backbone.fingerprint})",
        do=do,
        path=path,
    )
