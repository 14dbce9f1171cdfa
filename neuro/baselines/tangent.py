"""Tangent-space connectivity + logistic regression: the second baseline of connectivity.

Covariances lie on a curved space; projected to the tangent space at the training group's mean they predict
better than correlations in many cohorts (Varoquaux et al. 2010, MICCAI 6361:200; Dadi et al. 2019, NeuroImage
192:115). The mean is learned, so it is learned within the training fold.

Letters: T frames, R regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun

Series = NDArray[np.float64]


def tangent_logistic() -> Pipeline:
    """Series of runs, a list of (T, R) -> label."""
    from nilearn.connectome import ConnectivityMeasure

    return make_pipeline(
        ConnectivityMeasure(kind="tangent", vectorize=True, standardize="zscore_sample"),
        StandardScaler(),
        LogisticRegression(C=1.0, class_weight="balanced", max_iter=2000),
    )


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
