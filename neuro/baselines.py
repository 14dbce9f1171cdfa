"""What the Transformer has to beat: connectivity + linear SVM, and the majority.

Functional connectivity with a linear classifier is a hard baseline that brain foundation models "struggle to
outperform" (Brainmarks, 2026); a result that does not stand beside it says little.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from data.cached_run import CachedRun
from data.errors import ParameterError


def connectivity_features(runs: Iterable[CachedRun]) -> NDArray[np.float32]:
    """Correlations between 300 functional regions (Seitzman et al. 2020, subcortex included): (n, 44850).

    The regions are spheres at published MNI centres, which nilearn carries, so no atlas has to be fetched.
    A region that a run's mask does not hold has a series of zeros and correlations of zero.
    """
    from nilearn.connectome import sym_matrix_to_vec

    centres_R3, radii_R = _regions()
    rows = []
    for run in runs:
        series_TR = sphere_series(run, centres_R3, radii_R)
        lengths_R = np.linalg.norm(series_TR, axis=0)
        unit_TR = series_TR / np.where(lengths_R > 0, lengths_R, 1)
        rows.append(sym_matrix_to_vec(unit_TR.T @ unit_TR, discard_diagonal=True))
    return np.asarray(rows, dtype=np.float32)


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
    series_TV = np.asarray(run.series_TV, dtype=np.float32)
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
