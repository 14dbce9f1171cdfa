"""Units of a cache: what means and deviations are multiplied by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cleaning.intensity import intensity_scale
from data.cleaning.recipe import Recipe
from data.errors import ParameterError

NONE, GRAND, PERCENT = (Recipe(intensity=name) for name in ("none", "grand-mean", "percent"))


@pytest.fixture
def means(rng) -> np.ndarray:
    return rng.uniform(400, 1600, 500).astype(np.float32)


def test_the_scanners_units_stay(means):
    np.testing.assert_array_equal(intensity_scale(means, NONE), 1)


def test_grand_mean_puts_the_brain_at_100_and_keeps_relations(means):
    scale_V = intensity_scale(means, GRAND)
    assert scale_V.dtype == np.float32
    assert (means * scale_V).mean() == pytest.approx(100, rel=1e-5)
    assert np.unique(scale_V).size == 1


def test_percent_puts_every_voxel_at_100(means):
    np.testing.assert_allclose(means * intensity_scale(means, PERCENT), 100, rtol=1e-5)


def test_a_percentage_of_nothing_is_nothing(means):
    """Air, a lost signal, a broken voxel: no huge numbers, and a finite factor."""
    means[:5] = [0, 1e-6, -3, np.nan, 20]
    scale_V = intensity_scale(means, PERCENT)
    np.testing.assert_array_equal(scale_V[:5], 0)
    assert np.isfinite(scale_V).all()
    assert scale_V.max() <= 100 / (0.05 * np.median(means[5:])) + 1
    assert np.isfinite(intensity_scale(means, GRAND)).all()


@given(st.floats(1e-3, 1e6), st.sampled_from([GRAND, PERCENT]))
def test_a_scanners_gain_cancels(gain, recipe):
    means = np.random.default_rng(0).uniform(400, 1600, 50).astype(np.float32)
    once, again = intensity_scale(means, recipe), intensity_scale(means * np.float32(gain), recipe)
    np.testing.assert_allclose(again * np.float32(gain), once, rtol=1e-4)


@pytest.mark.parametrize("recipe", [GRAND, PERCENT])
@pytest.mark.parametrize("shift", [0.0, -1e-3])
def test_a_run_that_was_demeaned_is_refused(rng, recipe, shift):
    rounding_V = (1e-6 * rng.standard_normal(400) + shift).astype(np.float32)
    with pytest.raises(ParameterError, match="intensity must be 'none' for a run without a positive mean"):
        intensity_scale(rounding_V, recipe)
    barely_positive = np.linspace(-1e-6, 1.1e-6, 401, dtype=np.float32)
    with pytest.raises(ParameterError, match="it was demeaned or z-scored before"):
        intensity_scale(barely_positive, recipe)
    with pytest.raises(ParameterError, match="median of 0 over 0 voxels"):
        intensity_scale(np.zeros(3, np.float32), recipe)
