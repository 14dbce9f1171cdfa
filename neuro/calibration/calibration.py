"""All that turns a model's score into what is said of one person, fitted to inner scores and kept in a file.

Letters: N runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import ParameterError
from data.interval import Interval
from neuro.calibration.calibrators import Calibrator, fit_calibrator
from neuro.calibration.conformal import ConformalSets
from neuro.calibration.inner_scores import InnerScores, cross_calibrated
from neuro.calibration.thresholds import best_threshold

RESAMPLES = 200  # curves that the interval of a probability is read from


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A curve, a threshold and sets.

    Attributes:
        calibrator: scores -> probabilities.
        threshold: of the probability; at or above it a run is called positive.
        conformal: probabilities -> sets of labels.
        resampled: the curve again, fitted to people drawn with replacement; none where that was not asked.
    """

    calibrator: Calibrator
    threshold: float
    conformal: ConformalSets
    resampled: tuple[Calibrator, ...] = ()

    def interval(self, score: float) -> Interval:
        """The probability at a score, with the middle 95 % of what other people would have made of it.

        It knows how well so many people fix the curve. It does not know how training on others would have
        moved the score, and is somewhat narrow.

        Raises:
            ParameterError: no resampled curves were kept.
        """
        if not self.resampled:
            raise ParameterError("resampled curves", must_be="kept, for an interval", got="none")
        estimate = float(self.calibrator.probabilities([score])[0])
        others = [float(curve.probabilities([score])[0]) for curve in self.resampled]
        low, high = np.percentile(others, [2.5, 97.5])
        return Interval(estimate=estimate, low=float(min(low, estimate)), high=float(max(high, estimate)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, from which `from_dict` makes the same to the bit."""
        return {
            "calibrator": self.calibrator.to_dict(),
            "threshold": self.threshold,
            "conformal": self.conformal.to_dict(),
            "resampled": [curve.to_dict() for curve in self.resampled],
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Calibration:
        """What `to_dict` told."""
        return cls(
            calibrator=Calibrator.from_dict(given["calibrator"]),
            threshold=float(given["threshold"]),
            conformal=ConformalSets.from_dict(given["conformal"]),
            resampled=tuple(map(Calibrator.from_dict, given["resampled"])),
        )


def calibrate(
    inner: InnerScores,
    *,
    method: str = "platt",
    coverage: float = 0.9,
    by_label: bool = False,
    resamples: int = 0,
    seed: int = 0,
) -> Calibration:
    """Fit curve, threshold and sets to the inner scores of a training side.

    The sets' quantile is taken on probabilities that curves of the other inner folds gave. It is no split
    conformal to the letter: the scores are of the inner folds' models, and the one that meets new people was
    trained on all of the side. Coverage is therefore to be looked at on people who were tested
    (`neuro.calibration.coverage`), as the protocol does.

    Args:
        inner: of one training side.
        method: of the curve (see `fit_calibrator`).
        coverage: of the sets.
        by_label: whether sets are to keep it within each label.
        resamples: curves to keep for `Calibration.interval`; 200 are enough.
        seed: of the resampling.

    Raises:
        UnknownNameError, ParameterError: as `fit_calibrator` and `ConformalSets.fit`.
    """
    calibrator = fit_calibrator(inner.scores, inner.labels, method)
    conformal = ConformalSets.fit(
        cross_calibrated(inner, method),
        inner.labels,
        coverage=coverage,
        by_label=by_label,
        people=inner.people,
    )
    return Calibration(
        calibrator=calibrator,
        threshold=best_threshold(calibrator.probabilities(inner.scores), inner.labels),
        conformal=conformal,
        resampled=tuple(_resampled(inner, method, resamples, seed)),
    )


def _resampled(inner: InnerScores, method: str, resamples: int, seed: int) -> list[Calibrator]:
    """Curves of people drawn with replacement within each label, all of their runs with them."""
    rng = np.random.default_rng(seed)
    of_label = [
        [
            np.flatnonzero(inner.people == person)
            for person in dict.fromkeys(inner.people[inner.labels == label])
        ]
        for label in (0, 1)
    ]
    curves = []
    for _ in range(resamples):
        drawn = [rows[i] for rows in of_label for i in rng.integers(0, len(rows), len(rows))]
        rows = np.concatenate(drawn)
        curves.append(fit_calibrator(inner.scores[rows], inner.labels[rows], method))
    return curves
