"""ComBat's arithmetic against a slow second way: feature by feature, the posterior's root by bisection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import bisect

from neuro.sites.effects import no_effect, site_effect


def slow_effect(z_nF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equations 3.1 and 3.2 of Johnson et al. 2007: their joint solution is a root in delta alone."""
    n, n_features = z_nF.shape
    means = [sum(z_nF[:, f]) / n for f in range(n_features)]
    variances = [sum((z_nF[:, f] - means[f]) ** 2) / (n - 1) for f in range(n_features)]
    bar = sum(means) / n_features
    tau2 = sum((m - bar) ** 2 for m in means) / (n_features - 1)
    v = sum(variances) / n_features
    s2 = sum((d - v) ** 2 for d in variances) / (n_features - 1)
    lam, theta = v * v / s2 + 2, v**3 / s2 + v
    locations, scales = [], []
    for f in range(n_features):

        def location(delta: float, f: int = f) -> float:
            return (n * tau2 * means[f] + delta * bar) / (n * tau2 + delta)

        def gap(delta: float, f: int = f) -> float:
            squares = sum((z_nF[:, f] - location(delta, f)) ** 2)
            return (theta + squares / 2) / (n / 2 + lam - 1) - delta

        delta = bisect(gap, 1e-9, 1e4, xtol=1e-13)
        locations.append(location(delta))
        scales.append(delta)
    return np.array(locations), np.array(scales)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 12), st.integers(2, 9), st.floats(-4, 4), st.floats(0.2, 5), st.integers(0, 10**6))
def test_the_iteration_ends_where_the_posteriors_equation_has_its_root(n, n_features, shift, scale, seed):
    rng = np.random.default_rng(seed)
    z_nF = shift + scale * rng.standard_normal((n, n_features)) * rng.uniform(0.5, 2, n_features)
    effect = site_effect(z_nF, empirical_bayes=True)
    location_F, variance_F = slow_effect(z_nF)
    np.testing.assert_allclose(effect.location_F, location_F, atol=1e-5)
    np.testing.assert_allclose(effect.variance_F, variance_F, rtol=1e-5)


def test_estimates_are_drawn_towards_those_of_all_features(rng):
    z_nF = rng.standard_normal((5, 400)) + 1.0
    plain = site_effect(z_nF, empirical_bayes=False)
    drawn = site_effect(z_nF, empirical_bayes=True)
    np.testing.assert_allclose(plain.location_F, z_nF.mean(0))
    np.testing.assert_allclose(plain.variance_F, z_nF.var(0, ddof=1))
    # True location 1 and variance 1 everywhere: the error of five rows all but disappears.
    for truth, before, after in (
        (1, plain.location_F, drawn.location_F),
        (1, plain.variance_F, drawn.variance_F),
    ):
        assert np.square(after - truth).mean() < 0.6 * np.square(before - truth).mean()


def test_one_feature_has_nothing_to_be_drawn_to(rng):
    z_n1 = rng.standard_normal((6, 1))
    one = site_effect(z_n1, empirical_bayes=True)
    assert one.location_F == pytest.approx(z_n1.mean())
    assert one.variance_F == pytest.approx(z_n1.var(ddof=1))


@pytest.mark.parametrize("empirical_bayes", [True, False])
def test_features_that_stand_still_within_a_site_stay_finite(rng, empirical_bayes):
    z_nF = rng.standard_normal((6, 4))
    z_nF[:, 2] = 0.7
    effect = site_effect(z_nF, empirical_bayes=empirical_bayes)
    assert np.isfinite(effect.location_F).all()
    assert effect.variance_F.min() > 0.05
    alike = site_effect(np.tile([[0.0], [1], [2]], (1, 3)), empirical_bayes=empirical_bayes)
    np.testing.assert_allclose(alike.location_F, 1)
    np.testing.assert_allclose(alike.variance_F, 1)


def test_removing_no_effect_changes_nothing(rng):
    z_nF = rng.standard_normal((3, 4))
    np.testing.assert_array_equal(no_effect(4).removed_from(z_nF), z_nF)
