"""Connectivity against loops and against nilearn's own measure; the majority."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.baselines.connectivity import (
    _regions,
    connectivity_features,
    connectivity_svm,
    majority,
    sphere_series,
)


def slow_sphere(run: CachedRun, centre: np.ndarray, radius: float) -> np.ndarray:
    corner = run.affine[:3, :3] @ np.ones(3)
    radius = max(radius, float(np.sqrt((corner**2).sum())) / 2)
    found = []
    for voxel, (x, y, z) in enumerate(np.argwhere(run.mask_XYZ)):
        place = (run.affine @ np.array([x, y, z, 1.0]))[:3]
        if np.sqrt(((place - centre) ** 2).sum()) <= radius:
            found.append(np.asarray(run.series_TV[:, voxel], dtype=np.float64))
    mean = np.mean(found, axis=0) if found else np.zeros(len(run.series_TV))
    return np.asarray(mean - mean.mean())


@pytest.fixture(scope="module")
def run(cache: Cache) -> CachedRun:
    return cache.run(0)


def test_sphere_series_equal_a_slow_loop(run: CachedRun) -> None:
    centres_R3, radii_R = _regions()
    chosen = [0, 17, 120, 250, 299]
    centres_R3, radii_R = np.vstack([centres_R3[chosen], [[500, 0, 0]]]), np.append(radii_R[chosen], 3.0)
    radii_R[1] = 15.0
    series_TR = sphere_series(run, centres_R3, radii_R)
    assert series_TR.shape == (len(run.series_TV), 6)
    for r in range(6):
        expected = slow_sphere(run, centres_R3[r], radii_R[r])
        np.testing.assert_allclose(series_TR[:, r], expected, atol=1e-6)
    assert not series_TR[:, 5].any()
    assert series_TR[:, :5].std(axis=0).min() > 0


def test_a_voxel_is_found_for_every_place_inside_the_brain(run: CachedRun, rng: np.random.Generator) -> None:
    """Whatever the radius: at least the half diagonal of a voxel is taken."""
    deep = np.argwhere(run.mask_XYZ & np.roll(run.mask_XYZ, -1, axis=(0, 1, 2)))
    centre = np.array(run.mask_XYZ.shape) / 2
    ijk = deep[np.linalg.norm(deep - centre, axis=1) < 4][:20] + rng.uniform(-0.5, 0.5, (20, 3))
    places = ijk @ run.affine[:3, :3].T + run.affine[:3, 3]
    assert sphere_series(run, places, np.full(20, 0.1)).std(axis=0).min() > 0


def test_features_are_nilearns_correlations(cache: Cache) -> None:
    runs = [cache.run(i) for i in range(3)]
    found = connectivity_features(runs)
    series = [sphere_series(run, *_regions()) for run in runs]
    measure = ConnectivityMeasure(
        cov_estimator=EmpiricalCovariance(),
        kind="correlation",
        vectorize=True,
        discard_diagonal=True,
        standardize=False,
    )
    filled = np.all([s.std(axis=0) > 0 for s in series], axis=0)
    assert filled.sum() > 250
    pairs = np.tril(np.ones((300, 300), bool), -1)
    rows, columns = np.nonzero(pairs)
    both = filled[rows] & filled[columns]
    expected = measure.fit_transform([s[:, filled] for s in series])
    assert found.shape == (3, 44850)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, both], expected, atol=1e-5)


def test_regions_without_a_signal_are_zero_and_never_nan(run: CachedRun) -> None:
    """One half of the brain is constant: correlations with it are 0; those within the other half stay."""
    left_V = (np.argwhere(run.mask_XYZ) @ run.affine[:3, :3].T + run.affine[:3, 3])[:, 0] < 0
    series_TV = np.array(run.series_TV)
    series_TV[:, left_V] = 0
    plain, half = connectivity_features([run, replace(run, series_TV=series_TV)])
    centres_R3, _ = _regions()
    rows, columns = np.nonzero(np.tril(np.ones((300, 300), bool), -1))
    far_left, far_right = centres_R3[:, 0] < -15, centres_R3[:, 0] > 15
    assert np.isfinite(half).all()
    assert not half[far_left[rows] | far_left[columns]].any()
    inside = far_right[rows] & far_right[columns]
    np.testing.assert_allclose(half[inside], plain[inside], atol=1e-6)
    assert np.abs(half[inside]).max() > 0.5


def test_a_constant_that_is_not_zero_is_constant_all_the_same(run: CachedRun) -> None:
    series_TV = np.full(run.series_TV.shape, 0.7, dtype=np.float16)
    assert not connectivity_features([replace(run, series_TV=series_TV)]).any()


def test_a_run_that_is_elsewhere_is_refused(run: CachedRun) -> None:
    affine = np.array(run.affine)
    affine[:3, 3] += 1000
    with pytest.raises(
        ParameterError, match=f"run {run.run_id} must be in MNI space, got no region of the atlas inside"
    ):
        connectivity_features([replace(run, affine=affine)])


def test_the_svm_is_linear_and_scales_first() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 5)), np.arange(30) % 4 == 0
    X[y, 2] += 3
    X *= [1, 1, 1e-6, 1, 1e6]
    svm = connectivity_svm().fit(X, y)
    assert (svm.predict(X) == y).mean() > 0.9
    scores = svm.decision_function(np.vstack([X[:2], X[:2].mean(0)]))
    assert scores[2] == pytest.approx(scores[:2].mean())


def test_the_majority_says_the_commoner_label() -> None:
    model = majority().fit(np.zeros((5, 1)), [0, 1, 1, 1, 0])
    assert model.predict(np.ones((3, 1))).tolist() == [1, 1, 1]
    np.testing.assert_allclose(model.predict_proba(np.zeros((1, 1))), [[0.4, 0.6]])
