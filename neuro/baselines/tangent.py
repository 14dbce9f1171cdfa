"""Tangent-space connectivity + logistic regression: the second baseline of connectivity.

Covariances lie on a curved space; projected to the tangent space at the training group's mean they predict
better than correlations in many cohorts (Varoquaux et al. 2010, MICCAI 6361:200; Dadi et al. 2019, NeuroImage
192:115). The mean is learned, so it is learned within the training fold.

Letters: T frames, R regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from nilearn.connectome import ConnectivityMeasure
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun

Series = NDArray[np.float64]


def tangent_logistic() -> Pipeline:
    """Series of runs, a list of (T, R) -> label."""
    return make_pipeline(
        TangentSpace(kind="tangent", vectorize=True, standardize="zscore_sample"),
        StandardScaler(),
        LogisticRegression(C=1.0, class_weight="balanced", max_iter=2000),
    )


class TangentSpace(ConnectivityMeasure):  # type: ignore[misc]  # nilearn is not typed
    """nilearn's, by one thread.

    Its work is thousands of eigendecompositions of some hundred rows. Threads that share one wait for each
    other more than they work: on two busy cores it took 32 s by two threads, and 1 s by one.
    """

    def fit(self, X: Sequence[Series], y: Any = None, **more: Any) -> TangentSpace:
        """Learn the mean of a list of (T, R)."""
        with _one_thread():
            super().fit(X, y, **more)
        return self

    def fit_transform(self, X: Sequence[Series], y: Any = None, **more: Any) -> NDArray[np.float64]:
        """Learn it, and give each run's distance from it (n, R (R + 1) / 2)."""
        with _one_thread():
            return super().fit_transform(X, y, **more)  # type: ignore[no-any-return]

    def transform(self, X: Sequence[Series], **more: Any) -> NDArray[np.float64]:
        """Each run's distance from the mean that was learned."""
        with _one_thread():
            return super().transform(X, **more)  # type: ignore[no-any-return]


def _one_thread() -> threadpool_limits:
    return threadpool_limits(limits=1, user_api="blas")


def parcel_series(cache: Cache, atlas: str) -> list[Series]:
    """Series of an atlas' regions of every run, without the regions that are flat in any run."""
    return without_flat([cache.parcels(i, atlas).z_FR.astype(np.float64) for i in range(len(cache))])


def network_series(runs: Iterable[CachedRun]) -> list[Series]:
    """Series of 160 regions (Dosenbach et al. 2010, Science 329:1358), whose places nilearn carries."""
    from nilearn.datasets import fetch_coords_dosenbach_2010

    from neuro.baselines.connectivity import sphere_series

    places = fetch_coords_dosenbach_2010().rois
    centres_R3 = places[["x", "y", "z"]].to_numpy(float)
    return without_flat([sphere_series(run, centres_R3, np.full(len(centres_R3), 5.0)) for run in runs])


def without_flat(series: Sequence[Series]) -> list[Series]:
    """Only the regions that have a signal in every run: the mean on the manifold knows no zeros."""
    alive_R = np.all([run_TR.std(0) > 1e-6 for run_TR in series], axis=0)
    return [np.ascontiguousarray(run_TR[:, alive_R]) for run_TR in series]
