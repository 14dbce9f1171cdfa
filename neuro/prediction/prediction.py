"""What is said of one scan: a probability and its interval, a set of labels, and what speaks against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.interval import Interval
from neuro.calibration.acquisition import MEASURES, WORDS, Fingerprint, figure_in_words, range_in_words
from neuro.calibration.calibration import Calibration
from neuro.calibration.novelty import NoveltyScore

LABELS = ("control", "patient")  # of label 0 and label 1
UNCALIBRATED = "uncalibrated: the model was trained without calibration and may be far too sure or too shy"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One thing in which a scan can be set beside those of training.

    Attributes:
        says: what it is, in words.
        here: of this scan, in words; None where it is not known.
        training: of the training runs, in words.
        outside: whether it is a mismatch.
    """

    says: str
    here: str | None
    training: str
    outside: bool


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says of one run; for research, not for diagnosis.

    Attributes:
        bold: the run.
        probability: of the positive class, calibrated or not.
        logit: the model's log odds, averaged over the clips of the run, before any calibration.
        clips: how many clips were averaged.
        recipe_identity: how the run was cleaned.
        trained: digest of the run that the model is from.
        interval: the probability with its 95 % interval; None where it is uncalibrated.
        labels: those that cannot be excluded; None where it is uncalibrated.
        coverage: of such sets; None where it is uncalibrated.
        calibrated_on: people whose scores calibrated it, 0 where none did.
        in_words: what the set says, or that it is uncalibrated.
        novelty: how unlike the training scans it is; None where that is not known.
        acquisition: this scan beside those of training.
        warnings: what speaks against believing it.
    """

    bold: Path
    probability: float
    logit: float
    clips: int
    recipe_identity: str
    trained: str
    interval: Interval | None = None
    labels: tuple[str, ...] | None = None
    coverage: float | None = None
    calibrated_on: int = 0
    in_words: str = UNCALIBRATED
    novelty: NoveltyScore | None = None
    acquisition: tuple[Beside, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"bold": str(self.bold)}


def calibrated(calibration: Calibration | None, logit: float) -> dict[str, Any]:
    """Of a logit, what of a `Prediction` calibration decides."""
    if calibration is None:
        return {"probability": 1 / (1 + math.exp(-logit))}
    interval, sets = calibration.interval(logit), calibration.conformal
    held = sets.sets(interval.estimate)
    return {
        "probability": interval.estimate,
        "interval": interval,
        "labels": tuple(name for name, inside in zip(LABELS, held, strict=True) if inside),
        "coverage": sets.coverage,
        "calibrated_on": sum(sets.people) if sets.by_label else sets.people[0],
        "in_words": sets.in_words(interval.estimate, LABELS),
    }


def beside(training: Fingerprint, acquisition: Mapping[str, Any]) -> tuple[Beside, ...]:
    """A row for all that is known of the acquisition of training."""
    rows = []
    for measure in MEASURES:
        if measure.name in training.ranges:
            value = float(acquisition.get(measure.name, math.nan))
            low, high = training.ranges[measure.name]
            rows.append(
                Beside(
                    says=measure.says,
                    here=None if math.isnan(value) else figure_in_words(value, measure.unit),
                    training=range_in_words(low, high, measure.unit),
                    outside=bool(training.mismatches({measure.name: value})),
                )
            )
    for name in WORDS:
        if name in training.words:
            here = acquisition.get(name)
            rows.append(
                Beside(
                    says=name,
                    here=here,
                    training=", ".join(training.words[name]),
                    outside=bool(training.mismatches({name: here})),
                )
            )
    return tuple(rows)
