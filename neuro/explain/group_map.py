"""What the models found in a group: each person explained by the model that had not seen them.

The map is the mean over the patients' runs less that over the controls': what is the same in everybody, the
neutral brain that some methods begin with included, cancels.
Letters: N runs, S places, R regions, X Y Z voxel axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.scans.nifti import same_grid
from neuro.classifier import ParkinsonClassifier
from neuro.explain.image import Placed
from neuro.explain.methods import DEFAULT, Options, relevance
from neuro.explain.relevance import Relevance
from neuro.tokens import RunTokens

Floats = NDArray[np.float32]


def out_of_fold(
    classifiers: Sequence[ParkinsonClassifier],
    runs: Sequence[RunTokens],
    fold_of_N: NDArray[np.int64],
    method: str = DEFAULT,
    options: Options | None = None,
) -> list[Relevance]:
    """Every run's relevance, by the model of the fold that tested it.

    Args:
        classifiers: the fitted one of each fold.
        runs: all runs.
        fold_of_N: the fold that each run was tested in.
        method: a name of `neuro.explain.METHODS`.
        options: of the method.

    Raises:
        ParameterError: a run was tested in no fold, or a model cannot be explained by this method.
    """
    if len(fold_of_N) != len(runs) or not all(0 <= fold < len(classifiers) for fold in fold_of_N):
        got = f"folds {sorted({int(fold) for fold in fold_of_N})} of {len(fold_of_N)} runs"
        must_be = f"one of the {len(classifiers)} models' for each of {len(runs)} runs"
        raise ParameterError("fold_of", must_be=must_be, got=got)
    return [
        relevance(classifiers[fold], run, method, options) for fold, run in zip(fold_of_N, runs, strict=True)
    ]


def group_map(
    relevances: Sequence[Relevance],
    labels_N: NDArray[np.int64],
    sites_N: NDArray[np.object_] | None = None,
) -> Floats:
    """Mean of positive runs less that of negative ones: (X, Y, Z), or (R,) of regions.

    Args:
        relevances: of each run.
        labels_N: 0 or 1.
        sites_N: where each was scanned; the difference is then taken within sites, each counting by its runs,
            so that what a model says of a site cancels also where sites hold unequal shares of patients. A
            site of one label has no part in it, unless all are such.

    Raises:
        ParameterError: runs that are not on one grid or of one atlas, or labels of one kind only.
    """
    require_one_space([one.run for one in relevances])
    counts = np.bincount(labels_N, minlength=2)
    if len(labels_N) != len(relevances) or len(counts) != 2 or not counts.all():
        got = f"{sorted({int(label) for label in labels_N})} of {len(labels_N)}"
        raise ParameterError("labels", must_be=f"0 and 1, of {len(relevances)} runs", got=got)
    total = np.zeros_like(relevances[0].volume())
    for one, weight in zip(relevances, _weights(labels_N, sites_N), strict=True):
        total += weight * one.volume()
    return total


def _weights(labels_N: NDArray[np.int64], sites_N: NDArray[np.object_] | None) -> Floats:
    """Of each run (N,): those of positive runs add up to 1, those of negative ones to -1."""
    sites = [] if sites_N is None else [sites_N == site for site in sorted(set(sites_N))]
    sites = [here for here in sites if len(set(labels_N[here].tolist())) == 2]
    sites = sites or [np.ones(len(labels_N), dtype=bool)]
    counted = sum(int(here.sum()) for here in sites)
    weight_N = np.zeros(len(labels_N), dtype=np.float32)
    for here in sites:
        for label, sign in ((0, -1), (1, 1)):
            cell = here & (labels_N == label)
            weight_N[cell] = sign * here.sum() / counted / cell.sum()
    return weight_N


def require_one_space(runs: Sequence[RunTokens]) -> None:
    """Refuse runs that have no common map.

    Raises:
        ParameterError: they are not on one grid, or not of one atlas.
    """
    first = runs[0]
    for run in runs:
        if isinstance(run, Placed) and isinstance(first, Placed):
            same = same_grid(run.shape, run.affine, first.shape, first.affine)
        else:
            same = run.layout == first.layout and getattr(run.spec, "atlas", "") == getattr(
                first.spec, "atlas", ""
            )
        if not same:
            raise ParameterError("runs", must_be="on one grid for a common map", got="several grids")
