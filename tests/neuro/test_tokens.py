"""Tubelets against a slow twin, their inverse, and what they must not lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.tokens import TubeletSpec, collate, relative_amplitude, tubelets, untokenize


def make_run(mask_XYZ: np.ndarray, frames: int = 6, voxel_mm: float = 4.0, seed: int = 0) -> CachedRun:
    rng = np.random.default_rng(seed)
    count = int(mask_XYZ.sum())
    return CachedRun(
        run_id="sub-x",
        participant_id="sub-x",
        series_TV=rng.standard_normal((frames, count)).astype(np.float16),
        mean_V=np.ones(count, np.float32),
        std_V=rng.uniform(1, 2, count).astype(np.float32),
        mask_XYZ=mask_XYZ,
        affine=np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0]) + np.array([[0, 0, 0, -10.0]] + [[0] * 4] * 3),
        tr=2.0,
    )


def slow_tubelets(run: CachedRun, patch: tuple[int, int, int]) -> dict[tuple[float, ...], np.ndarray]:
    """Centre in mm -> signal (T, x, y, z), by loops over a padded volume."""
    frames = len(run.series_TV)
    padded = [-(-size // p) * p for size, p in zip(run.mask_XYZ.shape, patch, strict=True)]
    volume = np.zeros((frames, *padded), np.float16)
    brain = np.zeros(padded, bool)
    brain[tuple(slice(s) for s in run.mask_XYZ.shape)] = run.mask_XYZ
    volume[:, brain] = run.series_TV
    found = {}
    for x in range(0, padded[0], patch[0]):
        for y in range(0, padded[1], patch[1]):
            for z in range(0, padded[2], patch[2]):
                cube = (slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2]))
                if brain[cube].any():
                    corners = np.array([[x, y, z], [x + patch[0] - 1, y + patch[1] - 1, z + patch[2] - 1]])
                    centre = (corners.mean(0) @ run.affine[:3, :3].T + run.affine[:3, 3]).astype(np.float32)
                    found[tuple(centre.tolist())] = volume[(slice(None), *cube)]
    return found


masks = hnp.arrays(bool, st.tuples(*[st.integers(3, 9)] * 3)).filter(lambda m: m.sum() > 3)


@settings(max_examples=30, deadline=None)
@given(mask=masks, patch_mm=st.sampled_from([4.0, 8.0, 12.0]))
def test_tubelets_equal_the_slow_twin(mask: np.ndarray, patch_mm: float) -> None:
    run = make_run(mask)
    cut = cubes(run, TubeletSpec(patch_mm=patch_mm, frames=3))
    slow = slow_tubelets(run, cut.patch_voxels)
    assert len(cut.centres_N3) == len(slow)
    for n, centre in enumerate(cut.centres_N3):
        expected = slow[tuple(centre.tolist())].reshape(len(run.series_TV), -1)
        np.testing.assert_array_equal(cut.signal_TNP[:, n], expected)


@settings(max_examples=30, deadline=None)
@given(mask=masks, patch_mm=st.sampled_from([4.0, 8.0, 12.0]))
def test_untokenize_is_the_exact_inverse(mask: np.ndarray, patch_mm: float) -> None:
    run = make_run(mask)
    cut = cubes(run, TubeletSpec(patch_mm=patch_mm, frames=3))
    for t in (0, 5):
        frame = np.zeros(mask.shape, np.float32)
        frame[mask] = run.series_TV[t]
        np.testing.assert_array_equal(untokenize(cut, cut.signal_TNP[t]), frame)


def test_a_clip_is_laid_out_as_the_patch_embedding_expects(cache: Cache) -> None:
    cut = cubes(cache.run(0), TubeletSpec(patch_mm=16, frames=10))
    clip = cut.clip(7)
    cube = clip[3].reshape(10, *cut.patch_voxels)
    np.testing.assert_array_equal(cube, cut.signal_TNP[7:17, 3].reshape(10, *cut.patch_voxels))


def test_only_patches_that_touch_the_brain_are_kept(cache: Cache) -> None:
    run = cache.run(0)
    cut = cubes(run, TubeletSpec(patch_mm=16, frames=10))
    assert cut.inside_NP.any(axis=1).all()
    assert cut.inside_NP.sum() == run.mask_XYZ.sum()
    dense = np.prod([-(-s // p) for s, p in zip(run.mask_XYZ.shape, cut.patch_voxels, strict=True)])
    assert len(cut.centres_N3) < 0.6 * dense


def test_amplitude_survives_and_a_scanners_gain_does_not(cache: Cache) -> None:
    run = cache.run(0)
    quiet = run.std_V.copy()
    quiet[:50] *= 0.3
    plain, louder, lowered = (
        cubes(replace(run, std_V=std)).amplitude_NP for std in (run.std_V, 7 * run.std_V, quiet)
    )
    np.testing.assert_allclose(louder, plain, atol=2e-2)
    assert np.abs(lowered - plain).max() > 0.5


def test_dead_voxels_stand_at_the_median() -> None:
    amplitude = relative_amplitude(np.array([0, 1, 2, 4, 8], np.float32))
    assert amplitude[0] == 0
    assert (np.diff(amplitude[1:]) > 0).all()
    np.testing.assert_array_equal(relative_amplitude(np.zeros(3, np.float32)), 0)


def test_collate_pads_and_masks() -> None:
    small, large = np.ones((4, 4, 4), bool), np.ones((8, 8, 4), bool)
    spec = TubeletSpec(patch_mm=16, frames=3)
    batch = collate([cubes(make_run(m), spec) for m in (small, large)], [0, 2])
    assert batch.mask_BN.sum(1).tolist() == [1, 4]
    assert not batch.signal_BNV[0, 1:].any()
    assert batch.positions_BN4[1, 0, 3] == 3.0  # the middle of three frames of two seconds
    torch.testing.assert_close(batch.positions_BN4[0, 0, :3], torch.tensor([-4.0, 6.0, 6.0]))


def test_clips_cover_the_run_without_its_remainder() -> None:
    cut = cubes(make_run(np.ones((4, 4, 4), bool), frames=11), TubeletSpec(patch_mm=16, frames=3))
    assert cut.clip_starts() == [0, 3, 6]


def test_a_run_shorter_than_a_clip_is_refused() -> None:
    with pytest.raises(ParameterError, match="at least one clip of 20 frames, got 6 frames"):
        cubes(make_run(np.ones((4, 4, 4), bool)))


@pytest.mark.parametrize("wrong", [{"patch_mm": 0.0}, {"patch_mm": float("nan")}, {"frames": 1}])
def test_cuts_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        TubeletSpec(**wrong)  # type: ignore[arg-type]
