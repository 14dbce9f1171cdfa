"""What is looked for: words and pictures, added and taken away, made into one vector.

    Query.of("a dog on a beach").plus("sunset").minus("people").like(Path("photo.jpg"), weight=0.5)

Every term t gives each picture x a score, the cosine v_t . x. Scores of different terms are not on one
scale: those between two pictures spread wider than those between words and a picture, and would drown them.
So a term counts in units of its own standard deviation over the collection: the total, the sum of
w_t (v_t . x) / sd_t, is linear in x, hence again one vector, and one search answers it, exact or through a
graph. Where no sample of the collection is at hand, sd_t is 1.

Relevance feedback adds the mean of the pictures to find more of, and takes away the mean of those to find
less of (Rocchio 1971), with the weights of Manning, Raghavan and Schütze (2008, section 9.1).

Shape legend: T terms, N sampled pictures, E components of the joint space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.errors import ParameterError
from vision.store.vector_store import Vectors

Content = str | Path | bytes | Image.Image | npt.ArrayLike
MORE_LIKE, LESS_LIKE = 0.75, 0.15
CANCELLED = 1e-6  # of the largest term: what is left below that is rounding


@dataclass(frozen=True, kw_only=True)
class Term:
    """One thing to look for (or, with a negative weight, to keep away from).

    Args:
        content: a text; a picture as a path, as a file's bytes or as a PIL image; or a vector (E,).
        weight: how much it counts beside the other terms.
    """

    content: Content
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ParameterError("weight", must_be="a finite number", got=self.weight)
        if isinstance(self.content, str) and not self.content.strip():
            raise ParameterError("query", must_be="some words", got="an empty text")


@dataclass(frozen=True)
class Query:
    """A sum of terms; `plus`, `minus` and `like` give a longer one and leave this one as it is."""

    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, content: Content | Query) -> Query:
        """A query of one term; a query stays what it is."""
        return content if isinstance(content, Query) else cls((Term(content=content),))

    def plus(self, content: Content, weight: float = 1.0) -> Query:
        """With one more thing that should be in the picture."""
        return Query((*self.terms, Term(content=content, weight=weight)))

    def minus(self, content: Content, weight: float = 1.0) -> Query:
        """With one more thing that should not be in the picture."""
        return self.plus(content, -weight)

    def like(self, picture: Content, weight: float = 1.0) -> Query:
        """With one more picture that the found ones should resemble: `plus`, under a name that says so."""
        return self.plus(picture, weight)

    def feedback(self, more: Sequence[Content] = (), less: Sequence[Content] = ()) -> Query:
        """With what a person said of earlier results; each group's weight is shared among its pictures."""
        liked = tuple(Term(content=one, weight=MORE_LIKE / len(more)) for one in more)
        disliked = tuple(Term(content=one, weight=-LESS_LIKE / len(less)) for one in less)
        return replace(self, terms=(*self.terms, *liked, *disliked))

    @property
    def words(self) -> str:
        """The wanted texts, for a search in captions."""
        return " ".join(
            term.content for term in self.terms if isinstance(term.content, str) and term.weight > 0
        )


def combine(vectors_TE: Vectors, weights_T: Sequence[float], sample_NE: Vectors | None = None) -> Vectors:
    """Unit vectors of terms and their weights -> the unit vector (E,) of the whole query.

    Args:
        sample_NE: unit vectors of some of the collection's pictures, which tell each term's spread.

    Raises:
        ParameterError: no term, or terms that take each other away.
    """
    scales_T = np.asarray(weights_T, dtype=np.float64) / _spread(vectors_TE, sample_NE)
    terms_TE = scales_T[:, None] * vectors_TE
    total_E = terms_TE.sum(axis=0)
    length = float(np.linalg.norm(total_E))
    if length <= CANCELLED * float(np.abs(scales_T).max(initial=0.0)):
        found = "no term with a weight" if not scales_T.any() else "terms that take each other away"
        raise ParameterError("query", must_be="something to look for", got=found)
    unit_E: Vectors = (total_E / length).astype(np.float32)
    return unit_E


def _spread(vectors_TE: Vectors, sample_NE: Vectors | None) -> npt.NDArray[np.float64]:
    """Standard deviation of each term's scores over the sample (T,); 1 where it cannot be told."""
    if sample_NE is None or len(sample_NE) < 2:
        return np.ones(len(vectors_TE))
    spread_T = (vectors_TE.astype(np.float64) @ sample_NE.T.astype(np.float64)).std(axis=1)
    return np.where(spread_T > CANCELLED, spread_T, 1.0)
