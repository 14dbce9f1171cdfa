"""Calibration error, its bins and intervals: against loops, mapie, and simulated truth at 40 people."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.metrics.calibration import expected_calibration_error
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from data.errors import ParameterError
from neuro.calibration.bin_errors import bin_sums, equal_count, equal_width
from neuro.calibration.figures import reliability_figure
from neuro.calibration.reliability import reliability
from neuro.calibration.slope import slopes
from neuro.protocol.predictions import Predictions


def predictions(
    probabilities: np.ndarray,
    labels: np.ndarray,
    people: np.ndarray | None = None,
    folds: np.ndarray | None = None,
) -> Predictions:
    probabilities = np.atleast_2d(probabilities)
    names = np.arange(len(labels)).astype(object)
    return Predictions(
        model="m",
        run_ids=names,
        labels=np.asarray(labels, np.int64),
        people=names if people is None else people,
        sites=names,
        folds=np.zeros(probabilities.shape, int) if folds is None else folds,
        scores=logit(probabilities),
        probabilities=probabilities,
        called=(probabilities > 0.5).astype(int),
    )


def drawn(
    rng: np.random.Generator, count: int, gain: float = 1.0, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are true if gain is 1 and shift is 0, and labels of both kinds."""
    odds = rng.normal(0, 1.2, count)
    label = (rng.random(count) < expit(odds)).astype(int)
    return expit(gain * odds + shift), label


def slow_error(
    p: np.ndarray, y: np.ndarray, people: np.ndarray, bin_of: np.ndarray
) -> tuple[float, float, float]:
    """Usual ECE, squared error, and the noise in it, by loops over bins and people."""
    ece = square = noise = 0.0
    for number in sorted(set(bin_of.tolist())):
        here = np.flatnonzero(bin_of == number)
        gap = np.mean([y[i] - p[i] for i in here])
        share = len(here) / len(p)
        ece += share * abs(gap)
        square += share * gap**2
        mine = {who: [i for i in here if people[i] == who] for who in people[here]}
        if len(mine) > 1:
            off = [sum(y[i] - p[i] - gap for i in rows) for rows in mine.values()]
            noise += share * len(mine) / (len(mine) - 1) * sum(o**2 for o in off) / len(here) ** 2
        else:
            noise += share * gap**2
    return ece, square, noise


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), bins=st.integers(1, 8), runs=st.integers(1, 3))
def test_errors_equal_those_of_the_slow_twin(seed: int, bins: int, runs: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = drawn(rng, 24)
    people = np.arange(24) // runs
    bin_of = equal_count(p, bins)
    sums = bin_sums(y - p, people, bin_of, np.ones((1, people.max() + 1)))
    ece, square, noise = slow_error(p, y, people, bin_of)
    found = reliability(predictions(p, y, people.astype(object)), bins=bins, resamples=10)
    assert found.ece == pytest.approx(ece)
    assert sums.squared()[0] == pytest.approx(square)
    assert sums.noise()[0] == pytest.approx(noise)
    assert found.error.estimate == pytest.approx(np.sqrt(max(square - noise, 0)))
    assert found.error.low <= found.error.estimate <= found.error.high


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_resample_is_the_table_with_people_repeated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = drawn(rng, 20)
    people, bin_of = np.arange(20) // 2, equal_count(p, 3)
    weight = rng.multinomial(10, np.full(10, 0.1))
    rows = np.concatenate([np.flatnonzero(people == who) for who in np.repeat(np.arange(10), weight)])
    copies = np.repeat(np.arange(10), 2)  # a person drawn twice is two people
    _, square, noise = slow_error(p[rows], y[rows], copies, bin_of[rows])
    sums = bin_sums(y - p, people, bin_of, weight[None].astype(float))
    assert (sums.squared()[0], sums.noise()[0]) == pytest.approx((square, noise))


def test_noise_is_kumars_where_a_bin_has_one_probability() -> None:
    """Kumar, Liang & Ma 2019: the debiased term is y (1 - y) / (n - 1) of each bin."""
    p, y = np.repeat([0.25, 0.75], 12), np.array([1] * 4 + [0] * 8 + [1] * 10 + [0] * 2)
    sums = bin_sums(y - p, np.arange(24), equal_count(p, 2), np.ones((1, 24)))
    share = np.array([4 / 12, 10 / 12])
    assert sums.noise()[0] == pytest.approx(np.mean(share * (1 - share) / 11))


def test_equal_width_error_is_mapies() -> None:
    p, y = drawn(np.random.default_rng(4), 200)
    found = reliability(predictions(p, y), bins=10, resamples=10)
    assert found.ece_equal_width == pytest.approx(
        expected_calibration_error(y, p, num_bins=11)
    )  # its 11 edges


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]), min_size=1, max_size=40), st.integers(1, 8))
def test_bins_go_by_rank_and_never_part_equals(values: list[float], bins: int) -> None:
    p = np.array(values)
    for bin_of in (equal_count(p, bins), equal_width(p, bins)):
        assert bin_of.min() >= 0
        assert bin_of.max() < bins
        order = np.argsort(p, kind="stable")
        assert (np.diff(bin_of[order]) >= 0).all()
        assert all(len(set(bin_of[p == v].tolist())) == 1 for v in p)
    assert np.bincount(equal_count(np.linspace(0, 1, 40), 5)).tolist() == [8] * 5


