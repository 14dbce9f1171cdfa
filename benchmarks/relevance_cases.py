"""Queries with and without an answer, on real photographs: what `benchmarks.relevance` measures on.

One photograph a subject, the subject in the file name (n02007558_flamingo.JPEG). Every subject is asked for
in three phrasings; with its picture there (present) and with it taken out (absent), all that is of its kind
out beside it ("kind") or left in ("strict": a miniature poodle is then wrong for a toy poodle). Then the
kinds themselves are asked for, as a larger and larger part of the collection. Kinds are dealt into two
halves.

Shape legend: N pictures, Q queries, E components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.relevance_subjects import KINDS, kind_of
from vision.retrieval.relevance import FEWEST

PHRASINGS = (
    "{}",
    "a photo of a {}",
    "the picture of a {} that I took on holiday and would like to find again",
)
SIZES = (30, 50, 100, 250)
SHARES = (0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One query on one collection: its scores (N,), which pictures are relevant, and where it belongs."""

    scores: np.ndarray
    relevant: np.ndarray
    setting: str  # "strict", "kind", "kinds" or "share 0.1"
    size: int
    phrasing: int
    fit: bool

    @property
    def answered(self) -> bool:
        """Whether there is anything relevant."""
        return bool(self.relevant.any())

    @property
    def top(self) -> int:
        """The best hit."""
        return int(self.scores.argmax())


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Unit vectors of the pictures (N, E), and of their names and the kinds in each phrasing (3, Q, E)."""

    pictures: np.ndarray
    names: np.ndarray
    kinds: np.ndarray


def embed(backbone: Any, photos: list[Path], subjects: list[str]) -> Vectors:
    """All vectors that the cases need."""
    import torch

    from data.photos import load_photo

    pictures = [
        backbone.encode_image(
            torch.stack([backbone.preprocess(load_photo(p).image) for p in photos[i : i + 25]])
        )
        for i in range(0, len(photos), 25)
    ]

    def texts(names: list[str]) -> np.ndarray:
        return np.stack([backbone.encode_text([p.format(n) for n in names]).cpu().numpy() for p in PHRASINGS])

    return Vectors(
        pictures=torch.cat(pictures).cpu().numpy(), names=texts(subjects), kinds=texts(list(KINDS))
    )


def cases(vectors: Vectors, subjects: list[str]) -> Iterator[Case]:
    """All queries on all collections; seeded."""
    rng = np.random.default_rng(0)
    names, kinds = np.array(subjects), np.array([kind_of(name) for name in subjects])
    halves = {kind: place % 2 == 0 for place, kind in enumerate(dict.fromkeys(kinds))}
    for size in SIZES:
        for phrasing in range(len(PHRASINGS)):
            for row in range(len(names)):
                own, alike = np.arange(len(names)) == row, kinds == kinds[row]
                some = _some(rng, len(names), size) | own
                where = {"size": size, "phrasing": phrasing, "fit": halves[kinds[row]]}
                scores = vectors.pictures @ vectors.names[phrasing, row]
                for setting, near in (("strict", own), ("kind", alike)):
                    for keep in (some & (own | ~near), some & ~near):
                        yield Case(scores=scores[keep], relevant=own[keep], setting=setting, **where)
            for row, members in enumerate(KINDS.values()):
                scores, own = vectors.pictures @ vectors.kinds[phrasing, row], np.isin(names, members)
                where = {"phrasing": phrasing, "fit": halves[list(KINDS)[row]]}
                some = _some(rng, len(names), size)
                some |= own & ~(some & own).any()
                for keep in (some, some & ~own):
                    yield Case(scores=scores[keep], relevant=own[keep], setting="kinds", size=size, **where)
                if size == SIZES[-1]:
                    yield from _shares(rng, scores, own, where)


def _some(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    chosen = np.zeros(count, dtype=bool)
    chosen[rng.permutation(count)[:size]] = True
    return chosen


def _shares(
    rng: np.random.Generator, scores: np.ndarray, own: np.ndarray, where: dict[str, Any]
) -> Iterator[Case]:
    others = np.flatnonzero(~own)
    for share in SHARES:
        count = round(own.sum() * (1 - share) / share)
        if FEWEST <= count <= len(others):
            keep = np.r_[np.flatnonzero(own), rng.permutation(others)[:count]]
            yield Case(
                scores=scores[keep], relevant=own[keep], setting=f"share {share}", size=len(keep), **where
            )
