"""What storing z-scores costs: the errors that the documentation states, for any series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.caches.precision import decoded, encoded

z_scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 7)),
    elements=st.floats(-40, 40, width=32, allow_subnormal=False),
)


@settings(max_examples=200, deadline=None)
@given(z_FB=z_scores)
def test_int8_is_off_by_half_a_step_at_most_and_clips_nothing(z_FB):
    codes_FB, scale_B = encoded(z_FB, "int8")
    assert codes_FB.dtype == np.int8
    np.testing.assert_allclose(scale_B, np.abs(z_FB).max(axis=0) / 127, rtol=1e-6, atol=2e-38)
    apart_FB = np.abs(decoded(codes_FB, scale_B).astype(np.float64) - z_FB)
    assert (apart_FB <= scale_B.astype(np.float64) / 2 * (1 + 1e-4) + 2e-36).all()
    assert np.abs(codes_FB.astype(int)).max() <= 127


@settings(max_examples=200, deadline=None)
@given(z_FB=z_scores)
def test_float16_is_off_by_a_two_thousandth_at_most(z_FB):
    codes_FB, scale_B = encoded(z_FB, "float16")
    assert (codes_FB.dtype, scale_B) == (np.float16, None)
    apart_FB = np.abs(decoded(codes_FB, None).astype(np.float64) - z_FB)
    assert (apart_FB <= 2.0**-11 * np.abs(z_FB) + 2.0**-25).all()  # the second: below the least normal number


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_dead_voxels_stay_dead(precision):
    for nothing in (0, 1e-38):  # one over the second's scale would be infinite
        back_FB = decoded(*encoded(np.full((5, 3), nothing, np.float32), precision))
        assert back_FB.dtype == np.float32
        assert not back_FB.any()
