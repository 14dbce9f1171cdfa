"""Every metric against scikit-learn in each deal; intervals against people drawn and scored one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

from data.errors import ParameterError
from neuro.protocol.metrics import METRICS, fold_values, metric_intervals, metric_value, part_of
from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import drawn, people_of

from .made_predictions import made

Score = Callable[..., float]
# What scikit-learn calls them: (labels, scores, probabilities, called) -> value.
BY_SKLEARN: dict[str, Score] = {
    "balanced_accuracy": lambda y, s, p, c: balanced_accuracy_score(y, c),
    "sensitivity": lambda y, s, p, c: recall_score(y, c, pos_label=1, zero_division=0),
    "specificity": lambda y, s, p, c: recall_score(y, c, pos_label=0, zero_division=0),
    "f1": lambda y, s, p, c: f1_score(y, c, zero_division=0),
    "brier": lambda y, s, p, c: brier_score_loss(y, p),
    "log_loss": lambda y, s, p, c: log_loss(y, p, labels=[0, 1]),
}


def slow(predictions: Predictions, name: str, runs: np.ndarray) -> float:
    """A metric of some runs, which may come several times, deal by deal through scikit-learn."""
    found = []
    for deal in range(predictions.deals):
        chosen = runs[predictions.folds[deal, runs] >= 0]
        y = predictions.labels[chosen]
        s, p, c = (getattr(predictions, part)[deal, chosen] for part in ("scores", "probabilities", "called"))
        if name != "auc":
            found.append(BY_SKLEARN[name](y, s, p, c))
            continue
        won = total = 0.0
        for fold in np.unique(predictions.folds[deal, chosen]):
            here = predictions.folds[deal, chosen] == fold
            pairs = float((y[here] == 1).sum() * (y[here] == 0).sum())
            if pairs:
                won, total = won + pairs * roc_auc_score(y[here], s[here]), total + pairs
        if total:
            found.append(won / total)
    return float(np.mean(found))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), runs=st.integers(1, 3), ties=st.booleans())
def test_every_metric_is_scikit_learns_averaged_over_deals(seed: int, runs: int, ties: bool) -> None:
    (one,) = made(seed, [0.7], people=24, runs=runs, deals=3, ties=ties)
    for name in METRICS:
        assert metric_value(one, name) == pytest.approx(
            slow(one, name, np.arange(len(one.labels))), abs=1e-12
        )


def test_there_is_a_twin_for_every_metric() -> None:
    assert set(METRICS) == {"auc", *BY_SKLEARN}


@pytest.mark.parametrize("name", METRICS)
def test_intervals_are_those_of_people_drawn_one_by_one(name: str) -> None:
    """The same draws, each resample spelled out: runs repeated as often as their person was drawn."""
    (one,) = made(4, [1.0], people=20, runs=2, deals=2)
    found = metric_intervals(one, names=[name], resamples=60, seed=9)[name]
    weights = drawn(people_of(one.people, one.labels), one.folds, 60, 9).astype(int)
    twins = [slow(one, name, np.repeat(np.arange(40), row)) for row in weights]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(twins, [2.5, 97.5])), abs=1e-12)


def test_people_are_drawn_within_label_with_all_their_runs() -> None:
    (one,) = made(0, [0.0], people=20, runs=3)
    weights = drawn(people_of(one.people, one.labels), one.folds, 200, 1)
    by_person = weights.reshape(200, 20, 3)
    assert (by_person == by_person[:, :, :1]).all()
    assert (by_person[:, ::2, 0].sum(1) == 10).all()
    assert (by_person[:, 1::2, 0].sum(1) == 10).all()
    assert by_person.max() > 1


def test_runs_that_nothing_tested_count_nowhere() -> None:
    (one,) = made(2, [1.0], people=24, deals=2)
    folds, spoilt = one.folds.copy(), {}
    folds[0, :3] = -1
    folds[:, 5] = -1
    for name, value in (("scores", np.nan), ("probabilities", np.nan), ("called", -1)):
        values = getattr(one, name).copy()
        values[folds < 0] = value
        spoilt[name] = values
    holed = replace(one, folds=folds, **spoilt)
    everybody = np.arange(24)
    for name, found in metric_intervals(holed, resamples=100).items():
        assert found.estimate == pytest.approx(slow(holed, name, everybody))
        assert found.low <= found.estimate <= found.high
    never = drawn(people_of(holed.people, holed.labels), holed.folds, 50, 0)
    assert (never[:, 5] == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), effect=st.floats(0, 3))
def test_intervals_hold_their_estimate_and_stay_in_bounds(seed: int, effect: float) -> None:
    (one,) = made(seed, [effect], people=16, runs=2)
    for name, found in metric_intervals(one, resamples=200).items():
        assert found.low <= found.estimate <= found.high
        assert found.low >= 0
        assert name == "log_loss" or found.high <= 1


def test_a_perfect_figure_of_few_people_is_not_certain() -> None:
    """Wilson's interval for 8 of 8; a bootstrap would say 1 to 1."""
    from scipy.stats import binomtest

    (one,) = made(1, [50.0], people=16, splits=2)
    found = metric_intervals(one)
    wilson = binomtest(8, 8).proportion_ci(method="wilson")
    for name in ("auc", "sensitivity", "specificity", "balanced_accuracy", "f1"):
        assert (found[name].estimate, found[name].high) == (1.0, 1.0)
        assert found[name].low == pytest.approx(wilson.low)
    wrong = metric_intervals(replace(one, scores=-one.scores, called=1 - one.called))
    wilson = binomtest(0, 8).proportion_ci(method="wilson")
    assert (wrong["auc"].estimate, wrong["auc"].low) == (0.0, 0.0)
    assert wrong["auc"].high == pytest.approx(wilson.high)


