"""From a store's rows to what a person sees: files that are still there, ranked by sight and by caption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import ParameterError
from vision.retrieval.ingest import is_gone
from vision.retrieval.picture import Picture
from vision.store.vector_store import Row

RANK_OFFSET = 60  # of reciprocal rank fusion, as Cormack, Clarke and Büttcher (2009) chose it


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One picture found.

    Args:
        id: the store's identifier of the picture.
        path: a file that holds it.
        score: its cosine with the query; comparable among the hits of one query only.
        relevance: probability that it is what the query meant; None in a collection too small to tell.
        by_caption: whether its caption holds words of the query.
        copies: further files with the very same bytes.
        picture: everything else that the index knows of it.
    """

    id: str
    path: Path
    score: float
    relevance: float | None = None
    by_caption: bool = False
    copies: tuple[Path, ...] = ()
    picture: Picture

    @property
    def width(self) -> int:
        """Of the upright picture, in pixels."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Of the upright picture, in pixels."""
        return self.picture.height

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, what is not known left out."""
        picture = self.picture
        facts: dict[str, Any] = {
            "score": round(self.score, 6),
            "relevance": None if self.relevance is None else round(self.relevance, 4),
            "path": str(self.path),
            "copies": [str(copy) for copy in self.copies],
            "width": picture.width,
            "height": picture.height,
        }
        more = {"taken_at": picture.taken_at, "camera": picture.camera, "caption": picture.caption}
        place = {} if picture.gps is None else picture.gps._asdict()
        return facts | {key: value for key, value in more.items() if value} | place | dict(picture.columns)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Hits of one query, best first, and how many pictures fit its filter."""

    hits: list[Hit]
    fits: int


def passes(hit: Hit, cut: float) -> bool:
    """Whether a hit is shown: likely enough, found by its caption, or of a collection too small to tell.

    Raises:
        ParameterError: `cut` is no probability.
    """
    if not 0 <= cut <= 1:
        raise ParameterError("cut", must_be="a probability from 0 to 1", got=cut)
    return hit.relevance is None or hit.by_caption or hit.relevance >= cut


def live_hits(rows: Iterable[Row]) -> Iterator[Hit]:
    """Rows -> hits, in the same order; pictures whose files have all gone are passed over."""
    for row in rows:
        picture = Picture.from_payload(row.payload)
        if paths := live_paths(picture):
            yield Hit(id=row.id, path=paths[0], score=row.score, copies=tuple(paths[1:]), picture=picture)


def live_paths(picture: Picture) -> list[Path]:
    """The files that hold the picture and are still there."""
    return sorted(place.path for place in picture.places if not is_gone(place.path))


def fused_order(by_sight: Sequence[str], by_words: Sequence[str], words_weight: float) -> list[str]:
    """Two rankings of ids -> one: each id counts 1 / (60 + rank) in each ranking that has it.

    Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): cosine and BM25 are on no common scale,
    ranks are.
    """
    points: dict[str, float] = {}
    for ranking, weight in ((by_sight, 1.0), (by_words, words_weight)):
        for rank, id in enumerate(ranking, start=1):
            points[id] = points.get(id, 0.0) + weight / (RANK_OFFSET + rank)
    return sorted(points, key=lambda id: -points[id])
