"""Occlusion: what a run's logit loses when one part of the brain says nothing of note.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv 1311.2901, section
4.2, on brains: a part is one place, or all voxels of a region of an atlas.

Letters: K parts, B copies, W windows, S places, N = W * S tokens, F frames of a window, V values of a token's
signal, P of its amplitude (the voxels of a cube), M in-mask voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import ParameterError
from data.parcels.atlases import Atlas
from neuro.explain.neutral import neutral
from neuro.model import BrainTransformer
from neuro.model.run_reading import TOKENS_A_BATCH
from neuro.tokens import CubeTokens, ParcelSpec, RunTokens, TokenBatch, collate

Floats = NDArray[np.float32]


def occluded_places(model: BrainTransformer, run: RunTokens) -> Floats:
    """The logit less what it is without each place (S,); one pass a place and clip.

    Of regions that are told by their correlations, a region is taken out of all other regions' tokens too.
    """
    places = len(run.centres_S3)
    return _changes(model, run, [np.arange(places) == place for place in range(places)])


def occluded_regions(
    model: BrainTransformer, run: RunTokens, atlas: Atlas
) -> tuple[NDArray[np.float64], Floats]:
    """The logit less what it is without each region of an atlas (R,), and the same at the voxels (S, P).

    NaN for a region that no voxel of the run lies in; 0 for a voxel that lies in none.

    Raises:
        ParameterError: tokens that are not cubes of voxels.
    """
    region_SP = regions_of_voxels(run, atlas)
    present = np.unique(region_SP[region_SP > 0])
    changes_R = np.full(len(atlas.regions), np.nan)
    changes_R[present - 1] = _changes(model, run, [region_SP == region for region in present])
    with_none = np.concatenate([[0], np.nan_to_num(changes_R)])
    return changes_R, with_none[region_SP].astype(np.float32)


def regions_of_voxels(run: RunTokens, atlas: Atlas) -> NDArray[np.int32]:
    """The region (1..R) of each voxel of each cube (S, P); 0 for none and outside the brain.

    Raises:
        ParameterError: tokens that are not cubes of voxels.
    """
    if not isinstance(run, CubeTokens):
        do = "take places as they are"
        raise ParameterError("tokens", must_be="cubes, to take out regions", got=run.spec.kind, do=do)
    labels_M = atlas.on_grid(run.shape, run.affine)[run.run.mask_XYZ]
    region_Q = np.zeros(run.amplitude_SP.size, dtype=np.int32)
    region_Q[run.slot_M] = labels_M
    return region_Q.reshape(run.amplitude_SP.shape)


@torch.inference_mode()
def _changes(model: BrainTransformer, run: RunTokens, parts: Sequence[NDArray[np.bool_]]) -> Floats:
    """Mean over clips of the logit less that without each part; a part is places (S,) or voxels (S, P)."""
    device = next(model.parameters()).device
    starts = run.clip_starts()
    total_K = torch.zeros(len(parts), dtype=torch.float64)
    for start in starts:
        batch = collate([run.clip(start)])
        nothing = neutral(batch, run.spec.kind)
        whole = model(batch.to(device)).double().cpu()
        copies = max(1, TOKENS_A_BATCH // batch.mask_BN.shape[1])
        for first in range(0, len(parts), copies):
            without = _without(batch, nothing, parts[first : first + copies], run)
            total_K[first : first + copies] += whole - model(without.to(device)).double().cpu()
    return (total_K / len(starts)).numpy().astype(np.float32)


def _without(
    batch: TokenBatch, nothing: TokenBatch, parts: Sequence[NDArray[np.bool_]], run: RunTokens
) -> TokenBatch:
    """A batch of one clip -> a copy for each part, without that part."""
    hidden_BS_ = torch.from_numpy(np.stack(parts))
    hidden_BS_ = hidden_BS_[..., None] if hidden_BS_.ndim == 2 else hidden_BS_
    copies, _, parts_of_place = hidden_BS_.shape
    # Frames of a token are its slowest axis: what is hidden is hidden in every frame.
    frames = batch.signal_BNV.shape[-1] // parts_of_place if parts_of_place > 1 else 1
    hidden_BSV = hidden_BS_.repeat(1, 1, frames)
    if isinstance(run.spec, ParcelSpec) and run.spec.profile != "none":
        hidden_BSV = hidden_BSV | hidden_BS_.transpose(1, 2)
    hidden_BNV = hidden_BSV.repeat(1, batch.windows, 1)
    return replace(
        batch,
        signal_BNV=torch.where(hidden_BNV, nothing.signal_BNV, batch.signal_BNV),
        amplitude_BSP=torch.where(hidden_BS_, nothing.amplitude_BSP, batch.amplitude_BSP),
        positions_BN4=batch.positions_BN4.expand(copies, -1, -1),
        mask_BN=batch.mask_BN.expand(copies, -1),
    )
