"""Nadeau and Bengio's corrected t, against its formula spelled out and against scipy where they agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from data.errors import ParameterError
from neuro.protocol.corrected import corrected_metric, corrected_t, share_tested
from neuro.protocol.metrics import metric_value

from .made_predictions import made


def slow(values: list[float], share: float, against: float) -> tuple[float, float]:
    """t and two-sided p, the latter by integrating Student's density."""
    n = len(values)
    mean = sum(values) / n
    squared = sum((value - mean) ** 2 for value in values) / (n - 1)
    t = (mean - against) / math.sqrt((1 / n + share) * squared)
    nu = n - 1
    scale = math.gamma((nu + 1) / 2) / (math.sqrt(nu * math.pi) * math.gamma(nu / 2))
    tail, _ = integrate.quad(lambda x: scale * (1 + x * x / nu) ** (-(nu + 1) / 2), abs(t), math.inf)
    return t, 2 * tail


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 30),
    share=st.sampled_from([0.0, 1 / 9, 0.25, 1.0]),
    against=st.sampled_from([0.0, 0.5]),
)
def test_t_and_p_are_those_of_the_formula(seed: int, n: int, share: float, against: float) -> None:
    values = np.random.default_rng(seed).uniform(0, 1, n).tolist()
    found = corrected_t(values, share, against=against)
    t, p = slow(values, share, against)
    assert found.t == pytest.approx(t)
    assert found.p_value == pytest.approx(p, abs=1e-7)
    assert found.folds == n


def test_without_the_correction_it_is_scipys_t_test(rng: np.random.Generator) -> None:
    values = rng.normal(0.6, 0.1, 25)
    plain = stats.ttest_1samp(values, 0.5)
    found = corrected_t(values, 0.0, against=0.5)
    interval = plain.confidence_interval(0.95)
    assert (found.t, found.p_value) == pytest.approx((plain.statistic, plain.pvalue))
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))


def test_the_interval_leaves_out_what_the_test_refuses(rng: np.random.Generator) -> None:
    values = rng.normal(0.6, 0.1, 25)
    interval = corrected_t(values, 0.25).interval
    for edge in (interval.low, interval.high):
        assert corrected_t(values, 0.25, against=edge).p_value == pytest.approx(0.05)


def test_ten_repeats_make_the_interval_little_narrower(rng: np.random.Generator) -> None:
    """The plain t would shrink by the root of ten; with 5 folds the corrected one by that of 0.45 / 0.27."""
    values = rng.normal(0.6, 0.1, 5)
    values = (values - values.mean()) / values.std(ddof=1)
    many = np.tile(values, 10)
    many = many / many.std(ddof=1)
    narrow, wide = corrected_t(many, 0.25).interval, corrected_t(values, 0.25).interval
    expected = math.sqrt(0.27 / 0.45) * stats.t.ppf(0.975, 49) / stats.t.ppf(0.975, 4)
    assert (narrow.high - narrow.low) / (wide.high - wide.low) == pytest.approx(expected)


def test_figures_that_do_not_vary_give_no_p() -> None:
    found = corrected_t([1.0, 1.0, 1.0], 0.25, against=0.5)
    assert (found.t, found.p_value) == (None, None)
    assert (found.interval.low, found.interval.high) == (1.0, 1.0)


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(ParameterError, match="two or more numbers"):
        corrected_t([0.5], 0.25)
    with pytest.raises(ParameterError, match="two or more numbers"):
        corrected_t([0.5, float("nan")], 0.25)
    with pytest.raises(ParameterError, match="test_share must be"):
        corrected_t([0.5, 0.6], -1)


def test_the_share_is_of_people() -> None:
    """Five folds: one person tested by four trained on, whatever the runs."""
    (one,) = made(0, [1.0], people=40, runs=3, deals=2, splits=5)
    assert share_tested(one) == pytest.approx(1 / 4)
    found = corrected_metric(one)
    assert (found.folds, found.test_share, found.against) == (10, pytest.approx(0.25), 0.5)
    assert found.interval.estimate == pytest.approx(metric_value(one, "auc"), abs=0.02)
