"""Scores for calibration come from models of other people, and from nothing of the test side."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from data.errors import BadFileError, LeakError, ParameterError
from data.splits.folds import subject_folds
from data.splits.nested_splits import nest_by_subject
from neuro.calibration.calibration import Calibration, calibrate
from neuro.calibration.calibrators import fit_calibrator, logits
from neuro.calibration.inner_scores import InnerScores, cross_calibrated, inner_scores
from neuro.calibration.saved import CALIBRATION, read_calibration, write_calibration

PEOPLE = np.repeat([f"sub-{i:02d}" for i in range(20)], 2).astype(object)
LABELS = np.repeat(np.arange(20) % 2, 2)


def rows(seed: int = 0, effect: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(40, 3)) + effect * LABELS[:, None]


class Recogniser(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores a run 1 if it was fitted to that very row, else 0; and notes whether it was told of people."""

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Recogniser:
        self.classes_, self.seen_ = np.array([0, 1]), {row.tobytes() for row in X}
        assert len(groups) == len(X)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.array([float(row.tobytes() in self.seen_) for row in X])


def test_each_score_is_that_of_a_model_of_the_other_folds() -> None:
    X, folds = rows(), subject_folds(LABELS, PEOPLE, n_splits=4)
    inner = inner_scores(LogisticRegression(), X, LABELS, PEOPLE, folds)
    for number, (train, validation) in enumerate(folds):
        wanted = LogisticRegression().fit(X[train], LABELS[train]).decision_function(X[validation])
        np.testing.assert_allclose(inner.scores[validation], wanted)
        assert (inner.fold_of[validation] == number).all()


def test_nobody_is_scored_by_a_model_that_knows_them() -> None:
    assert inner_scores(Recogniser(), rows(), LABELS, PEOPLE, 5).scores.max() == 0


def test_the_test_side_has_no_part_in_calibration() -> None:
    """Whatever stands in the rows of an outer test side, calibration is the same to the bit."""
    X = rows()
    outer = nest_by_subject(subject_folds(LABELS, PEOPLE, n_splits=4), LABELS, PEOPLE, n_splits=3)[0]
    place = {row: i for i, row in enumerate(outer.train)}
    folds = [tuple(np.array([place[r] for r in side]) for side in fold) for fold in outer.inner]

    def fitted(X: np.ndarray) -> Calibration:
        t = outer.train
        return calibrate(inner_scores(LogisticRegression(), X[t], LABELS[t], PEOPLE[t], folds))

    other = X.copy()
    other[outer.test] = 1e6
    assert fitted(other) == fitted(X)


def test_a_person_on_both_sides_of_an_inner_fold_stops_it() -> None:
    half = np.arange(40) % 2 == 0
    folds = [(np.flatnonzero(half), np.flatnonzero(~half)), (np.flatnonzero(~half), np.flatnonzero(half))]
    with pytest.raises(LeakError, match="different people"):
        inner_scores(LogisticRegression(), rows(), LABELS, PEOPLE, folds)


def test_folds_that_leave_somebody_without_a_score_are_refused() -> None:
    folds = subject_folds(LABELS, PEOPLE, n_splits=4)
    with pytest.raises(ParameterError, match="10 never and 0 several"):
        inner_scores(LogisticRegression(), rows(), LABELS, PEOPLE, folds[1:])
    with pytest.raises(ParameterError, match="0 never and 10 several"):
        inner_scores(LogisticRegression(), rows(), LABELS, PEOPLE, [*folds, folds[0]])


def test_a_probability_is_of_a_curve_that_its_own_label_has_not_bent() -> None:
    inner = inner_scores(LogisticRegression(), rows(), LABELS, PEOPLE, 4)
    found = cross_calibrated(inner, "platt")
    here = inner.fold_of == 2
    wanted = fit_calibrator(inner.scores[~here], inner.labels[~here], "platt").probabilities(
        inner.scores[here]
    )
    assert (found[here] == wanted).all()
    turned = inner.labels.copy()
    turned[here] = 1 - turned[here]
    other = InnerScores(scores=inner.scores, labels=turned, people=inner.people, fold_of=inner.fold_of)
    assert (cross_calibrated(other, "platt")[here] == wanted).all()
    assert (cross_calibrated(other, "platt")[~here] != found[~here]).any()


def test_calibration_comes_back_from_its_file_to_the_bit(tmp_path: object) -> None:
    inner = inner_scores(LogisticRegression(), rows(), LABELS, PEOPLE, 4)
    made = calibrate(inner, coverage=0.8, resamples=30)
    write_calibration(made, str(tmp_path))
    assert read_calibration(str(tmp_path)) == made


def test_a_run_without_calibration_has_none_and_a_damaged_file_is_told(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert read_calibration(tmp_path) is None
    for text in ("{", '{"format": 1}', json.dumps({"format": 99})):
        (tmp_path / CALIBRATION).write_text(text)
        with pytest.raises(BadFileError, match="as `neuro train` wrote it"):
            read_calibration(tmp_path)


def test_the_interval_of_a_probability_shrinks_with_people_and_holds_the_estimate() -> None:
    widths = []
    for count in (20, 200):
        rng = np.random.default_rng(1)
        labels = np.arange(count) % 2
        inner = InnerScores(
            scores=labels + rng.normal(size=count),
            labels=labels,
            people=np.arange(count).astype(object),
            fold_of=np.arange(count) // 2 % 5,
        )
        found = calibrate(inner, resamples=100).interval(1.0)
        assert 0 < found.low <= found.estimate <= found.high < 1
        widths.append(found.high - found.low)
    assert widths[1] < 0.6 * widths[0]


def test_logits_undo_the_logistic_and_are_finite_at_its_ends() -> None:
    np.testing.assert_allclose(logits(np.array([0.5, 0.9])), [0, np.log(9)])
    assert np.isfinite(logits(np.array([0.0, 1.0]))).all()
