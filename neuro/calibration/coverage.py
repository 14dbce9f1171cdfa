"""What sets of labels turned out to be worth on people who were tested.

Letters: D deals, N runs; the last axis of sets is labels 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.interval import Interval, wilson
from neuro.protocol.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often sets held the true label, and how much they said.

    Attributes:
        asked: the coverage that was promised.
        found: the share of people whose set held their label, with Wilson's interval over people.
        negatives, positives: the same of either label alone.
        both, one, none: shares of sets that hold so many labels.
        right_of_one: of sets of one label, the share that is right; None where there is none.
        people: how many were tested.
    """

    asked: float
    found: Interval
    negatives: Interval
    positives: Interval
    both: float
    one: float
    none: float
    right_of_one: float | None
    people: int

    def in_words(self) -> str:
        """One sentence: kept or not, and how often a set said anything."""
        short = self.found.high < self.asked
        verdict = "falls short of" if short else "is in keeping with"
        return (
            f"Sets held the true label in {100 * self.found.estimate:.0f} % of {self.people} people"
            f" (95 % interval {100 * self.found.low:.0f} to {100 * self.found.high:.0f}), which {verdict} the"
            f" {100 * self.asked:g} % asked; {100 * self.one:.0f} % of them named one label,"
            f" {100 * self.both:.0f} % both, {100 * self.none:.0f} % none."
        )


def coverage_of(sets: NDArray[np.bool_], predictions: Predictions, asked: float) -> Coverage:
    """Count how often the sets of tested runs held the true label.

    Each person counts once, with the mean over runs and deals. Such means vary less than single hits do, so
    Wilson's interval at the number of people is, with several deals, rather wide.

    Args:
        sets: (D, N, 2); of runs that were not tested anything.
        predictions: of the same model, for labels, people and what was tested.
        asked: the coverage that was promised.

    Raises:
        ParameterError: the shapes do not fit, or no run of a label was tested.
    """
    shape = (*predictions.folds.shape, 2)
    if np.shape(sets) != shape:
        raise ParameterError("sets", must_be=f"of shape {shape}", got=np.shape(sets))
    tested_DN, size_DN = predictions.tested, sets.sum(-1)
    held_DN = np.where(predictions.labels == 1, sets[..., 1], sets[..., 0])
    people = np.unique(predictions.people.astype(str), return_inverse=True)[1]
    found = {}
    for name, rows_N in _rows(predictions.labels).items():
        used_DN = tested_DN & rows_N
        if not used_DN.any():
            raise ParameterError("tested runs", must_be="of both labels", got=f"none that are {name}")
        found[name] = _over_people(held_DN, used_DN, people)
    single_DN = tested_DN & (size_DN == 1)
    return Coverage(
        asked=asked,
        found=wilson(*found["all"]),
        negatives=wilson(*found["negatives"]),
        positives=wilson(*found["positives"]),
        both=float((size_DN[tested_DN] == 2).mean()),
        one=float((size_DN[tested_DN] == 1).mean()),
        none=float((size_DN[tested_DN] == 0).mean()),
        right_of_one=float(held_DN[single_DN].mean()) if single_DN.any() else None,
        people=int(found["all"][1]),
    )


def _rows(labels: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    return {"all": np.ones(len(labels), bool), "negatives": labels == 0, "positives": labels == 1}


def _over_people(
    held_DN: NDArray[np.bool_], used_DN: NDArray[np.bool_], person_N: NDArray[np.intp]
) -> tuple[float, int]:
    """Mean over people of the share of their used runs and deals that held; and how many people."""
    used_P = np.bincount(person_N, weights=used_DN.sum(0))
    held_P = np.bincount(person_N, weights=(held_DN & used_DN).sum(0))
    there_P = used_P > 0
    return float((held_P[there_P] / used_P[there_P]).mean()), int(there_P.sum())