def test_a_certain_error_costs_much_but_not_endlessly() -> None:
    (one,) = made(1, [0.0], people=16)
    certain = replace(one, probabilities=np.broadcast_to(1.0 - one.labels, one.folds.shape))
    assert metric_value(certain, "log_loss") == pytest.approx(-np.log(np.finfo(float).eps))
    assert metric_value(certain, "brier") == 1.0


def test_the_same_people_are_drawn_for_every_model() -> None:
    """So that intervals of two models may be laid side by side."""
    first, second = made(6, [1.0, 1.0])
    same = replace(second, scores=first.scores, probabilities=first.probabilities, called=first.called)
    assert metric_intervals(first, resamples=50) == metric_intervals(same, resamples=50)


def test_figures_of_folds_are_those_of_their_runs() -> None:
    (one,) = made(3, [1.0], people=24, runs=2, deals=2, splits=3)
    found = fold_values(one, "auc")
    assert found.shape == (6,)
    for number, (deal, fold) in enumerate((d, f) for d in range(2) for f in range(3)):
        here = one.folds[deal] == fold
        assert found[number] == pytest.approx(roc_auc_score(one.labels[here], one.scores[deal, here]))


def test_a_fold_of_one_label_has_no_auc_but_the_rest_have() -> None:
    (one,) = made(3, [1.0], people=12, deals=1, splits=3)
    folds = one.folds.copy()
    folds[0, one.labels == 0] = np.where(folds[0, one.labels == 0] == 2, 1, folds[0, one.labels == 0])
    assert fold_values(replace(one, folds=folds), "auc").shape == (2,)
    only = part_of(one, one.labels == 1)
    with pytest.raises(ParameterError, match="both labels"):
        metric_intervals(only)


def test_a_part_of_predictions_is_the_same_part_of_everything() -> None:
    (one,) = made(3, [1.0], people=12, deals=2)
    whole = replace(one, sets=np.stack([one.probabilities < 0.6, one.probabilities > 0.4], axis=-1))
    part = part_of(whole, whole.labels == 1, 1)
    assert part.sets is not None
    assert whole.sets is not None
    np.testing.assert_array_equal(part.scores, one.scores[1:, 1::2])
    np.testing.assert_array_equal(part.sets, whole.sets[1:, 1::2])
    assert part_of(one, one.labels == 1).sets is None


def test_a_person_with_two_labels_is_refused() -> None:
    (one,) = made(0, [1.0], people=8, runs=2, splits=2)
    labels = one.labels.copy()
    labels[0] = 1 - labels[0]
    with pytest.raises(ParameterError, match="both for p000"):
        metric_intervals(replace(one, labels=labels))
