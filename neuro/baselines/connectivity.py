"""What the Transformer has to beat: connectivity + linear SVM, and the majority.

Functional connectivity with a linear classifier is a hard baseline that brain foundation models "struggle to
outperform" (Brainmarks, 2026); a result that does not stand beside it says little.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import FingerprintMismatchError, ParameterError


def connectivity_features(runs: Iterable[CachedRun]) -> NDArray[np.float32]:
    """Correlations between 300 functional regions (Seitzman et al. 2020, subcortex included): (n, 44850).

    The regions are spheres at published MNI centres, which nilearn carries, so no atlas has to be fetched.
    A region that a run's mask does not hold has a series of zeros and correlations of zero.
    """
    centres_R3, radii_R = _regions()
    return np.stack([correlations(sphere_series(run, centres_R3, radii_R)) for run in runs])


def parcel_connectivity(cache: Cache, atlas: str) -> NDArray[np.float32]:
    """Correlations between an atlas' regions, one row a run of the cache: (n, R (R - 1) / 2).

    Raises:
        ParameterError: the cache has no parcels of this atlas.
        FingerprintMismatchError: two runs have parcels of different atlases under this name.
    """
    rows: list[NDArray[np.float32]] = []
    digests: dict[str, str] = {}  # of atlases, each with the run where it was seen first
    for i in range(len(cache)):
        parcels = cache.parcels(i, atlas)
        digests.setdefault(parcels.digest, str(cache.table["run_id"].iloc[i]))
        if len(digests) > 1:
            first, other = digests.items()
            raise FingerprintMismatchError(
                f"atlas {atlas}",
                must_be=f"one and the same for all runs ({first[0]} in {first[1]})",
                got=f"{other[0]} in {other[1]}",
                do="run `neuro prepare` again",
            )
        rows.append(correlations(parcels.z_FR))
    return np.stack(rows)


def correlations(series_TR: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Pearson's correlations of each two regions, the lower triangle row by row: (R (R - 1) / 2,).

    A region without a signal has correlations of 0.
    """
    from nilearn.connectome import sym_matrix_to_vec

    centred_TR = series_TR - series_TR.mean(axis=0, dtype=np.float64)
    lengths_R = np.linalg.norm(centred_TR, axis=0)
    # A constant leaves rounding behind when it is centred.
    flat_R = lengths_R <= 1e-9 * np.linalg.norm(series_TR.astype(np.float64), axis=0)
    unit_TR = np.where(flat_R, 0, centred_TR) / np.where(flat_R, 1, lengths_R)
    return np.asarray(sym_matrix_to_vec(unit_TR.T @ unit_TR, discard_diagonal=True), dtype=np.float32)


def sphere_series(
    run: CachedRun, centres_R3: NDArray[np.float64], radii_R: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean series of the in-mask voxels within each sphere, centred: (T, R); zeros for an empty sphere.

    Args:
        run: a run whose affine is in MNI mm.
        centres_R3: centres in mm.
        radii_R: radii in mm; at least the half diagonal of a voxel is taken, so that a sphere inside the
            brain always holds a voxel.
    """
    from scipy.spatial import cKDTree

    coords_V3 = np.argwhere(run.mask_XYZ) @ run.affine[:3, :3].T + run.affine[:3, 3]
    half_diagonal = np.linalg.norm(run.affine[:3, :3].sum(axis=1)) / 2
    inside = cKDTree(coords_V3).query_ball_point(centres_R3, np.maximum(radii_R, half_diagonal))
    if not any(inside):
        raise ParameterError(
            f"run {run.run_id}", must_be="in MNI space", got="no region of the atlas inside its mask"
        )
    series_TV = run.frames()
    means = [series_TV[:, voxels].mean(1) if voxels else np.zeros(len(series_TV)) for voxels in inside]
    series_TR = np.stack(means, axis=1).astype(np.float64)
    return np.asarray(series_TR - series_TR.mean(0))


def connectivity_svm() -> Pipeline:
    """The classifier for `connectivity_features`: standardized, then a linear support vector machine."""
    return make_pipeline(StandardScaler(), SVC(kernel="linear", C=1.0, class_weight="balanced"))


def majority() -> DummyClassifier:
    """Says the commoner label of the training fold, whatever it is shown."""
    return DummyClassifier(strategy="prior")


def _regions() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from nilearn.datasets import fetch_coords_seitzman_2018

    atlas = fetch_coords_seitzman_2018()
    return atlas.rois[["x", "y", "z"]].to_numpy(float), np.asarray(atlas.radius, dtype=float)
