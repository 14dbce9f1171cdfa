"""The label of each picture: from its file, or from the vector that an index holds.

Shape legend: N pictures, L labels, G background labels, E components.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import ParameterError
from vision.prompts import EncodeText, ensemble
from vision.retrieval.picture import Picture
from vision.retrieval.zero_shot import (
    Classifier,
    background_labels,
    build_classifier,
    fits,
)
from vision.store.vector_store import Vectors, VectorStore

SHOWN = 10  # labels of a picture that JSON lists


@dataclass(frozen=True, kw_only=True)
class NoneRule:
    """When a picture is none of the labels; nothing is, where both are None.

    Args:
        below: least probability, by the softmax over the labels, of a label that is given.
        background_GE: unit vectors of other labels, from which a label that fits must stand out with a
            probability of at least 0.5 (`vision.retrieval.zero_shot.fits`).
    """

    below: float | None = None
    background_GE: Vectors | None = None

    def __post_init__(self) -> None:
        if self.below is not None and not 0 <= self.below <= 1:
            raise ParameterError("--none-below", must_be="a probability from 0 to 1", got=self.below)


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """What pictures are to be told apart by, whatever the model.

    Args:
        labels: at least two, all different.
        templates: sentences with a gap, `{}`.
        temperature: above 1 less sure.
        none_below: least probability of a label that is given.
        none: whether a label must stand out from unrelated ones.

    Raises:
        ParameterError: `none_below` is no probability.
    """

    labels: Sequence[str]
    templates: Sequence[str]
    temperature: float = 1.0
    none_below: float | None = None
    none: bool = False

    def __post_init__(self) -> None:
        NoneRule(below=self.none_below)  # which checks it

    def build(self, encode_text: EncodeText, scale: float) -> tuple[Classifier, NoneRule]:
        """The classifier of a model, and when it says that nothing fits.

        Raises:
            ParameterError: labels or a temperature that cannot work.
        """
        classifier = build_classifier(
            encode_text, self.labels, self.templates, scale=scale, temperature=self.temperature
        )
        # One sentence each: the background needs many labels, and no fine distinctions.
        background_GE = ensemble(encode_text, background_labels(), self.templates[:1]) if self.none else None
        return classifier, NoneRule(below=self.none_below, background_GE=background_GE)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a picture was taken for.

    Args:
        path: a file that holds it.
        id: the index's identifier, where it came from one.
        label: None where it is none of them.
        probability: of the most probable label, given that it is one of them.
        fits: probability that this label fits at all; None where that was not asked.
        probabilities: of the ten most probable labels.
    """

    path: Path
    id: str | None = None
    label: str | None
    probability: float
    fits: float | None
    probabilities: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        known = {"path": str(self.path), "label": self.label, "probability": round(self.probability, 6)}
        fits = {} if self.fits is None else {"fits": round(self.fits, 4)}
        return known | fits | {"probabilities": {k: round(v, 6) for k, v in self.probabilities.items()}}

    def columns(self, name: str) -> dict[str, Any]:
        """The two columns that an index keeps of it."""
        return {name: self.label, f"{name}_probability": round(self.probability, 6)}


def classify_vectors(
    classifier: Classifier, vectors_NE: Vectors, pictures: Sequence[tuple[Path, str | None]], rule: NoneRule
) -> list[Verdict]:
    """Verdicts on pictures, each a path and perhaps an identifier, from their unit vectors (N, E)."""
    chances_NL = classifier.probabilities(vectors_NE)
    fits_N = None if rule.background_GE is None else fits(classifier, vectors_NE, rule.background_GE)
    verdicts = []
    for at, (path, id) in enumerate(pictures):
        order = np.argsort(-chances_NL[at], kind="stable")[:SHOWN]
        best = float(chances_NL[at, order[0]])
        fit = None if fits_N is None else float(fits_N[at])
        none = (rule.below is not None and best < rule.below) or (fit is not None and fit < 0.5)
        verdicts.append(
            Verdict(
                path=path,
                id=id,
                label=None if none else classifier.labels[order[0]],
                probability=best,
                fits=fit,
                probabilities={classifier.labels[one]: float(chances_NL[at, one]) for one in order},
            )
        )
    return verdicts


def classify_store(
    classifier: Classifier, store: VectorStore, rule: NoneRule, only: Collection[Path] | None = None
) -> Iterator[Verdict]:
    """Verdicts on what a store holds, from the vectors that are there: nothing is decoded.

    Args:
        only: files to look at; None for everything.
    """
    for ids, vectors_NE in store.scan_vectors():
        pictures = {row.id: Picture.from_payload(row.payload) for row in store.get(ids)}
        wanted = [(at, path) for at, id in enumerate(ids) if (path := _place(pictures.get(id), only))]
        if wanted:
            rows = [at for at, _ in wanted]
            named = [(path, ids[at]) for at, path in wanted]
            yield from classify_vectors(classifier, vectors_NE[rows], named, rule)


def _place(picture: Picture | None, only: Collection[Path] | None) -> Path | None:
    paths = [] if picture is None else sorted(place.path for place in picture.places)
    return next((path for path in paths if only is None or path in only), None)
