"""Where the Transformer found the difference: votes of tokens back in the brain, out of fold -> NIfTI.

A logit is a sum of votes, one a token; those of a place, in all windows of time, are added up. The map is the
mean vote over the patients' runs minus that over the controls', each run seen only by the model of the fold
in which it was tested. It says where the last layer read the difference; attention has mixed tokens before
that, so it is a pointer and not a proof.
Letters: S places, X Y Z voxel axes.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.scans.nifti import same_grid
from data.writing import whole_file
from neuro.classify import ParkinsonClassifier
from neuro.evaluate import Evaluation
from neuro.model import run_votes as model_votes
from neuro.tokens import CubeTokens, RunTokens, SliceTokens, untokenize

Placed = CubeTokens | SliceTokens  # runs with a grid of voxels


def vote_map(
    evaluation: Evaluation, classifiers: list[ParkinsonClassifier], runs: Sequence[RunTokens]
) -> NDArray[np.float32]:
    """Mean votes of positive runs minus those of negative runs, (X, Y, Z) float32.

    Args:
        evaluation: gives the folds and the labels.
        classifiers: the fitted Transformer of each fold.
        runs: all runs, in the evaluation's order.

    Raises:
        ParameterError: the runs have no voxels, or are not on one grid; or the readout has no votes.
    """
    placed = _on_one_grid(runs)
    first = placed[0]
    total_XYZ = np.zeros(first.shape, dtype=np.float32)
    counts = np.bincount(evaluation.labels, minlength=2)
    for (_, test), classifier in zip(evaluation.folds, classifiers, strict=True):
        for i in test:
            label = evaluation.labels[i]
            share = (1 if label == 1 else -1) / counts[label]
            total_XYZ += share * untokenize(placed[i], run_votes(classifier, placed[i]))
    return total_XYZ


def run_votes(classifier: ParkinsonClassifier, run: RunTokens) -> NDArray[np.float32]:
    """Vote of each place of a run (S,): the sum over windows, the mean over clips.

    With the readout's bias they add up to the run's logit.
    """
    votes_S: NDArray[np.float32] = model_votes(classifier.model_, run).numpy()
    return votes_S


def _on_one_grid(runs: Sequence[RunTokens]) -> list[Placed]:
    placed = [run for run in runs if isinstance(run, Placed)]
    if len(placed) < len(runs):
        kinds = " and ".join(sorted({run.spec.kind for run in runs}))
        raise ParameterError("tokens", must_be="places in voxels for a map", got=kinds)
    first = placed[0]
    if not all(same_grid(run.shape, run.affine, first.shape, first.affine) for run in placed):
        raise ParameterError("runs", must_be="on one grid for a common map", got="several grids")
    return placed


def as_image(volume_XYZ: NDArray[np.float32], run: Placed) -> Any:
    """A volume on a run's grid as a NIfTI image."""
    import nibabel as nib

    return nib.Nifti1Image(volume_XYZ.astype(np.float32), run.affine)


def write_image(image: Any, path: Path) -> None:
    """Write a NIfTI image as .nii.gz, whole or not at all."""
    with whole_file(path) as draft:
        # nibabel would not know the draft by its ending.
        draft.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
