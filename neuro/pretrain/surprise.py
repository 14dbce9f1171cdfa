"""How badly each place of a run can be guessed from the rest of the brain: a vector a run, for linear probes.

What masked pretraining learns is how regions follow one another. A place that no longer follows is guessed
worse than in the people who were learned from, whatever its own signal looks like: a normative model, after
the error maps of autoencoders in lesion detection (Baur et al. 2021, arXiv 2004.03271).
Letters: R runs, S places, C cells of a lattice, B clips, K visible and H hidden places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.model.run_reading import run_batches
from neuro.pretrain.features import Floats, by_cells, check_runs, in_used_cells
from neuro.pretrain.masked import MaskedBatch, MaskedModelling
from neuro.pretrain.masking import Mask
from neuro.tokens import RunTokens

PARTS = 4


@torch.inference_mode()
def run_surprise(
    objective: MaskedModelling,
    runs: Sequence[RunTokens],
    *,
    cell_mm: float | None = None,
    parts: int = PARTS,
    seed: int = 0,
) -> Floats:
    """Mean squared error of guessing each place's signal, over all clips: (R, S), or (R, C) by cells.

    The places are dealt out into parts; each part is guessed once from all the others.

    Args:
        objective: the encoder with its decoder, as pretraining left them; in evaluation mode while used.
        runs: cut as the encoder's layout says.
        cell_mm: edge of the cubes of a lattice, over which errors are averaged; None keeps places, where they
            are the same in every run (regions of an atlas).
        parts: in how many parts the places are hidden, one after the other.
        seed: of the dealing out.

    Raises:
        ParameterError: no run, runs of another layout, cells where places are not known in mm, places that
            differ from run to run without cells, or a number of parts that leaves nothing to see or to guess.
    """
    encoder = objective.encoder
    check_runs(encoder, runs, cell_mm)
    if cell_mm is None and not encoder.layout.regions:
        got = f"{encoder.layout.kind}s, which differ from run to run"
        raise ParameterError("places", must_be="regions of an atlas", got=got, do="give cell_mm")
    was_training = objective.training
    objective.eval()
    try:
        errors = [_of_run(objective, run, parts, seed) for run in runs]
    finally:
        objective.train(was_training)
    if cell_mm is None:
        return np.stack(errors)
    cells = [by_cells(e[:, None], run.centres_S3, cell_mm) for e, run in zip(errors, runs, strict=True)]
    return in_used_cells(cells)


def _of_run(objective: MaskedModelling, run: RunTokens, parts: int, seed: int) -> Floats:
    """Error of each place (S,), the mean over the run's clips."""
    total_S = np.zeros(len(run.centres_S3))
    for tokens in run_batches(objective, run):
        for hidden_H in _dealt(tokens.places, parts, seed):
            mask = _mask(hidden_H, tokens.places, len(tokens)).to(tokens.signal_BNV.device)
            signal_BH, _ = objective.place_errors(MaskedBatch(tokens=tokens, mask=mask))
            total_S[hidden_H] += signal_BH.double().sum(0).cpu().numpy()
    return (total_S / len(run.clip_starts())).astype(np.float32)


def _dealt(places: int, parts: int, seed: int) -> Iterator[NDArray[np.intp]]:
    if not 2 <= parts <= places:
        raise ParameterError("parts", must_be=f"from 2 to the {places} places", got=parts)
    order = np.random.default_rng([seed, places]).permutation(places)
    return (np.sort(part) for part in np.array_split(order, parts))


def _mask(hidden_H: NDArray[np.intp], places: int, clips: int) -> Mask:
    visible_K = np.setdiff1d(np.arange(places), hidden_H)
    hidden_BH = torch.from_numpy(hidden_H).expand(clips, -1)
    return Mask(
        visible_BK=torch.from_numpy(visible_K).expand(clips, -1),
        hidden_BH=hidden_BH,
        real_BH=torch.ones_like(hidden_BH, dtype=torch.bool),
    )
