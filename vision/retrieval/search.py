"""One search: terms to a vector, the vector (and the words) to hits, and hits to probabilities.

Shape legend: T terms or texts, N sampled pictures, E components of the joint space.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.errors import ParameterError
from data.photo_walk import absolute_path
from vision.retrieval.encoder import QueryEncoder
from vision.retrieval.hits import Found, Hit, fused_order, live_hits
from vision.retrieval.ingest import is_fresh
from vision.retrieval.picture import Picture, path_to_text
from vision.retrieval.query import Content, Query, combine
from vision.retrieval.relevance import SAMPLE, Background, relevance
from vision.store.fields import CAPTION, PATH
from vision.store.place import IndexPlace, change_notes
from vision.store.vector_store import Row, Vectors, VectorStore
from vision.store.where import Condition, parse_where

DRIFT = 0.1  # share by which a collection may grow or shrink before its sample is drawn anew
MOST_ROWS = 10_000  # asked of the store at once
FUSED = 50  # best of each ranking that are fused; what lies below is ranked by sight alone


class Search:
    """Searches in one collection."""

    def __init__(self, store: VectorStore, encoder: QueryEncoder, place: IndexPlace):
        self.store, self.encoder, self.place = store, encoder, place
        self._background: Background | None = None
        self._drawing = threading.Lock()

    def find(
        self,
        query: Query,
        k: int,
        where: str | Condition | None = None,
        captions: float = 1.0,
        offset: int = 0,
    ) -> Found:
        """The `k` best pictures from rank `offset` on, best first, with their relevance.

        Args:
            where: a filter over columns, as text or as data.
            captions: weight of the ranking by captions beside that by sight; 0 leaves captions alone.
        """
        if k < 1:
            raise ParameterError("k", must_be="a whole number of at least 1", got=k)
        if offset < 0:
            raise ParameterError("offset", must_be="a whole number of at least 0", got=offset)
        notes, condition = self.place.notes(self.encoder.model), self.condition(where)
        vector_E = self.vector(query)
        if captions and notes.captions and query.words:
            hits = self._fused(query.words, vector_E, offset + k, condition, captions)
        else:
            hits = self._nearest(vector_E, offset + k, condition)
        fits = self.store.count(condition)
        return Found(hits=self._judged(vector_E, hits[offset:], fits), fits=fits)

    def rank_texts(self, query: Query, sentences: Sequence[str]) -> list[tuple[str, float]]:
        """Sentences by their cosine with the query, best first: from a picture to words."""
        vector_E = self.vector(query)
        scores_T = self.encoder.texts(sentences) @ vector_E
        order = np.argsort(-scores_T, kind="stable")
        return [(sentences[at], float(scores_T[at])) for at in order]

    def condition(self, where: str | Condition | None) -> Condition | None:
        """A filter as data, read with the names of the columns that the collection has."""
        if isinstance(where, str):
            return parse_where(where, self.place.notes(self.encoder.model).columns)
        return where

    def sample_queries(self, count: int = 200) -> Vectors:
        """Vectors (T, E) of queries as people put them: captions of the collection, or names of things.

        For a model that knows no words, pictures of the collection.
        """
        from vision.backbones.open_clip_data import imagenet_class_names

        captioned = itertools.islice(self.store.scan(parse_where("caption is not null")), count)
        texts = [row.payload[CAPTION].partition("\n")[0] for row in captioned]
        texts = texts or [f"a photo of a {name}" for name in imagenet_class_names()[:: 1000 // count]]
        try:
            return self.encoder.texts(texts)
        except ParameterError:
            return self.background().vectors_NE[:count]

    def vector(self, query: Query) -> Vectors:
        """A query's unit vector (E,)."""
        if not query.terms:
            raise ParameterError("query", must_be="something to look for", got="nothing")
        vectors_TE = np.stack([self._term(term.content) for term in query.terms])
        sample_NE = self.background().vectors_NE if len(query.terms) > 1 else None
        return combine(vectors_TE, [term.weight for term in query.terms], sample_NE)

    def background(self) -> Background:
        """A sample of the collection: kept beside it, and drawn anew when that has changed much."""
        with self._drawing:  # one of the threads that search does it for all
            if self._background is None:
                self._background = Background.from_vectors(self._sample())
            return self._background

    def _sample(self) -> Vectors:
        model, size = self.encoder.model, self.store.count()
        sample_NE = self.place.read_sample(model)
        notes = self.place.notes(model)
        if sample_NE is None or abs(size - notes.sampled_of) > DRIFT * max(notes.sampled_of, 1):
            sample_NE = self._draw()
            self.place.write_sample(model, sample_NE)
            change_notes(self.place, model, sampled_of=size)
        return sample_NE

    def _draw(self) -> Vectors:
        pages = (vectors_NE for _, vectors_NE in self.store.scan_vectors(1024))
        drawn = list(itertools.islice(pages, SAMPLE // 1024))
        empty: Vectors = np.zeros((0, self.encoder.model.dim), dtype=np.float32)
        # Rounded as it is kept, so that the same query gets the same relevance now and later.
        kept: Vectors = np.concatenate([empty, *drawn]).astype(np.float16).astype(np.float32)
        return kept

    def _term(self, content: Content) -> Vectors:
        if isinstance(content, str):
            text_E: Vectors = self.encoder.texts([content])[0]
            return text_E
        if isinstance(content, Path):
            known_E = self._known(absolute_path(content))
            return self.encoder.file(content) if known_E is None else known_E
        if isinstance(content, bytes):
            return self.encoder.file(content)
        if isinstance(content, Image.Image):
            return self.encoder.picture(content)
        return self.encoder.given(content)

    def _known(self, path: Path) -> Vectors | None:
        """The vector of a file that the index holds as it is now: no model is needed for it."""
        for row in self.store.find(PATH, [path_to_text(path)]):
            if is_fresh(path, Picture.from_payload(row.payload)):
                return self.store.vectors([row.id]).get(row.id)
        return None

    def _nearest(self, vector_E: Vectors, k: int, where: Condition | None) -> list[Hit]:
        hits: list[Hit] = []
        offset, size = 0, k
        while len(hits) < k and (rows := self.store.search(vector_E, size, offset=offset, where=where)):
            offset += len(rows)
            hits += live_hits(rows)
            size = min(2 * size, MOST_ROWS)  # where a disk is missing, many in a row are gone
        return hits[:k]

    def _fused(
        self, words: str, vector_E: Vectors, k: int, where: Condition | None, weight: float
    ) -> list[Hit]:
        # As many whatever `k` is: a later page must go on where an earlier one ended.
        by_sight = {hit.id: hit for hit in self._nearest(vector_E, max(k, FUSED), where)}
        rows = self.store.search_words(words, FUSED, where=where)
        by_words = {hit.id: hit for hit in live_hits(self._with_cosines(rows, vector_E))}
        order = fused_order(list(by_sight)[:FUSED], list(by_words), weight)
        fused = set(order)
        order += [id for id in by_sight if id not in fused]
        hits = [replace((by_sight | by_words)[id], by_caption=id in by_words) for id in order]
        return hits[:k]

    def _with_cosines(self, rows: Sequence[Row], vector_E: Vectors) -> list[Row]:
        """Rows found by words, with their cosine in the place of BM25: one scale for all hits."""
        vectors = self.store.vectors([row.id for row in rows])
        return [replace(row, score=float(vectors[row.id] @ vector_E)) for row in rows if row.id in vectors]

    def _judged(self, vector_E: Vectors, hits: list[Hit], total: int) -> list[Hit]:
        chances = relevance(vector_E, [hit.score for hit in hits], self.background(), total)
        return [
            replace(hit, relevance=None if np.isnan(chance) else float(chance))
            for hit, chance in zip(hits, chances, strict=True)
        ]
