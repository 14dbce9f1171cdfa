"""tSNR and DVARS against a slow twin, voxel by voxel; damaged voxels; invariants; speed of memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.quality import temporal_quality
from data.quality.temporal_quality import steadiness


def slow_tsnr(series_TV: np.ndarray) -> float:
    """Voxel by voxel, in double precision, with NumPy's own polynomial fit."""
    found = []
    for voxel_T in series_TV.T.astype(np.float64):
        time_T = np.arange(len(voxel_T))
        rest_T = voxel_T - np.polyval(np.polyfit(time_T, voxel_T, 1), time_T)
        found.append(voxel_T.mean() / rest_T.std(ddof=1))
    return float(np.median(found))


def slow_dvars(series_TV: np.ndarray) -> np.ndarray:
    """As nipype's `compute_dvars` has it: robust SD, Yule-Walker AR(1), then the ratio."""
    wide_VT = series_TV.T.astype(np.float64)
    foretold = []
    for voxel_T in wide_VT:
        ordered = np.sort(voxel_T)
        last = len(ordered) - 1
        spread = (ordered[int(0.75 * last)] - ordered[int(0.25 * last)]) / 1.349
        centred = voxel_T - voxel_T.mean()
        lag_1 = (centred[1:] * centred[:-1]).sum() / (centred**2).sum()
        foretold.append(np.sqrt(2 * (1 - lag_1)) * spread)
    steps_T = np.sqrt((np.diff(wide_VT, axis=1) ** 2).mean(axis=0))
    return np.r_[np.nan, steps_T / np.mean(foretold)]


@pytest.fixture(name="series_TV")
def noisy_series(rng) -> np.ndarray:
    noise_TV = 8 * rng.standard_normal((60, 3000)).cumsum(axis=0) * 0.1 + 6 * rng.standard_normal((60, 3000))
    level_V = rng.uniform(300, 15000, 3000)
    drift_TV = np.linspace(-30, 30, 60)[:, None] * rng.standard_normal(3000)
    return (level_V + noise_TV + drift_TV).astype(np.float32)


def test_both_equal_their_slow_twins(series_TV) -> None:
    found = steadiness(series_TV)
    assert found.tsnr == pytest.approx(slow_tsnr(series_TV), rel=1e-4)
    np.testing.assert_allclose(found.dvars_T, slow_dvars(series_TV), rtol=1e-4)
    assert np.isnan(found.dvars_T[0])
    assert found.usable_V.all()
    assert (found.constant_share, found.nonfinite_share) == (0, 0)


def test_blocks_do_not_show(series_TV) -> None:
    one, many = steadiness(series_TV, block=10_000), steadiness(series_TV, block=77)
    assert one.tsnr == pytest.approx(many.tsnr, rel=1e-6)
    np.testing.assert_allclose(one.dvars_T, many.dvars_T, rtol=1e-5)


def test_ordinary_noise_has_dvars_one_and_a_jump_stands_out(rng) -> None:
    series_TV = (1000 + 20 * rng.standard_normal((200, 2000))).astype(np.float32)
    assert np.nanmean(steadiness(series_TV).dvars_T) == pytest.approx(1, abs=0.02)
    series_TV[90] += 60
    dvars_T = steadiness(series_TV).dvars_T
    assert set(np.argsort(np.nan_to_num(dvars_T))[-2:]) == {90, 91}
    assert dvars_T[90] > 2


def test_a_drift_does_not_count_as_noise(rng) -> None:
    still_TV = (1000 + 5 * rng.standard_normal((80, 500))).astype(np.float32)
    drifting_TV = still_TV + np.linspace(-100, 100, 80, dtype=np.float32)[:, None]
    assert steadiness(drifting_TV).tsnr == pytest.approx(steadiness(still_TV).tsnr, rel=0.03)


def test_damaged_voxels_are_counted_and_left_out(series_TV) -> None:
    clean = steadiness(np.delete(series_TV, np.s_[:50], axis=1))
    series_TV[:, :30] = 0
    series_TV[:, 10:20] = 700.125  # never changes, at a level that single precision rounds
    series_TV[7, 30:45] = np.nan
    series_TV[:, 45:50] = np.inf
    found = steadiness(series_TV)
    assert found.constant_share == pytest.approx(30 / 3000)
    assert found.nonfinite_share == pytest.approx(20 / 3000)
    assert not found.usable_V[:50].any()
    assert found.usable_V[50:].all()
    assert found.tsnr == pytest.approx(clean.tsnr, rel=1e-5)
    np.testing.assert_allclose(found.dvars_T, clean.dvars_T, rtol=1e-4)


@pytest.mark.parametrize("value", [0, 812.3, np.nan])
def test_a_run_without_a_living_voxel_has_no_figures(value) -> None:
    found = steadiness(np.full((20, 30), value, np.float32))
    assert np.isnan(found.tsnr)
    assert np.isnan(found.dvars_T).all()
    assert found.constant_share + found.nonfinite_share == 1


def test_the_standard_of_a_large_run_is_taken_from_a_part_that_hardly_moves_it(rng, monkeypatch) -> None:
    spread_V = rng.uniform(2, 60, 30_000)
    series_TV = (1000 + spread_V * rng.standard_normal((40, 30_000))).astype(np.float32)
    exact = np.nanmean(steadiness(series_TV).dvars_T)
    monkeypatch.setattr(temporal_quality, "SCALE_VOXELS", 5000)
    assert np.nanmean(steadiness(series_TV).dvars_T) == pytest.approx(exact, rel=0.02)


@given(gain=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_a_scanners_gain_cancels(gain, seed) -> None:
    series_TV = 100 + np.random.default_rng(seed).standard_normal((30, 40)).astype(np.float32)
    one, other = steadiness(series_TV), steadiness(series_TV * np.float32(gain))
    assert other.tsnr == pytest.approx(one.tsnr, rel=1e-3)
    np.testing.assert_allclose(other.dvars_T, one.dvars_T, rtol=1e-3)


def test_the_series_is_never_copied(rng) -> None:
    series_TV = rng.standard_normal((100, 100_000), dtype=np.float32) + 100
    series_TV[0, 0] = np.nan
    tracemalloc.start()
    steadiness(series_TV)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < series_TV.nbytes / 5
