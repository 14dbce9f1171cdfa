"""Where the Transformer found the difference: votes of tokens back in the brain, out of fold -> NIfTI.

The readout is a sum of votes, one a token. The map is the mean vote over the patients' runs minus that over
the controls', each run seen only by the model of the fold in which it was tested. It says where the last
layer read the difference; attention has mixed tokens before that, so it is a pointer and not a proof.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.errors import ParameterError
from data.scans.nifti import same_grid
from data.writing import whole_file
from neuro.classify import ParkinsonClassifier
from neuro.evaluate import Evaluation
from neuro.tokens import CubeTokens, collate, untokenize


def vote_map(evaluation: Evaluation, classifiers: list[ParkinsonClassifier], runs: list[CubeTokens]) -> Any:
    """Mean votes of positive runs minus those of negative runs, (X, Y, Z) float32.

    Args:
        evaluation: gives the folds and the labels.
        classifiers: the fitted Transformer of each fold.
        runs: all runs, in the evaluation's order.

    Raises:
        ParameterError: the runs are not on one grid.
    """
    first = runs[0]
    if not all(same_grid(run.shape, run.affine, first.shape, first.affine) for run in runs):
        raise ParameterError("runs", must_be="on one grid for a common map", got="several grids")
    total_XYZ = np.zeros(first.shape, dtype=np.float32)
    counts = np.bincount(evaluation.labels, minlength=2)
    for (_, test), classifier in zip(evaluation.folds, classifiers, strict=True):
        for i in test:
            label = evaluation.labels[i]
            share = (1 if label == 1 else -1) / counts[label]
            total_XYZ += share * untokenize(runs[i], run_votes(classifier, runs[i]))
    return total_XYZ


@torch.inference_mode()
def run_votes(classifier: ParkinsonClassifier, run: CubeTokens) -> np.ndarray:
    """Mean vote of each token of a run over its clips (N,); with the bias they add up to the run's logit."""
    model = classifier.model_
    device = next(model.parameters()).device
    votes: np.ndarray = model.votes(collate(run.clips()).to(device)).mean(0).cpu().numpy()
    return votes


def as_image(volume_XYZ: np.ndarray, run: CubeTokens) -> Any:
    """A volume on a run's grid as a NIfTI image."""
    import nibabel as nib

    return nib.Nifti1Image(volume_XYZ.astype(np.float32), run.affine)


def write_image(image: Any, path: Path) -> None:
    """Write a NIfTI image as .nii.gz, whole or not at all."""
    with whole_file(path) as draft:
        # nibabel would not know the draft by its ending.
        draft.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
