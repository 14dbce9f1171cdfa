"""`ImageIndex`: folders of photographs that can be searched by words, by pictures, or by both.

with ImageIndex.create("my-index", load_backbone("embedded:lite")) as index:
    print(index.add_folder(["~/Pictures"]))
    for hit in index.search("a dog on a beach", k=5, where="width > 1000"):
        print(f"{hit.relevance:.0%}", hit.path)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from data.errors import BadFileError
from data.photo_walk import absolute_path, photo_folder, walk_photos
from vision.retrieval.annotate import add_captions, add_columns
from vision.retrieval.duplicates import DuplicateGroup, find_duplicates
from vision.retrieval.embedder import Embedder
from vision.retrieval.encoder import QueryEncoder
from vision.retrieval.facets import Facets, count_facets
from vision.retrieval.hits import Found, Hit
from vision.retrieval.ingest import Ingest, IngestOptions
from vision.retrieval.models import check_same_model, describe_model, refuse_taken_in
from vision.retrieval.picture import Picture, Word
from vision.retrieval.picture_reader import PictureReader, Source, file_of
from vision.retrieval.query import Content, Query
from vision.retrieval.search import Search
from vision.retrieval.summary import IndexSummary
from vision.store.addresses import create_place, open_place
from vision.store.place import CollectionModel, DecodeMode, IndexPlace, Notes, change_notes
from vision.store.push import push
from vision.store.recall import Recall, measure_recall
from vision.store.vector_store import StoreFacts, Vectors, VectorStore
from vision.store.where import Condition

if TYPE_CHECKING:
    from vision.explain import Explanation

Progress = Callable[[int, int], None]


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
        self._search = self._new_search()

    @classmethod
    def open(cls, address: str | Path, backbone: Embedder | None = None) -> ImageIndex:
        """Open the index at `address`, a folder or `qdrant://host:6333/name`.

        Args:
            backbone: the model that made it; None loads it by the name that the index remembers, once a text
                or a picture asks for it.

        Raises:
            BadFileError: no index there, a damaged one, or one that another process holds.
            FingerprintMismatchError: `backbone` is not the model that made the index.
        """
        place = open_place(address)
        try:
            model = place.current()
            if model is None:
                do = "run `vision index` again"
                raise BadFileError("index", must_be="finished", got="one begun only", do=do, path=address)
            if backbone is not None:
                here = describe_model(backbone, model.decode, model.origin)
                check_same_model(place.address, model, here)
            return cls(place, place.store(model), model, backbone)
        except BaseException:
            place.close()
            raise

    @classmethod
    def create(
        cls, address: str | Path, backbone: Embedder, *, decode: DecodeMode | None = None
    ) -> ImageIndex:
        """Make an index at `address`, or go on with the one that is there.

        Args:
            address: a new or empty folder, an index's, or `qdrant://host:6333/name`.
            decode: "exact" or "fast" (see `PictureReader`); None takes the index's own, or "exact".

        Raises:
            BadFileError: something else lies there, or another process holds it.
            FingerprintMismatchError: the index there was made by another model.
        """
        place = create_place(address)
        try:
            there = place.current()
            given = describe_model(backbone, decode or (there.decode if there else "exact"))
            if there is not None:
                check_same_model(place.address, there, given)
                return cls(place, place.store(there), there, backbone)
            store = place.begin(given)
            place.finish(given)
            return cls(place, store, given, backbone)
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

    @property
    def address(self) -> str:
        """What it was opened by."""
        return self._place.address

    @property
    def store(self) -> VectorStore:
        """The vectors, and what is known of each picture: to be read."""
        return self._store

    @property
    def notes(self) -> Notes:
        """What the index remembers: folders, columns, captions, recall."""
        return self._place.notes(self.model)

    @property
    def recall(self) -> Recall | None:
        """How much of the truth searches find; None where they are exact."""
        measured = self.notes.recall
        return Recall(**measured) if measured and self.facts().graph_rows else None

    def has_text(self) -> bool:
        """Whether words find pictures; the model is loaded only where nothing else tells."""
        return self._encoder.has_text

    def __len__(self) -> int:
        """How many different pictures there are."""
        return self._store.count()

    def facts(self) -> StoreFacts:
        """How large it is, and how much of it a graph covers."""
        return self._store.facts()

    # --- what is in it ------------------------------------------------------------------------------------

    def add_folder(
        self,
        roots: Sequence[str | Path],
        *,
        options: IngestOptions | None = None,
        prune: bool = False,
        progress: Progress | None = None,
    ) -> IndexSummary:
        """Bring the index up to date with everything under `roots`; files elsewhere stay as they are.

        Interrupted at any point it loses nothing that it had acknowledged: run it again to go on.

        Args:
            prune: forget files under `roots` that are gone, or that the options leave out.
            progress: called with the number of files dealt with, and of files in all.

        Raises:
            BadFileError: a root is missing or no folder, or the store cannot be written.
        """
        folders = [photo_folder(root) for root in roots]
        options = options or IngestOptions()
        walk = partial(walk_photos, folders, include=options.include, exclude=options.exclude)
        report = _with_total(progress, sum(1 for _ in walk()) if progress else 0)
        run = self._ingest(options, folders, report)
        try:
            run.add(walk(on_error=run.fail))
            if prune:
                run.prune()
        finally:
            self._search = self._new_search()
        known = self.notes.roots
        if more := [str(folder) for folder in folders if str(folder) not in known]:
            self._note(roots=(*known, *more))
        return run.finish()

    def add_files(
        self,
        files: Iterable[str | Path],
        *,
        options: IngestOptions | None = None,
        progress: Progress | None = None,
    ) -> IndexSummary:
        """Add single files, or bring them up to date; nothing else is looked at."""
        paths = [absolute_path(file) for file in files]
        run = self._ingest(options or IngestOptions(), self._roots(), _with_total(progress, len(paths)))
        run.add(paths)
        self._search = self._new_search()
        return run.finish()

    def set_captions(self, captions: Mapping[Path, str]) -> tuple[int, int]:
        """Give pictures their captions.

        Returns:
            How many files got one, and how many the index does not know.
        """
        known = add_captions(self._store, captions)
        if known:
            self._note(captions=True)
        return known, len(captions) - known

    def set_columns(self, rows: Iterable[tuple[str, Mapping[str, Word]]]) -> int:
        """Add to the columns of pictures, by id, or replace what they held.

        Returns:
            How many of the pictures were there to get them.
        """
        changed, names = add_columns(self._store, rows)
        if changed:
            self._note(columns=tuple(dict.fromkeys(self.notes.columns) | names))
        return changed

    # --- what is asked of it ------------------------------------------------------------------------------

    def search(
        self,
        query: Query | Content,
        k: int = 10,
        *,
        where: str | Condition | None = None,
        captions: float = 1.0,
        offset: int = 0,
    ) -> list[Hit]:
        """The `k` pictures nearest to a text, a picture, a vector (E,) or a sum of such, best first.

        Files that have gone are passed over. Every hit bears the probability that it is what was meant; what
        to leave out is the caller's choice (`vision.retrieval.hits.passes`).

        Args:
            query: a text (str), a picture (Path, bytes or PIL image), a vector, or a `Query` made of such.
            where: filter over columns, e.g. "taken_at > '2024-01-01' and width > 1000".
            captions: where pictures have captions, the weight of the ranking by those beside that by sight.
            offset: rank of the first hit to give, from 0: pages of one ranking join without a gap.

        Raises:
            ParameterError: `k` below 1, an empty text, a vector that does not fit, a filter that makes no
                sense, or a text for a model that knows none.
            BadFileError: a picture that cannot be read.
        """
        return self.find(query, k, where=where, captions=captions, offset=offset).hits

    def find(
        self,
        query: Query | Content,
        k: int = 10,
        *,
        where: str | Condition | None = None,
        captions: float = 1.0,
        offset: int = 0,
    ) -> Found:
        """`search`, with how many pictures fit the filter."""
        return self._search.find(Query.of(query), k, where, captions, offset)

    def browse(
        self, where: str | Condition | None = None, *, after: str | None = None
    ) -> Iterator[tuple[str, Picture]]:
        """All pictures (that fit) with their identifiers, in the order of these, which is as good as random.

        Args:
            after: go on behind this identifier.
        """
        for row in self._store.scan(self._search.condition(where), after=after):
            yield row.id, Picture.from_payload(row.payload)

    def count(self, where: str | Condition | None = None) -> int:
        """How many pictures there are that fit."""
        return self._store.count(self._search.condition(where))

    def facets(self) -> Facets:
        """What the pictures can be told apart by: the values of their columns, with how many have each."""
        return count_facets(self._store, self.notes.columns)

    def pictures(self, ids: Sequence[str]) -> dict[str, Picture]:
        """What is known of the pictures that are there, by identifier."""
        return {row.id: Picture.from_payload(row.payload) for row in self._store.get(ids)}

    def vector(self, query: Query | Content) -> Vectors:
        """A query's unit vector (E,), which `search` looks around.

        Raises:
            ParameterError, BadFileError: as `search`.
        """
        return self._search.vector(Query.of(query))

    def rank_texts(self, query: Query | Content, sentences: Sequence[str]) -> list[tuple[str, float]]:
        """Sentences by their cosine with the query, best first: from a picture to words.

        Raises:
            ParameterError: as `search`.
        """
        return self._search.rank_texts(Query.of(query), sentences)

    def explain(self, picture: Source, query: Query | Content, *, method: str | None = None) -> Explanation:
        """Where in a picture the model sees what a query asks for.

        Args:
            picture: a file by its path, its bytes, or as it was read; in the index or not.
            query: as in `search`.
            method: one of `vision.explain.methods_for` the model; None for the best of them.

        Raises:
            ParameterError: a model that cannot be explained, or not in this way; otherwise as `search`.
            BadFileError: the picture cannot be read.
        """
        from vision.explain import explain

        refuse_taken_in(self.address, self.model, "an explanation")
        backbone = self._encoder.full_backbone
        reader = PictureReader(preprocess=backbone.preprocess, decode=self.model.decode)
        photo = reader.photo(file_of(picture))
        return explain(backbone, photo.pixels_HWC, self.vector(query), method=method)

    def explain_methods(self) -> list[str]:
        """What `explain` can do with the model, best first."""
        from vision.explain import methods_for

        return list(methods_for(self._encoder.full_backbone))

    def encode_texts(self, sentences: Sequence[str]) -> Vectors:
        """Sentences -> unit vectors (T, E), through the exported text half where there is one."""
        return self._encoder.texts(sentences)

    def duplicates(self, *, near: float | None = None) -> Iterator[DuplicateGroup]:
        """Pictures that lie in several files and, with `near`, groups of pictures at least so close."""
        return find_duplicates(self._store, near=near)

    # --- where and how it is kept -------------------------------------------------------------------------

    def get_ready(self) -> None:
        """Do now what the first search would wait for: a sample of pictures, the model's text half."""
        from vision.backbones import Backbone
        from vision.optimize.text_export import export_text_tower

        self._search.background()
        if isinstance(model := self._encoder.full_backbone, Backbone):
            export_text_tower(model)

    def optimize(self, progress: Progress | None = None) -> Recall | None:
        """Build a graph over the pictures, and measure how much of the truth it finds.

        Returns:
            The share, measured with text queries (with pictures, for a model without words); None for an
            empty index.
        """
        self._store.optimize(progress)
        if not len(self):
            return None
        recall = measure_recall(self._store, self._search.sample_queries())
        self._note(recall=asdict(recall))
        return recall

    def push(self, address: str | Path, *, progress: Progress | None = None) -> int:
        """Copy everything to another place, a server say, or bring the copy there up to date.

        Returns:
            How many pictures were written.

        Raises:
            FingerprintMismatchError: an index of another model is there.
            BadFileError: the place cannot be written.
        """
        place = create_place(address)
        try:
            there = place.current()
            if there is not None:
                check_same_model(place.address, there, self.model)
            target = place.begin(self.model) if there is None else place.store(there)
            try:
                written = push(self._store, target, prune=True, progress=progress)
                place.write_notes(self.model, replace(self.notes, recall=None, sampled_of=0))
                place.finish(self.model)
            finally:
                target.close()
        finally:
            place.close()
        return written

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

    def _new_search(self) -> Search:
        """A search that knows nothing yet of what the collection held before."""
        return Search(self._store, self._encoder, self._place)

    def _ingest(
        self, options: IngestOptions, roots: Sequence[Path], progress: Callable[[int], None] | None
    ) -> Ingest:
        refuse_taken_in(self.address, self.model, "pictures to add")
        return Ingest(
            self._store, self.backbone, options, decode=self.model.decode, roots=roots, progress=progress
        )

    def _roots(self) -> list[Path]:
        return [Path(root) for root in self.notes.roots]

    def _note(self, **changes: Any) -> None:
        change_notes(self._place, self.model, **changes)


def _with_total(progress: Progress | None, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    progress(0, total)
    return lambda done: progress(done, max(done, total))
