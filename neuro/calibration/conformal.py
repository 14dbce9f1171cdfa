"""Probabilities -> sets of labels that hold the true one with a stated coverage, whatever the model is worth.

Split-conformal prediction with the LAC score, 1 minus the probability of the true label (Sadinle, Lei &
Wasserman 2019; mapie's `LACConformityScore`). A label is in the set where its score is no larger than the
ceil((n + 1) * coverage)-th smallest of n people whom the model had not seen.

The promise is one of averages, over new people who are like those: of all sets together, not of those of one
person, and (without `by_label`) not of patients alone. With fewer than coverage / (1 - coverage) people no
label can be excluded at all, and the only set that keeps the promise is both labels. That is what is given,
not an error: a fold of a protocol may be that small, and "cannot tell" is true of it.

Letters: N runs, D deals; the last axis is labels 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from neuro.calibration.calibrators import Floats, checked

TOLERANCE = 1e-8  # mapie's: scores this much above the quantile still count as equal to it
NOTHING_EXCLUDED = 1.0  # no score is above it


@dataclass(frozen=True, kw_only=True)
class ConformalSets:
    """A quantile for each label, and how it was come by.

    Attributes:
        coverage: what was asked, 0 to 1.
        by_label: whether coverage is kept within each label (Mondrian), which takes more people.
        quantiles: largest score with which label 0, and label 1, is in a set.
        people: how many people each of these quantiles rests on.
    """

    coverage: float
    by_label: bool
    quantiles: tuple[float, float]
    people: tuple[int, int]

    @classmethod
    def fit(
        cls,
        probabilities: ArrayLike,
        labels: ArrayLike,
        *,
        coverage: float = 0.9,
        by_label: bool = False,
        people: ArrayLike | None = None,
    ) -> ConformalSets:
        """Fit to people whom model and calibrator had not seen.

        Args:
            probabilities: of label 1 (N,).
            labels: 0 or 1 (N,).
            coverage: the share of sets that are to hold the true label.
            by_label: whether that is to hold of each label alone.
            people: of each run (N,); None where everybody has one. Only the first run of each counts, as runs
                of one person are not new people.

        Raises:
            ParameterError: coverage is not between 0 and 1, a label is missing, or lengths differ.
        """
        if not 0 < coverage < 1:
            raise ParameterError("coverage", must_be="between 0 and 1", got=coverage)
        probability_N, label_N = checked(probabilities, labels)
        first = first_runs(people) if people is not None else np.arange(len(label_N))
        both_N2 = np.stack([1 - probability_N, probability_N], axis=1)[first]
        label_N = label_N[first]
        parts = [label_N == 0, label_N == 1] if by_label else [np.ones(len(label_N), bool)] * 2
        quantiles = [_quantile(both_N2[part], label_N[part], coverage) for part in parts]
        return cls(
            coverage=float(coverage),
            by_label=by_label,
            quantiles=(quantiles[0], quantiles[1]),
            people=(int(parts[0].sum()), int(parts[1].sum())),
        )

    @property
    def enough(self) -> bool:
        """Whether there were people enough for a set to leave anything out."""
        return all(enough_people(count, self.coverage) for count in self.people)

    def sets(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Which labels each set holds (N, 2), or (..., 2) of any shape."""
        probability = np.asarray(probabilities, dtype=np.float64)
        score = np.stack([probability, 1 - probability], axis=-1)  # 1 minus that of label 0, and of label 1
        return np.asarray(score - np.array(self.quantiles) <= TOLERANCE)

    def in_words(self, probability: float, names: tuple[str, str]) -> str:
        """What the set of one run says.

        Args:
            probability: of label 1.
            names: of label 0 and label 1.
        """
        negative, positive = (bool(held) for held in self.sets(probability))
        share = f"{100 * self.coverage:g} %"
        if negative and positive and not self.enough:
            return (
                f"cannot tell: {min(self.people)} people are too few to exclude a label at {share} coverage"
                f" ({people_needed(self.coverage)} are needed)"
            )
        if negative and positive:
            return f"cannot tell: neither {names[0]} nor {names[1]} can be excluded at {share} coverage"
        if not negative and not positive:
            return (
                f"neither {names[0]} nor {names[1]}: this run stands further from both than {share} of people"
                " stood from their own; it should not be called"
            )
        kept, excluded = names[::-1] if positive else names
        return f"{kept}: {excluded} is excluded by a rule that keeps the true label in {share} of people"

    def to_dict(self) -> dict[str, Any]:
        """For JSON, from which `from_dict` makes the same rule to the bit."""
        return asdict(self) | {"quantiles": list(self.quantiles), "people": list(self.people)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> ConformalSets:
        """The rule that `to_dict` told."""
        return cls(
            coverage=float(given["coverage"]),
            by_label=bool(given["by_label"]),
            quantiles=(float(given["quantiles"][0]), float(given["quantiles"][1])),
            people=(int(given["people"][0]), int(given["people"][1])),
        )


def enough_people(people: int, coverage: float) -> bool:
    """Whether so many can exclude anything: whether their largest score bounds a new one so often."""
    return bool(_rank(people, coverage) <= people)


def people_needed(coverage: float) -> int:
    """The fewest people with whom a label can be excluded at this coverage."""
    return next(n for n in range(1, 1 + int(2 + 1 / (1 - coverage))) if enough_people(n, coverage))


def first_runs(people: ArrayLike) -> NDArray[np.intp]:
    """The row of each person's first run, in order of the rows."""
    _, first = np.unique(np.asarray(people).astype(str), return_index=True)
    return np.sort(first)


def _rank(people: int, coverage: float) -> float:
    # As mapie computes it, of the risk: in floating point (1 - coverage) and 1 - risk are not the same.
    return float(np.ceil((people + 1) * (1 - _risk(coverage))))


def _risk(coverage: float) -> float:
    """1 - coverage, rounded as a person would write it."""
    return round(1 - coverage, 12)


def _quantile(both_N2: Floats, label_N: NDArray[np.int64], coverage: float) -> float:
    from mapie.conformity_scores import LACConformityScore

    if not enough_people(len(label_N), coverage):
        return NOTHING_EXCLUDED
    lac = LACConformityScore()
    score_N1 = lac.get_conformity_scores(label_N, both_N2, y_enc=label_N)
    return float(lac.get_conformity_score_quantiles(score_N1, np.array([_risk(coverage)]), cv="prefit")[0])