def test_true_probabilities_pass_and_the_usual_ece_of_them_is_a_tenth() -> None:
    rng = np.random.default_rng(1)
    found = [reliability(predictions(*drawn(rng, 40)), resamples=200, seed=i) for i in range(60)]
    assert np.mean([f.ece for f in found]) == pytest.approx(0.12, abs=0.02)
    assert np.mean([f.ece_if_calibrated.estimate for f in found]) == pytest.approx(0.12, abs=0.02)
    assert np.median([f.error.estimate for f in found]) < 0.05
    assert np.mean([f.p_calibrated < 0.1 for f in found]) < 0.25
    assert "few people can hide" in found[0].in_words()


@pytest.mark.parametrize(("gain", "shift"), [(1.0, 0.0), (2.5, 0.0), (1.0, 1.0)])
def test_the_interval_of_the_error_covers_the_truth(gain: float, shift: float) -> None:
    """The truth from 400,000 people in the same number of bins."""
    p, y = drawn(np.random.default_rng(0), 400_000, gain, shift)
    gap = [(y - p)[rows].mean() for rows in np.array_split(np.argsort(p), 5)]
    truth = float(np.sqrt(np.mean(np.square(gap))))
    rng, hits, biased = np.random.default_rng(3), 0, []
    for draw in range(120):
        found = reliability(predictions(*drawn(rng, 40, gain, shift)), resamples=300, seed=draw)
        hits += found.error.low - 0.005 <= truth <= found.error.high
        biased.append(found.bias.low <= np.mean(p - y) <= found.bias.high)
    assert hits / 120 > 0.89
    assert 0.87 < np.mean(biased) < 0.995


def test_probabilities_that_are_too_sure_are_found_out() -> None:
    p, y = drawn(np.random.default_rng(6), 300, gain=3.0)
    found = reliability(predictions(p, y), resamples=500)
    assert found.p_calibrated < 0.01
    assert found.error.low > 0.05
    assert found.slope is not None
    assert found.slope.high < 0.6
    assert found.in_words().startswith("Not calibrated")


def test_copies_of_a_run_tell_nothing_new() -> None:
    p, y = drawn(np.random.default_rng(8), 30)
    people = np.arange(30).astype(object)
    once = reliability(predictions(p, y, people), bins=4)
    copied = reliability(predictions(*(np.repeat(a, 5) for a in (p, y, people))), bins=4)
    again = reliability(predictions(np.tile(p, (3, 1)), y, people), bins=4)
    for other in (copied, again):
        for end in ("estimate", "low", "high"):
            assert getattr(other.error, end) == pytest.approx(getattr(once.error, end), abs=1e-9)
        assert (other.ece, other.p_calibrated) == pytest.approx((once.ece, once.p_calibrated))
        assert other.bias.high == pytest.approx(once.bias.high)
    assert sum(b.people for b in copied.bins) == pytest.approx(30)


def test_runs_that_were_not_tested_do_not_count() -> None:
    p, y = drawn(np.random.default_rng(9), 30)
    folds = np.where(np.arange(30) < 24, 0, -1)[None]
    hidden = np.where(folds[0] < 0, np.nan, p)
    part = reliability(predictions(hidden, y, folds=folds), resamples=50)
    assert part == reliability(predictions(p[:24], y[:24]), resamples=50)
    assert part.people == part.runs == 24


@pytest.mark.parametrize("seed", range(4))
def test_slopes_are_those_of_a_logistic_regression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = drawn(rng, 60, gain=2.0, shift=0.5)
    weight = np.stack([np.ones(60), rng.multinomial(60, np.full(60, 1 / 60))]).astype(float)
    for found, w in zip(slopes(logit(p), y, weight), weight, strict=True):
        model = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p)[:, None], y, sample_weight=w)
        assert found == pytest.approx(model.coef_[0, 0], abs=0.01)


def test_labels_that_are_parted_have_a_finite_slope_and_one_probability_has_none() -> None:
    y = np.repeat([0, 1], 10)
    found = reliability(predictions(np.where(y == 1, 0.7, 0.3) + np.linspace(0, 0.05, 20), y), resamples=50)
    assert found.slope is not None
    assert 1 < found.slope.estimate < 50
    assert reliability(predictions(np.full(20, 0.5), y), resamples=50).slope is None


def test_it_is_plain_json() -> None:
    found = reliability(predictions(*drawn(np.random.default_rng(2), 40)), resamples=50)
    told = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert len(told["bins"]) == 5
    assert told["error"]["low"] <= told["error"]["high"]


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(ParameterError, match="between 0 and 1"):
        reliability(predictions(np.array([0.2, bad, 0.7]), np.array([0, 1, 1])))


def test_the_picture_shows_every_bin_with_its_people() -> None:
    found = reliability(predictions(*drawn(np.random.default_rng(2), 40)), resamples=50)
    figure = reliability_figure(found, "patient")
    above, below = figure.axes
    (points,) = [line for line in above.lines if line.get_marker() == "o"]
    assert points.get_xydata().tolist() == [[b.predicted, b.observed.estimate] for b in found.bins]
    assert [text.get_text() for text in below.texts] == ["8"] * 5
    assert "patient" in below.get_xlabel()
