"""What an update is calibrated on: scores of people whom the scoring model had not seen, and all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from neuro.calibration.acquisition import Fingerprint
from neuro.calibration.calibration import Calibration, calibrate
from neuro.calibration.inner_scores import InnerScores
from neuro.continual import trials as made
from neuro.continual.calibrated import calibration_of
from neuro.continual.config import UpdateConfig
from neuro.continual.learning import Learned
from neuro.continual.runs import Runs
from neuro.continual.trials import Said, Trials, checked_trials, nested_trials, run_trials
from neuro.tokens import RunTokens

from .toy_sites import site


@dataclass
class Parrot:
    """Knows the label of whom it was shown, and of nobody else."""

    labels: dict[str, int] = field(default_factory=dict)

    def shown(self, runs: Runs) -> Parrot:
        ids = map(str, runs.run_ids)
        return Parrot({**self.labels, **dict(zip(ids, runs.labels.tolist(), strict=True))})

    def decision_function(self, runs: Sequence[RunTokens]) -> np.ndarray:
        rng = np.random.default_rng(len(runs))
        guesses = rng.standard_normal(len(runs))
        known = zip([self.labels.get(run.run_id) for run in runs], guesses, strict=True)
        return np.array([guess if label is None else 18 * label - 9 for label, guess in known])


@pytest.fixture
def parrots(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of everything that is trained."""

    def afresh(_: Any, runs: Runs, __: Any) -> Learned:
        return Learned(classifier=Parrot().shown(runs), runs=runs, importance=None)  # type: ignore[arg-type]

    def updated(known: Any, new: Runs, *_: Any) -> Parrot:
        parrot: Parrot = known.classifier.shown(new)
        return parrot

    monkeypatch.setattr(made, "learned_afresh", afresh)
    monkeypatch.setattr(made, "updated", updated)


def said_of(trials: Trials, old: Runs) -> Said:
    parent = Learned(classifier=Parrot().shown(old), runs=old, importance=None)  # type: ignore[arg-type]
    steps = run_trials(trials, parent, ["replay"], UpdateConfig())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@pytest.mark.usefixtures("parrots")
@pytest.mark.parametrize("checked", [False, True])
def test_nobody_who_was_learned_by_heart_makes_a_probability_surer(checked: bool) -> None:
    old, new = site("A", 24), site("B", 24)
    if checked:
        trials = checked_trials(site("C", 24), new, list(map(str, old.people)), folds=3, seed=0)
    else:
        trials = nested_trials(old, new, folds=3, seed=0)
    scores = said_of(trials, old).after["replay"]
    assert np.abs(scores).max() < 9
    found = calibration_of(trials, scores, None, seed=0)
    assert found.conformal.people[0] == 48
    assert found.calibrator.probabilities([9])[0] < 0.99
    by_heart = np.where(trials.everybody.labels == 1, 9.0, -9.0)
    assert calibration_of(trials, by_heart, None, seed=0).calibrator.probabilities([9])[0] > 0.95


def made_trials(rng: np.random.Generator) -> tuple[Trials, np.ndarray]:
    trials = nested_trials(site("A", 20), site("B", 20), folds=4, seed=0)
    return trials, 2.0 * trials.everybody.labels - 1 + rng.standard_normal(40)


def test_the_curve_is_a_logistic_regression_of_labels_on_scores(rng: np.random.Generator) -> None:
    trials, scores = made_trials(rng)
    found = calibration_of(trials, scores, None, seed=0)
    sure = np.where(trials.everybody.labels == 1, 21 / 22, 1 / 22)  # Platt's targets of 20 people a label
    X, y = np.concatenate([scores, scores])[:, None], np.repeat([1, 0], 40)
    twin = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y, sample_weight=np.concatenate([sure, 1 - sure]))
    assert found.calibrator.slope == pytest.approx(twin.coef_[0, 0], rel=1e-3)
    assert found.calibrator.intercept == pytest.approx(twin.intercept_[0], abs=1e-3)
    assert len(found.resampled) == 200


def test_the_parents_curve_and_coverage_are_asked_for_again(rng: np.random.Generator) -> None:
    trials, scores = made_trials(rng)
    everybody = trials.everybody
    inner = InnerScores(
        scores=scores, labels=everybody.labels, people=everybody.people, fold_of=trials.fold_of
    )
    parent = calibrate(inner, method="temperature", coverage=0.8, by_label=True)
    found = calibration_of(trials, scores[::-1].copy(), parent, seed=0)
    assert (found.calibrator.method, found.conformal.coverage) == ("temperature", 0.8)
    assert found.conformal.by_label
    assert found.calibrator != parent.calibrator
    same = calibration_of(trials, scores, parent, seed=0)
    assert isinstance(same, Calibration)
    assert (same.calibrator, same.conformal) == (parent.calibrator, parent.conformal)


def test_what_either_has_seen_is_what_both_have_seen_together() -> None:
    here = pd.DataFrame({"tr": [2.0, 2.5], "frames": [200, np.nan], "space": "MNI", "site": ["A", "B"]})
    there = pd.DataFrame({"tr": [1.5, 2.2], "tsnr": [40.0, 60.0], "space": [None, "MNI"], "site": ["C", "B"]})
    both = Fingerprint.of(pd.concat([here, there], ignore_index=True))
    assert Fingerprint.of(here) | Fingerprint.of(there) == both
    assert Fingerprint.of(there) | Fingerprint.of(here) == both
    assert both.ranges["tr"] == (1.5, 2.5)
