"""Curves, thresholds: against scikit-learn and slow twins, and what they do with very few people."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.calibration import _sigmoid_calibration
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from data.errors import ParameterError, UnknownNameError
from neuro.calibration.calibrators import METHODS, Calibrator, fit_calibrator, smoothed
from neuro.calibration.thresholds import best_threshold

FITTED = ("platt", "isotonic", "temperature")
scores_and_labels = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-50, 50).map(lambda x: round(x, 2)), min_size=n, max_size=n),
        st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda labels: len(set(labels)) == 2),
    )
)


def drawn(seed: int, count: int, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, count)
    label = (rng.random(count) < expit(gain * score - 0.5)).astype(int)
    label[:2] = 0, 1
    return score, label


def slow_isotonic(score: np.ndarray, target: np.ndarray, at: float) -> float:
    """The min-max formula: the greatest, over starts, of the least, over ends, of the mean in between."""
    value = np.unique(score)
    mean = [target[score == v].mean() for v in value]
    weight = [(score == v).sum() for v in value]
    i = int(np.flatnonzero(value == at)[0])
    return max(
        min(np.average(mean[a : b + 1], weights=weight[a : b + 1]) for b in range(i, len(value)))
        for a in range(i + 1)
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_platt_is_scikit_learns(seed: int, scale: float) -> None:
    score, label = drawn(seed, 40)
    a, b = _sigmoid_calibration(score * scale, label)
    found = fit_calibrator(score * scale, label, "platt").probabilities(score * scale)
    np.testing.assert_allclose(found, expit(-(a * score * scale + b)), atol=2e-4)  # theirs stops at 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_a_logistic_regression_on_smoothed_targets(seed: int) -> None:
    """Each run twice, as a positive and a negative, weighted by its target."""
    score, label = drawn(seed, 30)
    target = smoothed(label)
    regression = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(
        np.tile(score, 2)[:, None],
        np.repeat([1, 0], 30),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    found = fit_calibrator(score, label, "platt")
    assert found.slope == pytest.approx(regression.coef_[0, 0], abs=1e-5)
    assert found.intercept == pytest.approx(regression.intercept_[0], abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_temperature_minimises_the_log_loss_of_smoothed_targets(seed: int) -> None:
    score, label = drawn(seed, 40, gain=0.4)
    target = smoothed(label)

    def loss(log_scale: float) -> float:
        odds = np.exp(log_scale) * score
        return float((np.logaddexp(0, odds) - target * odds).sum())

    best = minimize_scalar(loss, bounds=(-10, 10), method="bounded", options={"xatol": 1e-12})
    found = fit_calibrator(score, label, "temperature")
    assert found.intercept == 0
    assert found.slope == pytest.approx(np.exp(best.x), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(scores_and_labels)
def test_isotonic_equals_the_min_max_formula(drawn_: tuple[list[float], list[int]]) -> None:
    score, label = np.array(drawn_[0]), np.array(drawn_[1])
    found = fit_calibrator(score, label, "isotonic").probabilities(score)
    wanted = [slow_isotonic(score, smoothed(label), s) for s in score]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("method", FITTED)
@settings(max_examples=60, deadline=None)
@given(scores_and_labels)
def test_no_curve_falls_and_nobody_is_certain(method: str, drawn_: tuple[list[float], list[int]]) -> None:
    score, label = np.array(drawn_[0]), np.array(drawn_[1])
    curve = fit_calibrator(score, label, method)
    found = curve.probabilities(np.linspace(-60, 60, 400))
    assert (np.diff(found) >= -1e-12).all()
    inside = curve.probabilities(score)
    assert ((inside > 0) & (inside < 1)).all()


@pytest.mark.parametrize("method", FITTED)
def test_scores_that_part_the_labels_leave_a_doubt_that_shrinks_with_people(method: str) -> None:
    doubts = []
    for count in (10, 60):
        label = np.repeat([0, 1], count // 2)
        score = np.where(label == 1, 3.0, -3.0) + np.linspace(-0.5, 0.5, count)
        doubts.append(1 - fit_calibrator(score, label, method).probabilities([3.0])[0])
    assert 0.1 < doubts[0] < 0.2  # Platt: 1 / (5 + 2)
    assert 0.02 < doubts[1] < 0.05


@pytest.mark.parametrize("method", FITTED)
def test_scores_the_wrong_way_round_are_not_turned(method: str) -> None:
    label = np.repeat([0, 1], 10)
    curve = fit_calibrator(1.0 - 2 * label + np.linspace(-0.3, 0.3, 20), label, method)
    found = curve.probabilities([-100.0, -1, 0, 1, 100])
    assert np.ptp(found) == pytest.approx(0, abs=1e-9)
    assert found[0] == pytest.approx(0.5)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_constant_scores_give_the_share_of_the_label(method: str) -> None:
    label = np.repeat([0, 1, 1], 10)
    found = fit_calibrator(np.full(30, 7.0), label, method).probabilities([7.0, 8.0])
    np.testing.assert_allclose(found, smoothed(label).mean())
    assert 0.6 < found[0] < 0.7


def test_without_calibration_scores_are_log_odds() -> None:
    np.testing.assert_allclose(
        fit_calibrator([5.0, 1], [0, 1], "none").probabilities([0.0, 2]), expit([0, 2])
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_curve_comes_back_from_json_to_the_bit(method: str) -> None:
    curve = fit_calibrator(*drawn(3, 25), method)
    again = Calibrator.from_dict(json.loads(json.dumps(curve.to_dict())))
    assert again == curve
    at = np.linspace(-9, 9, 101)
    assert (again.probabilities(at) == curve.probabilities(at)).all()


@pytest.mark.parametrize("method", FITTED)
def test_calibration_lowers_the_log_loss_of_new_people(method: str) -> None:
    """Scores four times too sure."""
    rng = np.random.default_rng(5)
    odds = rng.normal(0, 1, 4000)
    label = (rng.random(4000) < expit(odds)).astype(int)
    curve = fit_calibrator(4 * odds[:300], label[:300], method)

    def loss(p: np.ndarray) -> float:
        return float(-np.log(np.where(label[300:] == 1, p, 1 - p)).mean())

    assert loss(curve.probabilities(4 * odds[300:])) < loss(expit(4 * odds[300:])) - 0.25
    assert loss(curve.probabilities(4 * odds[300:])) < loss(expit(odds[300:])) + 0.03


@pytest.mark.parametrize(
    ("scores", "labels", "match"),
    [
        ([1.0, 2], [1, 1], "both of them"),
        ([1.0, np.nan], [0, 1], "row 1"),
        ([1.0, 2, 3], [0, 1], "one length"),
        ([1.0, 2], [0, 2], "0 and 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(scores: list[float], labels: list[int], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        fit_calibrator(scores, labels, "platt")


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"platt, isotonic.*did you mean isotonic"):
        fit_calibrator([1.0, 2], [0, 1], "isotonics")


@settings(max_examples=100, deadline=None)
@given(scores_and_labels)
def test_no_cut_has_a_better_balanced_accuracy(drawn_: tuple[list[float], list[int]]) -> None:
    value, label = np.array(drawn_[0]), np.array(drawn_[1])
    found = balanced_accuracy_score(label, value >= best_threshold(value, label))
    cuts = [*value, value.max() + 1]
    assert found == pytest.approx(max(balanced_accuracy_score(label, value >= cut) for cut in cuts))


def test_the_cut_lies_midway_and_of_equals_in_the_middle() -> None:
    assert best_threshold([0.1, 0.2, 0.6, 0.8], [0, 0, 1, 1]) == pytest.approx(0.4)
    # cuts after 0, 2 and 4 are equally good
    assert best_threshold([0.0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1]) == pytest.approx(2.5)


def test_where_nothing_parts_them_everybody_is_of_the_commoner_label() -> None:
    assert (np.full(5, 0.3) >= best_threshold(np.full(5, 0.3), [0, 0, 0, 1, 1])).sum() == 0
    assert (np.full(5, 0.3) >= best_threshold(np.full(5, 0.3), [0, 0, 1, 1, 1])).sum() == 5


def test_neighbouring_floats_are_parted() -> None:
    low, high = 0.1, np.nextafter(0.1, 1)
    assert (np.array([low, high]) >= best_threshold([low, high], [0, 1])).tolist() == [False, True]
