"""What reads a run's voxels reads int8 caches too: codes with scales count as the z-scores behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.caches.cached_run import CachedRun
from data.caches.precision import encoded
from neuro.baselines.connectivity import sphere_series
from neuro.tokens import TubeletSpec, VolumeSpec, cubes, slice_pictures, untokenize


@pytest.fixture
def pair(rng) -> tuple[CachedRun, CachedRun]:
    """A run stored as int8, and one that holds its z-scores to the last digit."""
    mask_XYZ = rng.random((9, 8, 7)) > 0.3
    voxels = int(mask_XYZ.sum())
    codes_TV, scale_V = encoded(3 * rng.standard_normal((24, voxels)).astype(np.float32), "int8")
    small = CachedRun(
        run_id="sub-x",
        participant_id="sub-x",
        series_TV=codes_TV,
        mean_V=np.ones(voxels, np.float32),
        std_V=rng.uniform(1, 2, voxels).astype(np.float32),
        mask_XYZ=mask_XYZ,
        affine=np.diag([4.0, 4, 4, 1]),
        tr=2.0,
        scale_V=scale_V,
    )
    return small, replace(small, series_TV=small.frames(), scale_V=None)


@pytest.mark.parametrize(
    "spec", [TubeletSpec(patch_mm=12, frames=10, window=5), VolumeSpec(patch_mm=12, frames=10)]
)
def test_cubes(pair, spec):
    small, plain = (cubes(run, spec) for run in pair)
    clips = [cut.clip(3) for cut in (small, plain)]
    assert clips[0].signal_WSV.dtype == np.float32
    np.testing.assert_array_equal(clips[0].signal_WSV, clips[1].signal_WSV)
    assert 1 < np.abs(clips[0].signal_WSV).max() < 30  # codes go up to 127
    frames = untokenize(small, clips[0].signal_WSV)[pair[0].mask_XYZ]
    np.testing.assert_array_equal(frames.T, pair[0].frames(3, 13))
    np.testing.assert_array_equal(small.fluctuation[1], plain.fluctuation[1])


def test_slices(pair):
    small, plain = (np.stack(list(slice_pictures(run))) for run in pair)
    np.testing.assert_array_equal(small, plain)
    assert 0.1 < small[small != 0].std() < 1


def test_regions(pair):
    centres_R3, radii_R = np.array([[8.0, 8, 8], [20, 16, 12]]), np.array([8.0, 8])
    small, plain = (sphere_series(run, centres_R3, radii_R) for run in pair)
    np.testing.assert_array_equal(small, plain)
