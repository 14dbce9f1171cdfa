"""A frozen encoder -> one vector a run, for linear probes.

A mean over the brain hides what is local; means over the cells of a lattice in mm keep it, roughly placed.
Letters: B clips, N tokens, D width, C cells, R runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.model import BrainEncoder
from neuro.model.fields import HIGH_MM, LOW_MM
from neuro.model.run_reading import run_batches
from neuro.tokens import RunTokens

Floats = NDArray[np.float32]


@torch.inference_mode()
def run_features(encoder: BrainEncoder, runs: Sequence[RunTokens], *, cell_mm: float | None = None) -> Floats:
    """Mean token of each run over all its clips: (R, D), or (R, C * D) by cells of a lattice.

    Args:
        encoder: any, in evaluation mode while it is used.
        runs: cut as the encoder's layout says.
        cell_mm: edge of the lattice's cubes; None takes the mean over the brain. Cells that no run has tokens
            in are left out of the columns; a cell in which this run has none holds zeros.

    Raises:
        ParameterError: no run, runs of another layout, cells where places are not known in mm.
    """
    check_runs(encoder, runs, cell_mm)
    was_training = encoder.training
    encoder.eval()
    try:
        vectors = [_of_run(encoder, run, cell_mm) for run in runs]
    finally:
        encoder.train(was_training)
    return in_used_cells(vectors)


def in_used_cells(vectors: Sequence[tuple[Floats, NDArray[np.intp]]]) -> Floats:
    """What `by_cells` gave for each run -> (R, C * D), without the cells that no run has places in."""
    used_C = np.any([count_C > 0 for _, count_C in vectors], axis=0)
    return np.stack([vector_CD[used_C].ravel() for vector_CD, _ in vectors])


def check_runs(encoder: BrainEncoder, runs: Sequence[RunTokens], cell_mm: float | None) -> None:
    """Say no to runs of another layout, and to cells of places that are not known.

    Raises:
        ParameterError: either, or no run.
    """
    if not runs:
        raise ParameterError("runs", must_be="at least one", got="none")
    other = next((run for run in runs if run.layout != encoder.layout), None)
    if other is not None:
        raise ParameterError(f"run {other.run_id}", must_be=f"cut as {encoder.layout}", got=other.layout)
    if cell_mm is None:
        return
    if not cell_mm > 0:
        raise ParameterError("cell_mm", must_be="positive", got=cell_mm)
    if any(not np.isfinite(run.centres_S3).all() for run in runs):
        raise ParameterError("cells", must_be="of places known in mm", got="places without")


def _of_run(encoder: BrainEncoder, run: RunTokens, cell_mm: float | None) -> tuple[Floats, NDArray[np.intp]]:
    """Mean token in each cell (C, D), and how many places it has (C,)."""
    sums = [
        encoder(batch)
        .tokens_BND.float()
        .reshape(-1, batch.windows, batch.places, encoder.width)
        .mean(1)
        .sum(0)
        for batch in run_batches(encoder, run)
    ]
    token_SD = (torch.stack(sums).sum(0) / len(run.clip_starts())).cpu().numpy()
    return by_cells(token_SD, run.centres_S3, cell_mm)


def by_cells(values_SD: Floats, centres_S3: Floats, cell_mm: float | None) -> tuple[Floats, NDArray[np.intp]]:
    """Values of places (S, D) -> their mean in each cell (C, D), and how many places it has (C,)."""
    cell_S, cells = _cells(centres_S3, cell_mm)
    count_C = np.bincount(cell_S, minlength=cells)
    sum_CD = np.zeros((cells, values_SD.shape[1]), dtype=np.float32)
    np.add.at(sum_CD, cell_S, values_SD)
    mean_CD: Floats = (sum_CD / np.maximum(count_C, 1)[:, None]).astype(np.float32)
    return mean_CD, count_C


def _cells(centres_S3: Floats, cell_mm: float | None) -> tuple[NDArray[np.intp], int]:
    """The cell of each place, and how many cells the box of the brain has."""
    if cell_mm is None:
        return np.zeros(len(centres_S3), dtype=np.intp), 1
    low, high = np.array(LOW_MM), np.array(HIGH_MM)
    shape = np.ceil((high - low) / cell_mm).astype(int)
    index_S3 = np.clip(((centres_S3 - low) // cell_mm).astype(int), 0, shape - 1)
    return np.ravel_multi_index(tuple(index_S3.T), tuple(shape)), int(shape.prod())
